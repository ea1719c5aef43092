package mysql

import (
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// stopMost is how long a server may take to end while an agent of ours does not read what it sends,
// on a busy machine. While a replica is there MySQL waits eight seconds for idle connections, and
// then two more.
const stopMost = 8 * time.Second

// TestPausedServerStops: a server ends on SIGTERM while the agent is paused and the server is in
// the middle of a write to it, and the agent does so too.
func TestPausedServerStops(t *testing.T) {
	t.Parallel()
	onOwn(t, nil, func(t *testing.T, s *testServer) {
		database, source, n, stop := s.follow(t, "id INT PRIMARY KEY AUTO_INCREMENT, title LONGTEXT")
		s.session(t, "INSERT INTO "+database+".loans (title) VALUES ('first')")
		n.await(t, "first")
		n.mu.Lock()
		n.busy = make(chan struct{})
		n.mu.Unlock()
		s.session(t, "INSERT INTO "+database+".loans (title) VALUES (REPEAT('x', 30000000))") // more than the sockets hold
		awaitSending(t, s)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the paused agent took %s to end", took)
		}
		stop = n.capture(t, source, capture.StartOptions{})
		awaitSending(t, s)
		s.db.Close() // whose idle connection MySQL would wait for
		began = time.Now()
		capturetest.Must(t, s.Stop())
		if took := time.Since(began); took > stopMost {
			t.Errorf("the server took %s to end", took)
		}
		began = time.Now()
		stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the agent took %s to end", took)
		}
	})
}

// awaitSending waits until the server has been in the same write to a replica for a while.
func awaitSending(t *testing.T, s *testServer) {
	t.Helper()
	const sending = "SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%' AND state IN ('Writing to net', 'Sending to client')"
	for seen, tries := 0, 0; seen < 5; tries++ {
		rows, err := s.Query(t.Context(), "", sending)
		capturetest.Must(t, err)
		if seen++; rows[0][0] != "1" {
			seen = 0
		}
		if tries > 200 {
			t.Fatal("the server does not send")
		}
		<-time.After(100 * time.Millisecond)
	}
}
