package backfill_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"rowhook/capture"
	"rowhook/capture/capturetest"
	"rowhook/capture/mysql"
	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/backfill"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/spool"
	"rowhook/mapping"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const patience = 3 * time.Minute

// source is what the tests want of a source.
type source interface {
	Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error
	Identify(ctx context.Context) (capture.Server, error)
	Tables(ctx context.Context, patterns []string) ([]*capture.Table, error)
	Reader() capture.Reader
	Close()
}

// database is a server with a source of its own.
type database struct {
	source  source
	schema  string
	exec    func(sql ...string) error // in a session of its own each time
	session func() (writer, error)
	rows    func(query string) [][]string
	restart func() // killed and started again
}

// writer is a session that keeps until it breaks.
type writer interface {
	Exec(sql string) error
	Close()
}

type pgWriter struct{ conn *pgx.Conn }

func (w pgWriter) Exec(sql string) error {
	_, err := w.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	return err
}

func (w pgWriter) Close() { w.conn.Close(context.Background()) }

type sqlWriter struct {
	db   *sql.DB
	conn *sql.Conn
}

func (w sqlWriter) Exec(sql string) error {
	_, err := w.conn.ExecContext(context.Background(), sql)
	return err
}

func (w sqlWriter) Close() {
	_ = w.conn.Close() // the server may be gone
	_ = w.db.Close()
}

func startPostgres(t *testing.T) *database {
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 15})
	pg.Run(t, "create publication rowhook for all tables with (publish_via_partition_root = true)")
	s, err := postgres.New(capture.SourceConfig{URL: pg.DSN}, postgres.Options{Logger: slog.New(slog.DiscardHandler), AgentID: "test"})
	must(t, err)
	t.Cleanup(s.Close)
	return &database{
		source: s, schema: "public",
		exec: func(sql ...string) error { return pg.Exec(context.Background(), "postgres", sql...) },
		session: func() (writer, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			conn, err := pgx.Connect(ctx, pg.DSN)
			return pgWriter{conn}, err
		},
		rows: func(query string) [][]string { return pg.Rows(t, query) },
		restart: func() {
			must(t, pg.Crash())
			must(t, pg.Start())
		},
	}
}

func startMySQL(start func(capturetest.TB, capturetest.MySQLOptions) *capturetest.MySQL) func(*testing.T) *database {
	return func(t *testing.T) *database {
		server := start(t, capturetest.MySQLOptions{})
		s, err := mysql.New(capture.SourceConfig{URL: server.URL(capturetest.MySQLDatabase), Name: "library"}, mysql.Options{Logger: slog.New(slog.DiscardHandler), AgentID: "test"})
		must(t, err)
		t.Cleanup(s.Close)
		return &database{
			source: s, schema: capturetest.MySQLDatabase,
			exec: func(sql ...string) error { return server.Exec(context.Background(), capturetest.MySQLDatabase, sql...) },
			session: func() (writer, error) {
				db, err := server.Open(capturetest.MySQLDatabase)
				if err != nil {
					return nil, err
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				conn, err := db.Conn(ctx)
				if err != nil {
					return nil, errors.Join(err, db.Close())
				}
				return sqlWriter{db, conn}, nil
			},
			rows: func(query string) [][]string { return server.Rows(t, query) },
			restart: func() {
				must(t, server.Crash())
				must(t, server.Start())
			},
		}
	}
}

// world is an agent's pipeline on a real source and spool, with a manager of backfills.
type world struct {
	*database
	t       *testing.T
	spool   *spool.Spool
	id      delivery.ProfileID
	manager *backfill.Manager
	pipe    *pipeline.Pipeline
	stop    func()
	gone    atomic.Bool // nobody subscribes any more
	// Transactions that writers have committed, and that the stream has brought.
	written, streamed atomic.Int64
}

const worldConfig = `
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
mapping:
  loans: {table: %[1]s.loans}
  few:
    table: %[1]s.loans
    events: {few.read: {op: read, where: {a: [1, 2]}}}
  deaf: {table: %[1]s.loans, events: {loan.added: {op: insert}}}
  keyless: {table: %[1]s.keyless}
  rest: {table: "%[1]s.*", events: {rest.read: {op: read}}}
profiles:
  desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback], subscriptions: [{events: ["record.*", few.read, rest.read]}]}
  other: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback], subscriptions: [{events: [loan.added]}]}
`

func newWorld(t *testing.T, d *database) *world { return newWorldOf(t, d, worldConfig, t.TempDir()) }

// newWorldOf starts an agent's rooms with a config, on the spool in a directory.
func newWorldOf(t *testing.T, d *database, text, dir string) *world {
	t.Helper()
	w := &world{database: d, t: t}
	conf, err := config.Parse("config.yaml", fmt.Appendf(nil, text, d.schema), func(string) (string, bool) { return "", false }, nil)
	must(t, err)
	logger := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.spool, err = spool.Open(dir, spool.Options{Reserve: -1, Logger: logger})
	must(t, err)
	log, err := deliverylog.Open(deliverylog.Options{Path: filepath.Join(t.TempDir(), "deliveries.jsonl"), Logger: logger})
	must(t, err)
	to := pipeline.Routing{Rules: conf.Rules(), Codes: map[delivery.ProfileID]string{}}
	for _, m := range conf.Rules().Memory() {
		to.Kept = append(to.Kept, kept.Want{Table: m.Table, Columns: m.Columns, All: m.All, LookedUp: m.LookedUp})
	}
	var targets []delivery.Target
	subscriptions := map[string]delivery.Subscriptions{}
	for _, p := range conf.Profiles {
		id, err := w.spool.Register(p.Code)
		must(t, err)
		if p.Code == "desk" {
			w.id = id
		}
		to.Codes[id] = p.Code
		subscriptions[p.Code] = delivery.CompileSubscriptions(p.Subscriptions)
		targets = append(targets, delivery.Target{ID: id, Subscriptions: subscriptions[p.Code]})
	}
	to.Router = delivery.NewRouter(targets)
	w.pipe, err = pipeline.New(to, pipeline.Options{Spool: w.spool, Log: log, Logger: logger, Pausing: func() bool { return false }})
	must(t, err)
	w.pipe.Identify(mapping.Identity{Source: "library", Lineage: "7001"})
	w.manager, err = backfill.New(backfill.Options{
		Store: w.spool, Logger: logger, Track: w.pipe.Track, Kept: w.pipe, Reader: d.source.Reader, Tables: d.source.Tables,
		Rules: conf.Rules,
		Subscribers: func(eventType, entry string) (codes []string) {
			for _, p := range conf.Profiles {
				if !w.gone.Load() && subscriptions[p.Code].Names(eventType, entry) {
					codes = append(codes, p.Code)
				}
			}
			return codes
		},
		Backlog:     func(string) (delivery.Backlog, error) { return delivery.Backlog{}, nil },
		MostBacklog: func(string) int64 { return 1 << 40 },
	})
	must(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	storing, stopStoring := context.WithCancel(context.Background())
	var working, appending sync.WaitGroup
	started := make(chan struct{}, 100)
	appending.Go(func() {
		if err := w.pipe.Run(storing); err != nil {
			t.Error(err)
		}
	})
	working.Go(func() {
		err := d.source.Run(ctx, capture.StartOptions{
			Stored:    capture.Position(w.spool.Position()),
			OnStarted: func(capture.Started) { started <- struct{}{} }, Final: func() capture.Position { return w.pipe.Flush(context.Background()) },
		}, &laggingSink{Pipeline: w.pipe, w: w})
		if err != nil {
			t.Error(err)
		}
	})
	working.Go(func() {
		if err := w.manager.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.stop = sync.OnceFunc(func() {
		cancel()
		working.Wait()
		stopStoring()
		appending.Wait()
		if err := errors.Join(log.Close(), w.spool.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	select {
	case <-started:
	case <-time.After(patience):
		t.Fatal("the source does not start")
	}
	return w
}

// laggingSink keeps the stream behind the database at times.
type laggingSink struct {
	*pipeline.Pipeline
	w *world
	n int
}

func (s *laggingSink) Begin(tx *capture.Transaction) error {
	s.w.streamed.Add(1)
	if s.n++; s.n%200 < 100 {
		<-time.After(time.Millisecond)
	}
	return s.Pipeline.Begin(tx)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s; backfills: %+v", what, w.manager.List())
		}
		<-tick.C
	}
}

func (w *world) backfill(id string) operation.Backfill {
	for _, b := range w.manager.List() {
		if b.ID == id {
			return b
		}
	}
	w.t.Fatalf("no backfill %s", id)
	return operation.Backfill{}
}

func (w *world) start(r operation.BackfillRequest) operation.Backfill {
	w.t.Helper()
	b, err := w.manager.Start(w.t.Context(), r)
	must(w.t, err)
	return b
}

func (w *world) done(id string) operation.Backfill {
	w.t.Helper()
	w.eventually("the end of backfill "+id, func() bool { return w.backfill(id).State != operation.BackfillRunning })
	b := w.backfill(id)
	if b.State != operation.BackfillDone {
		w.t.Fatalf("backfill %+v", b)
	}
	return b
}

// each hands the events in the spool to f, in order.
func (w *world) each(from delivery.Seq, f func(*delivery.Event)) delivery.Seq {
	w.t.Helper()
	for end := false; !end; {
		var entries []delivery.Entry
		var err error
		entries, from, end, err = w.spool.Read(w.id, from, nil, 1000, 1<<20)
		must(w.t, err)
		for _, e := range entries {
			f(e.Event)
		}
	}
	return from
}

// The databases on which everything is proven.
var databases = []struct {
	name  string
	start func(*testing.T) *database
}{
	{"PostgreSQL", startPostgres},
	{"MySQL", startMySQL(capturetest.StartMySQL)},
	{"MariaDB", startMySQL(capturetest.StartMariaDB)},
}

// load is what writers do to the table while it is read. Each has keys of its own, so that it knows
// the version that it gave a row last.
type load struct {
	w        *world
	keys     int
	hot      int
	ended    chan struct{}
	group    sync.WaitGroup
	commits  [4]int
	failures atomic.Int64
}

// most is how many transactions the writers may be ahead of the stream.
const most = 500

// run has one writer change rows until ended.
func (l *load) run(n int) {
	rnd := rand.New(rand.NewPCG(uint64(n), 7))
	version := make(map[[2]int]int)
	live := make(map[[2]int]bool)
	var session writer
	defer func() {
		if session != nil {
			session.Close()
		}
	}()
	for i := range l.keys {
		if i%len(l.commits) == n {
			version[l.key(i)], live[l.key(i)] = 1, true
		}
	}
	for {
		select {
		case <-l.ended:
			return
		default:
		}
		// A stream that lags more and more never comes to where a chunk was read.
		for wait := 0; wait < 50 && l.w.written.Load() > l.w.streamed.Load()+most; wait++ {
			<-time.After(2 * time.Millisecond)
		}
		if session == nil {
			s, err := l.w.session()
			if err != nil {
				select { // the server is starting
				case <-l.ended:
				case <-time.After(20 * time.Millisecond):
				}
				continue
			}
			session = s
		}
		statements := []string{"begin"}
		now := map[[2]int]bool{}
		isLive := func(k [2]int) bool {
			if v, ok := now[k]; ok {
				return v
			}
			return live[k]
		}
		for range 1 + rnd.IntN(4) {
			i := rnd.IntN(l.keys)
			if rnd.IntN(3) > 0 {
				i = rnd.IntN(l.hot)
			}
			k := l.key(i - i%len(l.commits) + n)
			version[k]++
			at := fmt.Sprintf("where a = %d and b = 'k%d'", k[0], k[1])
			switch {
			case !isLive(k):
				statements = append(statements, fmt.Sprintf("insert into loans (a, b, version) values (%d, 'k%d', %d)", k[0], k[1], version[k]))
				now[k] = true
			case rnd.IntN(6) == 0:
				statements = append(statements, fmt.Sprintf("update loans set version = %d ", version[k])+at, "delete from loans "+at)
				now[k] = false
			case rnd.IntN(6) == 0: // the row gets another key
				to := l.key((i - i%len(l.commits) + n + len(l.commits)*(1+rnd.IntN(50))) % (l.keys - l.keys%len(l.commits)))
				if to == k || isLive(to) {
					continue
				}
				version[k] = max(version[k], version[to]) + 1
				version[to] = version[k]
				statements = append(statements, fmt.Sprintf("update loans set a = %d, b = 'k%d', version = %d ", to[0], to[1], version[to])+at)
				now[k], now[to] = false, true
			default:
				statements = append(statements, fmt.Sprintf("update loans set version = %d ", version[k])+at)
			}
		}
		end := "commit"
		if rnd.IntN(10) == 0 {
			end = "rollback"
		}
		var err error
		for _, sql := range append(statements, end) {
			if err = session.Exec(sql); err != nil {
				break
			}
		}
		if err == nil && end == "commit" {
			for k, v := range now {
				live[k] = v
			}
			l.commits[n]++
			l.w.written.Add(1)
		}
		if err != nil { // nobody knows whether the last transaction is there
			l.failures.Add(1)
			session.Close()
			session = nil
			l.relearn(n, live)
		}
	}
}

// relearn asks which of a writer's rows there are.
func (l *load) relearn(n int, live map[[2]int]bool) {
	for {
		s, err := l.w.session()
		if err != nil {
			select {
			case <-l.ended:
				return
			case <-time.After(20 * time.Millisecond):
				continue
			}
		}
		s.Close()
		break
	}
	clear(live)
	for _, row := range l.w.rows("select a, b from loans") {
		var k [2]int
		fmt.Sscan(row[0], &k[0])
		fmt.Sscanf(row[1], "k%d", &k[1])
		if l.index(k)%len(l.commits) == n {
			live[k] = true
		}
	}
}

// key is the key of the i-th row, which lies anywhere in the order of keys.
func (l *load) key(i int) [2]int { return [2]int{i % 7, i / 7} }

func (l *load) index(k [2]int) int { return k[1]*7 + k[0] }

// verdict is what is known of a row by its events.
type verdict struct {
	state int // twice the version; and one where the row is gone
	op    string
}

type judge struct {
	t     *testing.T
	last  map[string]verdict
	reads map[string]int
	ids   map[string]string
	n     int
}

func (j *judge) take(ev *delivery.Event) {
	type loan struct {
		A       *int
		B       *string
		Version *int
	}
	var key, data, previous loan
	must(j.t, json.Unmarshal(ev.Key, &key))
	if len(ev.Data) > 0 {
		must(j.t, json.Unmarshal(ev.Data, &data))
	}
	if len(ev.Previous) > 0 {
		must(j.t, json.Unmarshal(ev.Previous, &previous))
	}
	j.n++
	name := fmt.Sprintf("%d/%s", *key.A, *key.B)
	now := verdict{op: ev.Op}
	switch ev.Op {
	case "delete":
		now.state = 2**previous.Version + 1
	default:
		now.state = 2 * *data.Version
	}
	if ev.Op == "read" {
		if other, known := j.ids[name]; known && other != ev.ID {
			j.t.Fatalf("the reads of %s have the ids %s and %s", name, other, ev.ID)
		}
		j.ids[name] = ev.ID
		j.reads[name]++
	}
	j.put(name, now, ev)
	if ev.Op == "update" && (previous.A != nil || previous.B != nil) { // the row had another key
		a, b := *key.A, *key.B
		if previous.A != nil {
			a = *previous.A
		}
		if previous.B != nil {
			b = *previous.B
		}
		j.put(fmt.Sprintf("%d/%s", a, b), verdict{now.state + 1, "moved"}, ev)
	}
}

func (j *judge) put(name string, now verdict, ev *delivery.Event) {
	if was := j.last[name]; now.state < was.state {
		j.t.Fatalf("event %d, %s of %s at %s, has state %d after %d (%s)", j.n, ev.Op, name, ev.Position, now.state, was.state, was.op)
	}
	j.last[name] = now
}

// TestOracle has writers change a table while it is read, and the database killed in the middle. No
// older state of a row follows a newer one, and in the end the last event of each key is what SELECT
// says.
func TestOracle(t *testing.T) {
	t.Parallel()
	for _, db := range databases {
		t.Run(db.name, func(t *testing.T) {
			t.Parallel()
			rows := 4_000
			if os.Getenv("ROWHOOK_SOAK") != "" {
				rows = 150_000
			}
			w := newWorld(t, db.start(t))
			l := &load{w: w, keys: rows, hot: 40, ended: make(chan struct{})}
			must(t, w.exec("create table loans (a int not null, b varchar(40) not null, version int not null, pad varchar(200), primary key (b, a))"))
			if w.schema == "public" {
				must(t, w.exec("alter table loans replica identity full"))
			}
			for from := 0; from < rows; from += 500 {
				var values []string
				for i := from; i < min(from+500, rows); i++ {
					values = append(values, fmt.Sprintf("(%d, 'k%d', 1, '%s')", l.key(i)[0], l.key(i)[1], strings.Repeat("x", i%150)))
				}
				must(t, w.exec("insert into loans values "+strings.Join(values, ", ")))
			}
			for n := range l.commits {
				l.group.Go(func() { l.run(n) })
			}
			b := w.start(operation.BackfillRequest{Entries: []string{"loans"}, Rate: float64(rows) / 3})
			w.eventually("some rows", func() bool { return w.backfill(b.ID).Rows > int64(rows/4) })
			w.restart()
			_, err := w.manager.Pause(b.ID)
			must(t, err)
			_, err = w.manager.Resume(b.ID)
			must(t, err)
			done := w.done(b.ID)
			close(l.ended)
			l.group.Wait()
			must(t, w.exec("insert into loans (a, b, version) values (99, 'end', 1)"))
			j := &judge{t: t, last: map[string]verdict{}, reads: map[string]int{}, ids: map[string]string{}}
			var from delivery.Seq
			w.eventually("the last row", func() bool {
				from = w.each(from, j.take)
				return j.last["99/end"].state > 0
			})
			want := map[string]int{}
			for _, row := range w.rows("select a, b, version from loans") {
				var version int
				fmt.Sscan(row[2], &version)
				want[row[0]+"/"+row[1]] = 2 * version
			}
			for name, state := range want {
				if got := j.last[name]; got.state != state {
					t.Errorf("the last event of %s has state %d (%s), the row %d", name, got.state, got.op, state)
				}
			}
			for name, got := range j.last {
				if _, there := want[name]; !there && got.state%2 == 0 {
					t.Errorf("%s is gone, and its last event has state %d (%s)", name, got.state, got.op)
				}
			}
			twice := 0
			for _, n := range j.reads {
				if n > 1 {
					twice++
				}
			}
			t.Logf("%d rows read, %d of them more than once; %d events beside them in %v transactions, %d broken off; took %s",
				done.Rows, twice, j.n-int(done.Rows), l.commits, l.failures.Load(), done.Ended.Sub(done.Created).Round(time.Millisecond))
			if slices.Min(l.commits[:]) == 0 || l.failures.Load() == 0 || int(done.Rows) < rows/3 {
				t.Errorf("the load was none")
			}
		})
	}
}

// TestStartRefuses holds what is said of backfills that cannot be.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	for _, db := range databases {
		t.Run(db.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, db.start(t))
			must(t, w.exec("create table loans (a int not null, b varchar(40) not null, version int not null, primary key (b, a))",
				"create table keyless (v int)", "insert into loans values (1, 'x', 1), (2, 'y', 1), (3, 'z', 1)"))
			for _, tt := range []struct {
				request operation.BackfillRequest
				want    string
			}{
				{operation.BackfillRequest{Entries: []string{"nothing"}}, `no entry "nothing"`},
				{operation.BackfillRequest{Entries: []string{"deaf"}}, "makes no event of a row that is read"},
				{operation.BackfillRequest{Entries: []string{"loans"}, Profile: "other"}, "profile other does not subscribe"},
				{operation.BackfillRequest{Entries: []string{"keyless"}}, "no key"},
				{operation.BackfillRequest{Entries: []string{"loans"}, Where: []capture.ReadCondition{{Column: "colour", Value: "red"}}}, `no column "colour"`},
				{operation.BackfillRequest{Entries: []string{"loans"}, Key: map[string]string{"a": "1"}}, "is b, a"},
				{operation.BackfillRequest{Entries: []string{"loans"}, Key: map[string]string{"a": "9", "b": "x"}}, "no row with this key"},
			} {
				if _, err := w.manager.Start(t.Context(), tt.request); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%+v: %v, want %q", tt.request, err, tt.want)
				}
			}
			if got := w.manager.List(); len(got) != 0 {
				t.Errorf("backfills %+v", got)
			}
			few := w.done(w.start(operation.BackfillRequest{Entries: []string{"few"}}).ID)
			if few.Rows != 3 || few.Events != 2 || few.Failed != 0 {
				t.Errorf("a rule for some rows: %+v", few)
			}
			must(t, w.exec("create table more (id int primary key)", "create table others (id int primary key)", "insert into more values (1), (2)", "insert into others values (3)"))
			rest := w.done(w.start(operation.BackfillRequest{Entries: []string{"rest"}}).ID)
			if rest.Rows != 3 || rest.Events != 3 {
				t.Errorf("a schema's other tables: %+v", rest)
			}
			one := w.done(w.start(operation.BackfillRequest{Entries: []string{"loans"}, Key: map[string]string{"a": "3", "b": "z"}}).ID)
			some := w.done(w.start(operation.BackfillRequest{Entries: []string{"loans", "few"}, Where: []capture.ReadCondition{{Column: "b", Value: "y"}}}).ID)
			if one.Rows != 1 || one.Events != 1 || some.Rows != 2 || some.Events != 2 {
				t.Errorf("one row: %+v, some: %+v", one, some)
			}
			var got []string
			w.each(0, func(ev *delivery.Event) {
				got = append(got, fmt.Sprintf("%s %s %s", ev.Type, ev.Op, ev.Key))
			})
			want := []string{`few.read read {"b":"x","a":1}`, `few.read read {"b":"y","a":2}`, `rest.read read {"id":1}`, `rest.read read {"id":2}`, `rest.read read {"id":3}`, `record.read read {"b":"z","a":3}`,
				`record.read read {"b":"y","a":2}`, `few.read read {"b":"y","a":2}`}
			reads := slices.DeleteFunc(got, func(s string) bool { return !strings.Contains(s, " read ") })
			if !slices.Equal(reads, want) {
				t.Errorf("events\n%s\nwant\n%s", strings.Join(reads, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestReloadTakesAway holds that a backfill whose rule is gone fails, and goes on when it is back.
func TestReloadTakesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startPostgres(t))
	must(t, w.exec("create table loans (a int not null, b varchar(40) not null, version int not null, primary key (b, a))",
		"insert into loans select n, 'x', 1 from generate_series(1, 300) n"))
	b := w.start(operation.BackfillRequest{Entries: []string{"loans"}, Rate: 100})
	w.eventually("some rows", func() bool { return w.backfill(b.ID).Rows > 20 })
	w.gone.Store(true)
	w.eventually("the failure", func() bool { return w.backfill(b.ID).State == operation.BackfillFailed })
	if got := w.backfill(b.ID); !strings.Contains(got.Error, `no profile subscribes`) || got.Remedy == "" {
		t.Errorf("failed: %+v", got)
	}
	w.gone.Store(false)
	if _, err := w.manager.Resume(b.ID); err != nil {
		t.Fatal(err)
	}
	if done := w.done(b.ID); done.Rows != 300 {
		t.Errorf("done: %+v", done)
	}
}
