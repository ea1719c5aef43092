package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"rowhook/cmd/rowhook/operation"
)

// adoptRemedy is what ends the wait for a person's word.
const adoptRemedy = "if this is meant, `rowhook source adopt`; if the server is a legitimate successor, name it in source.servers; " +
	"otherwise fix source.url or give this agent a state directory of its own"

// adopt pins a new identity. A stored position of another lineage means nothing to the
// new server, so it is given up, in words: its place in the old stream goes to the audit log.
func (w *workspace) adopt(user string, found operation.Identity, diffs []operation.Difference) (operation.Adoption, error) {
	done := operation.Adoption{Pinned: found, Diffs: diffs}
	for _, d := range diffs {
		if d.What != "lineage" {
			continue
		}
		done.Abandoned = w.spool.Position()
		if err := w.journal.SetMeta(metaAbandoned, []byte(done.Abandoned)); err != nil {
			return operation.Adoption{}, fmt.Errorf("give up the stored position: %w", err)
		}
		if err := w.journal.SetMeta(metaTimeline, []byte("0")); err != nil {
			return operation.Adoption{}, fmt.Errorf("give up the stored timeline: %w", err)
		}
	}
	old, _, err := loadIdentity(w.spool)
	if err != nil {
		return operation.Adoption{}, err
	}
	if err := saveIdentity(w.values(), found); err != nil {
		return operation.Adoption{}, err
	}
	before, err := json.Marshal(old)
	if err != nil {
		return operation.Adoption{}, fmt.Errorf("encode identity: %w", err)
	}
	after, err := json.Marshal(found)
	if err != nil {
		return operation.Adoption{}, fmt.Errorf("encode identity: %w", err)
	}
	line := operation.AuditLine{User: user, Command: "source adopt", Key: "identity", Old: string(before), New: string(after)}
	if err := w.audit.append(line); err != nil {
		return operation.Adoption{}, err
	}
	if done.Abandoned != "" {
		return done, w.audit.append(operation.AuditLine{User: user, Command: "source adopt", Key: "position", Old: done.Abandoned})
	}
	return done, nil
}

// describeDifferences tells in one sentence why deliveries wait for adoption.
func describeDifferences(diffs []operation.Difference) string {
	var parts []string
	for _, d := range diffs {
		parts = append(parts, fmt.Sprintf("%s is %s, pinned is %s", d.What, d.Found, d.Pinned))
	}
	return "not what this state directory belongs to: " + strings.Join(parts, "; ")
}
