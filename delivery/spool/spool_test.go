package spool

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rowhook/delivery"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_CHILD"); dir != "" {
		fmt.Fprintln(os.Stderr, appendUntilKilled(dir))
		os.Exit(1)
	}
	for name, run := range map[string]func() error{"SPOOL_STUCK": closeBehindStuckCommit, "SPOOL_FAULTS": allStoreFaults} {
		if os.Getenv(name) == "" {
			continue
		}
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if raceDetector {
		// It makes a random operation ten times as dear. A fault that needs more of them is found without.
		if err := flag.Set("rapid.checks", "30"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// epoch is the commit time of event 0 in tests.
var epoch = time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC)

// testEvent returns an event of about 400 bytes.
func testEvent(n int) *delivery.Event {
	id := fmt.Sprintf("evt_%020d", n)
	return &delivery.Event{
		Making: &delivery.Making{Type: "loan.returned", Entry: "circulation.loans", Source: "library", Table: "circulation.loans", Op: "update"},
		Commit: &delivery.Commit{
			Time: epoch.Add(time.Duration(n) * time.Millisecond), Position: fmt.Sprintf("0/%X", n*64), Transaction: "745",
			Actor: delivery.Actor{ID: "aa010001", Name: "Desk"}, Operation: "web_form",
		},
		ID: id, Ordinal: n % 7, Key: fmt.Appendf(nil, `{"loan_id":%d}`, n),
		Data:     fmt.Appendf(nil, `{"loan_id":%d,"item_id":%d,"returned_at":"2026-11-22T01:02:03.120000Z","branch":"MAIN","status":"RETURNED","note":"none"}`, n, n*3),
		Previous: []byte(`{"returned_at":null,"status":"OUT"}`), OrderKey: fmt.Sprintf("circulation.loans/%d", n%16),
	}
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) { l.t.Logf("%s", b); return len(b), nil }

func testOptions(t testing.TB) Options {
	return Options{
		Reserve: -1,
		Logger:  slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func openSpool(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func setup(t testing.TB) *Spool {
	return openSpool(t, filepath.Join(t.TempDir(), "spool"), testOptions(t))
}

func register(t testing.TB, s *Spool, code string) delivery.ProfileID {
	t.Helper()
	id, err := s.Register(code)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// appendEvents applies events from to to-1 as one transaction.
func appendEvents(t testing.TB, s *Spool, from, to int, ids ...delivery.ProfileID) {
	t.Helper()
	b := s.NewBatch()
	for n := from; n < to; n++ {
		b.Add(testEvent(n), ids)
	}
	b.Commit(fmt.Sprint("p", to))
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
}

func flush(t fataler, s *Spool) {
	t.Helper()
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// readAll reads everything addressed to a profile, a few entries at a time.
func readAll(t fataler, s *Spool, id delivery.ProfileID, from delivery.Seq) []delivery.Entry {
	t.Helper()
	var all []delivery.Entry
	for {
		entries, next, end, err := s.Read(id, from, nil, 7, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entries...)
		if end {
			return all
		}
		from = next
	}
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := openSpool(t, dir, testOptions(t))
	one, two := register(t, s, "one"), register(t, s, "two")
	appendEvents(t, s, 0, 10, one)
	appendEvents(t, s, 10, 20, one, two)
	appendEvents(t, s, 20, 30)
	check := func(t *testing.T, s *Spool) {
		t.Helper()
		for id, want := range map[delivery.ProfileID][2]int{one: {0, 20}, two: {10, 20}} {
			entries := readAll(t, s, id, 1)
			if len(entries) != want[1]-want[0] {
				t.Fatalf("profile %d: %d entries", id, len(entries))
			}
			for i, e := range entries {
				if e.Seq != delivery.Seq(want[0]+i+1) || !reflect.DeepEqual(e.Event, testEvent(want[0]+i)) {
					t.Fatalf("profile %d: entry %d is %+v", id, i, e.Event)
				}
			}
			b, err := s.Backlog(id)
			if err != nil || b.Events != int64(len(entries)) || !b.Oldest.Equal(entries[0].Event.Time) {
				t.Fatalf("backlog %+v, %v", b, err)
			}
		}
		if got := s.Position(); got != "p30" {
			t.Fatalf("position %q", got)
		}
	}
	check(t, s)
	flush(t, s)
	if got := s.Durable(); got != "p30" {
		t.Fatalf("durable %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, testOptions(t))
	check(t, s)
	if got := register(t, s, "two"); got != two {
		t.Fatalf("two is now %d", got)
	}
}

func TestOpenTransaction(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s := openSpool(t, dir, testOptions(t))
	id := register(t, s, "one")
	appendEvents(t, s, 0, 5, id)
	part := func(s *Spool, from, to int) {
		b := s.NewBatch()
		for n := from; n < to; n++ {
			b.Add(testEvent(n), []delivery.ProfileID{id})
		}
		b.Park(&delivery.Parked{Reason: "undecoded"})
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(s *Spool, n int, parked int64) {
		t.Helper()
		if got := len(readAll(t, s, id, 1)); got != n {
			t.Fatalf("%d entries, want %d", got, n)
		}
		if b, _ := s.Backlog(id); b.Events != int64(n) {
			t.Fatalf("backlog %+v, want %d", b, n)
		}
		if count, _ := s.ParkedCount(); count != parked {
			t.Fatalf("%d parked, want %d", count, parked)
		}
	}
	part(s, 5, 8)
	expect(s, 5, 0)
	if err := s.Abort(); err != nil {
		t.Fatal(err)
	}
	part(s, 5, 9)
	expect(s, 5, 0)
	b := s.NewBatch()
	b.Add(testEvent(9), []delivery.ProfileID{id})
	b.Commit("p10")
	b.Add(testEvent(10), []delivery.ProfileID{id})
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	expect(s, 10, 1)
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, testOptions(t))
	expect(s, 10, 1)
	appendEvents(t, s, 10, 12, id)
	expect(s, 12, 1)
	for i, e := range readAll(t, s, id, 1) {
		if !reflect.DeepEqual(e.Event, testEvent(i)) || e.Seq != delivery.Seq(i+1) {
			t.Fatalf("entry %d: %d %+v", i, e.Seq, e.Event)
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// fataler is what helpers need of a test, be it testing's or rapid's.
type fataler interface {
	Helper()
	Fatal(...any)
}

// TestFewerAreAll: while deliveries end, what is found of those that are due, or in a lane, is as many
// as was asked for, as long as there are so many: fewer say that there are no more.
func TestFewerAreAll(t *testing.T) {
	t.Parallel()
	const total, max = 1000, 100
	for name, find := range map[string]func(*Spool, delivery.ProfileID) ([]delivery.Delivery, error){
		"due": func(s *Spool, id delivery.ProfileID) ([]delivery.Delivery, error) {
			return s.Due(id, epoch, nil, max)
		},
		"lane": func(s *Spool, id delivery.ProfileID) ([]delivery.Delivery, error) {
			return s.Lane(id, 7, 1, nil, max)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := register(t, s, "one")
			appendEvents(t, s, 0, total, id)
			var all delivery.Update
			for seq := delivery.Seq(1); seq <= total; seq++ {
				all.Put = append(all.Put, delivery.Delivery{Seq: seq, State: delivery.Retrying, Due: epoch, Lane: 7, WaitLane: 7})
			}
			if err := s.Update(id, all); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				var err error
				for seq := delivery.Seq(1); seq <= total-max && err == nil; seq++ {
					err = s.Update(id, delivery.Update{Remove: []delivery.Seq{seq}})
				}
				ended <- err
			}()
			for {
				found, err := find(s, id)
				if err != nil || len(found) != max {
					t.Errorf("%d are found, want %d: %v", len(found), max, err)
				}
				select {
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
					return
				default:
				}
			}
		})
	}
}
