package mysql

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// cutter is a network that breaks each replication connection after a number of bytes, which grows
// from one connection to the next.
type cutter struct {
	net.Listener
	server string
	budget atomic.Int64
	step   int64
	wait   sync.WaitGroup
}

func newCutter(t *testing.T, port int, first, step int64) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	c := &cutter{Listener: l, server: fmt.Sprintf("127.0.0.1:%d", port), step: step}
	c.budget.Store(first)
	c.wait.Go(c.serve)
	t.Cleanup(func() { l.Close(); c.wait.Wait() })
	return c
}

func (c *cutter) serve() {
	for {
		client, err := c.Accept()
		if err != nil {
			return
		}
		c.wait.Go(func() { c.carry(client) })
	}
}

// carry forwards both ways. From the command that asks for the binlog on, what the server may send
// is counted.
func (c *cutter) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var limited atomic.Bool
	c.wait.Go(func() {
		defer client.Close()
		left := c.budget.Load()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if limited.Load() {
				n = int(min(int64(n), left))
				left -= int64(n)
			}
			if _, errWrite := client.Write(buf[:n]); err != nil || errWrite != nil || left <= 0 {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if n > 4 && (buf[4] == gomysql.COM_BINLOG_DUMP || buf[4] == gomysql.COM_BINLOG_DUMP_GTID) {
			c.budget.Add(c.step)
			limited.Store(true)
		}
		if _, errWrite := server.Write(buf[:n]); err != nil || errWrite != nil {
			return
		}
	}
}

// interrupted counts the transactions that were cut after rows had been handed over.
type interrupted struct {
	*notes
	inside int
}

func (n *interrupted) Abort() {
	if len(n.open) > 1 {
		n.inside++
	}
	n.notes.Abort()
}

// TestCuts breaks the connection at many places of a transaction, between table map and rows too:
// what comes in the end is whole and comes once.
func TestCuts(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".loans (id INT PRIMARY KEY)", "CREATE TABLE "+database+".items (id INT PRIMARY KEY)")
		net := newCutter(t, s.Port, 150, 61)
		source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://root@%s/%s", net.Addr(), database)}, Options{
			Logger: slog.New(slog.DiscardHandler), AgentID: t.Name(), Wanted: func(schema, _ string) bool { return schema == database },
		})
		capturetest.Must(t, err)
		t.Cleanup(source.Close)
		server, err := source.Identify(t.Context())
		capturetest.Must(t, err)
		statements := []string{"USE " + database, "BEGIN"}
		want := []string{"begin"}
		for i := range 6 {
			statements = append(statements, fmt.Sprintf("INSERT INTO loans VALUES (%d)", i), fmt.Sprintf("INSERT INTO items VALUES (%d)", i))
			want = append(want, fmt.Sprintf("%d insert loans old=- new={id:%d}", 2*i, i), fmt.Sprintf("%d insert items old=- new={id:%d}", 2*i+1, i))
		}
		s.session(t, append(statements, "COMMIT", "INSERT INTO loans VALUES (99)")...)
		n := &interrupted{notes: newNotes()}
		n.end = server.End
		stop := n.captureInto(t, source, capture.StartOptions{}, n)
		lines := n.await(t, "id:99}")
		stop()
		want = append(want, "begin", "0 insert loans old=- new={id:99}")
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if n.inside < 5 {
			t.Errorf("%d connections were cut inside the transaction", n.inside)
		}
	})
}

// heldCounter is a counter that is busy when the test says so.
type heldCounter struct{ *counter }

func (c heldCounter) Busy() <-chan struct{} { return c.notes.Busy() }

// TestServerGivesUp resumes when the server has ended a connection that nothing was read from.
func TestServerGivesUp(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".loans (id INT PRIMARY KEY, body TEXT)", "INSERT INTO "+database+".loans VALUES (1, REPEAT('x', 10000))")
		source := newTestSource(t, s, database)
		source.patience = time.Second
		c := heldCounter{&counter{notes: newNotes()}}
		var lost atomic.Int64
		stop := c.captureInto(t, source, capture.StartOptions{OnLost: func(error) { lost.Add(1) }}, c)
		hold := make(chan struct{})
		c.mu.Lock()
		c.busy = hold
		c.mu.Unlock()
		const rows = 1 << 12 // more than fits into the sockets' buffers
		statements := []string{"USE " + database}
		for n := 1; n < rows; n *= 2 {
			statements = append(statements, fmt.Sprintf("INSERT INTO loans SELECT id + %d, body FROM loans", n))
		}
		s.session(t, statements...)
		eventually(t, "the server to give up", func() bool { return !dumping(t, s, source) })
		c.mu.Lock()
		c.busy = nil
		c.mu.Unlock()
		close(hold)
		s.session(t, "DELETE FROM "+database+".loans WHERE id > 1")
		c.await(t, fmt.Sprintf("commit after %d", 2*(rows-1)))
		stop()
		if lost.Load() == 0 {
			t.Error("no connection was lost")
		}
	})
}

// dumping reports whether the source has a dump on the server.
func dumping(t *testing.T, s *testServer, source *Source) bool {
	rows, err := s.Query(t.Context(), "", "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' AND time >= 0")
	capturetest.Must(t, err)
	hosts, err := s.Query(t.Context(), "", map[bool]string{true: "SHOW SLAVE HOSTS", false: "SHOW REPLICAS"}[s.MariaDB])
	capturetest.Must(t, err)
	for _, host := range hosts {
		if host[0] == fmt.Sprint(source.serverID) {
			return len(rows) > 0
		}
	}
	return false
}

// eventually waits for something that nobody announces.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for !done() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestServerIDTaken does not fight with another replica over a server id.
func TestServerIDTaken(t *testing.T) {
	t.Parallel()
	onOwn(t, nil, func(t *testing.T, s *testServer) {
		database := s.database(t)
		source, other := newTestSource(t, s, database), newTestSource(t, s, database)
		other.agent, other.serverID = "another", source.serverID
		facts, err := other.identify(t.Context(), other.address.hosts[0], s.db)
		capturetest.Must(t, err)
		take := func() (release func()) {
			d, err := other.openDump(t.Context(), other.address.hosts[0], request{mariaDB: s.MariaDB, serverID: other.serverID, from: &facts.end})
			capturetest.Must(t, err)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, d.conn.Conn.Conn)
			}()
			return func() { d.close(); <-ended }
		}
		release := take()
		var operator *capture.OperatorError
		err = runOnce(t, source, capture.StartOptions{}, newNotes())
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), "is taken by replica") || !strings.Contains(operator.Remedy, "source.server_id") {
			t.Errorf("got %v", err)
		}
		found, _, err := source.Check(t.Context(), nil)
		capturetest.Must(t, err)
		taken := false
		for _, f := range found {
			taken = taken || f.Code == "server_id"
		}
		if !taken {
			t.Errorf("check finds %+v", found)
		}
		release()
		if !s.MariaDB {
			return // MySQL bears two replicas of one id, if their UUIDs differ
		}
		eventually(t, "the server to forget the other replica", func() bool { s.exec(t, "FLUSH BINARY LOGS"); return !dumping(t, s, source) })
		ended := make(chan error, 1)
		started := make(chan struct{}, 1)
		go func() {
			ended <- source.Run(t.Context(), capture.StartOptions{OnStarted: func(capture.Started) { started <- struct{}{} }}, newNotes())
		}()
		<-started
		eventually(t, "the dump to begin", func() bool { return dumping(t, s, source) })
		release = take()
		if err := <-ended; !errors.As(err, &operator) || !strings.Contains(err.Error(), "is taken") {
			t.Errorf("got %v", err)
		}
		release()
	})
}
