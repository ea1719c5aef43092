package deliverylog

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// pages reads a log page by page and returns the events of each page.
func pages(t *testing.T, q Query, most int) [][]string {
	t.Helper()
	var all [][]string
	for from := (Place{}); ; {
		var events []string
		page, err := ReadPage(t.Context(), q, from, most, func(line []byte, rec ParsedRecord) error {
			if again, err := ParseLine(line); err != nil || again.Event != rec.Event {
				t.Errorf("line %q is not the record's", line)
			}
			events = append(events, rec.Event)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, events)
		if page.Next == nil {
			return all
		}
		from = *page.Next
	}
}

// TestPagesAreTheSearchBackwards holds pages of any size to what a search finds, over rotated
// files, lines longer than a block and a torn end.
func TestPagesAreTheSearchBackwards(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{Body: 1 << 20}, nil)
	for i := range 40 {
		rec := logRecord()
		rec.Time, rec.Event = l.clock.now(), "evt_"+strconv.Itoa(i)
		if i%7 == 0 {
			rec.Outcome = delivery.OutcomeDead
		}
		if i == 20 {
			rec.Body, rec.BodyLimit = []byte(strings.Repeat("x", 3*pageBlock)), 1<<20
		}
		l.Append(rec)
		l.clock.move(time.Hour)
		if i%11 == 10 {
			flushed(t, l)
			l.mu.Lock()
			err := l.rotate()
			l.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	flushed(t, l)
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(`{"v":1,"time":"2026-`); err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]Query{
		"all": {}, "outcome": {Outcome: delivery.OutcomeDead}, "none": {Profile: "nobody"},
		"since": {Since: logNow.Add(13 * time.Hour)}, "until": {Until: logNow.Add(13 * time.Hour)},
		"between": {Since: logNow.Add(5 * time.Hour), Until: logNow.Add(25 * time.Hour)},
	} {
		q.Path = l.path
		want, _ := search(t, q)
		slices.Reverse(want)
		for _, most := range []int{1, 3, 1000} {
			got := pages(t, q, most)
			if all := slices.Concat(got...); !slices.Equal(all, want) {
				t.Errorf("%s in pages of %d: %v, want %v", name, most, all, want)
			}
			for _, page := range got {
				if len(page) > most {
					t.Errorf("%s: a page of %d has %d", name, most, len(page))
				}
			}
		}
	}
}

// TestPageGoesOnAfterRotation: a place stays where it is when its file is rotated, and ends the
// search when its file is gone.
func TestPageGoesOnAfterRotation(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{}, nil)
	l.add(5)
	flushed(t, l)
	none := func([]byte, ParsedRecord) error { return nil }
	page, err := ReadPage(t.Context(), Query{Path: l.path}, Place{}, 2, none)
	if err != nil || page.Next == nil || page.Reached.IsZero() {
		t.Fatalf("%+v, %v", page, err)
	}
	l.mu.Lock()
	err = l.rotate()
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	l.add(3)
	flushed(t, l)
	var events []string
	take := func(_ []byte, rec ParsedRecord) error { events = append(events, rec.Event); return nil }
	last, err := ReadPage(t.Context(), Query{Path: l.path}, *page.Next, 100, take)
	if err != nil || last.Next != nil || !slices.Equal(events, []string{"evt_3", "evt_2", "evt_1"}) {
		t.Errorf("after a rotation: %v, %+v, %v", events, last, err)
	}
	gone, err := ReadPage(t.Context(), Query{Path: l.path}, Place{File: 1 << 60, Offset: 9}, 100, take)
	if err != nil || gone.Next != nil || len(events) != 3 {
		t.Errorf("of a file that is gone: %v, %+v, %v", events, gone, err)
	}
}

// TestPageOutOfTime: a page whose time is over ends where it is, and the next goes on there.
func TestPageOutOfTime(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{}, nil)
	l.add(3)
	flushed(t, l)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	page, err := ReadPage(over, Query{Path: l.path}, Place{}, 10, func([]byte, ParsedRecord) error { return errors.New("emitted") })
	if err != nil || page.Next == nil {
		t.Fatalf("%+v, %v", page, err)
	}
	var events []string
	page, err = ReadPage(t.Context(), Query{Path: l.path}, *page.Next, 10, func(_ []byte, rec ParsedRecord) error { events = append(events, rec.Event); return nil })
	if err != nil || page.Next != nil || len(events) != 3 {
		t.Errorf("%v, %+v, %v", events, page, err)
	}
	if _, err := ReadPage(t.Context(), Query{Path: filepath.Join(t.TempDir(), "none.jsonl")}, Place{}, 10, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a log: %v", err)
	}
	if _, err := ReadPage(t.Context(), Query{Path: l.path, Payload: []string{"x"}}, Place{}, 10, nil); err == nil {
		t.Error("a query that makes no sense was taken")
	}
}
