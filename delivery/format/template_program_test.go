package format

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// TestTemplatePrograms renders random templates on random events both ways: by their programs,
// and by text/template alone. Bytes and errors must be the same.
func TestTemplatePrograms(t *testing.T) {
	t.Parallel()
	const templates, bodies = 1500, 5
	compiled, finished, all := 0, 0, 0
	for seed := range uint64(templates) {
		d := newDice(seed)
		text, grouped := d.template()
		f, err := newTemplate(d.config(text, grouped))
		if err != nil {
			continue
		}
		all++
		if f.event == nil && !grouped || f.group == nil && grouped {
			continue
		}
		compiled++
		for range bodies {
			if grouped {
				finished += assertGroup(t, f, text, d.events())
			} else {
				finished += assertEvent(t, f, text, d.event())
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d templates, %d of them programs, %d of %d bodies finished by them", all, compiled, finished, compiled*bodies)
	if compiled < all*3/4 || finished < compiled*bodies/2 {
		t.Error("too few for a proof")
	}
}

// TestTemplateProgramsCorners does so with what chance seldom finds.
func TestTemplateProgramsCorners(t *testing.T) {
	t.Parallel()
	for text, object := range map[string]string{
		`{{range .data.l}}[{{.}}]{{end}}`:                                `{"l":[null,1,"",[],{}]}`,
		`{{range .data.l}}{{.s}}{{end}}`:                                 `{"l":[{"s":1},null]}`,
		`{{range .data.l}}{{.s.t}}{{end}}`:                               `{"l":[{"s":1},null]}`,
		`{{range .data.l}}{{$x := .}}{{$x.s}}{{end}}`:                    `{"l":[{"s":1},null]}`,
		`{{range $e := .data.l}}{{$e.s}}{{end}}{{range .data.m}}{{end}}`: `{"l":[{"s":1},null]}`,
		`{{json .data}}{{.data.a}}{{.data.o.a}}`:                         `{"b":1,"a":2,"b":3,"a":{"y":1,"x":2,"y":3},"o":{"a":1,"b":2,"a":3}}`,
		`{{json (truncate 3 .data.a)}}{{truncate 2 .data.b | json}}`:     `{"a":"\u56f3書館の","b":1234}`,
		`{{json (truncate 9 .data.a)}}`:                                  `{"a":"\u56f3\/\u2028"}`,
		`{{print 1 2 .data.n "x" 3 true .data.b}}`:                       `{"n":4,"b":false}`,
		`{{eq .data.n nil}}{{ne .data.n "x"}}`:                           `{"n":null}`,
		`{{eq .data.n 1}}`:                                               `{"n":1}`,
		`{{if .data.n}}a{{end}}{{if .seq}}b{{end}}{{not .data.f}}`:       `{"n":0,"f":false}`,
		`{{printf "%d %s" .data.n .data.n}}`:                             `{"n":-0}`,
		`{{printf "%d" .data.n}}`:                                        `{"n":1.0}`,
		`{{if 1}}{{$x := 1}}{{$x = "b"}}{{$x}}{{end}}{{$x := 2}}{{$x}}`:  `{}`,
		`{{$x := 1}}{{range .data.l}}{{$x := .}}{{$x}}{{end}}{{$x}}`:     `{"l":[2,3]}`,
		`{{with .data}}{{with .nosuch}}{{else}}{{.a}}{{end}}{{end}}`:     `{"a":7}`,
		`{{range $i, $e := .data}}{{$i | truncate 1}}={{$e}} {{end}}`:    `{"zz":1,"名前":2,"a":3,"zz":4}`,
		`{{index .data "a-b"}}{{with .data.o}}{{index . "x"}}{{end}}`:    `{"a-b":1,"o":{"y":1}}`,
		`{{with .data.o}}{{index .n "x"}}{{end}}`:                        `{"o":{"n":null}}`,
		`{{json .data}}`: " {\"b\" : [ 1 , { \"y\" : 2 , \"x\":[ ] } ] ,\n\"a\":{ } } ",
	} {
		cfg := withTemplate(text)
		for _, cfg.Bigint = range []string{"", "string"} {
			f, err := newTemplate(cfg)
			if err != nil || f.event == nil {
				t.Fatalf("%s: %v", text, err)
			}
			for range 2 { // the second time with what is known of the first
				assertEvent(t, f, text, &delivery.Event{Making: &delivery.Making{Bigints: []string{"n", "o.a", "b", "l"}}, Commit: &delivery.Commit{}, Data: []byte(object)})
			}
		}
	}
}

// FuzzTemplatePrograms does so with any template on any row.
func FuzzTemplatePrograms(f *testing.F) {
	f.Add(incident, `{"fee":1.50,"a":[1,"\u2028",{"b":null,"a":"\/"}]}`, "note", true)
	f.Add(`{{range $n, $v := .data}}{{$n}}{{$v | json | upper | truncate 3}}{{end}}`, `{"b":1,"a":{"y":2,"x":3},"b":4}`, "", false)
	f.Add(`{{with $x := .data.a}}{{printf "%s-%d%%" .b .c}}{{else}}{{print 1 2 .key}}{{end}}{{if eq .op "insert" "update"}}{{html .data.t}}{{end}}`, `{"a":{"b":"x","c":7},"t":"<'&\u0000"}`, "a.b", true)
	f.Fuzz(func(t *testing.T, text, object, name string, bigints bool) {
		cfg := withTemplate(text)
		if bigints {
			cfg.Bigint = "string"
		}
		formatter, err := newTemplate(cfg)
		if err != nil || formatter.event == nil {
			return
		}
		assertEvent(t, formatter, text, &delivery.Event{
			Making: &delivery.Making{Type: name, Op: "insert", Table: name, Bigints: []string{name, "a"}},
			Commit: &delivery.Commit{Time: time.UnixMilli(1795309323456), Actor: delivery.Actor{Name: name}},
			ID:     name, Key: []byte(object), Data: []byte(object), Previous: []byte(object), Unavailable: []string{name, "b"},
		})
	})
}

// TestTemplateProgramsKeepBounds holds that a program gives up before text/template would end a
// body for its size, and that what it keeps is bounded: of growing rows, each that the program
// renders is rendered by text/template with the same bytes, and in the end there is one that it
// leaves.
func TestTemplateProgramsKeepBounds(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"steps":             `{{range .data.list}}{{end}}`,
		"many steps a turn": `{{range .data.list}}{{upper (print (json .) (truncate 1 .))}}{{if eq . "1" "2" "3"}}{{.}}{{end}}{{end}}`,
		"loops in loops":    `{{range .data.list}}{{range $.data.list}}{{end}}{{end}}`,
		"the row again":     `{{range .data.list}}{{$.data.text}}{{end}}`,
		"JSON again":        `{{range .data.list}}{{$x := json $.data}}{{end}}`,
		"joined again":      `{{range .data.list}}{{$x := join ", " $.data.list}}{{end}}`,
		"lists again":       `{{range $x := .data.list}}{{range $y := $.data.list}}{{if eq $x $y}}.{{end}}{{end}}{{end}}`,
		"made again":        `{{$s := "<"}}{{range .data.list}}{{$s = html $s $s}}{{end}}{{$s}}`,
		"printed again":     `{{$s := .data.text}}{{range .data.list}}{{$s = printf "%s%s" $s $s}}{{end}}`,
		"joined by much":    "{{with .data.list}}{{join `" + strings.Repeat("<", 2000) + "` .}}{{end}}",
		"escaped":           `{{json .link}}`,
		"no character":      `{{range .data.list}}{{$x := print $.data.text $.data.text}}{{end}}`,
	} {
		f, err := newTemplate(withTemplate(text))
		if err != nil {
			t.Fatal(err)
		}
		left := false
		for n := 8; n < 1<<20 && !left; n *= 4 {
			ev := &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{}, Link: strings.Repeat("\x00", n), Data: []byte(`{"text":"` + strings.Repeat("'\\u0000\\ud800\xff", n/8) + `","list":[` + strings.Repeat("1,", n) + `1]}`)}
			r := newRenderer(f.rows, false)
			body, ok := r.append(nil, f.event, ev)
			if left = !ok; ok {
				want, err := f.execute(nil, ev)
				if err != nil || string(body) != string(want) {
					t.Errorf("%s, %d times: %d bytes, want %d, %v", name, n, len(body), len(want), err)
				}
			}
			if room := cap(r.made) + cap(r.text) + cap(r.rows[1].text) + 40*(cap(r.rows[1].places)+cap(r.rows[1].open)); room > keptRoom*4 {
				t.Errorf("%s, %d times: keeps %d bytes", name, n, room)
			}
		}
		if !left {
			t.Errorf("%s: the program leaves none", name)
		}
	}
}

// TestTemplateHasProgram: what nearly all templates use has a program, and what it does not have is
// left to text/template.
func TestTemplateHasProgram(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		incident:     true,
		chatTemplate: true,
		`{{range $i, $e := .unavailable}}{{if $i}}, {{end}}{{$e | upper | json}}{{end}}`:          true,
		`{{with $x := .data}}{{$y := $x.a.b}}{{$y = printf "%s: %d" $.id .n}}{{print $y}}{{end}}`: true,
		`{{/* none */ -}} {{if and .link (not .key)}}{{else if eq .op "a"}}{{else}}{{end}}`:       true,
		`{{define "a"}}{{.}}{{end}}{{template "a" .type}}`:                                        false,
		`{{json .}}`:                               false,
		`{{printf "%5s" .id}}`:                     false,
		`{{len .id}}`:                              false,
		`{{range 3}}{{break}}{{end}}`:              false,
		`{{range $.unavailable}}{{json $}}{{end}}`: false,
		`{{default 0.5 .data.n}}`:                  false,
	} {
		f, err := newTemplate(withTemplate(text))
		if err != nil {
			t.Fatal(err)
		}
		if (f.event != nil) != want {
			t.Errorf("%s has a program: %v", text, !want)
		}
	}
}

// TestTemplateProgramsOfGroups: the events of a group are read once, where the template ranges over
// them alone.
func TestTemplateProgramsOfGroups(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{{.count}}{{range $i, $e := .events}}{{$i}}{{$.unit}}{{$e.id}}{{json .data}}{{end}}`: true,
		`{{.count}}`: true,
		`{{range .events}}{{.id}}{{end}}{{range .events}}{{.type}}{{end}}`: false,
		`{{$x := ""}}{{range .events}}{{$x = .id}}{{end}}{{$x}}`:           false,
		`{{json .events}}`:             false,
		`{{(index .events 0).id}}`:     false,
		`{{with .events}}{{.}}{{end}}`: false,
	} {
		cfg := withTemplate(text)
		cfg.Unit = "batch"
		f, err := newTemplate(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if (f.group != nil) != want {
			t.Errorf("%s has a program: %v", text, !want)
		}
		all := events()
		delete(all, "bigints") // it has a name with an escape, which rows do not take
		if f.group != nil && assertGroup(t, f, text, slices.Collect(maps.Values(all))) == 0 {
			t.Errorf("%s is not rendered by its program", text)
		}
	}
}

// TestTemplateAllocates: the benchmark's templates allocate nothing, once the renderer has room.
func TestTemplateAllocates(t *testing.T) {
	for _, text := range []string{chatTemplate, incident} {
		f, err := newTemplate(withTemplate(text))
		if err != nil {
			t.Fatal(err)
		}
		for name, ev := range benchmarkEvents(t) {
			r, buf := newRenderer(f.rows, false), make([]byte, 0, 16<<10)
			if n := testing.AllocsPerRun(100, func() { buf, _ = r.append(buf[:0], f.event, ev) }); n > 0 {
				t.Errorf("%s, %s: %v allocations", text, name, n)
			}
		}
	}
}

// assertEvent compares an event's body, and returns 1 where the program made it.
func assertEvent(t *testing.T, f *templated, text string, ev *delivery.Event) int {
	t.Helper()
	const before = "before"
	r := f.renderers.Get().(*renderer)
	body, ok := r.append([]byte(before), f.event, ev)
	f.renderers.Put(r)
	want, wantErr := f.execute([]byte(before), ev)
	if ok && (wantErr != nil || string(body) != string(want)) {
		t.Errorf("%s\nof key %q data %q previous %q bigints %q\ngot  %q\nwant %q (%v)", text, ev.Key, ev.Data, ev.Previous, ev.Bigints, body, want, wantErr)
	}
	got, err := f.AppendBody([]byte(before), ev)
	if string(got) != string(want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("%s\ngot  %q (%v)\nwant %q (%v)", text, got, err, want, wantErr)
	}
	if ok {
		return 1
	}
	return 0
}

// assertGroup compares a group's body likewise.
func assertGroup(t *testing.T, f *templated, text string, events []*delivery.Event) int {
	t.Helper()
	g := delivery.NewGroup("batch", events)
	g.Part, g.Parts = 1, 2
	var body, want, got bytes.Buffer
	r := f.renderers.Get().(*renderer)
	ok, err := r.writeGroup(&body, f.group, g)
	f.renderers.Put(r)
	wantErr := f.executeGroup(&want, g)
	if ok && (err != nil || wantErr != nil || body.String() != want.String()) {
		t.Errorf("%s\ngot  %q (%v)\nwant %q (%v)", text, body.String(), err, want.String(), wantErr)
	}
	if err := f.WriteGroup(&got, g); got.String() != want.String() || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Errorf("%s\ngot  %q (%v)\nwant %q (%v)", text, got.String(), err, want.String(), wantErr)
	}
	if ok {
		return 1
	}
	return 0
}
