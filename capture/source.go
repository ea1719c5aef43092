package capture

import "time"

// What a source and those who run it say to each other, beyond the stream itself.

// Server is who answers at the configured address.
type Server struct {
	// Lineage tells the stream from all others. PostgreSQL: the system identifier, equal in a
	// primary, its standbys and its copies. MySQL: the server's UUID. MariaDB, which has none:
	// host, port and server id as it reports them.
	Lineage  string
	Timeline int32 // PostgreSQL's; 0 elsewhere
	Version  int   // as the server counts: 150014, 80403, 101114
	MariaDB  bool
	Host     string
	Database string
	// End is how far the stream goes.
	End Position
	// Standby says that the server follows another.
	Standby bool
	// GTID says that MySQL's or MariaDB's transactions have global ids.
	GTID bool
	// KeepFor is how long MySQL or MariaDB keeps its binlog; 0 is for ever.
	KeepFor time.Duration
	// SenderTimeout is wal_sender_timeout; 0 is none.
	SenderTimeout time.Duration
	// IdleSlotTimeout is idle_replication_slot_timeout; 0 is none.
	IdleSlotTimeout time.Duration
	// KeepSize is max_slot_wal_keep_size in bytes: what a slot may hold back; -1 is unlimited.
	KeepSize int64
	// Environment is the setting rowhook.environment of the database or role; empty when not set.
	Environment string
}

// StartOptions say where a stream begins.
type StartOptions struct {
	// Stored is the position that the state directory holds; empty at the first start.
	Stored Position
	// Timeline is the server's timeline when Stored was written; 0 when not known. With it,
	// a failover that lost what we have already read is noticed.
	Timeline int32
	// Start is what `run --start` said: empty, "slot", "now" or an LSN. It counts only
	// while nothing is stored.
	Start string
	// AcceptGap goes on where changes have been lost; see [GapError].
	AcceptGap bool
	// TakeOver says that a connection of this agent that still holds the source is a machine's whose
	// time to capture is over: it is ended where the role may, rather than waited for. It counts
	// until the stream has begun.
	TakeOver bool
	// OnConnect, if set, sees the server at every connect, before anything is read. An error
	// from it ends the run.
	OnConnect func(Server) error
	// OnStarted, if set, hears where the stream begins, at every connect.
	OnStarted func(Started)
	// OnLost, if set, hears why a stream ended or could not begin, before the next attempt.
	OnLost func(error)
	// Final, if set, is called once when reading has stopped because the context ended. It flushes
	// the sink and returns what is durable then, which is the last thing the server is told.
	Final func() Position
}

// Flush flushes the sink, the first time that it is called, and returns what is durable then.
func (o *StartOptions) Flush(sink Sink) Position {
	final := o.Final
	if final == nil {
		return sink.Durable()
	}
	o.Final = nil
	return final()
}

// Started tells where a stream begins.
type Started struct {
	Server   Server
	Position Position
	// Created says that the slot was created for this start.
	Created bool
	// Resumed says that the stream goes on where the stored position is.
	Resumed bool
	// GapFrom and GapTo are set when an accepted gap was skipped: what was committed
	// after GapFrom and before GapTo may be missing. GapTo may be the earlier one, after a
	// server lost its latest WAL; changes then come again.
	GapFrom, GapTo Position
}

// Status is how the source stands, as the server sees it.
type Status struct {
	// End is how far the server's stream goes; LagBytes is what of it is not confirmed yet.
	End      Position `json:"end"`
	LagBytes int64    `json:"lag_bytes"`
	// Slot is PostgreSQL's, Binlog MySQL's and MariaDB's.
	Slot   *SlotStatus   `json:"slot,omitempty"`
	Binlog *BinlogStatus `json:"binlog,omitempty"`
	// Sender is who sends us the stream, where the server tells of it.
	Sender *SenderStatus `json:"sender,omitempty"`
}

// SenderStatus is what the server's side of the stream does.
type SenderStatus struct {
	// Works says that it reads its log or decodes a transaction, which may take long without
	// anything to send.
	Works bool `json:"works"`
	// Wait is what it waits for, as the server calls it; empty when it works.
	Wait string `json:"wait,omitempty"`
	// Reason explains a wait that lasts; empty where only its name is known. Remedy ends it.
	Reason string `json:"reason,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Behind reports whether the server has committed what is not durable here, as far as it is known.
func (s *Status) Behind() bool {
	return s.LagBytes > 0 && (s.Binlog == nil || s.Binlog.LagSeconds > 0)
}

// SlotStatus is our replication slot.
type SlotStatus struct {
	Name      string   `json:"name"`
	Exists    bool     `json:"exists"`
	Active    bool     `json:"active"`
	ActivePID int32    `json:"active_pid,omitempty"`
	Restart   Position `json:"restart_lsn,omitempty"`
	Confirmed Position `json:"confirmed_flush_lsn,omitempty"`
	// WALStatus is reserved, extended, unreserved or lost.
	WALStatus string `json:"wal_status,omitempty"`
	// Invalid is why the slot can no longer be used; empty when it can.
	Invalid string `json:"invalidation_reason,omitempty"`
	// RetainedBytes is the WAL that the slot keeps from being removed.
	RetainedBytes int64 `json:"retained_bytes"`
	// SafeBytes is how much more WAL may be written before the slot is lost; -1 is no limit.
	SafeBytes int64 `json:"safe_wal_size"`
	// CatalogAge is how many transactions old the catalog rows are that the slot keeps from
	// being vacuumed.
	CatalogAge int64 `json:"catalog_xmin_age"`
}

// SetupOptions say what capture is to be set up for.
type SetupOptions struct {
	// Tables are the mapped tables: "schema.table", with * in either part.
	Tables []string
	// Full are the tables whose rules need whole old rows, with the reason.
	Full map[string]string
	// Slot creates the slot too. Without it, the first run does, and so begins there.
	Slot bool
	// Owner is the URL of a login that owns the tables; empty is our own role.
	Owner string
}

// TriggerOptions say what triggers are to tell the context with, where the application does not.
type TriggerOptions struct {
	// Tables are the mapped tables: "schema.table", with * in either part.
	Tables []string
	// Message is the prefix of the context message (PostgreSQL), Table the context table (MySQL,
	// MariaDB).
	Message string
	Table   string
	// Owner is the URL of a login that owns the tables; empty is our own role.
	Owner string
	// Apply runs the statements. Remove takes the triggers away.
	Apply, Remove bool
}

// Statement is one SQL statement and why it is needed.
type Statement struct {
	SQL string
	Why string
}

// BinlogStatus is the server's binlog.
type BinlogStatus struct {
	// Oldest and Newest are the first and the last file that the server still has.
	Oldest string `json:"oldest"`
	Newest string `json:"newest"`
	// RetainedBytes is the size of all of them.
	RetainedBytes int64 `json:"retained_bytes"`
	// KeepSeconds is how long the server keeps its files; 0 is for ever.
	KeepSeconds int64 `json:"keep_seconds"`
	// LagSeconds is how long ago the first transaction was committed that is not durable here; 0
	// when there is none, -1 when it is not known.
	LagSeconds int64 `json:"lag_seconds"`
	// LostInSeconds is after how long the server may remove the file that holds the durable
	// position; -1 when nothing says so: it is the file that is being written, or files are kept
	// for ever.
	LostInSeconds int64 `json:"lost_in_seconds"`
	// Lost says that the server no longer has what follows the durable position.
	Lost bool `json:"lost,omitempty"`
}
