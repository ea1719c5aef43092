package deliverylog

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

var updateLog = flag.Bool("update", false, "rewrite the golden files")

var logNow = time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC)

func logRecord() *delivery.LogRecord {
	return &delivery.LogRecord{
		Time: logNow, Profile: "desk", Outcome: delivery.OutcomeDelivered, Event: "evt_1", Type: "loan.returned",
		Table: "circulation.loans", Key: []byte(`{"loan_id":1000}`), Position: "0/16B3748", Unit: "record",
		Attempt: 1, Method: "POST", URL: "https://desk.example.org/hooks", Status: 200, Duration: 12345 * time.Microsecond,
		Bytes: 20, Body: []byte(`{"data":{"id":1000}}`), Response: []byte("ok"),
	}
}

// logRecords are the shapes of lines, in the order of the golden file.
func logRecords() []*delivery.LogRecord {
	full := logRecord()
	full.Outcome, full.Round, full.Epoch, full.Attempt, full.Status = delivery.OutcomeRetrying, 2, 7, 3, 503
	full.Count, full.First, full.Last = 2, "evt_1", "evt_2"
	full.Reason, full.Error = delivery.ReasonStatus5xx, "not\nused <&>"
	full.Flags, full.NextAttempt = []string{"price", `odd "name"`}, logNow.Add(90*time.Second)
	full.Duration = 15 * time.Second

	failed := logRecord()
	failed.Outcome, failed.Status, failed.Response = delivery.OutcomeRetrying, 0, nil
	failed.Reason, failed.Error, failed.Duration = delivery.ReasonRefused, "127.0.0.1:9: connection refused", 50*time.Microsecond

	long := logRecord()
	long.Body, long.Bytes = []byte(strings.Repeat("ä", 4001)), 8002
	exact := logRecord()
	exact.Body, exact.Bytes = []byte(strings.Repeat("€", 4000)), 12000
	own := logRecord()
	own.BodyLimit = 5
	none := logRecord()
	none.BodyLimit = -1

	streamed := logRecord()
	streamed.Bytes, streamed.Body = 30_000_000, []byte(`{"data":[{"id":1},{"n":"`) // only the start is there

	binary := logRecord()
	binary.Response = []byte("caf\xc3\xa9 \x00\xff and a cut \xe2\x82")
	return []*delivery.LogRecord{
		logRecord(), full, failed,
		{Time: logNow, Profile: "desk", Outcome: delivery.OutcomeDropped, Event: "evt_1", Type: "loan.returned", Key: []byte(`{}`), Position: "0/16B3748"},
		{Time: logNow, Outcome: delivery.OutcomeUnmapped, Table: "circulation.loans", Error: "column due_at is unknown"},
		long, exact, own, none, binary, streamed,
	}
}

func TestLogLinesGolden(t *testing.T) {
	t.Parallel()
	var got []byte
	for _, r := range logRecords() {
		got = append(AppendLine(got, r, 4000), '\n')
	}
	path := filepath.Join("testdata", "deliveries.jsonl")
	if *updateLog {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestLogLineMembers holds the members' order, which readers of the log rely on.
func TestLogLineMembers(t *testing.T) {
	t.Parallel()
	const order = "v time profile outcome event type table key position unit count first last attempt round epoch method url status duration_ms " +
		"reason error flags next_attempt bytes body body_truncated response"
	full := logRecords()[1]
	full.Body = []byte(strings.Repeat("x", 10))
	dec := json.NewDecoder(bytes.NewReader(AppendLine(nil, full, 9)))
	var got []string
	depth := 0
	for isName := true; ; {
		token, err := dec.Token()
		if err != nil {
			break
		}
		delim, nested := token.(json.Delim)
		switch {
		case nested && (delim == '{' || delim == '['):
			depth++
			isName = true
			continue
		case nested:
			depth--
			isName = true
			continue
		case depth == 1 && isName:
			got = append(got, token.(string))
			isName = false
			continue
		}
		isName = depth == 1
	}
	if strings.Join(got, " ") != order {
		t.Errorf("members %s\nwant    %s", strings.Join(got, " "), order)
	}
}

func TestLogBodyIsCutAtCharacters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		body      string
		limit     int
		want      string
		truncated bool
	}{
		{strings.Repeat("a", 4000), 4000, strings.Repeat("a", 4000), false},
		{strings.Repeat("a", 4001), 4000, strings.Repeat("a", 4000), true},
		{strings.Repeat("😀", 4001), 4000, strings.Repeat("😀", 4000), true},
		{"aä€😀b", 4, "aä€😀", true},
		{"aä€😀", 4, "aä€😀", false},
		{"\xff\xff\xff", 2, "��", true},
		{"abc", 0, "", false},
		{"abc", -1, "", false},
		{"", 4, "", false},
	} {
		rec := delivery.LogRecord{Time: logNow, Body: []byte(test.body)}
		back, err := ParseLine(AppendLine(nil, &rec, test.limit))
		if err != nil || string(back.Body) != test.want || back.BodyTruncated != test.truncated {
			t.Errorf("%.20q at %d: %.20q %v %v", test.body, test.limit, back.Body, back.BodyTruncated, err)
		}
	}
}

// Where no body is kept, no row data is: neither in the key nor in what the receiver wrote, who may
// repeat it.
func TestBodylessLogLineHasNoRowData(t *testing.T) {
	t.Parallel()
	const row = "078-05-1120"
	rec := logRecord()
	rec.Key, rec.Body, rec.Response = []byte(`{"ssn":"`+row+`"}`), []byte(`{"data":"`+row+`"}`), []byte("no such person: "+row)
	rec.Location = "https://***@elsewhere.example.org/persons/" + row
	rec.Error = "redirected to " + rec.Location + ", which is not followed"
	for _, test := range []struct {
		log, own int
		bare     bool
	}{{0, 0, true}, {4000, -1, true}, {0, 100, false}, {4000, 0, false}} {
		rec.BodyLimit = test.own
		line := string(AppendLine(nil, rec, test.log))
		if bare := !strings.Contains(line, row); bare != test.bare {
			t.Errorf("log.body %d, own %d: bare is %v: %s", test.log, test.own, bare, line)
		}
		if test.bare && !strings.Contains(line, `"error":"redirected to https://***@elsewhere.example.org, which is not followed"`) {
			t.Errorf("log.body %d, own %d: the error lost its host: %s", test.log, test.own, line)
		}
	}
}

func TestParseLogLineReadsWhatIsWritten(t *testing.T) {
	t.Parallel()
	for _, r := range logRecords() {
		back, err := ParseLine(AppendLine(nil, r, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		want := *r
		want.BodyLimit = 0
		if len(want.Key) <= 2 {
			want.Key = nil
		}
		if r.BodyLimit != 0 {
			want.Body, back.Body = nil, nil
		}
		if r.BodyLimit < 0 {
			want.Key = nil
		}
		want.Response, back.Response = nil, nil
		if len(want.Body) == 0 {
			want.Body, back.Body = nil, nil
		}
		if !reflect.DeepEqual(back.LogRecord, want) {
			t.Errorf("got  %+v\nwant %+v", back.LogRecord, want)
		}
	}
}

func TestParseLogLineRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "{}", "null", `{"v":2}`, `{"v":1`, "\x00\x00", `{"v":1,"time":"yesterday"}`, `{"v":1,"status":"200"}`} {
		if rec, err := ParseLine([]byte(line)); err == nil {
			t.Errorf("%q gives %+v", line, rec)
		}
	}
}

// FuzzLogLine proves that any record makes one line which reads back as it was.
func FuzzLogLine(f *testing.F) {
	f.Add("desk", "evt_1", "error text", []byte("body"), []byte("response"), 4, 12345, int64(1790000000))
	f.Add("\u2028", "a\nb", "\xff", []byte("\xe2\x82"), []byte{0}, -1, -5, int64(0))
	f.Fuzz(func(t *testing.T, profile, event, text string, body, response []byte, limit, number int, unix int64) {
		unix %= 200_000_000_000 // years of four digits
		if unix < 0 {
			unix = -unix
		}
		rec := delivery.LogRecord{
			Time: time.Unix(unix, 0).UTC(), Profile: profile, Event: event, Error: text, Flags: []string{text}, Status: number, Bytes: number,
			Body: body, Response: response,
		}
		line := AppendLine(nil, &rec, limit)
		if !json.Valid(line) || !utf8.Valid(line) || bytes.ContainsAny(line, "\r\n") {
			t.Fatalf("not a line: %q", line)
		}
		back, err := ParseLine(line)
		if err != nil || !back.Time.Equal(rec.Time) || back.Status != number || !slices.Equal(back.Flags, []string{strings.ToValidUTF8(text, "\ufffd")}) && utf8.ValidString(text) {
			t.Fatalf("%q: %+v, %v", line, back, err)
		}
		if limit > 0 && utf8.RuneCount(back.Body) > limit {
			t.Errorf("%d characters of %d", utf8.RuneCount(back.Body), limit)
		}
		if limit > 0 && !back.BodyTruncated && utf8.Valid(body) && !bytes.Equal(back.Body, body) {
			t.Errorf("body %q became %q", body, back.Body)
		}
	})
}

func FuzzParseLogLine(f *testing.F) {
	for _, r := range logRecords() {
		f.Add(AppendLine(nil, r, 20))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := ParseLine(line)
		if err != nil {
			return
		}
		m, err := newLogMatcher(&Query{Event: "x", Payload: []string{"a.b=1"}})
		if err != nil {
			t.Fatal(err)
		}
		m.matches(&rec)
	})
}

func BenchmarkLogLine(b *testing.B) {
	rec := logRecord()
	rec.Body = bytes.Repeat([]byte(`"member":"some value",`), 18)
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		AppendLine(buf, rec, 4000)
	}
}
