package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/delivery/spool"
	"rowhook/mapping"
)

// shy is a database that may not tell what its tables look like, and the pipeline that waits for it.
type shy struct {
	err     error
	tables  []*capture.Table
	waits   bool
	told    int
	goneOn  int
	queries int
}

func (s *shy) Tables(context.Context, []string) ([]*capture.Table, error) {
	s.queries++
	return s.tables, s.err
}
func (s *shy) Undescribed() bool         { return s.waits }
func (s *shy) Describe([]*capture.Table) { s.told, s.waits = s.told+1, false }
func (s *shy) GoOn()                     { s.goneOn, s.waits = s.goneOn+1, false }

// The stream waits for what looked-up tables look like, but not for ever and not without a word; later
// it is told again and again, since they may be others by then.
func TestDescriber(t *testing.T) {
	t.Parallel()
	rules, err := mapping.Compile(mapping.Config{{Name: "app.loans", Lookup: []mapping.LookupUse{{Name: "member", From: "members", By: []string{"member_id"}}}}},
		mapping.Options{Lookups: []mapping.LookupConfig{{Name: "members", Table: "app.members", Key: []string{"id"}, Columns: []string{"name"}}}})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	s := &shy{err: errors.New("too many connections"), waits: true}
	d := describer{source: s, pipe: s, logger: slog.New(slog.NewTextHandler(&text, nil))}
	began := time.Now()
	for second := range 60 {
		again, err := d.describe(t.Context(), rules, began.Add(time.Duration(second)*time.Second))
		if again == nil || !errors.Is(err, s.err) {
			t.Fatalf("after %d s: %v", second, err)
		}
	}
	if n := strings.Count(text.String(), "cannot be described"); n != 1 || !strings.Contains(text.String(), "too many connections") {
		t.Errorf("%d lines: %s", n, text.String())
	}
	again, err := d.describe(t.Context(), rules, began.Add(time.Minute))
	if again != nil || err != nil || s.goneOn != 1 {
		t.Errorf("after a minute: %v, gone on %d times", err, s.goneOn)
	}
	if _, err := d.describe(t.Context(), rules, began.Add(2*time.Minute)); err != nil || s.goneOn != 1 || strings.Count(text.String(), "cannot be described") != 3 {
		t.Errorf("after two: %v, %s", err, text.String())
	}
	s.err = nil
	for range 2 {
		if again, err := d.describe(t.Context(), rules, began.Add(3*time.Minute)); again != nil || err != nil {
			t.Errorf("it answers: %v", err)
		}
	}
	if s.told != 2 {
		t.Errorf("told %d times", s.told)
	}
	queries := s.queries
	if again, err := d.describe(t.Context(), &mapping.Rules{}, began); again != nil || err != nil || s.queries != queries {
		t.Errorf("without look-ups: %v", err)
	}
}

// Deliveries wait below half of the reserve, and do not start and stop with each block that comes and goes
// around it.
func TestHeedRoom(t *testing.T) {
	t.Parallel()
	a := &Agent{workspace: newTestWorkspace(t)}
	a.suspension.engine = a.engine
	for i, step := range []struct {
		free  int64
		waits bool
	}{{100, false}, {50, false}, {49, true}, {50, true}, {61, true}, {62, false}, {50, false}, {49, true}, {100, false}} {
		var err error
		if step.free < 100 {
			err = &spool.NoRoomError{Free: step.free, Reserve: 100}
		}
		if a.heedRoom(err); a.suspension.has(suspendRoom) != step.waits {
			t.Errorf("step %d: %d of 100 are free, and deliveries wait: %t", i, step.free, !step.waits)
		}
	}
	a.heedRoom(&spool.NoRoomError{Free: 99, Reserve: 100, Err: errors.New("the disk refused a write")})
	if !a.suspension.has(suspendRoom) {
		t.Error("the disk refused a write, and deliveries go on")
	}
}
