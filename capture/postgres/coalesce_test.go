package postgres

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// scriptedConn returns reads of given sizes, each after a while.
type scriptedConn struct {
	net.Conn
	clock time.Time
	reads []scriptedRead
}

type scriptedRead struct {
	after time.Duration
	size  int
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	if len(c.reads) == 0 {
		return 0, io.EOF
	}
	r := c.reads[0]
	c.reads = c.reads[1:]
	c.clock = c.clock.Add(r.after)
	return min(r.size, len(p)), nil
}

// pauses counts the delayed reads of a script.
func pauses(t *testing.T, reads []scriptedRead) int {
	t.Helper()
	script := &scriptedConn{clock: time.Unix(1000, 0), reads: reads}
	c := newCoalescingConn(script)
	n := 0
	c.now = func() time.Time { return script.clock }
	c.pause = func() { n++; script.clock = script.clock.Add(coalesceWait) }
	got, want := 0, 0
	for _, r := range reads {
		want += r.size
	}
	buf := make([]byte, 100)
	for {
		k, err := c.Read(buf)
		got += k
		if errors.Is(err, io.EOF) {
			break
		}
	}
	if got != want {
		t.Errorf("read %d bytes of %d", got, want)
	}
	return n
}

func repeat(n int, reads ...scriptedRead) []scriptedRead {
	var out []scriptedRead
	for range n {
		out = append(out, reads...)
	}
	return out
}

func TestCoalescing(t *testing.T) {
	t.Parallel()
	single := []scriptedRead{{5 * time.Millisecond, 60}, {20 * time.Microsecond, 200}, {20 * time.Microsecond, 60}, {20 * time.Microsecond, 40}}
	tests := []struct {
		name        string
		reads       []scriptedRead
		least, most int
	}{
		{"200 transactions a second", repeat(1000, single...), 0, 0},
		{"one transaction of a few rows", repeat(15, scriptedRead{10 * time.Microsecond, 200}), 0, 0},
		{"a stream of small messages", repeat(1000, scriptedRead{10 * time.Microsecond, 200}), 900, 1000},
		{"a stream of large reads", repeat(1000, scriptedRead{10 * time.Microsecond, coalesceBuffer}), 0, 0},
		{"the rush is over", append(repeat(17, scriptedRead{0, 200}), repeat(100, scriptedRead{time.Second, 200})...), 1, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if n := pauses(t, test.reads); n < test.least || n > test.most {
				t.Errorf("%d reads of %d were delayed, want %d to %d", n, len(test.reads), test.least, test.most)
			}
		})
	}
}
