package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

const statusSQL = `
select e.lsn::text, coalesce(s.slot_name is not null, false), coalesce(s.active, false), coalesce(s.active_pid, 0),
  coalesce(s.restart_lsn::text, ''), coalesce(s.confirmed_flush_lsn::text, ''), coalesce(s.wal_status, ''),
  ` + invalidSQL + `,
  coalesce(pg_catalog.pg_wal_lsn_diff(e.lsn, s.restart_lsn), 0)::bigint,
  coalesce(s.safe_wal_size, -1), coalesce(pg_catalog.age(s.catalog_xmin), 0)::bigint,
  a.pid is not null and a.state is not null, coalesce(a.wait_event_type, ''), coalesce(a.wait_event, ''),
  coalesce(current_setting('synchronized_standby_slots', true), '')
from (select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
  else pg_catalog.pg_current_wal_flush_lsn() end as lsn) e
left join pg_catalog.pg_replication_slots s on s.slot_name = $1
left join pg_catalog.pg_stat_activity a on a.pid = s.active_pid
cross join lateral (select pg_catalog.to_jsonb(s) as j) j`

// Status asks the server how far the slot is, which knows by itself what has been confirmed.
func (s *Source) Status(ctx context.Context, _ capture.Position) (capture.Status, error) {
	slot := &capture.SlotStatus{Name: s.config.Slot}
	st := capture.Status{Slot: slot}
	var (
		shown                     bool
		waitType, wait, awaitedOn string
	)
	err := s.query.do(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, statusSQL, s.config.Slot).Scan(&st.End, &slot.Exists, &slot.Active, &slot.ActivePID,
			&slot.Restart, &slot.Confirmed, &slot.WALStatus, &slot.Invalid, &slot.RetainedBytes, &slot.SafeBytes, &slot.CatalogAge,
			&shown, &waitType, &wait, &awaitedOn)
	})
	if err != nil {
		return capture.Status{}, fmt.Errorf("ask for the slot's status: %w", err)
	}
	if shown {
		st.Sender = senderStatus(s.config.Slot, waitType, wait, awaitedOn)
	}
	if st.LagBytes, err = lag(slot.Confirmed, st.End); err != nil {
		return capture.Status{}, err
	}
	return st, nil
}

// senderStatus is what a WAL sender does by what it waits for. The types Client, Activity and Lock
// are waits for others; the rest are short ones within its work.
func senderStatus(slot, waitType, wait, standbys string) *capture.SenderStatus {
	switch waitType {
	case "Client", "Activity", "Lock":
	default:
		return &capture.SenderStatus{Works: true}
	}
	st := &capture.SenderStatus{Wait: wait}
	switch {
	case waitType == "Lock":
		st.Wait = waitType + " " + wait
		st.Reason = "the server's WAL sender waits for a lock on the catalog (" + wait + ")"
		st.Remedy = fmt.Sprintf("end who holds it: SELECT pid, state, query FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids((SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s)));",
			quoteLiteral(slot))
	case wait == "WaitForStandbyConfirmation":
		st.Reason = fmt.Sprintf("the server sends nothing before the standbys of synchronized_standby_slots (%s) have confirmed it", standbys)
		st.Remedy = "bring these standbys back, or take their slots out of synchronized_standby_slots: ALTER SYSTEM SET synchronized_standby_slots = ''; SELECT pg_reload_conf();"
	}
	return st
}

// lag is the WAL between two positions in bytes; 0 where one is unknown.
func lag(from, to capture.Position) (int64, error) {
	a, errA := parsePosition(from)
	b, errB := parsePosition(to)
	if err := errors.Join(errA, errB); err != nil || a == 0 || b < a {
		return 0, err
	}
	return int64(b - a), nil
}

// DecodeRaw decodes a parked change again. The change is the caller's to keep. Its
// ordinal is not known here.
func (s *Source) DecodeRaw(ctx context.Context, raw capture.Raw) (*capture.Change, error) {
	if len(raw.Relation) == 0 || len(raw.Change) == 0 {
		return nil, fmt.Errorf("decode parked change: %w", errNoRelation)
	}
	m, name, err := parseDescription(raw.Relation)
	if err != nil {
		return nil, fmt.Errorf("decode parked change: %w", err)
	}
	texts := newEncoding(name, converter(ctx, s.query, name))
	if err := m.decode(texts); err != nil {
		return nil, err
	}
	rel, err := newDescriber(s.query, s.config.Publication).relation(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("describe table %s.%s: %w", m.schema, m.name, err)
	}
	rel.raw, rel.encoding = append([]byte(nil), raw.Relation...), texts
	change := &capture.Change{}
	if err := decodeParked(append([]byte(nil), raw.Change...), rel, change); err != nil {
		return nil, fmt.Errorf("decode parked change of %s: %w", rel.table, err)
	}
	return change, nil
}

func decodeParked(b []byte, rel *relation, change *capture.Change) error {
	switch b[0] {
	case msgTruncate:
		*change = capture.Change{Op: capture.Truncate, Table: rel.table, Raw: capture.Raw{Relation: rel.raw, Change: b}}
		return nil
	case msgInsert, msgUpdate, msgDelete:
		r := reader{b: b[1:]}
		if oid := r.uint32(); r.fail || oid != rel.oid {
			return errNoRelation
		}
		return decodeRow(b, rel, &rowBuffer{}, change)
	}
	return errMalformed
}
