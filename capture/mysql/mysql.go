// Package mysql captures row changes from MySQL 8.0 and later and from MariaDB 10.6 and
// later by reading their binary log as a replica does, and pushes what it reads into a [capture.Sink].
//
// One goroutine owns the replication connection: receive, decode, hand over. What must hold:
//
//   - The position is a set of GTIDs where the server has them, else a place in a file of one server.
//     It moves at the end of a transaction only. After a cut inside one, the transaction comes again whole.
//   - The server is told nothing: what it keeps is up to its retention. At each connect the
//     position must lie between what it has removed and what it has; the rules are in decideStart.
//   - Names, signs, charsets, labels and keys come with the rows (binlog_row_metadata=FULL). No DDL is
//     parsed. The catalog is asked only for what MariaDB's binlog leaves open (see facts), and its word is taken only where the
//     table has certainly not changed between the row and the answer; otherwise values are flagged or their rows parked.
//   - While the sink is busy nothing is read. The session's net_write_timeout is raised to bear it; after
//     half of that the connection is given up, and the stream resumes from the position when there is room.
//   - A prepared XA transaction is not handed over before its XA COMMIT, which may be long after and beyond
//     a restart. Its place is kept in the position, and it is read again from there when it commits.
//   - The library's client logs in. The dump is requested, read and decoded here, since the
//     library's syncer holds each event whole in memory. A compressed transaction is one event:
//     with a million rows in 43 MB it took 133 MB resident. Read piece by piece it takes 20 MB.
//   - What came is what the server wrote: each event's checksum is verified where the file has them.
//   - One agent at a time: a user lock (GET_LOCK) on a connection of its own, held for the whole run.
//   - Malformed bytes never panic. A row that cannot be decoded is parked. An event whose rows do
//     not fit their table is parked as a whole. Nothing is parked of a table that nobody asked for.
//     A stream that cannot be framed is read three times and then ends the run.
package mysql

import (
	"database/sql"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/capture"
)

// Options are what a [Source] needs beyond its part of the config.
type Options struct {
	// Logger gets what the source has to say. Required.
	Logger *slog.Logger
	// AgentID tells our own connections from another agent's. At most 50 characters.
	AgentID string
	// ServerID is our id among the server's replicas; 0 derives it from AgentID.
	ServerID uint32
	// Wanted says whether a table's changes are asked for; nil wants all. Rows of other tables are
	// counted, but not decoded.
	Wanted func(schema, table string) bool
	// Comments says that statements' comments are to tell who did what, so that the server has to
	// log them.
	Comments bool
}

// Source is a MySQL or MariaDB server as a stream of committed transactions. Its methods
// but Run are safe for concurrent use; one Run at a time.
type Source struct {
	config   capture.SourceConfig
	log      *slog.Logger
	agent    string
	serverID uint32
	wanted   func(schema, table string) bool
	comments bool
	address  address
	pause    time.Duration // how long nothing may be read before the connection is given up
	patience time.Duration // how long the server is told to bear it
	received atomic.Uint64

	passage passage // for readers

	mu       sync.Mutex
	pools    map[host]*sql.DB
	charsets map[host]*charsets
}

// Received counts the stream's events, heartbeats left out: while it grows, something comes.
func (s *Source) Received() uint64 { return s.received.Load() }

// New checks the configuration. It does not connect. What is wrong with a setting is an error with
// a ConfigPath.
func New(cfg capture.SourceConfig, opts Options) (*Source, error) {
	a, err := parseAddress(cfg.URL)
	if err != nil {
		return nil, &capture.ConfigError{Key: "url", Err: err, Remedy: "mysql://user@host:3306/database?tls=verify"}
	}
	if cfg.Password != "" {
		a.password = cfg.Password
	}
	s := &Source{config: cfg, log: opts.Logger, agent: opts.AgentID, serverID: opts.ServerID, wanted: opts.Wanted, comments: opts.Comments,
		address: a, pause: pauseMost, patience: writeTimeout, pools: map[host]*sql.DB{}, charsets: map[host]*charsets{}}
	if s.config.Name == "" {
		s.config.Name = a.database
	}
	if s.serverID == 0 {
		s.serverID = deriveServerID(opts.AgentID)
	}
	if s.wanted == nil {
		s.wanted = func(string, string) bool { return true }
	}
	if len(s.lockName()) > 64 {
		return nil, &capture.ConfigError{Key: "name", Err: fmt.Errorf("%q is too long for the lock that keeps a second agent away", s.config.Name),
			Remedy: "at most 56 characters"}
	}
	return s, nil
}

// deriveServerID makes an id that other replicas hardly have: they are small numbers, as a rule.
func deriveServerID(agent string) uint32 {
	return crc32.ChecksumIEEE([]byte("rowhook:"+agent))&0x3fffffff | 0x40000000
}

// Close ends the connections that the queries used. A Run has its own.
func (s *Source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, db := range s.pools {
		db.Close()
	}
	s.pools = map[host]*sql.DB{}
}

// Database returns the name of the database, as configured; it may be empty.
func (s *Source) Database() string { return s.address.database }

// Hosts returns the servers as configured, "host:port" each and joined by commas, in the
// URL's order. A Unix socket is its path.
func (s *Source) Hosts() string {
	names := make([]string, len(s.address.hosts))
	for i, h := range s.address.hosts {
		names[i] = h.String()
	}
	return strings.Join(names, ",")
}
