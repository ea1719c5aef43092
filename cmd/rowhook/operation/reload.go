package operation

import (
	"fmt"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/delivery/engine"
)

// What asked for a reload.
const (
	ReloadByStart   = "start"
	ReloadBySignal  = "signal"
	ReloadByFile    = "file"
	ReloadByCommand = "command"
	ReloadByCluster = "cluster" // another machine's reload, or the config by which it captures
)

// ReloadRequest asks for a reload. Removed says what becomes of what waits for profiles that are
// gone.
type ReloadRequest struct {
	User    string                    `json:"user"`
	Removed map[string]engine.Removal `json:"removed,omitempty"`
	By      string                    `json:"by"`
}

// ReloadStatus is what came of a reload.
type ReloadStatus struct {
	Time time.Time `json:"time"`
	OK   bool      `json:"ok"`
	By   string    `json:"by"` // start, signal, file, command or cluster
	// Added, Changed and Removed are codes of profiles.
	Added   []string `json:"added,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Mapping bool     `json:"mapping,omitempty"` // the mapping changed, or where context and signals come from
	// Restart are the keys that differ from what the agent was started with and take effect with
	// the next start only, whichever reload took note of them.
	Restart []string `json:"restart,omitempty"`
	Error   string   `json:"error,omitempty"`
	// Findings are about what now is mapped, as the database has it; Uncompared is why there are none.
	// The answer to a reload has them, and status its own.
	Findings   []capture.Finding `json:"findings,omitempty"`
	Uncompared string            `json:"uncompared,omitempty"`
}

// Words tells in one line what came of it.
func (r *ReloadStatus) Words() string {
	var parts []string
	part := func(format string, codes []string) {
		if len(codes) > 0 {
			parts = append(parts, fmt.Sprintf(format, strings.Join(codes, ", ")))
		}
	}
	part("added %s", r.Added)
	part("changed %s", r.Changed)
	part("removed %s", r.Removed)
	if r.Mapping {
		parts = append(parts, "changed the mapping")
	}
	switch {
	case !r.OK:
		parts = []string{"failed: " + r.Error}
	case len(parts) == 0:
		parts = append(parts, "nothing changed")
	}
	part("needs a restart: %s", r.Restart)
	return strings.Join(parts, "; ")
}
