package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

// TestPrintBinlog fixes the line about MySQL's binlog.
func TestPrintBinlog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		stream capture.Status
		want   string
	}{
		{capture.Status{Binlog: &capture.BinlogStatus{Oldest: "b.1", Newest: "b.1", RetainedBytes: 1 << 20, LagSeconds: 0, LostInSeconds: -1}},
			"binlog: b.1 to b.1, lag 0B, holds 1MiB, kept for ever"},
		{capture.Status{LagBytes: 3 << 20, Binlog: &capture.BinlogStatus{Oldest: "b.1", Newest: "b.9", RetainedBytes: 9 << 20, KeepSeconds: 86400, LagSeconds: 240, LostInSeconds: 7200}},
			"binlog: b.1 to b.9, lag 3MiB since 4m, holds 9MiB, kept for 1d, what follows our position for 2h more"},
		{capture.Status{LagBytes: 5, Binlog: &capture.BinlogStatus{Oldest: "b.1", Newest: "b.9", KeepSeconds: 3600, LagSeconds: -1, LostInSeconds: 0}},
			"binlog: b.1 to b.9, lag 5B, holds 0B, kept for 1h, what follows our position may go at any time"},
	} {
		printBinlog(func(name, format string, args ...any) {
			if got := name + ": " + fmt.Sprintf(format, args...); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		}, &tt.stream)
	}
}

// TestStatusWithoutAgent: that no agent runs needs a hand, and the delivery log knows when profiles
// last delivered.
func TestStatusWithoutAgent(t *testing.T) {
	t.Parallel()
	w := newRepairWorld(t, false)
	got := w.run(t, "status")
	if got.code != exitFindings || !strings.Contains(got.out, "no agent is running: changes wait in the database, and deliveries in the spool") {
		t.Errorf("exit %d\n%s", got.code, got.out)
	}
	got = w.run(t, "status", "--json")
	var report operation.StatusReport
	if err := json.Unmarshal([]byte(got.out), &report); err != nil {
		t.Fatal(err)
	}
	if p := report.Profiles[0]; p.LastSuccess.IsZero() || p.LastFailure.IsZero() {
		t.Errorf("profile %+v", p)
	}
}
