package format

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"rowhook/delivery"
)

func withTemplate(text string) delivery.ProfileConfig {
	return profile("template", func(p *delivery.ProfileConfig) { p.Template = text })
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	ev := &delivery.Event{
		Making: &delivery.Making{Type: "loan.returned"},
		Commit: &delivery.Commit{Actor: delivery.Actor{Name: "Mina"}},
		ID:     "evt_1", Unavailable: []string{"note", "big"}, Key: []byte(`{"loan_id":9007199254740993}`),
		Data: []byte(`{"title":"A \"B\" <c>","fee":"12.50","n":null,"tags":["a",1],"lib":{"value":"MAIN"},"ok":true,"count":7}`),
	}
	for text, want := range map[string]string{
		`{{.type}} {{.desc}}`:                                         "loan.returned Loan returned",
		`{{.key.loan_id}}`:                                            "9007199254740993",
		`{{json .data.title}} {{.data.title}}`:                        `"A \"B\" <c>" A "B" <c>`,
		`[{{.data.n}}][{{.data.nowhere}}][{{.data.lib.nowhere}}]`:     "[][][]",
		`{{.data.tags}} {{json .data.lib}} {{.data.ok}}`:              `["a",1] {"value":"MAIN"} true`,
		`{{default "none" .data.n}} {{default "x" .data.fee}}`:        "none 12.50",
		`{{printf "%05d|%s|%.1f" .data.count .data.fee .data.count}}`: "00007|12.50|7.0",
		`{{join ", " .unavailable}} {{upper .actor.name}}`:            "note, big MINA",
		`{{truncate 3 "図書館の話"}}`:                                      "図書館",
		`{{$t := .data.title}}{{with .data.lib}}{{.value}}{{end}}`:    "MAIN",
		`{{if eq .data.count "7"}}seven{{end}}`:                       "seven",
		`{{define "a"}}<{{.}}>{{end}}{{template "a" .type}}`:          "<loan.returned>",
		`{{print .data.count .data.n .data.ok}}`:                      "7true",
	} {
		f, err := Products().Formatter(withTemplate(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := f.AppendBody(nil, ev); err != nil || string(got) != want {
			t.Errorf("%s\ngot  %s\nwant %s (%v)", text, got, want, err)
		}
	}
}

// TestTemplateContentType holds that a template whose sample is JSON is sent as JSON.
// TestTemplateLooksAt: rows are read only where the template looks at them, however it gets there.
func TestTemplateLooksAt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{{.desc}} {{json .actor.name}}`:                            "",
		`{{.key.loan_id}}`:                                          "key",
		`{{$.data.fee}}{{with .previous}}{{.returned_at}}{{end}}`:   "data previous",
		`{{range $n, $v := .data}}{{$n}}{{end}}`:                    "data",
		`{{if .link}}{{.title}}{{else}}{{(index .key "a")}}{{end}}`: "key",
		`{{index . "data"}}`:                                        "key data previous",
		`{{$e := $}}{{$e.data.fee}}`:                                "key data previous",
		`{{define "x"}}{{.data}}{{end}}{{template "x" $}}`:          "key data previous",
		`{{define "x"}}{{.fee}}{{end}}{{template "x" .data}}`:       "data",
		`{{range .unavailable}}{{.}}{{end}}`:                        "key data previous",
		`{{printf "%s" (json .previous) | upper}}{{/* .data */}}`:   "previous",
		`{{range .unavailable}}{{if $}}{{break}}{{end}}{{end}}`:     "key data previous",
		`{{range .unavailable}}x{{break}}{{end}}`:                   "",
	} {
		f, err := newTemplate(withTemplate(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.rows, " "); got != want {
			t.Errorf("%s reads %q, want %q", text, got, want)
		}
	}
}

func TestTemplateContentType(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"id":{{json .id}}}`: "application/json",
		`loan {{.id}}`:        "text/plain; charset=utf-8",
	} {
		f, err := Products().Formatter(withTemplate(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Head(nil).ContentType; got != want {
			t.Errorf("%s is sent as %s", text, got)
		}
	}
}

// TestTemplateRefuses holds that what is wrong with a template shows at load, with its line.
func TestTemplateRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "missing",
		"a\n{{.id":                 "line 2:",
		"a\n\n{{nosuch .id}}":      `line 3: function "nosuch" not defined`,
		"{{.id.Length}}":           "line 1:5: Length: not a member of an object",
		"{{call .id}}":             "error calling call",
		"{{range 2000000}}{{end}}": errRunaway.Error(),
		"{{range 2000}}{{range 2000}}{{end}}{{end}}":                          errRunaway.Error(),
		`{{printf "%99999d" 1}}`:                                              "widths go up to 999",
		`{{printf "%*d" 99999 1}}`:                                            "widths go up to 999",
		`{{printf "%1024s" "a"}}`:                                             "widths go up to 999",
		`{{printf "%.1024s%.1024d" "a" 1}}`:                                   "widths go up to 999",
		`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`:               "",
		`{{$s := "xxxxxxxx"}}{{range 60}}{{$s = printf "%s%s" $s $s}}{{end}}`: errRunaway.Error(),
	} {
		_, err := Products().Formatter(withTemplate(text))
		var fault *delivery.ConfigError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) || fault.RemedyText() == "" {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Whatever a template does, and whatever is in the row, a body costs bounded memory and time.
func TestTemplatesAreBounded(t *testing.T) {
	large := &delivery.Event{
		Making: &delivery.Making{Type: "loan.returned"},
		Commit: &delivery.Commit{},
		ID:     "evt_1", Key: []byte(`{"id":1}`),
		Data: []byte(`{"small":"x","big":"` + strings.Repeat("'<", 2<<20) + `","list":[` + strings.Repeat("1,", 100_000) + `1]}`),
	}
	const most = 600 << 20
	for name, text := range map[string]string{
		"js doubled":          `{{$s := "''''''''"}}{{range 60}}{{$s = js $s $s}}{{end}}`,
		"html doubled":        `{{$s := "<<<<<<<<"}}{{range 60}}{{$s = html $s $s}}{{end}}`,
		"urlquery doubled":    `{{$s := "????????"}}{{range 60}}{{$s = urlquery $s $s}}{{end}}`,
		"print doubled":       `{{$s := "xxxxxxxx"}}{{range 60}}{{$s = print $s $s}}{{end}}`,
		"escaped by the row":  `{{if .data.big}}{{range 1000}}{{$x := js $.data.big}}{{end}}{{end}}`,
		"upper by the row":    `{{range $.data.list}}{{$x := upper $.data.big}}{{end}}`,
		"printf by the row":   `{{if .data.big}}{{printf "` + strings.Repeat("%[1]q", 1000) + `" .data.big}}{{end}}`,
		"joined by the row":   `{{if .data.big}}{{$x := join $.data.big $.data.list}}{{end}}`,
		"JSON by the row":     `{{range .data.list}}{{$x := json $.data}}{{end}}`,
		"a long loop":         `{{$n := 0}}{{range 1000000000}}{{$n = .}}{{end}}{{$n}}`,
		"loops in loops":      `{{range 9999}}{{range 9999}}{{$x := len "x"}}{{end}}{{end}}`,
		"long comparisons":    `{{$a := print $.data.big ""}}{{range 1000000}}{{$x := eq $.data.big $a}}{{end}}`,
		"comparisons":         `{{if .data.big}}{{$a := upper $.data.big}}{{$b := upper $.data.big}}{{range 1000000}}{{$x := eq $a $b}}{{end}}{{end}}`,
		"pipelines":           `{{range 500000}}{{$x := ` + strings.Repeat("(len ", 500) + `"x"` + strings.Repeat(" | print)", 500) + `}}{{end}}`,
		"templates in loops":  `{{define "a"}}{{range 1000}}{{len "x"}}{{end}}{{end}}{{range 1000000}}{{template "a"}}{{end}}`,
		"templates in itself": `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"the row again":       `{{range .data.list}}{{$.data.big}}{{end}}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Products().Formatter(withTemplate(text))
		if err == nil {
			_, err = f.AppendBody(nil, large)
		}
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > most {
			t.Errorf("%s: %d MiB allocated (%v)", name, allocated>>20, err)
		}
	}
}

// A template's functions count for each body apart, also of bodies made at the same time.
func TestTemplateBodiesAtTheSameTime(t *testing.T) {
	t.Parallel()
	f, err := Products().Formatter(withTemplate(`{{range 1000}}{{js "''''''''"}}{{end}}`))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if body, err := f.AppendBody([]byte("> "), &delivery.Event{Making: &delivery.Making{Type: "loan.returned"}, Commit: &delivery.Commit{}, ID: "evt_1", Key: []byte(`{}`), Data: []byte(`{}`)}); err != nil || len(body) != 2+1000*16 {
					t.Errorf("%d bytes, %v", len(body), err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzTemplate holds that no template makes the loader panic or hang.
func FuzzTemplate(f *testing.F) {
	f.Add(incident)
	f.Add("{{range 3}}{{.}}{{end}}{{printf \"%d\" 3}}")
	f.Add("{{with $x := .data}}{{$x.id}}{{else}}{{json .}}{{end}}")
	f.Fuzz(func(t *testing.T, text string) {
		formatter, err := Products().Formatter(withTemplate(text))
		if err != nil {
			return
		}
		for _, ev := range events() {
			if body, err := formatter.AppendBody(nil, ev); err == nil && len(body) > maxTemplateBody {
				t.Errorf("a body of %d bytes", len(body))
			}
		}
	})
}

// TestTemplateBigint writes 64-bit integers in quotes where the profile wants that: as a column, in
// a key, nested and in a list. printf still takes them for numbers.
func TestTemplateBigint(t *testing.T) {
	t.Parallel()
	ev := &delivery.Event{
		Making: &delivery.Making{Bigints: []string{"n", "of.n", "list", "a.b", "text", "rows.n", "rows.of.n"}},
		Commit: &delivery.Commit{},
		Key:    []byte(`{"n":9007199254740993}`), Data: []byte(`{"n":9007199254740993,"small":7,"of":{"n":1,"small":7},"list":[1,[2]],"a.b":3,"text":"4","rows":[{"n":5,"small":5},[{"n":6}],7,{"of":{"n":8}}]}`),
	}
	for bigint, want := range map[string]string{
		"number": `{"n":9007199254740993} {"a.b":3,"list":[1,[2]],"n":9007199254740993,"of":{"n":1,"small":7},"rows":[{"n":5,"small":5},[{"n":6}],7,{"of":{"n":8}}],"small":7,"text":"4"} 9007199254740993 01`,
		"string": `{"n":"9007199254740993"} {"a.b":"3","list":["1",["2"]],"n":"9007199254740993","of":{"n":"1","small":7},"rows":[{"n":"5","small":5},[{"n":"6"}],7,{"of":{"n":"8"}}],"small":7,"text":"4"} 9007199254740993 01`,
	} {
		cfg := withTemplate(`{{json .key}} {{json .data}} {{.data.n}} {{with .data.of}}{{printf "%02d" .n}}{{end}}`)
		cfg.Bigint = bigint
		f, err := Products().Formatter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.AppendBody(nil, ev)
		if err != nil || string(got) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", bigint, got, err, want)
		}
	}
}

// TestTemplatePage holds the page for users to the functions that there are, and shows that cutting
// a text works as it says.
func TestTemplatePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range new(run).funcs() {
		if !strings.HasPrefix(name, "_") && !strings.Contains(string(page), "`"+name+" ") {
			t.Errorf("docs/templates.md does not name %s", name)
		}
	}
	ev := &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{}, Data: []byte(`{"s":"` + strings.Repeat("漢", 3000) + `"}`)}
	for _, text := range []string{`{{printf "%.1024s" .data.s}}`, `{{truncate 1024 .data.s}}`} {
		f, err := Products().Formatter(withTemplate(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := f.AppendBody(nil, ev)
		if n := utf8.RuneCount(got); err != nil || n != 1024 {
			t.Errorf("%s: %d characters, %v", text, n, err)
		}
	}
}
