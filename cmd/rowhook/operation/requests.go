package operation

import (
	"encoding/json"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// FilterRequest selects deliveries. User, in each request, is who asks: for the audit log.
type FilterRequest struct {
	User   string        `json:"user"`
	Filter engine.Filter `json:"filter"`
}

// DeliveryRequest names one delivery; without an event, all of the profile.
type DeliveryRequest struct {
	User    string `json:"user"`
	Profile string `json:"profile"`
	Event   string `json:"event"`
}

// ResumeRequest asks for a profile to be paused, or to go on; From says where then.
type ResumeRequest struct {
	User    string `json:"user"`
	Profile string `json:"profile"`
	From    string `json:"from"`
}

// UserRequest is a request that names nothing but who asks.
type UserRequest struct {
	User string `json:"user"`
}

// BodyRequest asks for the body that a line of the delivery log is about, or whether its group has
// a member.
type BodyRequest struct {
	Profile string `json:"profile"`
	Event   string `json:"event"` // or the group's id
	Unit    string `json:"unit,omitempty"`
	Count   int    `json:"count,omitempty"`
	First   string `json:"first,omitempty"`
	Last    string `json:"last,omitempty"`
	Member  string `json:"member,omitempty"`
	// Most is how many bytes of the body are wanted; 0 is all.
	Most int `json:"most,omitempty"`
}

// BodyAnswer is the whole body, or whether the group has the member.
type BodyAnswer struct {
	Found  bool   `json:"found"`
	Body   []byte `json:"body,omitempty"`
	Member bool   `json:"member,omitempty"`
	Cut    bool   `json:"cut,omitempty"` // there is more of the body
}

// InGroup tells whether the member that was asked for is in the group.
func (a BodyAnswer) InGroup() delivery.Truth {
	switch {
	case !a.Found:
		return delivery.Undecidable
	case a.Member:
		return delivery.True
	}
	return delivery.False
}

// AgentAnswer is the agent's own id, which marks its connections.
type AgentAnswer struct {
	ID string `json:"id"`
}

// HandoverAnswer tells who captures now.
type HandoverAnswer struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Epoch   uint64  `json:"epoch"`
	Seconds float64 `json:"seconds"` // that it took
}

// None is a request or an answer that says nothing.
type None struct{}

// ParkedRequest selects dead letters of the source: by number, by table, or all.
type ParkedRequest struct {
	User  string         `json:"user"`
	Seqs  []delivery.Seq `json:"seqs,omitempty"`
	Table string         `json:"table,omitempty"`
	All   bool           `json:"all,omitempty"`
	Limit int            `json:"limit,omitempty"`
	// UpTo leaves out what has a higher number: what was parked after somebody looked. 0 is no bound.
	UpTo delivery.Seq `json:"up_to,omitempty"`
}

// ParkedItem is a dead letter of the source as commands show it: never its row.
type ParkedItem struct {
	Seq         delivery.Seq `json:"seq"`
	Table       string       `json:"table,omitempty"`
	Entry       string       `json:"entry,omitempty"`
	Profile     string       `json:"profile,omitempty"`
	Made        []string     `json:"made,omitempty"` // types of events that were made all the same
	Reason      string       `json:"reason"`
	Error       string       `json:"error,omitempty"`
	Transaction string       `json:"transaction"`
	Position    string       `json:"position"`
	Ordinal     int          `json:"ordinal"`
	Time        time.Time    `json:"time"`
	Bytes       int          `json:"bytes"`
	Size        int64        `json:"size,omitempty"` // of a change that was read past: how large it was
	// Key is the row's, where it is known.
	Key json.RawMessage `json:"key,omitempty"`
}

// ParkedList is the answer to a list of dead letters of the source.
type ParkedList struct {
	Items []ParkedItem `json:"items"`
	More  bool         `json:"more,omitempty"`
	// Last is the highest number there was.
	Last delivery.Seq `json:"last,omitempty"`
}

// ReplayRequest asks for a replay, or for its end.
type ReplayRequest struct {
	User   string              `json:"user"`
	Filter engine.ReplayFilter `json:"filter"`
	DryRun bool                `json:"dry_run,omitempty"`
}

// ReplayStopped is how many events of a replay are not sent again.
type ReplayStopped struct {
	Left int64 `json:"left"`
}
