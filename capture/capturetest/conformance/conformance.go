// Package conformance is the suite that every source passes: one workload,
// written once, driven through a real server and a real source into a recording
// sink, must yield the same transactions from every database and version.
//
// [Run] has two halves. Scenarios are scripts whose transactions are compared with
// golden files, which hold no positions, ids or times, so that one file serves all
// databases; -update rewrites them. Behaviours are what a source owes its sink
// across stops, crashes and congestion. Throughout, the recorder checks the
// protocol of [capture.Sink] itself.
//
// A database plugs in with a [Backend]. Where it cannot show the same, its [Dialect]
// says so with the reason, and the scenario has a golden file for that database:
// differences are held to the byte as well. Nothing is skipped at run time.
package conformance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rowhook/capture"
)

// Backend is an empty database with the source that captures it.
type Backend interface {
	// Session opens a connection of its own, which ends with the test.
	Session(t testing.TB) Session
	// Prepare makes the database ready for the capture of some tables, which exist.
	Prepare(t testing.TB, tables []string)
	// Capture runs the source into sink until ctx ends, which is not an error. It begins
	// where sink.Durable says; with the empty position, where Prepare left off.
	Capture(ctx context.Context, sink capture.Sink) error
	// Crash kills the database server and starts it again.
	Crash(t testing.TB)
}

// Session is one connection to the database.
type Session interface {
	// Exec runs one statement: in the transaction that "begin" opened, else in its own.
	Exec(t testing.TB, sql string)
	// Close ends the session before the test does.
	Close(t testing.TB)
}

// Dialect is what databases say differently.
type Dialect struct {
	// Name is the database's, in the names of its own golden files.
	Name string
	// Differs names the scenarios that cannot come out the same here, with the reason.
	Differs map[string]string
	// WholeStream says that the stream holds the changes of all tables, which count in ordinals.
	WholeStream bool
	// LongText is the type of texts of several megabytes, Instant and DateTime those of
	// times with and without a zone, to the microsecond, Bytes that of binary strings, JSON
	// the one of JSON in a normal form.
	LongText, Instant, DateTime, Bytes, JSON string
	// Hex returns the expression for the binary string with these hexadecimal digits.
	Hex func(digits string) string
	// Complete returns the statement that makes a table's old rows complete; nil when
	// they always are.
	Complete func(table string) string
	// Message returns the statement that says something about its transaction; nil when
	// the database has none.
	Message func(content string) string
	// Prepared returns the statements around the two phases of a prepared transaction.
	Prepared func(id string) Prepared
}

// Prepared are the statements of one prepared transaction. Commit and Rollback come
// from another session, when the one that prepared is gone.
type Prepared struct{ Begin, Prepare, Commit, Rollback []string }

// patience bounds the wait for what must arrive.
const patience = 60 * time.Second

// Run runs the suite. fresh returns a new backend for the named test; those of
// scenarios may share a server, those of behaviours may not, since they crash it.
func Run(t *testing.T, d Dialect, fresh func(t *testing.T, name string) Backend) {
	t.Run("scenario", func(t *testing.T) {
		all := scenarios(&d)
		for name := range d.Differs {
			if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
				t.Errorf("differs in %q, which is no scenario", name)
			}
		}
		for _, s := range all {
			golden := s.name
			if _, differs := d.Differs[s.name]; differs {
				golden += "." + d.Name
			}
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				compare(t, golden, s.play(t, d, fresh(t, "scenario_"+s.name)))
			})
		}
	})
	t.Run("behaviour", func(t *testing.T) {
		for _, b := range behaviours {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				b.check(t, fresh(t, "behaviour_"+b.name))
			})
		}
	})
}

// play sets the scenario's tables up, captures its script and returns what came.
func (s *scenario) play(t *testing.T, d Dialect, b Backend) []byte {
	sessions := map[string]Session{"": b.Session(t)}
	setUp(t, sessions[""], d, s.tables)
	b.Prepare(t, names(s.tables))
	rec := newRecorder(t, "")
	rec.holes = d.WholeStream
	stop := start(t, b, rec)
	for _, step := range s.steps {
		session, ok := sessions[step.session]
		if !ok {
			session = b.Session(t)
			sessions[step.session] = session
		}
		if step.sql == "" {
			session.Close(t)
			delete(sessions, step.session)
			continue
		}
		session.Exec(t, step.sql)
	}
	finish(t, sessions[""], rec, 1)
	stop()
	return rec.golden()
}

// table is a table of a test: its name and the columns between the brackets.
type table struct{ name, columns string }

// finishTable gets a row when a test has written all it had to.
var finishTable = table{"finish", "id integer primary key"}

func names(tables []table) []string {
	var list []string
	for _, t := range append(tables, finishTable) {
		list = append(list, t.name)
	}
	return list
}

func setUp(t testing.TB, session Session, d Dialect, tables []table) {
	t.Helper()
	for _, table := range append(tables, finishTable) {
		session.Exec(t, fmt.Sprintf("create table %s (%s)", table.name, table.columns))
		if d.Complete != nil {
			session.Exec(t, d.Complete(table.name))
		}
	}
}

// finish writes the n-th finish row and waits until it has been captured.
func finish(t testing.TB, session Session, rec *recorder, n int) {
	t.Helper()
	session.Exec(t, fmt.Sprintf("insert into finish values (%d)", n))
	rec.await(t, fmt.Sprintf("insert finish {id=%d}", n))
}

// start runs the source; stop ends it and fails the test if it ended in error.
func start(t testing.TB, b Backend, sink capture.Sink) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Capture(ctx, sink) }()
	stop = func() {
		t.Helper()
		cancel()
		select {
		case err := <-ended:
			ended <- nil
			if err != nil {
				t.Errorf("source ended: %v", err)
			}
		case <-time.After(patience):
			t.Fatalf("source still runs %s after its context ended", patience)
		}
	}
	t.Cleanup(stop)
	return stop
}

// compare holds what came against a golden file, or rewrites it.
func compare(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("..", "capturetest", "conformance", "testdata", name+".golden")
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("transactions differ from %s\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}
