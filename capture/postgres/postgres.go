// Package postgres captures row changes from PostgreSQL 14 and later by logical
// replication: it reads a slot with pgoutput, protocol 1, and pushes what it reads
// into a [capture.Sink].
//
// One goroutine owns the replication connection: receive, decode, hand over. It holds
// nothing but the transaction's head and the current row, so that memory does not grow with a
// transaction. What must hold:
//
//   - The server is told a position only when [capture.Sink.Durable] has returned it. A
//     keepalive's position goes to the sink first ([capture.Sink.Idle]), and only while no
//     transaction is open.
//   - While the sink is busy nothing is read, but status updates go on, so that the server does not
//     take us for dead. After a second the connection is given up. So is, soon after, a connection
//     to a server that shuts down: its WAL senders would wait for us.
//   - What the server refuses to send is tried three times at one place, and then ends the run; a lost connection never does.
//   - The stream is asked for in the database's own encoding, since the server refuses a text that it cannot convert.
//   - At each connect the position must fit the server, since PostgreSQL accepts a start
//     beyond its end and then skips rows silently. The rules are in decideStart.
//   - An empty state directory beside a slot that is in use is refused, since undelivered events
//     may be lost with it. A slot is in use once the server has decoded a transaction for it
//     (pg_stat_replication_slots). A slot that was only created, by setup, by a person or by a run
//     killed at its very start, is not in use: a first start stores its position before it reads.
//     The server forgets these statistics in a crash; then the slot is taken up where it stands,
//     and nothing in it is lost.
//   - The session's output settings are pinned by SET on the replication connection.
//     pgoutput sends text, so a role's DateStyle or bytea_output would change payloads otherwise;
//     as startup parameters they would be refused by poolers.
//   - Malformed bytes never panic. A change that cannot be decoded is parked; a stream that
//     cannot be framed is read three times and then ends the run.
//
// Protocol 1 sends committed work only, in commit order. Newer protocols send
// transactions in progress, which would have to be kept somewhere until they commit.
//
// What the stream does not tell (primary keys, what types that are not built in are made of, partitions) is
// asked of the catalog over an ordinary connection, types when the stream begins and the rest when a table first appears. What
// is gone from there by then stays unknown. The catalog may be
// newer than the stream, so it never decides what is known of an old row: the tuple does. The exception is
// partitioned tables, whose tuples are marked by the root's identity although each partition has its own.
package postgres

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// Options are what a [Source] needs beyond its part of the config.
type Options struct {
	// Logger gets what the source has to say. Required.
	Logger *slog.Logger
	// AgentID marks our own connections (application_name rowhook:ID), so that a
	// dead connection of ours is told from another agent's. At most 50 characters.
	AgentID string
}

// Source is a PostgreSQL database as a stream of committed transactions. Its methods
// but Run are safe for concurrent use; one Run at a time.
type Source struct {
	config      capture.SourceConfig
	log         *slog.Logger
	application string
	password    string
	tlsAsked    bool // source.url says by which rules TLS is spoken
	connect     *pgx.ConnConfig
	query       *querier
	received    atomic.Uint64

	// For readers: up to where the sink has been handed all, and which start of which server the
	// stream comes from; nil before the first.
	reached  atomic.Uint64
	instance atomic.Pointer[string]
}

// New checks the configuration. It does not connect. What is wrong with a setting is an error with
// a ConfigPath.
func New(cfg capture.SourceConfig, opts Options) (*Source, error) {
	s := &Source{config: cfg, log: opts.Logger, application: "rowhook:" + opts.AgentID}
	if s.config.Slot == "" {
		s.config.Slot = "rowhook"
	}
	if s.config.Publication == "" {
		s.config.Publication = "rowhook"
	}
	if !validSlotName(s.config.Slot) {
		return nil, &capture.ConfigError{Key: "slot", Err: fmt.Errorf("%q is no slot's name", s.config.Slot), Remedy: "use lower-case letters, digits and underscores, at most 63"}
	}
	config, asked, err := parseURL(cfg.URL)
	if err != nil {
		return nil, urlError(s.redact(err))
	}
	s.tlsAsked = asked
	if cfg.Password != "" {
		config.Password = cfg.Password
	}
	s.password = config.Password
	config.RuntimeParams["application_name"] = s.application
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = dialTimeout
	}
	s.connect = config
	s.query = s.newQuerier(queryTimeout)
	return s, nil
}

// Close ends the connection that the queries used. A Run has its own.
func (s *Source) Close() { s.query.close() }

// Received counts the stream's messages, keepalives left out: while it grows, something comes.
func (s *Source) Received() uint64 { return s.received.Load() }

// Database returns the name of the database, as configured.
func (s *Source) Database() string { return s.connect.Database }

func (s *Source) newQuerier(timeout time.Duration) *querier {
	return &querier{config: s.connect, timeout: timeout, refused: s.refused}
}

// refused is an error about an ordinary connection as people get to see it.
func (s *Source) refused(err error) error {
	return explain(s.redact(err), &s.connect.Config, s.tlsAsked)
}

// urlError is an error in source.url.
func urlError(err error) *capture.ConfigError {
	e := &capture.ConfigError{Key: "url", Err: err}
	if strings.Contains(err.Error(), "sslmode is invalid") {
		e.Remedy = sslModes
	}
	return e
}

func validSlotName(name string) bool {
	return len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
