package deliverylog_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"rowhook/delivery/deliverylog"
)

func TestLastInLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deliveries.jsonl")
	if last := deliverylog.LastResults(path); len(last) > 0 {
		t.Errorf("without a log: %v", last)
	}
	lines := `{"v":1,"time":"2026-11-22T11:00:01Z","profile":"desk","outcome":"delivered","event":"a"}
{"v":1,"time":"2026-11-22T11:00:02Z","profile":"desk","outcome":"retrying","event":"b"}
{"v":1,"time":"2026-11-22T11:00:03Z","profile":"shelf","outcome":"dead","event":"b"}
{"v":1,"time":"2026-11-22T11:00:04Z","outcome":"unmapped","table":"public.t"}
{"v":1,"time":"2026-11-22T11:00:05Z","profile":"desk","outcome":"delivered","event":"b"}
{"v":1,"time":"2026-11-22T11:00:06Z","profile":"de`
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(second int) time.Time { return time.Date(2026, 11, 22, 11, 0, second, 0, time.UTC) }
	last := deliverylog.LastResults(path)
	if got := last["desk"]; !got.Success.Equal(at(5)) || !got.Failure.Equal(at(2)) {
		t.Errorf("desk %v", got)
	}
	if got := last["shelf"]; !got.Success.IsZero() || !got.Failure.Equal(at(3)) {
		t.Errorf("shelf %v", got)
	}
}
