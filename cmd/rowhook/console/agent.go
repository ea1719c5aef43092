package console

import (
	"context"
	"encoding/json"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
)

// Agent is a running agent as the console knows it: operations by name, with the requests and
// answers that they have on the control socket.
type Agent interface {
	Call(ctx context.Context, operation string, request, answer any) error
}

// status is how the agent stands.
type status struct{ operation.StatusReport }

// dead is how many dead letters a profile has, or all of them together.
func (s *status) dead(code string) int64 {
	n := int64(0)
	for i := range s.Profiles {
		if code == "" || s.Profiles[i].Profile == code {
			n += s.Profiles[i].Dead
		}
	}
	return n
}

// The operations that only the console asks for, with their requests and answers.
const (
	OpLog         = "console/log"
	OpEvents      = "console/events"
	OpConfig      = "console/config"
	OpConfigCheck = "console/config-check"
	OpAudit       = "console/audit"
	OpHistory     = "console/history"
)

// LogQuery selects lines of the delivery log, as the flags of `rowhook log` do.
type LogQuery struct {
	Profile string            `json:"profile,omitempty"` // may be a glob
	Event   string            `json:"event,omitempty"`
	Type    string            `json:"type,omitempty"` // may be a glob
	Status  []string          `json:"status,omitempty"`
	Outcome delivery.Outcome  `json:"outcome,omitempty"`
	URL     string            `json:"url,omitempty"`
	Payload []string          `json:"payload,omitempty"` // PATH=VALUE
	Since   time.Time         `json:"since,omitzero"`
	Until   time.Time         `json:"until,omitzero"`
	From    deliverylog.Place `json:"from,omitzero"`
	Most    int               `json:"most"`
}

// LogPage is a page of the delivery log, the newest line first.
type LogPage struct {
	Lines     []json.RawMessage  `json:"lines"`
	Next      *deliverylog.Place `json:"next,omitempty"` // nil at the log's end
	Reached   time.Time          `json:"reached,omitzero"`
	Undecided int                `json:"undecided,omitempty"`
	None      bool               `json:"none,omitempty"` // there is no log yet
}

// ConfigInForce is the config that the agent works by, without its secrets.
type ConfigInForce struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// ConfigText is a config to check.
type ConfigText struct {
	Text string `json:"text"`
}

// ConfigFindings is what is to be said about a config.
type ConfigFindings struct {
	Errors   []ConfigProblem `json:"errors,omitempty"` // it would be refused
	Findings []Finding       `json:"findings,omitempty"`
}

// Finding is a finding with its severity in words.
type Finding struct {
	Severity string `json:"severity"`
	capture.Finding
}

// ConfigProblem is one thing wrong with a config.
type ConfigProblem struct {
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// AuditQuery asks for a page of the audit trail, the newest line first.
type AuditQuery struct {
	Profile string `json:"profile,omitempty"`
	Before  int64  `json:"before,omitempty"` // offset in the file; 0 for its end
	Most    int    `json:"most"`
}

// AuditPage is a page of the audit trail.
type AuditPage struct {
	Lines []operation.AuditLine `json:"lines"`
	Next  int64                 `json:"next,omitempty"` // 0 when there is no more
}
