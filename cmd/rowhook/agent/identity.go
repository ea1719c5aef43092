package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"rowhook/cmd/rowhook/operation"
)

// The keys of the spool's own small values.
const (
	metaIdentity = "identity" // the pinned identity, JSON
	metaAgent    = "agent"    // a random name for this state directory's own connections
	metaPrevious = "previous" // positions that an adoption put aside, JSON
)

// metaStore is the part of the spool that keeps small values.
type metaStore interface {
	Meta(key string) ([]byte, error)
	SetMeta(key string, value []byte) error
}

// compareIdentity lists where found disagrees with the pinned identity. Successors are
// the system identifiers and hosts of source.servers.
func compareIdentity(pinned, found operation.Identity, successors []string) []operation.Difference {
	var diffs []operation.Difference
	if found.Lineage != pinned.Lineage && !slices.Contains(successors, found.Lineage) {
		diffs = append(diffs, operation.Difference{What: "lineage", Pinned: pinned.Lineage, Found: found.Lineage})
	}
	if found.Hosts != pinned.Hosts && !allIn(found.Hosts, append(strings.Split(pinned.Hosts, ","), successors...)) {
		diffs = append(diffs, operation.Difference{What: "hosts", Pinned: pinned.Hosts, Found: found.Hosts})
	}
	// A machine is compared only when both sides have one: a state directory that
	// moved into a container is told by its volume, not by the machine below it.
	if pinned.Machine != "" && found.Machine != "" && found.Machine != pinned.Machine {
		diffs = append(diffs, operation.Difference{What: "machine", Pinned: pinned.Machine, Found: found.Machine})
	}
	return diffs
}

// allIn reports whether each of the comma-separated hosts, with or without its port, is allowed.
func allIn(hosts string, allowed []string) bool {
	for host := range strings.SplitSeq(hosts, ",") {
		name, _, _ := strings.Cut(host, ":")
		if !slices.Contains(allowed, host) && !slices.Contains(allowed, name) {
			return false
		}
	}
	return true
}

// loadIdentity returns the pinned identity; ok is false when nothing is pinned yet.
func loadIdentity(store metaStore) (id operation.Identity, ok bool, err error) {
	raw, err := store.Meta(metaIdentity)
	if err != nil || raw == nil {
		return operation.Identity{}, false, err
	}
	if err := json.Unmarshal(raw, &id); err != nil {
		return operation.Identity{}, false, fmt.Errorf("read pinned identity: %w", err)
	}
	return id, true, nil
}

// saveIdentity pins id.
func saveIdentity(store metaStore, id operation.Identity) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := store.SetMeta(metaIdentity, raw); err != nil {
		return fmt.Errorf("pin identity: %w", err)
	}
	return nil
}

// agentID returns the state directory's own name, made at the first call. The
// source marks its connections with it, so that a dead connection of ours is
// told from another agent.
func agentID(store metaStore) (string, error) {
	raw, err := store.Meta(metaAgent)
	if err != nil {
		return "", fmt.Errorf("read agent id: %w", err)
	}
	if raw != nil {
		return string(raw), nil
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("make agent id: %w", err)
	}
	id := hex.EncodeToString(random[:])
	if err := store.SetMeta(metaAgent, []byte(id)); err != nil {
		return "", fmt.Errorf("store agent id: %w", err)
	}
	return id, nil
}

// machineFiles are where Linux tells which machine this is.
var machineFiles = []string{"/etc/machine-id", "/sys/class/dmi/id/product_uuid"}

// containerFiles exist inside containers only.
var containerFiles = []string{"/.dockerenv", "/run/.containerenv"}

// machineName returns a name of this machine that does not give its identifiers away,
// or "" inside a container or where the machine has none.
func machineName(readFile func(string) ([]byte, error), getenv func(string) string) string {
	if getenv("KUBERNETES_SERVICE_HOST") != "" || getenv("container") != "" {
		return ""
	}
	for _, name := range containerFiles {
		if _, err := readFile(name); err == nil {
			return ""
		}
	}
	hash, found := sha256.New(), false
	for _, name := range machineFiles {
		// The product UUID is readable by root only: an agent that changes its user must not
		// become another machine, so the first file that can be read decides.
		raw, err := readFile(name)
		if err != nil || len(strings.TrimSpace(string(raw))) == 0 {
			continue
		}
		hash.Write([]byte(strings.TrimSpace(string(raw))))
		found = true
		break
	}
	if !found {
		return ""
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// thisMachine is [machineName] of the running machine.
func thisMachine() string { return machineName(os.ReadFile, os.Getenv) }
