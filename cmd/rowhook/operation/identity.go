package operation

import "time"

// Identity is what a state directory belongs to. It is pinned at the first start, so
// that a copied state directory, a cloned database or a wrong server behind
// the same URL does not send a single request until a person adopts it.
type Identity struct {
	Lineage string `json:"lineage"`           // the source's system identifier
	Hosts   string `json:"hosts"`             // as configured
	Machine string `json:"machine,omitempty"` // of the agent; empty inside containers, where it means nothing
}

// Difference is one point in which the pinned identity and the one at hand disagree.
type Difference struct {
	What   string `json:"what"` // lineage, hosts, machine
	Pinned string `json:"pinned"`
	Found  string `json:"found"`
}

// Adoption is what `source adopt` did.
type Adoption struct {
	Pinned Identity     `json:"pinned"`
	Diffs  []Difference `json:"differences"`
	// Abandoned is the stored position that belongs to the former lineage and was given up.
	Abandoned string `json:"abandoned,omitempty"`
}

// AuditLine is one line of state/audit.jsonl: who changed what, when. Secrets never appear in it.
type AuditLine struct {
	Time    time.Time `json:"time"`
	User    string    `json:"user"`
	Command string    `json:"command"`
	Profile string    `json:"profile,omitempty"`
	Key     string    `json:"key,omitempty"`
	Old     string    `json:"old,omitempty"`
	New     string    `json:"new,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}
