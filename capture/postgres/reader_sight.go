package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// sight is a snapshot as the stream's transactions are held against it.
type sight struct {
	xmin, xmax uint64
	running    map[uint32]bool
	// On a standby, what is committed before replayed is seen, and what is committed from received on
	// is not.
	standby  bool
	replayed pglogrepl.LSN
	received pglogrepl.LSN // what the standby had received, or all there was
	// mark is asked by the stream while Hasten lowers it.
	mark atomic.Uint64

	reader *Reader
	taken  time.Time
	looked time.Time // when all that was written was flushed first
}

// newSight reads what markSQL and replayedSQL tell.
func newSight(snapshot, mark, received, replayed string) (*sight, error) {
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return nil, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	s := &sight{running: map[uint32]bool{}}
	var err error
	if s.xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return nil, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	if s.xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return nil, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	for xid := range strings.SplitSeq(parts[2], ",") {
		if xid == "" {
			continue
		}
		n, err := strconv.ParseUint(xid, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("malformed snapshot %q", snapshot)
		}
		s.running[uint32(n)] = true
	}
	if s.received, err = pglogrepl.ParseLSN(mark); err != nil {
		return nil, fmt.Errorf("malformed position %q", mark)
	}
	s.mark.Store(uint64(s.received))
	if s.standby = replayed != ""; !s.standby {
		return s, nil
	}
	if s.replayed, err = pglogrepl.ParseLSN(replayed); err != nil {
		return nil, fmt.Errorf("malformed position %q", replayed)
	}
	if got, err := pglogrepl.ParseLSN(received); err == nil {
		s.received = max(s.received, got)
		s.mark.Store(uint64(s.received))
	}
	return s, nil
}

// walSizes are the sizes of the WAL's pages and files.
type walSizes struct{ page, segment uint64 }

// The headers of a file's first page and of all others.
const longHeader, shortHeader = 40, 24

// endOf returns where a stream ends that has everything before an insert position: at a page's
// start the insert position lies behind the page's header, and what was sent ends before it.
func (w walSizes) endOf(insert pglogrepl.LSN) pglogrepl.LSN {
	within, header := uint64(insert)%w.page, uint64(shortHeader)
	if uint64(insert)%w.segment < w.page {
		header = longHeader
	}
	if within == header {
		return insert - pglogrepl.LSN(header)
	}
	return insert
}

// Sees implements [capture.Snapshot].
func (s *sight) Sees(tx *capture.Transaction) capture.Sight {
	n, err := strconv.ParseUint(tx.ID, 10, 32)
	if err != nil {
		return capture.Unclear
	}
	xid := uint32(n)
	switch {
	case int32(xid-uint32(s.xmax)) >= 0, s.running[xid]:
		return capture.Unseen
	case !s.standby, int32(xid-uint32(s.xmin)) < 0:
		return capture.Seen
	}
	commit, err := parsePosition(tx.Position)
	switch {
	case err != nil:
		return capture.Unclear
	case commit < s.replayed:
		return capture.Seen
	case commit >= s.received:
		return capture.Unseen
	}
	return capture.Unclear
}

// Passed implements [capture.Snapshot].
func (s *sight) Passed() bool { return s.reader.source.reached.Load() >= s.mark.Load() }

// Mark implements [capture.Snapshot].
func (s *sight) Mark() capture.Position { return position(pglogrepl.LSN(s.mark.Load())) }

// Hasten implements [capture.Snapshot]: once asynchronous commits that were seen have been flushed,
// the flush position does.
func (s *sight) Hasten(ctx context.Context) error {
	if s.standby || time.Since(s.taken) < s.reader.flush {
		return nil
	}
	conn, err := s.reader.session(ctx)
	if err != nil {
		return err
	}
	got, err := rows(ctx, conn, `select pg_catalog.pg_current_wal_flush_lsn(), pg_catalog.pg_current_wal_lsn(),
  (select setting from pg_catalog.pg_settings where name = 'wal_writer_delay')`)
	if err != nil {
		s.reader.drop()
		return fmt.Errorf("ask how far the WAL is flushed: %w", err)
	}
	flushed, err := pglogrepl.ParseLSN(string(got[0][0]))
	if err != nil {
		return fmt.Errorf("malformed position %q", got[0][0])
	}
	delay, err := strconv.Atoi(string(got[0][2])) // it may have been set meanwhile
	if err != nil {
		return fmt.Errorf("malformed wal_writer_delay %q", got[0][2])
	}
	// A WAL writer that is late has written what it does not get flushed, or writes it within a delay.
	switch {
	case string(got[0][0]) != string(got[0][1]):
		s.looked = time.Time{}
	case s.looked.IsZero():
		s.looked = time.Now()
	case time.Since(s.looked) >= time.Duration(delay)*time.Millisecond && uint64(flushed) < s.mark.Load():
		s.mark.Store(uint64(flushed))
	}
	return nil
}

// runningSQL lists the transactions that run, those that wait for a synchronous standby included,
// where our role may see it. A standby's own are none.
const runningSQL = `select l.transactionid::text from pg_catalog.pg_locks l where l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock'`

// Settle implements [capture.Reader].
func (r *Reader) Settle(ctx context.Context, waiting func(string), seen func(capture.Snapshot)) error {
	conn, err := r.session(ctx)
	if err != nil {
		return err
	}
	var names string
	began := time.Now()
	running, err := r.running(ctx, conn, &names)
	for err == nil && len(running) > 0 {
		every := settleEvery
		if time.Since(began) > settleGrace {
			if names == "" {
				return nil // they have not been committed
			}
			waiting(fmt.Sprintf("transaction %s to be seen: it ran when the stream was joined, and may be in it since it waits for a synchronous standby", running[0]))
			every = settleRarely
		}
		if err := capture.Sleep(ctx, every); err != nil {
			return err
		}
		var got [][][]byte
		if got, err = rows(ctx, conn, "select pg_catalog.pg_current_snapshot()::text"); err != nil {
			break
		}
		if every == settleRarely {
			var by *sight
			if by, err = newSight(string(got[0][0]), "0/0", "", ""); err != nil {
				break
			}
			seen(by)
		}
		running = slices.DeleteFunc(running, func(id string) bool {
			xid, _ := strconv.ParseUint(id, 10, 32)
			visible, _ := sees(string(got[0][0]), uint32(xid))
			return visible
		})
	}
	if err != nil {
		r.drop()
		return fmt.Errorf("wait for running transactions: %w", err)
	}
	return nil
}

// running lists the transactions that run, and the synchronous standbys that are waited for.
func (r *Reader) running(ctx context.Context, conn *pgconn.PgConn, standbys *string) (ids []string, err error) {
	got, err := rows(ctx, conn, "select pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.pg_is_in_recovery()::text")
	if err != nil {
		return nil, err
	}
	if *standbys = string(got[0][0]); string(got[0][1]) == "true" {
		return nil, nil // a standby shows a transaction before it sends it
	}
	if got, err = rows(ctx, conn, runningSQL); err != nil {
		return nil, err
	}
	for _, row := range got {
		ids = append(ids, string(row[0]))
	}
	return ids, nil
}
