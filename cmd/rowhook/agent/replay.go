package agent

import (
	"fmt"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

// replay starts a replay, with a line in the audit log unless it only counts.
func (w *workspace) replay(r operation.ReplayRequest) (engine.Replayed, error) {
	replayed, err := w.engine.Replay(r.Filter, r.DryRun)
	if err != nil || r.DryRun || replayed.Events == 0 {
		return replayed, err
	}
	about := engine.Filter{Type: r.Filter.Type, Since: r.Filter.Since, Until: r.Filter.Until}
	line := operation.AuditLine{User: r.User, Command: "replay", Profile: r.Filter.Profile, Key: describeFilter(about), New: fmt.Sprint(replayed.Events)}
	return replayed, w.audit.append(line)
}

// stopReplay ends a replay.
func (w *workspace) stopReplay(r operation.ReplayRequest) (operation.ReplayStopped, error) {
	left, err := w.engine.StopReplay(r.Filter.Profile)
	return operation.ReplayStopped{Left: left}, w.audited(r.User, "replay --stop", r.Filter.Profile, "", err)
}
