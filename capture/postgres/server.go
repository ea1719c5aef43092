package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// minVersion is the first version whose pgoutput sends logical messages.
const minVersion = 140000

// Identify connects as for replication and says who answers.
func (s *Source) Identify(ctx context.Context) (capture.Server, error) {
	conn, err := s.connectReplication(ctx)
	if err != nil {
		return capture.Server{}, err
	}
	defer closeNow(conn)
	return s.identify(ctx, conn)
}

const serverSQL = `select current_setting('server_version_num'),
  current_database(),
  pg_catalog.pg_is_in_recovery(),
  (select setting from pg_catalog.pg_settings where name = 'wal_sender_timeout'),
  (select setting from pg_catalog.pg_settings where name = 'max_slot_wal_keep_size'),
  coalesce(current_setting('rowhook.environment', true), ''),
  coalesce(extract(epoch from nullif(current_setting('idle_replication_slot_timeout', true), '')::interval), 0)::bigint`

func (s *Source) identify(ctx context.Context, conn *pgconn.PgConn) (capture.Server, error) {
	system, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) && pgErr.Code == "42601" {
			// A server that knows the replication protocol does not call this a syntax error.
			return capture.Server{}, s.poolerError(errors.New("IDENTIFY_SYSTEM is not understood"))
		}
		return capture.Server{}, fmt.Errorf("identify the server: %w", err)
	}
	got, err := rows(ctx, conn, serverSQL)
	if err != nil || len(got) != 1 || len(got[0]) != 7 {
		return capture.Server{}, fmt.Errorf("read the server's settings: %w", orShort(err))
	}
	row := got[0]
	server := capture.Server{
		Lineage:     system.SystemID,
		Timeline:    system.Timeline,
		Host:        s.connect.Host,
		Database:    string(row[1]),
		End:         position(system.XLogPos),
		Standby:     string(row[2]) == "t",
		Environment: string(row[5]),
	}
	if server.Version, err = strconv.Atoi(string(row[0])); err != nil {
		return capture.Server{}, fmt.Errorf("read the server's version: %w", err)
	}
	timeout, err := strconv.ParseInt(string(row[3]), 10, 64)
	if err != nil {
		return capture.Server{}, fmt.Errorf("read wal_sender_timeout: %w", err)
	}
	server.SenderTimeout = time.Duration(timeout) * time.Millisecond
	idle, err := strconv.ParseInt(string(row[6]), 10, 64)
	if err != nil {
		return capture.Server{}, fmt.Errorf("read idle_replication_slot_timeout: %w", err)
	}
	server.IdleSlotTimeout = time.Duration(idle) * time.Second
	megabytes, err := strconv.ParseInt(string(row[4]), 10, 64)
	if err != nil {
		return capture.Server{}, fmt.Errorf("read max_slot_wal_keep_size: %w", err)
	}
	if server.KeepSize = megabytes << 20; megabytes < 0 {
		server.KeepSize = -1
	}
	if server.Environment == "" {
		if server.Environment, err = environmentRow(ctx, conn, s.connect.User); err != nil {
			return capture.Server{}, err
		}
	}
	if server.Version < minVersion {
		return capture.Server{}, &capture.OperatorError{
			Err:    fmt.Errorf("PostgreSQL %d is too old", server.Version/10000),
			Remedy: "rowhook needs PostgreSQL 14 or later",
		}
	}
	return server, nil
}

// environmentRow reads the mark that tells a sandbox from table rowhook.environment, which most
// databases do not have. One that cannot be read may say that this is a sandbox, so that nothing
// can go on without it.
func environmentRow(ctx context.Context, conn *pgconn.PgConn, role string) (string, error) {
	const known = `select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'rowhook' and c.relname = 'environment' and c.relkind in ('r', 'v', 'm', 'p', 'f')`
	got, err := rows(ctx, conn, known)
	if err != nil {
		return "", fmt.Errorf("look for rowhook.environment: %w", err)
	}
	if len(got) == 0 {
		return "", nil
	}
	got, err = rows(ctx, conn, "select * from rowhook.environment limit 1")
	if err != nil {
		return "", &capture.OperatorError{
			Err:    fmt.Errorf("read rowhook.environment, which says whether this is a sandbox: %w", err),
			Remedy: fmt.Sprintf("GRANT USAGE ON SCHEMA rowhook TO %[1]s; GRANT SELECT ON rowhook.environment TO %[1]s;", quoteIdent(role)),
		}
	}
	if len(got) == 0 || len(got[0]) == 0 {
		return "", nil
	}
	return string(got[0][0]), nil
}

func orShort(err error) error {
	if err == nil {
		return errors.New("unexpected result")
	}
	return err
}

// slotState is our slot as pg_replication_slots shows it.
type slotState struct {
	exists    bool
	plugin    string // empty for a physical slot
	database  string
	active    bool
	holder    int32 // pid of who uses it
	restart   pglogrepl.LSN
	confirmed pglogrepl.LSN
	walStatus string
	invalid   string // why it can no longer be used; empty when it can
	used      bool   // transactions have been read from it
}

// invalidSQL says why a slot cannot be used any more; empty when it can. The reason is told from 17
// on. 16 calls all of them conflicting, and of those that lost their WAL it forgets where they
// were.
const invalidSQL = `coalesce(j.j ->> 'invalidation_reason',
    case when (j.j ->> 'conflicting')::boolean and s.restart_lsn is not null then 'conflicting' end,
    case when s.wal_status = 'lost' then 'wal_removed' end, '')`

// slotSQL reads a slot. What not every version has is taken from the row as JSON.
//
// A slot counts as used once a transaction has been decoded for it, or when its statistics were
// reset. A slot that setup or a person created, and one created by a run that was killed before it
// stored anything, has none: nothing can have been read from it that is lost with the state
// directory.
const slotSQL = `select coalesce(s.plugin, ''), coalesce(s.database, ''), s.active, coalesce(s.active_pid, 0),
  coalesce(s.restart_lsn, '0/0'), coalesce(s.confirmed_flush_lsn, '0/0'), coalesce(s.wal_status, ''),
  ` + invalidSQL + `,
  coalesce(t.total_txns > 0 or t.stats_reset is not null, false)
from pg_catalog.pg_replication_slots s
cross join lateral (select pg_catalog.to_jsonb(s) as j) j
left join pg_catalog.pg_stat_replication_slots t using (slot_name)
where s.slot_name = `

func (s *Source) readSlot(ctx context.Context, conn *pgconn.PgConn) (slotState, error) {
	got, err := rows(ctx, conn, slotSQL+quoteLiteral(s.config.Slot))
	if err != nil {
		return slotState{}, fmt.Errorf("read slot %s: %w", s.config.Slot, err)
	}
	if len(got) == 0 {
		return slotState{}, nil
	}
	row := make([]string, len(got[0]))
	for i, v := range got[0] {
		row[i] = string(v)
	}
	slot := slotState{exists: true, plugin: row[0], database: row[1], active: row[2] == "t",
		walStatus: row[6], invalid: row[7], used: row[8] == "t"}
	pid, err := strconv.ParseInt(row[3], 10, 32)
	if err != nil {
		return slotState{}, fmt.Errorf("read slot %s: %w", s.config.Slot, err)
	}
	slot.holder = int32(pid)
	if slot.restart, err = pglogrepl.ParseLSN(row[4]); err != nil {
		return slotState{}, fmt.Errorf("read slot %s: %w", s.config.Slot, err)
	}
	if slot.confirmed, err = pglogrepl.ParseLSN(row[5]); err != nil {
		return slotState{}, fmt.Errorf("read slot %s: %w", s.config.Slot, err)
	}
	return slot, nil
}

// switchPoint returns where a timeline branched off from the one before it, and
// which that was; 0 for the first timeline.
func switchPoint(ctx context.Context, conn *pgconn.PgConn, timeline, stored int32) (pglogrepl.LSN, error) {
	if timeline <= 1 {
		return 0, nil
	}
	history, err := pglogrepl.TimelineHistory(ctx, conn, timeline)
	if err != nil {
		return 0, fmt.Errorf("read the history of timeline %d: %w", timeline, err)
	}
	return parseHistory(string(history.Content), stored)
}

// parseHistory finds where the server's history left the stored timeline: lines are parent
// timeline, switch point and reason.
func parseHistory(content string, stored int32) (pglogrepl.LSN, error) {
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		timeline, err := strconv.ParseInt(fields[0], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("read timeline history: %w", err)
		}
		if int32(timeline) == stored {
			return pglogrepl.ParseLSN(fields[1])
		}
	}
	return 0, nil
}
