package delivery

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var logNow = time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC)

func logRecord() *LogRecord {
	return &LogRecord{
		Time: logNow, Profile: "desk", Outcome: OutcomeDelivered, Event: "evt_1", Type: "loan.returned",
		Table: "circulation.loans", Key: []byte(`{"loan_id":1000}`), Position: "0/16B3748", Unit: "record",
		Attempt: 1, Method: "POST", URL: "https://desk.example.org/hooks", Status: 200, Duration: 12345 * time.Microsecond,
		Bytes: 20, Body: []byte(`{"data":{"id":1000}}`), Response: []byte("ok"),
	}
}

func TestLogWritesAndFinds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log", "deliveries.jsonl")
	l, err := OpenLog(LogOptions{Path: path, Body: 4000, Now: func() time.Time { return logNow }})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l.Append(logRecord())
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	found := 0
	undecided, err := SearchLog(context.Background(), LogQuery{Path: path, Profile: "desk", Payload: []string{"data.id=1000"}},
		func([]byte, ParsedRecord) error { found++; return nil })
	if err != nil || undecided != 0 || found != 3 {
		t.Errorf("found %d, undecided %d, %v", found, undecided, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
