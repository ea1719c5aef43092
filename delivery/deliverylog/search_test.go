package deliverylog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// search returns the events of the lines that the query finds.
func search(t testing.TB, q Query) (events []string, undecided int) {
	t.Helper()
	undecided, err := Search(context.Background(), q, func(line []byte, rec ParsedRecord) error {
		if again, err := ParseLine(line); err != nil || again.Event != rec.Event {
			t.Errorf("line %q is not the record's", line)
		}
		events = append(events, rec.Event)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return events, undecided
}

func TestSearchLogSelects(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{Body: 60}, nil)
	add := func(event string, change func(*delivery.LogRecord)) {
		rec := logRecord()
		rec.Event = event
		rec.Body = []byte(`{"id":"` + event + `","data":{"id":1000,"tags":["a","b"],"who":{"name":"Zoë \"Z\""},"paid":true,"note":null,"fee":"12.50"}}`)
		change(rec)
		rec.Bytes = len(rec.Body)
		l.Append(rec)
	}
	add("whole", func(r *delivery.LogRecord) { r.BodyLimit = 4000 })
	add("other-profile", func(r *delivery.LogRecord) { r.Profile, r.BodyLimit = "front-desk", 4000 })
	add("other-type", func(r *delivery.LogRecord) { r.Type, r.BodyLimit = "user.created", 4000 })
	add("failed", func(r *delivery.LogRecord) { r.Status, r.Outcome, r.BodyLimit = 503, delivery.OutcomeRetrying, 4000 })
	add("refused", func(r *delivery.LogRecord) {
		r.Status, r.Outcome, r.URL, r.BodyLimit = 0, delivery.OutcomeRetrying, "https://other.example.org/a<b", 4000
	})
	add("late", func(r *delivery.LogRecord) { r.Time, r.BodyLimit = r.Time.Add(time.Hour), 4000 })
	add("cut", func(r *delivery.LogRecord) {})
	add("bodyless", func(r *delivery.LogRecord) { r.BodyLimit = -1 })
	add("dropped", func(r *delivery.LogRecord) { r.Body, r.Outcome = nil, delivery.OutcomeDropped })
	add("text", func(r *delivery.LogRecord) { r.Body, r.BodyLimit = []byte("<xml/>"), 4000 })
	add("", func(r *delivery.LogRecord) {
		r.Body, r.BodyLimit = []byte(`{"events":[{"id":"member_1"},{"id":"member_2"},{"id":"member_3"}]}`), 4000
		r.Count, r.First, r.Last = 3, "member_1", "member_3"
	})
	flushed(t, l)
	all := []string{"whole", "other-profile", "other-type", "failed", "refused", "late", "cut", "bodyless", "dropped", "text", ""}
	without := func(events ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(e string) bool { return slices.Contains(events, e) })
	}
	status := func(text string) delivery.StatusSet {
		set, err := delivery.ParseStatuses(text)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	full := func(rec *ParsedRecord) ([]byte, bool) {
		return []byte(`{"data":{"fee":"12.50"}}`), rec.Event == "cut"
	}
	grouped := func(answer delivery.Truth) func(*ParsedRecord, string) delivery.Truth {
		return func(rec *ParsedRecord, event string) delivery.Truth {
			if rec.Count < 2 || event != "elsewhere" {
				return delivery.False
			}
			return answer
		}
	}
	for _, test := range []struct {
		name      string
		query     Query
		want      []string
		undecided int
	}{
		{"all", Query{}, all, 0},
		{"profile", Query{Profile: "front-desk"}, []string{"other-profile"}, 0},
		{"profile glob", Query{Profile: "*desk"}, all, 0},
		{"no such profile", Query{Profile: "des"}, nil, 0},
		{"type", Query{Type: "user.created"}, []string{"other-type"}, 0},
		{"type glob", Query{Type: "loan.*"}, without("other-type"), 0},
		{"status", Query{Status: status("5xx")}, []string{"failed"}, 0},
		{"outcome", Query{Outcome: delivery.OutcomeRetrying}, []string{"failed", "refused"}, 0},
		{"url", Query{URL: "example.org/a<b"}, []string{"refused"}, 0},
		{"event", Query{Event: "cut"}, []string{"cut"}, 0},
		{"member of a group", Query{Event: "member_2"}, []string{""}, 0},
		{"end of a group", Query{Event: "member_3"}, []string{""}, 0},
		{"member that only the spool knows", Query{Event: "elsewhere", InGroup: grouped(delivery.True)}, []string{""}, 0},
		{"member that nobody knows any more", Query{Event: "elsewhere", InGroup: grouped(delivery.Undecidable)}, nil, 1},
		{"event in a text only", Query{Event: "id"}, nil, 0},
		{"since", Query{Since: logNow.Add(time.Second)}, []string{"late"}, 0},
		{"since includes", Query{Since: logNow}, all, 0},
		{"until", Query{Until: logNow}, without("late"), 0},
		{"between", Query{Since: logNow.Add(time.Minute), Until: logNow.Add(2 * time.Minute)}, nil, 0},
		{"number", Query{Payload: []string{"data.id=1000.0"}}, without("bodyless", "dropped", "text", ""), 3},
		{"text value", Query{Payload: []string{`data.who.name=Zoë "Z"`}}, without("cut", "bodyless", "dropped", "text", ""), 4},
		{"element", Query{Payload: []string{"data.tags=b"}}, without("bodyless", "dropped", "text", ""), 3},
		{"array of objects", Query{Payload: []string{"events.id=member_2"}}, []string{""}, 3},
		{"true", Query{Payload: []string{"data.paid=true"}, Profile: "front-desk"}, []string{"other-profile"}, 0},
		{"null", Query{Payload: []string{"data.note=null"}, Profile: "front-desk"}, []string{"other-profile"}, 0},
		{"both", Query{Payload: []string{"data.id=1000", "data.fee=12.50"}, Event: "whole"}, []string{"whole"}, 0},
		{"one of both", Query{Payload: []string{"data.id=1000", "data.fee=12"}, Event: "whole"}, nil, 0},
		{"an object is no value", Query{Payload: []string{"data="}, Event: "whole"}, nil, 0},
		{"from the spool", Query{Payload: []string{"data.fee=12.50"}, Event: "cut", FullBody: full}, []string{"cut"}, 0},
		{"not in the spool", Query{Payload: []string{"data.fee=12.50"}, Event: "bodyless", FullBody: full}, nil, 1},
		{"cut, told otherwise by the rest", Query{Payload: []string{"data.fee=12.50"}, Event: "cut", Profile: "front-desk"}, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.query.Path = l.path
			got, undecided := search(t, test.query)
			if !slices.Equal(got, test.want) || undecided != test.undecided {
				t.Errorf("found %q, undecided %d; want %q, %d", got, undecided, test.want, test.undecided)
			}
		})
	}
}

func TestSearchLogReadsAllFilesInOrder(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{MaxSize: 1000, MaxTotal: 1 << 30}, nil)
	for range 100 {
		l.add(3)
		flushed(t, l)
		l.clock.move(time.Minute)
	}
	got, _ := search(t, Query{Path: l.path})
	if len(got) != 300 || got[0] != "evt_1" || got[299] != "evt_300" || !slices.IsSortedFunc(got, byNumber) {
		t.Errorf("%d lines, %s to %s", len(got), got[0], got[len(got)-1])
	}
	from, to := logNow.Add(30*time.Minute), logNow.Add(40*time.Minute)
	got, _ = search(t, Query{Path: l.path, Since: from, Until: to})
	if len(got) != 33 || got[0] != "evt_91" || got[32] != "evt_123" {
		t.Errorf("%d lines, %v", len(got), got)
	}
}

func byNumber(a, b string) int {
	x, _ := strconv.Atoi(strings.TrimPrefix(a, "evt_"))
	y, _ := strconv.Atoi(strings.TrimPrefix(b, "evt_"))
	return x - y
}

func TestSearchLogPassesDamageOver(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deliveries.jsonl")
	line := string(AppendLine(nil, logRecord(), 4000)) + "\n"
	data := "\x00\x00\x00\n" + line + "{\"v\":1,\n\n" + strings.Repeat("x", 600_000) + "\n" + line + `{"v":9}` + "\n" + line[:50]
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, undecided := search(t, Query{Path: path}); len(got) != 2 || undecided != 0 {
		t.Errorf("found %v", got)
	}
}

func TestSearchLogTellsErrors(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{}, nil)
	l.add(2)
	flushed(t, l)
	boom := errors.New("boom")
	if _, err := Search(context.Background(), Query{Path: l.path}, func([]byte, ParsedRecord) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("emit's error: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Search(ctx, Query{Path: l.path}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Search(context.Background(), Query{Path: l.path + "x"}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
	for _, bad := range []string{"", "x", "=x"} {
		if _, err := Search(context.Background(), Query{Path: l.path, Payload: []string{bad}}, nil); err == nil {
			t.Errorf("payload %q is taken", bad)
		}
	}
}

// TestSearchLogFollows appends while a search follows, across rotation, moves and a log that is not
// there yet.
func TestSearchLogFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "deliveries.jsonl")
		ctx, cancel := context.WithCancel(context.Background())
		var got []string
		done := make(chan error, 1)
		go func() {
			_, err := Search(ctx, Query{Path: path, Follow: true}, func(_ []byte, rec ParsedRecord) error {
				got = append(got, rec.Event)
				return nil
			})
			done <- err
		}()
		expect := func(n int) {
			t.Helper()
			time.Sleep(3 * followPoll)
			synctest.Wait()
			if len(got) != n || !slices.IsSortedFunc(got, byNumber) {
				t.Fatalf("%d lines, want %d: %v", len(got), n, got)
			}
		}
		expect(0)
		l, err := openLog(Options{Path: path, MaxSize: 400, MaxTotal: 1 << 30}, openLogFile)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		b := &logBench{Log: l, path: path, clock: &logClock{at: logNow}}
		b.add(2)
		flushed(t, b)
		expect(2)
		b.add(40) // through several files between two looks
		flushed(t, b)
		expect(42)
		half := AppendLine(nil, &delivery.LogRecord{Time: logNow, Event: "evt_43"}, 0)
		appendTo(t, path, half[:20])
		expect(42)
		appendTo(t, path, append(half[20:], '\n'))
		expect(43)
		if err := os.Rename(path, path+".moved"); err != nil {
			t.Fatal(err)
		}
		expect(43)
		time.Sleep(2 * movedCheck)
		b.n = 43
		b.add(1)
		flushed(t, b)
		expect(44)
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		expect(44)
		appendTo(t, path, append(AppendLine(nil, &delivery.LogRecord{Time: logNow, Event: "evt_45"}, 0), '\n'))
		expect(45)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func appendTo(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

// FuzzPayloadCondition proves that a cut body is never decided wrongly: the answer about its start
// is the whole's, or undecided. And a line that fulfils the condition is never passed over.
func FuzzPayloadCondition(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x",{"c":null}]},"d":true}`), "a.b.c", "null", 20)
	f.Add([]byte(`{"a":12,"a":123}`), "a", "12", 7)
	f.Add([]byte(`{"a":12.5}`), "a", "012.50", 7)
	f.Add([]byte(`{"a":"\u0061/b"}`), "a", "a/b", 7)
	f.Add([]byte(`{"a":0}`), "a", "-0.0", 7)
	f.Fuzz(func(t *testing.T, body []byte, path, value string, cut int) {
		c := newPayloadCondition(path, value)
		whole := c.in(body, true)
		if cut < 0 || cut > len(body) || whole == delivery.Undecidable {
			return
		}
		if part := c.in(body[:cut], false); part != delivery.Undecidable && part != whole {
			t.Errorf("%q %s=%s: whole %d, first %d bytes %d", body, path, value, whole, cut, part)
		}
		line := AppendLine(nil, &delivery.LogRecord{Time: logNow, Body: body}, 1<<20)
		rec, err := ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		if c.in(rec.Body, true) == delivery.True && !c.may(line) {
			t.Errorf("%s=%s passes %q over", path, value, line)
		}
	})
}

func BenchmarkSearchLog(b *testing.B) {
	l := setupLog(b, Options{Body: 4000, MaxSize: 1 << 30}, nil)
	const lines = 20_000
	for i := range lines {
		rec := logRecord()
		rec.Event = "evt_" + strconv.Itoa(i)
		rec.Body = []byte(`{"data":{"id":` + strconv.Itoa(i) + `,"text":"` + strings.Repeat("x", 300) + `"}}`)
		l.Append(rec)
	}
	flushed(b, l)
	info, _ := os.Stat(l.path)
	for name, q := range map[string]Query{"event": {Event: "evt_7777"}, "payload": {Payload: []string{"data.id=7777"}}} {
		b.Run(name, func(b *testing.B) {
			q.Path = l.path
			b.SetBytes(info.Size())
			for b.Loop() {
				if got, _ := search(b, q); !bytes.Equal([]byte(strings.Join(got, " ")), []byte("evt_7777")) {
					b.Fatal(got)
				}
			}
		})
	}
}
