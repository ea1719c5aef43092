package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture"
)

// notes is a sink that writes down what it gets, as lines.
type notes struct {
	mu     sync.Mutex
	lines  []string
	open   []string
	end    capture.Position
	ends   []capture.Position
	news   chan struct{}
	busy   chan struct{}
	json   bool
	tables map[string]*capture.Table
	raw    capture.Raw // of the last change
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newNotes() *notes {
	return &notes{news: make(chan struct{}, 1), tables: map[string]*capture.Table{}}
}

func (n *notes) add(format string, args ...any) error {
	n.open = append(n.open, fmt.Sprintf(format, args...))
	return nil
}

func (n *notes) Begin(tx *capture.Transaction) error {
	if len(n.open) > 0 || tx.ID == "" || tx.Identity == "" || tx.Position == "" || time.Since(tx.Time).Abs() > time.Hour {
		return fmt.Errorf("begin of %+v after %q", tx, n.open)
	}
	return n.add("begin")
}

func (n *notes) Change(c *capture.Change) error {
	n.tables[c.Table.Name] = c.Table
	n.raw = capture.Raw{Relation: bytes.Clone(c.Raw.Relation), Change: bytes.Clone(c.Raw.Change)}
	return n.add("%d %s %s old=%s new=%s", c.Ordinal, c.Op, c.Table.Name, n.row(c.Table, c.Old), n.row(c.Table, c.New))
}

func (n *notes) row(t *capture.Table, row capture.Row) string {
	if row == nil {
		return "-"
	}
	var parts []string
	for i, v := range row {
		text := [...]string{"?", "=", "NULL", string(v.Text)}[v.State]
		if v.State == capture.Present && n.json {
			out, ok := t.Columns[i].Type.AppendJSON(nil, v.Text)
			if text = string(out); !ok {
				text += " (flagged)"
			}
		}
		parts = append(parts, t.Columns[i].Name+":"+text)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func (n *notes) Message(m *capture.Message) error {
	return n.add("%d message %s %q", m.Ordinal, m.Prefix, m.Content)
}

func (n *notes) Park(u *capture.Undecoded) error {
	return n.add("%d park %s: %v", u.Ordinal, u.Table, u.Err)
}

func (n *notes) Commit(end capture.Position) error {
	n.mu.Lock()
	n.lines = append(n.lines, n.open...)
	n.mu.Unlock()
	n.open = nil
	return n.Idle(end)
}

func (n *notes) Abort() { n.open = nil }

func (n *notes) Idle(end capture.Position) error {
	n.mu.Lock()
	n.end = end
	n.ends = append(n.ends, end)
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
	return nil
}

func (n *notes) Busy() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy == nil {
		return nil
	}
	return n.busy
}

func (n *notes) Durable() capture.Position {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.end
}

// await waits until a line with the text has come, and returns all lines.
func (n *notes) await(t testing.TB, text string) []string {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		n.mu.Lock()
		lines := append([]string(nil), n.lines...)
		n.mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, text) {
				return lines
			}
		}
		select {
		case <-n.news:
		case <-deadline:
			t.Fatalf("%q did not come; got:\n%s", text, strings.Join(lines, "\n"))
		}
	}
}

func newTestSource(t testing.TB, s *testServer, database string) *Source {
	source, err := New(capture.SourceConfig{URL: s.URL(database), Name: t.Name()[max(0, len(t.Name())-50):]}, Options{
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), AgentID: t.Name()[max(0, len(t.Name())-40):],
		Wanted: func(schema, _ string) bool { return schema == database },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

// capture runs the source into the sink; stop ends it and fails the test if it failed.
func (n *notes) capture(t testing.TB, source *Source, start capture.StartOptions) (stop func()) {
	return n.captureInto(t, source, start, n)
}

func (n *notes) captureInto(t testing.TB, source *Source, start capture.StartOptions, sink capture.Sink) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	started := make(chan struct{}, 100)
	start.Stored = n.Durable()
	start.OnStarted = func(capture.Started) { started <- struct{}{} }
	go func() { ended <- source.Run(ctx, start, sink) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("source ended: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-started:
	case err := <-ended:
		ended <- nil
		t.Fatalf("source ended: %v", err)
	case <-time.After(2 * time.Minute):
		t.Fatal("source does not start")
	}
	return stop
}

// follow makes a database for one test with a table of loans, and has a source follow it.
func (s *testServer) follow(t testing.TB, columns string) (database string, source *Source, n *notes, stop func()) {
	database = s.database(t)
	source, n, stop = s.followIn(t, database, columns)
	return database, source, n, stop
}

// followIn is follow in a database that there is.
func (s *testServer) followIn(t testing.TB, database, columns string) (source *Source, n *notes, stop func()) {
	s.exec(t, "CREATE TABLE "+database+".loans ("+columns+")")
	source, n = newTestSource(t, s, database), newNotes()
	return source, n, n.capture(t, source, capture.StartOptions{})
}

// TestStream follows inserts, updates and deletes, and resumes where it stopped.
func TestStream(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database, source, n, stop := s.follow(t, "id INT PRIMARY KEY, title VARCHAR(100), due DATETIME")
		s.exec(t, "USE "+database, "INSERT INTO loans VALUES (1, 'a', NULL), (2, 'ü', '2026-01-02 03:04:05')",
			"BEGIN", "UPDATE loans SET title = 'b' WHERE id = 1", "DELETE FROM loans WHERE id = 2", "COMMIT",
			"BEGIN", "INSERT INTO loans VALUES (9, 'never', NULL)", "ROLLBACK",
			"INSERT INTO loans VALUES (3, 'end', NULL)")
		n.await(t, "title:end")
		stop()
		s.exec(t, "INSERT INTO "+database+".loans VALUES (4, 'while stopped', NULL)")
		stop = n.capture(t, source, capture.StartOptions{})
		got := n.await(t, "while stopped")
		stop()
		want := []string{"begin", "0 insert loans old=- new={id:1 title:a due:NULL}", "1 insert loans old=- new={id:2 title:ü due:2026-01-02 03:04:05}",
			"begin", "0 update loans old={id:1 title:a due:NULL} new={id:1 title:b due:NULL}", "1 delete loans old={id:2 title:ü due:2026-01-02 03:04:05} new=-",
			"begin", "0 insert loans old=- new={id:3 title:end due:NULL}", "begin", "0 insert loans old=- new={id:4 title:while stopped due:NULL}"}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestTakeOver holds that a connection which a machine has left that captures no more is ended, and
// another agent's is not.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".loans (id INT PRIMARY KEY)")
		hold := func(agent string) {
			held := newTestSource(t, s, database)
			if agent != "" {
				held.agent = agent
			}
			h, db, err := (&run{Source: held}).reach(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			l, err := held.acquire(t.Context(), h, db, false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.release)
		}
		hold("")
		source, n := newTestSource(t, s, database), newNotes()
		began := time.Now()
		stop := n.capture(t, source, capture.StartOptions{TakeOver: true})
		if took := time.Since(began); took > lockIdle/2 {
			t.Errorf("it took %v: the connection was waited for", took)
		}
		stop()
		hold("another")
		var operator *capture.OperatorError
		if err := source.Run(t.Context(), capture.StartOptions{Stored: n.Durable(), TakeOver: true}, n); !errors.As(err, &operator) {
			t.Errorf("run ended with %v", err)
		}
	})
}

// TestXA holds prepared work back until it is committed, across restarts.
func TestXA(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database, source, n, stop := s.follow(t, "id INT PRIMARY KEY")
		xid := func(name string) string { return "'" + database[len(database)-8:] + name + "'" }
		prepare := func(name string, id int) {
			s.session(t, "XA START "+xid(name), fmt.Sprintf("INSERT INTO %s.loans VALUES (%d)", database, id), "XA END "+xid(name), "XA PREPARE "+xid(name))
		}
		prepare("a", 1)
		prepare("b", 2)
		s.exec(t, "INSERT INTO "+database+".loans VALUES (10)")
		n.await(t, "id:10")
		stop()
		stop = n.capture(t, source, capture.StartOptions{})
		s.session(t, "XA ROLLBACK "+xid("b"), "XA COMMIT "+xid("a"), "INSERT INTO "+database+".loans VALUES (11)",
			"XA START "+xid("c"), "INSERT INTO "+database+".loans VALUES (12)", "XA END "+xid("c"), "XA COMMIT "+xid("c")+" ONE PHASE",
			"INSERT INTO "+database+".loans VALUES (13)")
		got := n.await(t, "id:13")
		stop()
		var ids []string
		for _, line := range got {
			if _, id, ok := strings.Cut(line, "new={id:"); ok {
				ids = append(ids, strings.TrimSuffix(id, "}"))
			}
		}
		if strings.Join(ids, " ") != "10 1 11 12 13" {
			t.Errorf("got %v", ids)
		}
		if strings.Contains(string(n.Durable()), "xa:") {
			t.Errorf("still prepared: %s", n.Durable())
		}
	})
}
