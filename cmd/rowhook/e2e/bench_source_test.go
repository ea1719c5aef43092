package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"rowhook/capture/capturetest"
)

// benchSource is a server as the benchmarks need it.
type benchSource interface {
	server
	// title is the server's name and version.
	title() string
	// mark makes a point of the log from which agent or floor can read later: its end, or the same
	// as another mark. release gives it back once nobody reads from it.
	mark(ctx context.Context, name, of string) (from string, err error)
	release(ctx context.Context, from string) error
	// agent is what lets an agent begin at a point: further lines of the config's source, and run's
	// arguments.
	agent(from string) (source string, args []string)
	// reads reports whether a process reads from a point.
	reads(ctx context.Context, from string, reader *agent) (bool, error)
	// at is where the log ends, or what a point's reader has come to, as a number that grows
	// evenly.
	at(ctx context.Context, from string, reader *agent) (float64, error)
	// fill writes the transactions from one number up to another, each of so many rows of about 200
	// bytes, and the hundredths of a table as seq.
	fill(ctx context.Context, from, to, rows int) error
	// stamp makes a row's note, from which a receiver reads when it was written where the payload's
	// time is too coarse for that.
	stamp() string
}

var (
	_ benchSource = (*postgres)(nil)
	_ benchSource = (*mysql)(nil)
)

// benchSettings are the servers' own for a benchmark. The disk is not what is measured.
var benchSettings = settings{
	"postgres": {"shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "1h"},
	"mysql": {"innodb_buffer_pool_size": "256M", "innodb_redo_log_capacity": "1G",
		"innodb_flush_log_at_trx_commit": "0", "sync_binlog": "0"},
	"mariadb": {"innodb_buffer_pool_size": "256M", "innodb_flush_log_at_trx_commit": "0", "sync_binlog": "0"},
}

func newBenchSource(tb testing.TB, w *world) benchSource {
	tb.Helper()
	s := w.server.(benchSource)
	if m, ok := s.(*mysql); ok {
		capturetest.Must(tb, m.prepare(context.Background()))
	}
	return s
}

func (p *postgres) title() string { return fmt.Sprintf("PostgreSQL %d", p.Major) }

// mark makes a slot.
func (p *postgres) mark(ctx context.Context, name, of string) (string, error) {
	if of != "" {
		return name, p.exec(ctx, `select pg_copy_logical_replication_slot('`+of+`', '`+name+`')`)
	}
	return name, p.exec(ctx, `select pg_create_logical_replication_slot('`+name+`', 'pgoutput')`)
}

func (p *postgres) release(ctx context.Context, slot string) error {
	for {
		used, err := p.reads(ctx, slot, nil)
		if err != nil {
			return err
		}
		if !used {
			return p.exec(ctx, `select pg_drop_replication_slot('`+slot+`')`)
		}
	}
}

func (p *postgres) agent(slot string) (string, []string) {
	return "  slot: " + slot + "\n", []string{"--start", "slot"}
}

func (p *postgres) reads(ctx context.Context, slot string, _ *agent) (bool, error) {
	return one(ctx, p, strconv.ParseBool, `select active from pg_replication_slots where slot_name = '`+slot+`'`)
}

func (p *postgres) at(ctx context.Context, slot string, reader *agent) (float64, error) {
	if reader == nil {
		return one(ctx, p, asFloat64, `select pg_current_wal_lsn() - '0/0'`)
	}
	return one(ctx, p, asFloat64, `select confirmed_flush_lsn - '0/0' from pg_replication_slots where slot_name = '`+slot+`'`)
}

func (p *postgres) fill(ctx context.Context, from, to, rows int) error {
	return eachPart(from, to, rows, func(from, to int) error {
		// Unsynced, so that it is quick; a walsender reads what is flushed, which is all by the
		// end.
		return p.exec(ctx, `set synchronous_commit = off`, fmt.Sprintf(`do $$ begin for i in %d..%d loop
			insert into proof.rows select id, id %% 100, '%s' from generate_series(i * %d, i * %d + %d) id; commit;
			end loop; end $$`, from, to-1, filler, rows, rows, rows-1),
			`set synchronous_commit = on`, `insert into proof.noise (filler) values ('synced')`)
	})
}

// eachPart fills in parts, two at a time: a statement may take a minute, and one writer takes twice
// as long as two.
func eachPart(from, to, rows int, fill func(from, to int) error) error {
	most := max(1, 20_000/rows) // transactions
	var next atomic.Int64
	next.Store(int64(from))
	var failed [2]error
	var writers sync.WaitGroup
	for i := range failed {
		writers.Go(func() {
			for failed[i] == nil {
				end := int(next.Add(int64(most)))
				if end-most >= to {
					return
				}
				failed[i] = fill(end-most, min(end, to))
			}
		})
	}
	writers.Wait()
	return errors.Join(failed[:]...)
}

func (p *postgres) stamp() string { return filler }

func (m *mysql) title() string {
	version, _, _ := strings.Cut(m.Version, "-")
	if m.MariaDB {
		return "MariaDB " + version
	}
	return "MySQL " + version
}

// prepare makes what fill needs.
func (m *mysql) prepare(ctx context.Context) error {
	return m.exec(ctx, `create table proof.numbers (g int primary key)`,
		`insert into proof.numbers select g - 1 from `+numbers(1000),
		fmt.Sprintf(`create procedure proof.fill(i int, transactions int, per int) begin
			while i < transactions do
				insert into proof.rows select i * per + g, (i * per + g) %% 100, '%s' from proof.numbers where g < per;
				set i = i + 1;
			end while; end`, filler))
}

// mark is where the log ends, which the server keeps.
func (m *mysql) mark(ctx context.Context, _, of string) (string, error) {
	if of != "" {
		return of, nil
	}
	set, err := m.end(ctx)
	if m.MariaDB {
		return "mariadb:" + set, err
	}
	return "gtid:" + set, err
}

func (m *mysql) release(context.Context, string) error { return nil }

func (m *mysql) agent(from string) (string, []string) { return "", []string{"--start", from} }

func (m *mysql) reads(ctx context.Context, _ string, reader *agent) (bool, error) {
	n, err := m.readers(ctx, localPorts(reader.pid))
	return n > 0, err
}

// at is the number of the last transaction; the floor says it itself.
func (m *mysql) at(ctx context.Context, _ string, reader *agent) (float64, error) {
	if reader == nil {
		set, err := m.end(ctx)
		return lastNumber(set), err
	}
	if said := reader.stderr.String(); strings.HasPrefix(said, floorAt) {
		lines := strings.Split(strings.TrimSpace(said), "\n")
		return lastNumber(lines[len(lines)-1]), nil
	}
	status, _ := m.ask(ctx) // which fails while the agent is starting
	durable, _, _ := strings.Cut(status.Durable, " ")
	return lastNumber(durable), nil
}

// lastNumber is the number that a text ends with.
func lastNumber(text string) float64 {
	n, _ := asFloat64(text[strings.LastIndexAny(text, "-: ")+1:])
	return n
}

func (m *mysql) fill(ctx context.Context, from, to, rows int) error {
	return eachPart(from, to, rows, func(from, to int) error {
		return m.exec(ctx, fmt.Sprintf(`call proof.fill(%d, %d, %d)`, from, to, rows))
	})
}

// stamp is the time before the insert: MariaDB's binlog tells a commit's only in seconds.
func (m *mysql) stamp() string { return nowStamp() + filler }
