package try

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"rowhook/cmd/rowhook/config"
)

func TestLineDifferences(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a b c", "a b c", ""},
		{"a b c", "a c", "-b"},
		{"a c", "a b c", "+b"},
		{"a b c d", "a x c y", "-b +x -d +y"},
		{"a", "b", "-a +b"},
		{"", "a", "+a"},
	} {
		var got []string
		for _, d := range lineDifferences(strings.Fields(test.a), strings.Fields(test.b)) {
			got = append(got, string(d.sign)+d.line)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q to %q: %v, want %s", test.a, test.b, got, test.want)
		}
	}
}

// FuzzTry holds that no input makes it panic, that what is refused is told with its line, and that
// the same input gives the same output.
func FuzzTry(f *testing.F) {
	for _, file := range []string{"changes.jsonl", "undecided.jsonl"} {
		data, err := os.ReadFile("../testdata/try/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		for line := range bytes.Lines(data) {
			f.Add(line)
		}
	}
	f.Add([]byte(`{"table":"public.fines","op":"truncate"}` + "\n" + `{"table":"public.members","op":"truncate"}` + "\n" + `{"table":"public.loans","op":"insert","new":{"id":1}}`))
	conf, err := config.Load("../testdata/try/config.yaml", func(string) (string, bool) { return "", false }, "whsec_bm8gc2VjcmV0LCBub3RoaW5nIGlzIHNlbnQ=")
	if err != nil {
		f.Fatal(err)
	}
	listing := listingConfig(f)
	output := func(t *testing.T, conf *config.Config, data []byte) string {
		changes, err := parseRecorded("stdin", bytes.NewReader(data))
		var results *Results
		if err == nil {
			results, err = Run(conf, "library", changes, nil)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "stdin:") {
				t.Errorf("error %q has no place", err)
			}
			return err.Error()
		}
		var out bytes.Buffer
		if err := errors.Join(results.WriteJSON(&out, true), results.WriteText(&out, true)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, conf := range []*config.Config{conf, listing} {
			if one, two := output(t, conf, data), output(t, conf, data); one != two {
				t.Errorf("%q and then %q", one, two)
			}
		}
	})
}

// What is held to the end of a transaction is told at the line that it comes from, and of the lines
// that became part of another that nothing came of them.
func TestHeldLines(t *testing.T) {
	t.Parallel()
	conf, err := config.Parse("config.yaml", []byte(`
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
mapping: {public.loans: {coalesce: transaction, key: [id]}, public.other: {key: [id]}}
profiles: {desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}}
`), func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := `{"transaction":"7","table":"public.loans","op":"insert","key":["id"],"new":{"id":1,"n":1}}
{"transaction":"7","table":"public.other","op":"insert","key":["id"],"new":{"id":5}}
{"transaction":"7","table":"public.loans","op":"update","key":["id"],"new":{"id":1,"n":2}}
{"transaction":"7","table":"public.loans","op":"insert","key":["id"],"new":{"id":2,"n":1}}
{"transaction":"7","table":"public.loans","op":"delete","key":["id"],"old":{"id":2}}
`
	changes, err := parseRecorded("in", strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	results, err := Run(conf, "library", changes, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results.list {
		if r.Kind != kindRequest {
			got = append(got, r.At+" "+r.Kind+" "+r.Op)
		}
	}
	want := "in:1 nothing insert|in:2 event insert|in:3 event insert|in:4 nothing insert|in:5 nothing delete"
	if strings.Join(got, "|") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, "|"), want)
	}
}

// listingConfig is a config whose loans list fines and notes, and look members up.
func listingConfig(tb testing.TB) *config.Config {
	tb.Helper()
	conf, err := config.Parse("config.yaml", []byte(`
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
lookups: {members: {table: public.members, key: id, columns: [name]}}
mapping:
  public.loans:
    key: [id]
    lookup: {member: {from: members, by: member_id}}
    parts:
      fines: {table: public.fines, by: loan_id, columns: [amount, reason], max: 3}
      notes: {table: public.notes, by: {loan: id}, columns: text}
    fields: {id: id, fines: fines, said: {column: notes, items: {what: text}}}
profiles: {desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}}
`), func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return conf
}

// TestTriedParts: a list has what the lines told of its table since they emptied it, as it is at the
// end of the event's transaction, in the order of the table's key. Else it is unknown.
func TestTriedParts(t *testing.T) {
	t.Parallel()
	conf := listingConfig(t)
	fine := func(id, loan int, amount string) string {
		return fmt.Sprintf(`{"table":"public.fines","op":"insert","key":["fine_id"],"types":{"fine_id":"bigint","loan_id":"bigint"},"new":{"fine_id":%d,"loan_id":%d,"amount":%s,"reason":null},`, id, loan, amount)
	}
	loan := func(id int) string {
		return fmt.Sprintf(`{"table":"public.loans","op":"insert","key":["id"],"types":{"id":"bigint"},"new":{"id":%d,"member_id":null},`, id)
	}
	const emptied = `{"table":"public.fines","op":"truncate","key":["fine_id"],"types":{"fine_id":"bigint","loan_id":"bigint","amount":"text","reason":"text"},`
	for _, test := range []struct {
		name  string
		lines []string // each with its transaction to come
		want  string   // data of the last event, and what it lacks
	}{
		{"nobody knows what was there", []string{fine(1, 7, `"1"`) + "1", loan(7) + "2"}, `{"id":7} lacks fines said`},
		{"none", []string{emptied + "1", fine(1, 8, `"1"`) + "1", loan(7) + "2"}, `{"id":7,"fines":[]} lacks said`},
		{"by their key, numbers by their size", []string{emptied + "1", fine(10, 7, `"10"`) + "1", fine(9, 7, `"9"`) + "1", loan(7) + "2"},
			`{"id":7,"fines":[{"amount":"9","reason":null},{"amount":"10","reason":null}]} lacks said`},
		{"what the transaction does behind the event", []string{emptied + "1", fine(1, 7, `"1"`) + "1", loan(7) + "2", fine(2, 7, `"2"`) + "2",
			`{"table":"public.fines","op":"update","key":["fine_id"],"types":{"fine_id":"bigint","loan_id":"bigint"},"old":{"fine_id":1},"new":{"fine_id":1,"loan_id":7,"amount":"1.5","reason":"late"},` + "2"},
			`{"id":7,"fines":[{"amount":"1.5","reason":"late"},{"amount":"2","reason":null}]} lacks said`},
		{"moved and deleted", []string{emptied + "1", fine(1, 7, `"1"`) + "1", fine(2, 7, `"2"`) + "1", fine(3, 7, `"3"`) + "1",
			`{"table":"public.fines","op":"update","key":["fine_id"],"types":{"fine_id":"bigint","loan_id":"bigint"},"old":{"fine_id":1},"new":{"fine_id":1,"loan_id":8,"amount":"1","reason":null},` + "1",
			`{"table":"public.fines","op":"delete","key":["fine_id"],"types":{"fine_id":"bigint","loan_id":"bigint"},"old":{"fine_id":2},` + "1", loan(7) + "2"},
			`{"id":7,"fines":[{"amount":"3","reason":null}]} lacks said`},
		{"too many", []string{emptied + "1", fine(4, 7, `"4"`) + "1", fine(3, 7, `"3"`) + "1", fine(2, 7, `"2"`) + "1", fine(1, 7, `"1"`) + "1", loan(7) + "2"},
			`{"id":7,"fines":[{"amount":"1","reason":null},{"amount":"2","reason":null},{"amount":"3","reason":null}]} lacks fines[3:] said`},
		{"both", []string{emptied + "1", `{"table":"public.notes","op":"truncate",` + "1",
			`{"table":"public.notes","op":"insert","key":["n"],"types":{"n":"bigint","loan":"bigint"},"new":{"n":1,"loan":7,"text":"call"},` + "1", loan(7) + "2"},
			`{"id":7,"fines":[],"said":[{"what":"call"}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var text strings.Builder
			for _, line := range test.lines { // each ends with its transaction's name
				last := len(line) - 1
				fmt.Fprintf(&text, "%s\"transaction\":%q}\n", line[:last], line[last:])
			}
			changes, err := parseRecorded("in", strings.NewReader(text.String()))
			if err != nil {
				t.Fatal(err)
			}
			results, err := Run(conf, "library", changes, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, r := range results.list {
				switch r.Kind {
				case kindProblem:
					t.Errorf("%s: %s", r.At, r.Error)
				case kindRequest:
					var body struct {
						Data        json.RawMessage
						Unavailable []string
					}
					if err := json.Unmarshal([]byte(r.text), &body); err != nil {
						t.Fatal(err)
					}
					if got = string(body.Data); len(body.Unavailable) > 0 {
						got += " lacks " + strings.Join(body.Unavailable, " ")
					}
				}
			}
			if got != test.want {
				t.Errorf("the event says %s\nwant %s", got, test.want)
			}
		})
	}
}

// A change of a looked-up row touches the rows that the lines told, at its own line.
func TestTouchedLines(t *testing.T) {
	t.Parallel()
	conf, err := config.Parse("config.yaml", []byte(`
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
lookups: {members: {table: public.members, key: id, columns: [name]}}
mapping:
  public.loans:
    key: [id]
    lookup: {member: {from: members, by: who}}
    fields: {id: id, name: member.name}
    events: {loan.renamed: {touch: member, changed: member.name}}
profiles: {desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}}
`), func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := `{"table":"public.loans","op":"insert","key":["id"],"new":{"id":1,"who":5}}
{"table":"public.loans","op":"insert","key":["id"],"new":{"id":2,"who":6}}
{"transaction":"7","table":"public.members","op":"update","key":["id"],"old":{"id":5,"name":"Ann"},"new":{"id":5,"name":"Zoe"}}
{"transaction":"7","table":"public.loans","op":"insert","key":["id"],"new":{"id":3,"who":5}}
{"table":"public.members","op":"update","key":["id"],"old":{"id":5},"new":{"id":5,"name":"Ida"}}
{"table":"public.members","op":"update","key":["id"],"old":{"id":5},"new":{"id":5,"name":"Ida"}}
{"table":"public.members","op":"update","key":["id"],"old":{"id":6},"new":{"id":6,"name":"Bob"}}
`
	changes, err := parseRecorded("in", strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	results, err := Run(conf, "library", changes, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results.list {
		if r.Kind != kindRequest {
			got = append(got, r.At+" "+r.Kind+" "+string(r.Key)+r.Reason)
		}
	}
	want := `in:1 nothing |in:2 nothing |in:3 event {"id":1}|in:4 nothing |in:5 event {"id":1}|in:5 event {"id":3}|in:6 nothing |in:7 problem undecidable`
	if strings.Join(got, "|") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, "|"), want)
	}
}
