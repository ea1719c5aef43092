package mysql

import (
	"fmt"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestStatus tells the lag in bytes and in time, and how long what is missing is kept; beside a
// running stream, which it leaves alone.
func TestStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, flavour string
		settings      settings
	}{{"mysql", "mysql", settings{"binlog_expire_logs_seconds": "7200"}}, {"mariadb", "mariadb", settings{"binlog_expire_logs_seconds": "7200"}},
		{"mariadb118", "mariadb118", settings{"binlog_expire_logs_seconds": "7200"}},
		{"mysql by file", "mysql", settings{"binlog_expire_logs_seconds": "7200", "gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, c.flavour, c.settings)
			s.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY)")
			source := newTestSource(t, s, "lib")
			n := newNotes()
			stop := n.capture(t, source, capture.StartOptions{OnLost: func(err error) { t.Errorf("lost: %v", err) }})
			s.exec(t, "INSERT INTO lib.loans VALUES (1)")
			n.await(t, "id:1}")
			status := func() *capture.BinlogStatus {
				st, err := source.Status(t.Context(), n.Durable())
				capturetest.Must(t, err)
				if (st.LagBytes > 0) != (st.Binlog.LagSeconds > 0) {
					t.Errorf("lag of %d bytes, %+v", st.LagBytes, st.Binlog)
				}
				return st.Binlog
			}
			st := status()
			if st.LagSeconds != 0 || st.LostInSeconds != -1 || st.KeepSeconds != 7200 || st.Oldest != "binlog.000001" || st.Newest != st.Oldest || st.RetainedBytes == 0 || st.Lost {
				t.Errorf("at the end: %+v", st)
			}
			s.exec(t, "INSERT INTO lib.loans VALUES (2)")
			n.await(t, "id:2}") // the stream has not been disturbed
			stop()
			past := time.Now().Add(-90 * time.Minute).Unix()
			s.session(t, "SET timestamp = "+fmt.Sprint(past), "INSERT INTO lib.loans VALUES (3)", "SET timestamp = DEFAULT", "INSERT INTO lib.loans VALUES (4)", "FLUSH BINARY LOGS")
			st = status()
			if st.LagSeconds < 5395 || st.LagSeconds > 5500 || st.LostInSeconds < 7100 || st.LostInSeconds > 7200 || st.Newest != "binlog.000002" {
				t.Errorf("behind: %+v", st)
			}
			if st, err := source.Status(t.Context(), ""); err != nil || st.Binlog.LagSeconds != -1 || st.Binlog.LostInSeconds != -1 {
				t.Errorf("without a position: %+v, %v", st.Binlog, err)
			}
		})
	}
}
