package mysql

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"rowhook/capture"
)

// counter is a sink that only counts changes, and samples memory on the way. It says
// now and then that it is busy, and notes how many changes come without asking.
type counter struct {
	*notes
	unasked atomic.Int64 // changes since Busy was asked
	overrun atomic.Int64
	changes atomic.Int64
	begun   int64 // changes before the open transaction
	most    atomic.Uint64
}

func (c *counter) Begin(*capture.Transaction) error {
	c.begun = c.changes.Load()
	return nil
}

func (c *counter) Abort() {
	c.changes.Store(c.begun)
	c.notes.Abort()
}

func (c *counter) Busy() <-chan struct{} {
	if c.unasked.Swap(0) == 0 {
		return nil
	}
	room := make(chan struct{})
	close(room)
	return room
}

func (c *counter) Change(*capture.Change) error {
	if n := c.unasked.Add(1); n > c.overrun.Load() {
		c.overrun.Store(n)
	}
	if c.changes.Add(1)%20_000 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		c.most.Store(max(c.most.Load(), m.HeapAlloc))
	}
	return nil
}

func (c *counter) Commit(end capture.Position) error {
	c.add("commit after %d", c.changes.Load())
	c.begun = c.changes.Load()
	return c.notes.Commit(end)
}

// TestLargeTransaction passes a compressed transaction through without holding it.
func TestLargeTransaction(t *testing.T) {
	const rows = 1 << 18
	for flavour, setting := range map[string]string{"mysql": "SET SESSION binlog_transaction_compression = ON", "mariadb": "SET GLOBAL log_bin_compress = ON"} {
		t.Run(flavour, func(t *testing.T) {
			s := ownServer(t, flavour, nil)
			database := s.database(t)
			s.exec(t, "CREATE TABLE "+database+".big (id INT PRIMARY KEY AUTO_INCREMENT, body VARCHAR(300))")
			c := &counter{notes: newNotes()}
			source := newTestSource(t, s, database)
			stop := c.captureInto(t, source, capture.StartOptions{}, c)
			statements := []string{"USE " + database, setting, "BEGIN", "INSERT INTO big (body) VALUES ('first')"}
			for n := 1; n < rows; n *= 2 {
				statements = append(statements, "INSERT INTO big (body) SELECT CONCAT(HEX(RANDOM_BYTES(32)), REPEAT('title', 20)) FROM big")
			}
			s.session(t, append(statements, "COMMIT")...)
			c.await(t, fmt.Sprintf("commit after %d", rows))
			stop()
			if most := c.most.Load(); most > 32<<20 { // the transaction is 10 MB compressed and 55 as it is
				t.Errorf("%d MiB in use", most>>20)
			}
			if n := c.overrun.Load(); n > 1000 { // an event holds some 8 KiB of rows
				t.Errorf("%d changes came without a look at whether there is room", n)
			}
			t.Logf("%d MiB in use at most", c.most.Load()>>20)
		})
	}
}
