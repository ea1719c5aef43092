package conformance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
)

// complaints is a test that only collects errors.
type complaints struct {
	testing.TB
	list []string
}

func (c *complaints) Helper() {}

func (c *complaints) Errorf(format string, args ...any) {
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

var (
	text    = &capture.Type{Name: "text", Kind: capture.Text}
	books   = &capture.Table{Schema: "public", Name: "books", Columns: []capture.Column{{Name: "id", Type: text}, {Name: "title", Type: text}}, Key: []int{0}}
	oneBook = capture.Row{{State: capture.Present, Text: []byte("1")}, {State: capture.Null}}
)

func head(id string) *capture.Transaction {
	return &capture.Transaction{ID: id, Identity: "i" + id, Position: "p" + capture.Position(id), Time: time.Now().UTC()}
}

func insert(ordinal int) *capture.Change {
	return &capture.Change{Op: capture.Insert, Table: books, New: oneBook, Ordinal: ordinal, Raw: capture.Raw{Change: []byte("I")}}
}

// TestRecorderHoldsSourcesToTheProtocol checks that the suite notices what it is there to notice.
func TestRecorderHoldsSourcesToTheProtocol(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		drive func(*recorder)
		want  string // part of the complaint; "" wants none
	}{
		{"a good transaction", func(r *recorder) {
			r.Begin(head("1"))
			r.Message(&capture.Message{Content: []byte("m")})
			r.Change(insert(1))
			r.Commit("p2")
			r.Idle("p3")
		}, ""},
		{"aborted and repeated", func(r *recorder) {
			r.Begin(head("1"))
			r.Change(insert(0))
			r.Abort()
			r.Begin(head("1"))
			r.Change(insert(0))
			r.Commit("p2")
		}, ""},
		{"begin twice", func(r *recorder) { r.Begin(head("1")); r.Begin(head("2")) }, "begin of 2 inside 1"},
		{"no identity", func(r *recorder) { r.Begin(&capture.Transaction{ID: "1", Position: "p", Time: time.Now().UTC()}) }, "lacks"},
		{"local time", func(r *recorder) {
			tx := head("1")
			tx.Time = tx.Time.In(time.FixedZone("", 3600))
			r.Begin(tx)
		}, "has the time"},
		{"a hole in the ordinals", func(r *recorder) { r.Begin(head("1")); r.Change(insert(1)) }, "ordinal 1 where 0"},
		{"a change alone", func(r *recorder) { r.Change(insert(0)) }, "outside a transaction"},
		{"a commit alone", func(r *recorder) { r.Commit("p1") }, "outside a transaction"},
		{"no end", func(r *recorder) { r.Begin(head("1")); r.Commit("") }, "ends at no position"},
		{"idle inside", func(r *recorder) { r.Begin(head("1")); r.Idle("p1") }, "inside transaction"},
		{"a short row", func(r *recorder) {
			r.Begin(head("1"))
			c := insert(0)
			c.New = c.New[:1]
			r.Change(c)
		}, "1 values for 2 columns"},
		{"an insert with an old row", func(r *recorder) {
			r.Begin(head("1"))
			c := insert(0)
			c.Old = oneBook
			r.Change(c)
		}, "old row true"},
		{"no raw bytes", func(r *recorder) {
			r.Begin(head("1"))
			c := insert(0)
			c.Raw = capture.Raw{}
			r.Change(c)
		}, "no raw change"},
		{"parked", func(r *recorder) { r.Begin(head("1")); r.Park(&capture.Undecoded{Table: "public.books"}) }, "parked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			heard := &complaints{}
			c.drive(newRecorder(heard, ""))
			all := strings.Join(heard.list, "\n")
			if c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("complaints are %q, want %q", all, c.want)
			}
		})
	}
}

// TestGoldenFoldsRuns checks that a long run of rows keeps every byte accounted for.
func TestGoldenFoldsRuns(t *testing.T) {
	t.Parallel()
	fold := func(changed int) string {
		r := newRecorder(t, "")
		r.Begin(head("1"))
		for i := range 20 {
			c := insert(i)
			if i == changed {
				c.New = capture.Row{oneBook[0], {State: capture.Present, Text: []byte("other")}}
			}
			r.Change(c)
		}
		r.Commit("p2")
		return string(r.golden())
	}
	plain := fold(-1)
	if lines := strings.Count(plain, "\n"); lines != 5 || !strings.Contains(plain, "18 more like it") {
		t.Errorf("20 rows became %d lines:\n%s", lines, plain)
	}
	if fold(10) == plain {
		t.Error("a changed row inside the run does not show")
	}
}

// TestUnchangedIsShownAsTheOldValue keeps goldens equal where one database sends a large
// value again and another leaves it out.
func TestUnchangedIsShownAsTheOldValue(t *testing.T) {
	t.Parallel()
	old := capture.Row{oneBook[0], {State: capture.Present, Text: []byte("long")}}
	updated := capture.Row{oneBook[0], {State: capture.Unchanged}}
	if got := row(books, updated, old); got != `{id="1" title="long"}` {
		t.Errorf("row is %s", got)
	}
	if got := row(books, updated, nil); got != `{id="1" title=unchanged}` {
		t.Errorf("row without an old one is %s", got)
	}
}
