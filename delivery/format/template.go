package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

// templateProduct is a receiver that the profile's own template is written for.
func templateProduct() delivery.Product {
	return delivery.Product{
		Name:      "template",
		Formatter: func(c delivery.ProfileConfig) (delivery.Formatter, error) { return newTemplate(c) },
		Bigints:   true,
	}
}

// templated renders a body by a template of Go's text/template. What it sees are plain values without methods:
//
//	id type time source table op position transaction seq   texts; seq is a number
//	title code desc operation link                           texts, empty where there is none
//	actor                                                    with id and name
//	key data previous                                        the row's values by name
//	unavailable                                              a list of names
//
// and of a request with several events: id unit type count part parts, and events, each as above. A value that is NULL
// or not there shows as nothing; objects and lists show as JSON; numbers compare as texts. The functions are those of [run.funcs] and
// text/template's own. What a template may make and do is counted for each body, whatever it does: one that runs away
// ends with [errRunaway], by the bounds below, and its delivery is a dead letter.
//
// Most templates are rendered by a [program] of theirs instead, with the same bytes, for a tenth of
// the cost. text/template renders what has no program, and what the program gives up.
type templated struct {
	template    *template.Template
	runs        sync.Pool // of *run
	event       *program  // of an event's body, or nil
	group       *program  // of a group's body, or nil
	renderers   sync.Pool // of *renderer
	contentType string
	rows        []string // which of key, data and previous it looks at
	bigints     bool     // 64-bit integers are texts in JSON
}

const (
	// maxTemplateSteps bounds the work for one body: each turn of a range is a step for some of the
	// nodes within, each piece of text is one, and so is each KiB that a function looks at or
	// makes.
	maxTemplateSteps = 1 << 20
	// maxTemplateMade bounds what functions make for one body in all, in bytes.
	maxTemplateMade = 64 << 20
	// maxTemplateBody bounds what one body may grow to, in bytes.
	maxTemplateBody = 16 << 20
	// maxTemplateText bounds what a function may give, in bytes.
	maxTemplateText = 1 << 20
	// maxTemplateEscaped bounds what an escaping function takes, in bytes: it may give six times
	// that.
	maxTemplateEscaped = 8 << 20
)

// newTemplate parses the template and tries it on a sample event, so that what is wrong shows at
// load.
func newTemplate(cfg delivery.ProfileConfig) (*templated, error) {
	refuse := func(text, remedy string) error {
		return &delivery.ConfigError{Path: []string{"profiles", cfg.Code, "template"}, Text: text, Remedy: remedy}
	}
	if strings.TrimSpace(cfg.Template) == "" {
		return nil, refuse("missing; format template needs one", `write a body such as template: '{"text": {{json .desc}}}'`)
	}
	first := &run{}
	parsed, err := template.New("body").Funcs(first.funcs()).Option("missingkey=zero").Parse(cfg.Template)
	if err != nil {
		return nil, refuse(templateFault(err), "the language is Go's text/template")
	}
	first.template = parsed
	t := &templated{template: parsed, bigints: cfg.Bigint == "string"}
	t.runs.Put(first)
	for _, name := range [...]string{"key", "data", "previous"} {
		if slices.ContainsFunc(parsed.Templates(), func(one *template.Template) bool { return looksAt(one.Tree, name) }) {
			t.rows = append(t.rows, name)
		}
	}
	if len(parsed.Templates()) == 1 {
		t.event, t.group = compile(parsed.Tree, false), compile(parsed.Tree, true)
	}
	t.renderers.New = func() any { return newRenderer(t.rows, t.bigints) }
	for _, one := range parsed.Templates() {
		bound(one.Tree)
	}
	body, err := t.try(cfg.Unit)
	if err != nil {
		return nil, refuse("with a sample event: "+templateFault(err), "rowhook tries the template on an event with key, data and previous of one member, id")
	}
	t.contentType = "text/plain; charset=utf-8"
	if json.Valid(body) {
		t.contentType = "application/json"
	}
	return t, nil
}

// ownCall is what an error says of the calls that [bound] has put in.
var ownCall = regexp.MustCompile(`executing "body" at <_[^>]*>: error calling _(?:member|show|seen): `)

// templateFault is an error without the name that all templates have.
func templateFault(err error) string {
	text := ownCall.ReplaceAllString(strings.TrimPrefix(err.Error(), "template: "), "")
	if rest, ok := strings.CutPrefix(text, "body:"); ok {
		return "line " + rest
	}
	return text
}

// try renders the sample.
func (t *templated) try(unit string) ([]byte, error) {
	sample := &delivery.Event{
		Making: &delivery.Making{Type: "sample.event", Title: "Samples", Source: "sample", Table: "public.samples", Op: "update"},
		Commit: &delivery.Commit{
			Time: time.Unix(1_790_000_000, 0), Operation: "sample", Position: "0/16B3748", Transaction: "745",
			Actor: delivery.Actor{ID: "sample", Name: "Sample"},
		},
		ID: "evt_ca6u7mhyqhq6oqylqqvbgc2nqm", Ordinal: 1, Link: "https://example.org/samples/1", Key: []byte(`{"id":1}`),
		Data: []byte(`{"id":1}`), Previous: []byte(`{"id":1}`),
	}
	if unit == "" || unit == "record" {
		return t.execute(nil, sample)
	}
	var out bytes.Buffer
	err := t.executeGroup(&out, &delivery.Group{
		ID: "grp_ca6u7mhyqhq6oqylqqvbgc2nqm", Unit: unit, Type: sample.Type, Count: 1, First: sample,
		Events: func(yield func(*delivery.Event, error) bool) { yield(sample, nil) },
	})
	return out.Bytes(), err
}

// Head returns the media type: JSON if what the sample event became is.
func (t *templated) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: t.contentType}
}

// AppendBody appends the body of one event.
func (t *templated) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	if t.event != nil {
		r := t.renderers.Get().(*renderer)
		body, ok := r.append(dst, t.event, ev)
		t.renderers.Put(r)
		if ok {
			return body, nil
		}
	}
	return t.execute(dst, ev)
}

// execute appends the body of one event by text/template.
func (t *templated) execute(dst []byte, ev *delivery.Event) ([]byte, error) {
	values, err := t.values(ev)
	if err != nil {
		return dst, err
	}
	return t.render(dst, values)
}

// GroupHead returns the media type.
func (t *templated) GroupHead(g *delivery.Group) delivery.Head { return t.Head(g.First) }

// WriteGroup writes the body of a group.
func (t *templated) WriteGroup(w io.Writer, g *delivery.Group) error {
	if t.group != nil {
		r := t.renderers.Get().(*renderer)
		ok, err := r.writeGroup(w, t.group, g)
		t.renderers.Put(r)
		if ok {
			return err
		}
	}
	return t.executeGroup(w, g)
}

// executeGroup collects the events and writes the body by text/template.
func (t *templated) executeGroup(w io.Writer, g *delivery.Group) error {
	events := make([]any, 0, g.Count)
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		values, err := t.values(ev)
		if err != nil {
			return err
		}
		events = append(events, values)
	}
	body, err := t.render(nil, map[string]any{
		"id": g.ID, "unit": g.Unit, "type": g.Type, "count": g.Count, "part": g.Part, "parts": g.Parts, "events": events,
	})
	if err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

func (t *templated) render(dst []byte, values map[string]any) ([]byte, error) {
	r, _ := t.runs.Get().(*run)
	if r == nil { // the trees are shared; the functions count for this run alone
		r = &run{}
		cloned, err := t.template.Clone()
		if err != nil {
			return dst, err
		}
		r.template = cloned.Funcs(r.funcs())
	}
	defer t.runs.Put(r)
	r.body, r.room, r.made, r.steps = dst, maxTemplateBody, maxTemplateMade, maxTemplateSteps
	err := r.template.Execute(r, values)
	body := r.body
	r.body = nil
	if err != nil {
		return dst, err
	}
	return body, nil
}

// errRunaway ends a template that would not end.
var errRunaway = errors.New("the template loops too often or writes too much")

// run renders one body after another, and counts for each what is written, made and done.
type run struct {
	template          *template.Template
	body              []byte
	room, made, steps int // what is left
}

func (r *run) Write(p []byte) (int, error) {
	r.steps--
	r.room -= len(p)
	if r.steps < 0 || r.room < 0 {
		return 0, errRunaway
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// looks takes account of a function that goes through that many bytes.
func (r *run) looks(bytes int) error {
	if r.steps -= 1 + bytes>>10; r.steps < 0 {
		return errRunaway
	}
	return nil
}

// makes takes account of a text that a function has made or is about to make.
func (r *run) makes(bytes int) error {
	if r.made -= bytes; r.made < 0 {
		return errRunaway
	}
	return r.looks(bytes)
}

// values are an event's members as the template sees them. Numbers keep their digits.
func (t *templated) values(ev *delivery.Event) (map[string]any, error) {
	values := map[string]any{
		"id": ev.ID, "type": ev.Type, "time": unquoted(delivery.AppendJSONTime(nil, ev.Time)), "source": ev.Source, "table": ev.Table,
		"op": ev.Op, "position": ev.Position, "transaction": ev.Transaction, "seq": ev.Ordinal,
		"title": ev.Title, "code": ev.Code, "desc": describe(ev), "operation": ev.Operation, "link": ev.Link,
		"actor": map[string]any{"id": ev.Actor.ID, "name": ev.Actor.Name},
	}
	names := make([]any, len(ev.Unavailable))
	for i, name := range ev.Unavailable {
		names[i] = name
	}
	values["unavailable"] = names
	for _, name := range t.rows {
		object := ev.Key
		switch name {
		case "data":
			object = ev.Data
		case "previous":
			object = ev.Previous
		}
		members, err := plainObject(object)
		if err != nil {
			return nil, fmt.Errorf("format event %s: %w", ev.ID, err)
		}
		if t.bigints && len(ev.Bigints) > 0 {
			inQuotes(members, "", ev.Bigints)
		}
		values[name] = members
	}
	return values, nil
}

// number is a number's digits. printf takes it for what its verb wants.
type number string

// Format implements [fmt.Formatter].
func (n number) Format(s fmt.State, verb rune) {
	var v any = string(n)
	switch verb {
	case 'd', 'x', 'X', 'o', 'b', 'c':
		if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
			v = i
		}
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if f, err := strconv.ParseFloat(string(n), 64); err == nil {
			v = f
		}
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), v)
}

// digits is a number that JSON has in quotes. Everywhere else it is a [number].
type digits string

// Format implements [fmt.Formatter].
func (d digits) Format(s fmt.State, verb rune) { number(d).Format(s, verb) }

// inQuotes has the numbers at the given dotted paths written in quotes; of a list there, all.
func inQuotes(members map[string]any, path string, paths []string) {
	for name, v := range members {
		at := path + name
		if object, ok := v.(map[string]any); ok {
			inQuotes(object, at+".", paths)
			continue
		}
		if slices.Contains(paths, at) {
			members[name] = quoted(v)
		}
		if list, ok := v.([]any); ok {
			listInQuotes(list, at+".", paths)
		}
	}
}

// listInQuotes looks at the objects in a list, which have no path of their own.
func listInQuotes(list []any, path string, paths []string) {
	for _, v := range list {
		switch v := v.(type) {
		case map[string]any:
			inQuotes(v, path, paths)
		case []any:
			listInQuotes(v, path, paths)
		}
	}
}

func quoted(v any) any {
	switch v := v.(type) {
	case number:
		return digits(v)
	case []any:
		for i := range v {
			v[i] = quoted(v[i])
		}
	}
	return v
}

// plainObject reads a JSON object into values without methods.
func plainObject(object []byte) (map[string]any, error) {
	if len(object) == 0 {
		return map[string]any{}, nil
	}
	x := xmlWriter{src: object}
	x.space()
	value, ok := x.plain(0)
	x.space()
	members, isObject := value.(map[string]any)
	if !ok || !isObject || x.pos != len(x.src) {
		return nil, errBadJSON
	}
	return members, nil
}

// plain takes the value at hand.
func (x *xmlWriter) plain(depth int) (value any, ok bool) {
	switch x.peek() {
	case '{':
		return x.plainMembers(depth)
	case '[':
		list := []any{}
		ok = depth <= maxDepth && x.items(func() bool {
			element, ok := x.plain(depth + 1)
			list = append(list, element)
			return ok
		})
		return list, ok
	}
	place, isText, ok := x.scalar()
	switch text := x.src[place.start:place.end]; {
	case !ok:
		return nil, false
	case isText:
		return plainText(text), true
	case text[0] == 'n':
		return nil, true
	case text[0] == 't' || text[0] == 'f':
		return text[0] == 't', true
	default:
		return number(text), true
	}
}

func (x *xmlWriter) plainMembers(depth int) (members map[string]any, ok bool) {
	members = map[string]any{}
	if x.pos++; x.next('}') {
		return members, true
	}
	for depth <= maxDepth {
		name, ok := x.str()
		if !ok || !x.next(':') {
			return nil, false
		}
		if members[plainText(x.src[name.start:name.end])], ok = x.plain(depth + 1); !ok {
			return nil, false
		}
		if x.next('}') {
			return members, true
		}
		if !x.next(',') {
			return nil, false
		}
	}
	return nil, false
}

// plainText decodes the inside of a JSON string; what is not UTF-8 becomes U+FFFD.
func plainText(text []byte) string {
	if s := decodeString(text); utf8.ValidString(s) {
		return s
	}
	return string(appendValidUTF8(nil, decodeString(text)))
}
