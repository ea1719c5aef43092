package format

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"

	"rowhook/delivery"
)

// benchmarkEvents are what formats are measured with: a short event, a loan with all that Alma's
// messages have of one, and one with what needs care: objects and lists of JSON columns, numbers
// that JavaScript would write otherwise, and texts with escapes and markup.
func benchmarkEvents(t testing.TB) map[string]*delivery.Event {
	complete := func(data, kinds string) *delivery.Event {
		var line bytes.Buffer
		if err := json.Compact(&line, []byte(data)); err != nil {
			t.Fatal(err)
		}
		ev := *events()["update"]
		ev.Title, ev.Code, ev.Entry, ev.Object, ev.OrderKey = "Loans", "LOANS", "circulation.loans", "item_loan", "circulation.loans/1000"
		ev.Data, ev.Kinds = line.Bytes(), kinds
		ev.Marks = marks(t, &ev)
		return &ev
	}
	loan := almaEvents()["loan"]
	return map[string]*delivery.Event{
		"short": complete(string(events()["update"].Data), "Inz"),
		"loan":  complete(string(loan.Data), loan.Kinds),
		"care": complete(`{"loan_id":9007199254740993,"note":"He said \"done\" & left <soon>\n図書館の話 \u2028 \\ 😀","price":12.50,"weight":0.1,
  "counters":[{"type":{"value":"label.new.records","desc":"New records"},"value":"12"},{"type":{"value":"label.old.records","desc":null},"value":1.0}],
  "day":"2026-01-02","seen_at":"2026-01-02T03:04:05.678000Z","contact":{"address":[],"email":[{"email_address":"t@example.org","preferred":true}]},
  "tags":["a","b<c"],"gone":null}`, "ISffjdzjlx"),
	}
}

// marks are an event's as the mapping makes them.
func marks(t testing.TB, ev *delivery.Event) []byte {
	marks, last, member := []byte{}, 0, 0
	var x xmlWriter
	err := x.members(ev.Data, func(_, value []byte) error {
		kind, mark := ev.Kinds[member], delivery.MarkRewrite
		at := cap(ev.Data) - cap(value)
		switch member++; {
		case string(value) == "null":
			return nil
		case kind == delivery.KindDate:
			mark = delivery.MarkDate
		case kind == delivery.KindInstant:
			mark = delivery.MarkInstant
		case kind == delivery.KindJSON || kind == delivery.KindList || kind == delivery.KindFloat || kind == delivery.KindBigint && len(value) > 15:
		default:
			return nil
		}
		marks = delivery.AppendMark(marks, at-last, mark)
		last = at
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return marks
}

// benchmarkFormats are the formats and message types, each with what stands beside it: native in
// the same message type and unit.
var benchmarkFormats = []struct {
	name   string
	config func(*delivery.ProfileConfig)
	group  bool // of 100 events
}{
	{"native_json", nil, false},
	{"native_json_strings", func(c *delivery.ProfileConfig) { c.Bigint = "string" }, false},
	{"native_xml", asXML, false},
	{"native_json_batch", func(c *delivery.ProfileConfig) { c.Unit = "batch" }, true},
	{"native_xml_batch", func(c *delivery.ProfileConfig) { asXML(c); c.Unit = "batch" }, true},
	{"cloudevents_structured", formatted("cloudevents"), false},
	{"cloudevents_binary", func(c *delivery.ProfileConfig) {
		formatted("cloudevents")(c)
		c.CloudEvents.Mode = "binary"
	}, false},
	{"cloudevents_batch", func(c *delivery.ProfileConfig) { formatted("cloudevents")(c); c.Unit = "batch" }, true},
	{"alma_json", func(c *delivery.ProfileConfig) { *c = almaConfig(nil) }, false},
	{"alma_xml", func(c *delivery.ProfileConfig) { *c = almaConfig(asXML) }, false},
	{"rakuraku_record", func(c *delivery.ProfileConfig) { *c = rakurakuConfig(nil) }, false},
	{"rakuraku_type", func(c *delivery.ProfileConfig) { *c = rakurakuConfig(nil); c.Unit = "type" }, true},
	{"slack", formatted("slack"), false},
	{"slack_batch", func(c *delivery.ProfileConfig) { formatted("slack")(c); c.Unit = "batch" }, true},
	{"template", func(c *delivery.ProfileConfig) { formatted("template")(c); c.Template = chatTemplate }, false},
	{"template_row", func(c *delivery.ProfileConfig) { formatted("template")(c); c.Template = incident }, false},
}

// chatTemplate is a message for a chat, as the example configuration has one.
const chatTemplate = `{"text": {{json .desc}}, "who": {{json .actor.name}}, "loan": "{{.key.loan_id}}"}`

func formatted(name string) func(*delivery.ProfileConfig) {
	return func(c *delivery.ProfileConfig) { *c = profile(name, nil) }
}

// BenchmarkFormats measures what a body costs, its headers included, beside native's in the same
// run, in turns, so that a busy machine slows both. Of groups it tells the cost of an event among a
// hundred.
func BenchmarkFormats(b *testing.B) {
	all := benchmarkEvents(b)
	for _, format := range benchmarkFormats {
		for _, event := range []string{"short", "loan", "care"} {
			b.Run(format.name+"/"+event, func(b *testing.B) {
				cfg := profile("native", nil)
				if format.config != nil {
					format.config(&cfg)
				}
				message := cfg.MessageType
				own := body(b, cfg, all[event], format.group)
				floor := body(b, profile("native", func(c *delivery.ProfileConfig) { c.MessageType = message }), all[event], format.group)
				beside := body(b, profile("native", nil), all[event], format.group)
				compare(b, own, floor, beside)
			})
		}
	}
}

// body returns what makes one body, or one of a group of a hundred.
func body(b *testing.B, cfg delivery.ProfileConfig, ev *delivery.Event, grouped bool) func() {
	f, err := Products().Formatter(cfg)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 16<<10)
	if !grouped {
		return func() {
			headers = f.Head(ev)
			if _, err := f.AppendBody(buf, ev); err != nil {
				b.Fatal(err)
			}
		}
	}
	const members = 100
	g := &delivery.Group{ID: "grp_1", Unit: cfg.Unit, Type: ev.Type, Count: members, First: ev, Events: func(yield func(*delivery.Event, error) bool) {
		for range members {
			if !yield(ev, nil) {
				return
			}
		}
	}}
	writer, n := f.(delivery.GroupFormatter), 0
	return func() {
		if n++; n%members != 0 {
			return
		}
		headers = writer.GroupHead(g)
		if err := writer.WriteGroup(io.Discard, g); err != nil {
			b.Fatal(err)
		}
	}
}

// headers keeps what is measured from being optimised away.
var headers delivery.Head

// compare reports a body's cost beside native's in the same message type, and native's JSON: of
// many turns the median each, which a busy machine moves least.
func compare(b *testing.B, own, floor, beside func()) {
	const rounds = 200
	measure := func(one func()) float64 {
		started := time.Now()
		for range rounds {
			one()
		}
		return float64(time.Since(started)) / rounds
	}
	allocations := testing.AllocsPerRun(rounds, own)
	var spent [3][]float64
	for b.Loop() {
		for i, one := range [...]func(){own, floor, beside} {
			spent[i] = append(spent[i], measure(one))
		}
	}
	var median [3]float64
	for i := range spent {
		slices.Sort(spent[i])
		median[i] = spent[i][len(spent[i])/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median[0], "ns/body")
	b.ReportMetric(median[1], "native-ns/body")
	b.ReportMetric(median[0]/median[1], "ratio")
	b.ReportMetric(median[0]/median[2], "to-native-json")
	b.ReportMetric(allocations, "allocs/body")
}
