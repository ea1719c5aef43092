package format

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"rowhook/delivery"
)

// form returns the formatter of a profile with what change makes of it.
func form(t testing.TB, format string, change func(*delivery.ProfileConfig)) delivery.GroupFormatter {
	t.Helper()
	f, err := Products().Formatter(profile(format, change))
	if err != nil {
		t.Fatal(err)
	}
	return f.(delivery.GroupFormatter)
}

func profile(format string, change func(*delivery.ProfileConfig)) delivery.ProfileConfig {
	cfg := Products().Defaults(format)
	cfg.Code = "desk"
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// request writes what a format makes of an event: headers, if it has any of its own, and the body.
func request(t testing.TB, f delivery.Formatter, ev *delivery.Event) string {
	t.Helper()
	body, err := f.AppendBody([]byte("before"), ev)
	if err != nil || !bytes.HasPrefix(body, []byte("before")) {
		t.Fatal(err, string(body))
	}
	return written(f.Head(ev), body[len("before"):])
}

func written(head delivery.Head, body []byte) string {
	var out strings.Builder
	out.WriteString("content-type: " + head.ContentType + "\n")
	for _, h := range head.Header {
		out.WriteString(h.Name + ": " + h.Value + "\n")
	}
	out.Write(body)
	return out.String() + "\n"
}

// group makes a group of all events, in the order of their names.
func group(g delivery.Group) *delivery.Group {
	all := events()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	g.Count, g.First = len(names), all[names[0]]
	g.Events = func(yield func(*delivery.Event, error) bool) {
		for _, name := range names {
			if !yield(all[name], nil) {
				return
			}
		}
	}
	return &g
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

const incident = `{"summary":{{json .desc}},"who":{{json .actor.name}},"note":"{{.data.missing}}","row":{{json .data}},` +
	`"fee":"{{default "none" .data.fee}}"{{range .unavailable}},{{json .}}:"?"{{end}}}`

// formatters are the formats whose bytes are held in testdata, a file each.
func formatters(t testing.TB) map[string]delivery.GroupFormatter {
	return map[string]delivery.GroupFormatter{
		"cloudevents":         form(t, "cloudevents", nil),
		"cloudevents_bigints": form(t, "cloudevents", func(p *delivery.ProfileConfig) { p.Bigint = "string" }),
		"cloudevents_binary":  form(t, "cloudevents", func(p *delivery.ProfileConfig) { p.CloudEvents.Mode = "binary" }),
		"slack":               form(t, "slack", nil),
		"template":            form(t, "template", func(p *delivery.ProfileConfig) { p.Template = incident }),
	}
}

func TestFormatsGolden(t *testing.T) {
	t.Parallel()
	all := events()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for name, f := range formatters(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			for _, event := range names {
				out.WriteString("# " + event + "\n" + request(t, f, all[event]))
				body, _ := f.AppendBody(nil, all[event])
				assertBody(t, body)
			}
			golden(t, name+".txt", out.String())
		})
	}
}

func TestGroupsGolden(t *testing.T) {
	t.Parallel()
	batch := `{"n":{{.count}},"ids":[{{range $i, $e := .events}}{{if $i}},{{end}}{{json $e.id}}{{end}}]}`
	for name, f := range map[string]delivery.GroupFormatter{
		"cloudevents_batch": form(t, "cloudevents", func(p *delivery.ProfileConfig) { p.Unit = "batch" }),
		"slack_batch":       form(t, "slack", func(p *delivery.ProfileConfig) { p.Unit = "batch" }),
		"template_batch":    form(t, "template", func(p *delivery.ProfileConfig) { p.Unit, p.Template = "batch", batch }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := group(delivery.Group{ID: "grp_1", Unit: "batch"})
			var out bytes.Buffer
			if err := f.WriteGroup(&out, g); err != nil {
				t.Fatal(err)
			}
			assertBody(t, out.Bytes())
			golden(t, name+".txt", written(f.GroupHead(g), out.Bytes()))

			broken := errors.New("the spool is gone")
			g.Events = iter.Seq2[*delivery.Event, error](func(yield func(*delivery.Event, error) bool) { yield(nil, broken) })
			if err := f.WriteGroup(&out, g); !errors.Is(err, broken) {
				t.Errorf("a group whose events fail: %v", err)
			}
		})
	}
}

// TestCloudEventsAreTaken has the CloudEvents SDK read what is sent, in both modes.
func TestCloudEventsAreTaken(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]delivery.GroupFormatter{
		"structured": formatters(t)["cloudevents"], "binary": formatters(t)["cloudevents_binary"],
	} {
		for shape, ev := range events() {
			t.Run(name+"/"+shape, func(t *testing.T) {
				t.Parallel()
				body, err := f.AppendBody(nil, ev)
				if err != nil {
					t.Fatal(err)
				}
				head := f.Head(ev)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", head.ContentType)
				for _, h := range head.Header {
					req.Header.Set(h.Name, h.Value)
				}
				got, err := binding.ToEvent(context.Background(), cehttp.NewMessageFromHttpRequest(req))
				if err != nil {
					t.Fatal(err)
				}
				if err := got.Validate(); err != nil {
					t.Error(err)
				}
				if got.ID() != ev.ID || got.Type() != ev.Type || !got.Time().Equal(ev.Time.Truncate(1000)) {
					t.Errorf("taken as %v", got)
				}
				var data struct{ Key, Data json.RawMessage }
				if err := got.DataAs(&data); err != nil || len(ev.Data) > 0 && !bytes.Equal(data.Data, ev.Data) {
					t.Errorf("data %s, %v", got.Data(), err)
				}
			})
		}
	}
}

// TestHeaderValue holds the binding's percent-encoding, with its own example.
// TestPathEscaped holds that sources are escaped as net/url does it.
func TestPathEscaped(t *testing.T) {
	t.Parallel()
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	if got, want := string(appendPathEscaped(nil, string(all))), url.PathEscape(string(all)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHeaderValue(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"plain-1.0/a":      "plain-1.0/a",
		"Euro € 😀":         "Euro%20%E2%82%AC%20%F0%9F%98%80",
		"50% of \"all\"\n": "50%25%20of%20%22all%22%0A",
		"\x7f":             "%7F",
	} {
		if got := headerValue(value); got != want {
			t.Errorf("%q becomes %q, want %q", value, got, want)
		}
	}
}

func TestCloudEventsRefuses(t *testing.T) {
	t.Parallel()
	_, err := Products().Formatter(profile("cloudevents", func(p *delivery.ProfileConfig) { p.CloudEvents.Mode, p.Unit = "binary", "batch" }))
	var fault *delivery.ConfigError
	if !errors.As(err, &fault) || strings.Join(fault.ConfigPath(), ".") != "profiles.desk.unit" || fault.RemedyText() == "" {
		t.Errorf("binary batches: %v", err)
	}
}

func TestSlackKeepsLinesShort(t *testing.T) {
	t.Parallel()
	desc := "A <loan> & more"
	ev := &delivery.Event{
		Making: &delivery.Making{Type: "loan.returned", Title: "Loans", As: map[string]*string{"desc": &desc}},
		Commit: &delivery.Commit{Actor: delivery.Actor{ID: "aa", Name: "Mina"}, Operation: "web_form"},
		Key:    []byte(`{"a":1,"b":"x\ny"}`), Link: "https://ils.example.org/?a=1&b=|2",
	}
	want := `{"text":"*A &lt;loan&gt; &amp; more* · Loans 1/x y · Mina · web_form · <https://ils.example.org/?a=1&amp;b=%7C2|open>"}`
	if got, _ := newSlack().AppendBody(nil, ev); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	many := &delivery.Group{First: ev, Events: func(yield func(*delivery.Event, error) bool) {
		for range 3 * slackLines {
			if !yield(ev, nil) {
				return
			}
		}
	}}
	var out bytes.Buffer
	if err := newSlack().WriteGroup(&out, many); err != nil || !strings.HasSuffix(out.String(), `\n… and 40 more"}`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}
