package operation

import (
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/delivery"
	"rowhook/delivery/alert"
)

// StatusReport is the output of `rowhook status --json`. Its member names are a contract.
type StatusReport struct {
	Time     time.Time                `json:"time"`
	Agent    AgentStatus              `json:"agent"`
	Reload   *ReloadStatus            `json:"reload,omitempty"` // the last one; its start for an agent that has had none
	Source   SourceStatus             `json:"source"`
	Identity IdentityStatus           `json:"identity"`
	Spool    SpoolStatus              `json:"spool"`
	Parked   ParkedStatus             `json:"parked"`
	Profiles []delivery.ProfileStatus `json:"profiles"`
	Mail     *alert.Status            `json:"mail,omitempty"` // to the profiles' contacts; only of a running agent with a mail server
	// Removed are profiles that the config no longer has and whose events the spool still holds.
	Removed []RemovedStatus `json:"removed,omitempty"`
	// Backfills are those that are not over.
	Backfills []Backfill `json:"backfills,omitempty"`
	// Memory are the tables whose last values are remembered; of a running agent only.
	Memory   []MemoryStatus    `json:"memory,omitempty"`
	Findings []capture.Finding `json:"findings,omitempty"`
	// Cluster are the machines that do this work together; nil for one alone.
	Cluster *ClusterStatus `json:"cluster,omitempty"`
	// Attention says what needs a hand; empty when nothing does.
	Attention []string `json:"attention,omitempty"`
}

// ClusterStatus is how the machines of a cluster stand, as the one that answers sees them.
type ClusterStatus struct {
	Name    string `json:"name"`
	Machine string `json:"machine"` // that answers
	// Captures is the machine that captures; empty while there is none. Epoch counts who did.
	Captures string          `json:"captures,omitempty"`
	Epoch    uint64          `json:"epoch,omitempty"`
	Machines []MachineStatus `json:"machines"`
	Profiles []OwnerStatus   `json:"profiles"`
	// Quorum says that most of the servers keep what this machine tells them. SecondsSince is how
	// long ago the last message came back.
	Quorum       bool         `json:"quorum"`
	SecondsSince float64      `json:"seconds_since"`
	Stream       StreamStatus `json:"stream"`
}

// MachineStatus is one machine of a cluster.
type MachineStatus struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// Live says that its lease has not ended; SeenSeconds is how long ago it was renewed.
	Live        bool    `json:"live"`
	SeenSeconds float64 `json:"seen_seconds"`
	// Behind is how many messages of the stream it has still to apply, by its last word.
	Behind  uint64 `json:"behind"`
	Version string `json:"version,omitempty"`
	Address string `json:"address,omitempty"` // its admin.listen
	// Config tells configs apart: machines that are there have the same, but for a rolling change.
	Config string `json:"config,omitempty"`
}

// OwnerStatus is which machine delivers a profile. Epoch counts who did, and is in the requests'
// header rowhook-epoch.
type OwnerStatus struct {
	Profile string `json:"profile"`
	Machine string `json:"machine,omitempty"` // empty while there is none
	Epoch   uint64 `json:"epoch"`
}

// StreamStatus is the cluster's stream on its servers.
type StreamStatus struct {
	Bytes uint64 `json:"bytes"`
	First uint64 `json:"first"` // sequence number of the first message that is kept
	Last  uint64 `json:"last"`
	// Behind is how many messages this machine has still to apply.
	Behind uint64 `json:"behind"`
}

// AgentStatus is the agent that answers, or that none runs.
type AgentStatus struct {
	Running bool      `json:"running"`
	PID     int       `json:"pid,omitempty"`
	Version string    `json:"version"`
	Since   time.Time `json:"since,omitzero"`
}

// SourceStatus is how the connection to the source stands, and the stream.
type SourceStatus struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Hosts string `json:"hosts"`
	// State is connecting, streaming, paused (nothing more can be stored for the moment), waiting
	// for adoption, standby while another machine captures, or stopped without an agent.
	State string    `json:"state"`
	Since time.Time `json:"since,omitzero"`
	Error string    `json:"error,omitempty"`
	// Remedy is what to do about the error, where that is known.
	Remedy string `json:"remedy,omitempty"`
	// Position is up to where changes are stored; Durable what of it is fsynced.
	Position   string           `json:"position,omitempty"`
	Durable    string           `json:"durable,omitempty"`
	LastCommit time.Time        `json:"last_commit,omitzero"`
	Server     *ServerStatus    `json:"server,omitempty"`
	Stream     *capture.Status  `json:"stream,omitempty"`
	Counts     *pipeline.Counts `json:"counts,omitempty"`
	// Stalled says that nothing comes of what the source has committed, and why, as far as it is
	// known.
	Stalled *StallStatus `json:"stalled,omitempty"`
}

// ServerStatus is the server that the stream comes from.
type ServerStatus struct {
	Lineage  string `json:"lineage"`
	Timeline int32  `json:"timeline"`
	Version  int    `json:"version"`
	Host     string `json:"host"`
	Standby  bool   `json:"standby,omitempty"`
}

// IdentityStatus is what the state directory belongs to, and what was found instead.
type IdentityStatus struct {
	Pinned      *Identity    `json:"pinned,omitempty"`
	Found       *Identity    `json:"found,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

// SpoolStatus is the room that the spool takes and has.
type SpoolStatus struct {
	Bytes        int64 `json:"bytes"`
	MaxBytes     int64 `json:"max_bytes"`
	HistoryBytes int64 `json:"history_bytes"`
	FreeBytes    int64 `json:"free_bytes"`
	ReserveBytes int64 `json:"reserve_bytes"`
	// FullInSeconds is when it is full if it goes on growing as lately; 0 when it is not growing.
	FullInSeconds float64 `json:"full_in_seconds,omitempty"`
	Error         string  `json:"error,omitempty"`
}

// ParkedStatus is how much is parked.
type ParkedStatus struct {
	Count int64 `json:"count"`
	Bytes int64 `json:"bytes"`
}

// MemoryStatus is a table whose rows' last values are remembered.
type MemoryStatus struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns,omitempty"` // none: all of them
	// State is loaded (all rows are known), loading (those that are read, or have changed since),
	// unknown (none is), or full (there is no room for them). Reason says why, where it is not loaded.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Bytes  int64  `json:"bytes"` // of the spool, about
	// Filled counts old values that memory knew and the stream did not carry, Unknown rows that it did
	// not know, both since the agent's start.
	Filled  int64 `json:"filled"`
	Unknown int64 `json:"unknown"`
}

// The states of a table's memory.
const (
	MemoryLoaded  = "loaded"
	MemoryLoading = "loading"
	MemoryUnknown = "unknown"
	MemoryFull    = "full"
)

// RemovedStatus is what the spool holds for a profile that the config no longer has.
type RemovedStatus struct {
	Profile       string `json:"profile"`
	BacklogEvents int64  `json:"backlog_events"`
	BacklogBytes  int64  `json:"backlog_bytes"`
}

// StallStatus is a stall as status shows it.
type StallStatus struct {
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
	Text    string    `json:"text"`
	Reason  string    `json:"reason,omitempty"`
	Remedy  string    `json:"remedy,omitempty"`
}
