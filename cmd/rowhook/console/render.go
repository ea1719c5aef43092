package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

//go:embed templates words
var pageFiles embed.FS

// languages are the console's, the one of last resort first.
var languages = []string{"en", "ja"}

// words is a language: what stands for the English texts.
type words map[string]string

// say translates a text and puts the arguments into it.
func (w words) say(text string, args ...any) string {
	if own, ok := w[text]; ok {
		text = own
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// pages are the templates in each language, made when they are first asked for.
type pages struct {
	once  sync.Once
	err   error
	texts map[string]words
	sets  map[string]*template.Template
}

func (p *pages) load() {
	p.once.Do(func() {
		p.texts, p.sets = map[string]words{}, map[string]*template.Template{}
		for _, lang := range languages {
			text := words{}
			if lang != languages[0] {
				raw, err := pageFiles.ReadFile("words/" + lang + ".json")
				if err == nil {
					err = json.Unmarshal(raw, &text)
				}
				if err != nil {
					p.err = fmt.Errorf("read the words of %s: %w", lang, err)
					return
				}
			}
			p.texts[lang] = text
			set, err := template.New("").Funcs(functions(text)).ParseFS(pageFiles, "templates/*.html")
			if err != nil {
				p.err = fmt.Errorf("parse the pages: %w", err)
				return
			}
			p.sets[lang] = set
		}
	})
}

func (p *pages) words(lang string) words {
	p.load()
	return p.texts[lang]
}

// render writes a whole page.
func (p *pages) render(w io.Writer, about *page) error {
	var inner bytes.Buffer
	if err := p.part(&inner, about.Lang, about.Template, about); err != nil {
		return err
	}
	var below bytes.Buffer
	if about.Below != "" {
		if err := p.part(&below, about.Lang, about.Below, about); err != nil {
			return err
		}
	}
	return p.part(w, about.Lang, "frame", struct {
		*page
		Inner, Behind template.HTML
	}{about, template.HTML(inner.String()), template.HTML(below.String())}) //nolint:gosec // the templates have escaped them
}

// part writes one template.
func (p *pages) part(w io.Writer, lang, name string, data any) error {
	p.load()
	if p.err != nil {
		return p.err
	}
	return p.sets[lang].ExecuteTemplate(w, name, data)
}

// functions are what templates can do.
func functions(text words) template.FuncMap {
	return template.FuncMap{
		"t":      text.say,
		"word":   func(code any) string { return text.word(fmt.Sprint(code)) },
		"time":   func(t time.Time) template.HTML { return writeTime(t, "2006-01-02 15:04:05 MST") },
		"moment": func(t time.Time) template.HTML { return writeTime(t, "2006-01-02 15:04:05.000 MST") },
		"prose":  prose,
		"ago":    func(from, to time.Time) string { return text.duration(to.Sub(from)) },
		"span":   func(seconds float64) string { return text.duration(time.Duration(seconds * float64(time.Second))) },
		"took":   func(d time.Duration) string { return writeTook(d) },
		"bytes":  writeBytes,
		"number": writeNumber,
		"mark":   mark,
		"key":    compactKey,
		"lines":  keyLines,
		"cut":    cut,
		"esc":    url.PathEscape,
		"query":  url.QueryEscape,
		"join":   strings.Join,
		"plot":   func(title, of string, day bool, points []Point) plot { return newPlot(text, title, of, day, points) },
		"args":   func(values ...any) []any { return values },
		"text":   func(raw []byte) string { return string(raw) },
	}
}

// word is what people call a state, a reason or the like; the code itself where there is no word.
func (w words) word(code string) string {
	if code == "" {
		return ""
	}
	if own, ok := w["code:"+code]; ok {
		return own
	}
	return strings.ReplaceAll(code, "_", " ")
}

// writeTime is a moment with its zone: the machine's, as the commands write it.
func writeTime(t time.Time, layout string) template.HTML {
	if t.IsZero() {
		return "–"
	}
	t = t.Local()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, t.Format(time.RFC3339), t.Format(layout))) //nolint:gosec // of a time's digits
}

// prose is a text in which commands stand in backquotes.
func prose(text string) template.HTML {
	var out strings.Builder
	for i, part := range strings.Split(text, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		out.WriteString(part)
	}
	return template.HTML(out.String()) //nolint:gosec // escaped part by part
}

// duration is how long something takes, in the two largest units.
func (w words) duration(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return w.say("%d s", int(d.Seconds()))
	case d < time.Hour:
		return w.say("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return w.say("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return w.say("%d days", int(d.Hours()/24))
}

func writeTook(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

// writeBytes is a size in the unit that leaves it readable.
func writeBytes(n any) string {
	var v float64
	if _, err := fmt.Sscan(fmt.Sprint(n), &v); err != nil {
		return fmt.Sprint(n)
	}
	unit := 0
	for v >= 1024 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	name := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
	if unit == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, name)
	}
	return fmt.Sprintf("%.1f %s", v, name)
}

// writeNumber groups digits by thin spaces, which no language takes for a decimal point.
func writeNumber(n any) string {
	digits := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return sign + digits
}

// mark is the shape that goes with a word, so that colour is never alone.
func mark(code any) template.HTML {
	kind := "wait"
	switch fmt.Sprint(code) {
	case "active", "delivered", "streaming", "ok", "closed", "done":
		kind = "ok"
	case "dead", "bad", "error", "failed", "stopped", "dropped", "unmapped", "undecidable", "open":
		kind = "bad"
	case "waiting", "retrying", "warn", "warning", "paused", "waiting for adoption", "half_open", "interrupted":
		kind = "warn"
	case "inactive", "discarded", "skipped", "dry_run", "note", "info", "cancelled":
		kind = "off"
	}
	shape := map[string]string{
		"ok":   `<circle cx="6" cy="6" r="5"/>`,
		"bad":  `<path d="M2 2l8 8M10 2l-8 8" class="cross"/>`,
		"warn": `<path d="M6 1l5.5 10H.5z"/>`,
		"off":  `<path d="M2 2h8v8H2z" class="hollow"/>`,
		"wait": `<circle cx="6" cy="6" r="4" class="hollow"/>`,
	}[kind]
	return template.HTML(`<svg class="mark ` + kind + `" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">` + shape + `</svg>`) //nolint:gosec // of constants
}

// compactKey writes a key as column=value pairs, or as it is when it is no flat object.
func compactKey(raw []byte) string {
	if len(raw) == 0 {
		return "–"
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return string(raw)
	}
	var parts []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return string(raw)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return string(raw)
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		parts = append(parts, fmt.Sprintf("%v=%s", name, text))
	}
	return strings.Join(parts, " ")
}

// shownBody is how many characters of a body a page shows.
const shownBody = 4000

// cut is the start of a text, of so many characters.
func cut(text string, most int) string {
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "…"
		}
	}
	return text
}

// visible writes characters that nobody sees, or that turn the direction of what is around them, as
// what they are. Our own texts have none of them, so that what is changed is what rows, receivers
// and people have written.
func visible(html []byte) []byte {
	if bytes.IndexFunc(html, invisible) < 0 {
		return html
	}
	out := make([]byte, 0, len(html)+64)
	for len(html) > 0 {
		r, n := utf8.DecodeRune(html)
		if invisible(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, html[:n]...)
		}
		html = html[n:]
	}
	return out
}

func invisible(r rune) bool {
	switch {
	case r == '\n' || r == '\t' || r == '\r':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == 0x061c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff:
		return true
	}
	return false
}

// plot is one figure over time, as bars of an SVG.
type plot struct {
	Title, Most, Last, From, To string
	Empty                       bool
	Bars                        []bar
	Summary                     string
}

// bar is one step of a plot, in the units of its view box.
type bar struct{ X, Y, Width, Height float64 }

// The view box of a plot.
const plotWidth, plotHeight = 240.0, 48.0

// newPlot makes a plot of one figure of the points.
func newPlot(text words, title, of string, day bool, points []Point) plot {
	value := func(p *Point) int64 {
		switch of {
		case "events":
			return p.Events
		case "failures":
			return p.Failures
		case "lag":
			return p.Lag
		}
		return p.Backlog
	}
	show := func(n int64) string {
		if of == "lag" {
			return writeBytes(n)
		}
		return writeNumber(n)
	}
	p := plot{Title: title, Empty: len(points) == 0}
	if p.Empty {
		return p
	}
	step, slots, clock := hourStep, hourPoints, "15:04"
	if day {
		step, slots, clock = dayStep, dayPoints, "01-02 15:04"
	}
	newest := points[len(points)-1].At
	most := int64(0)
	for i := range points {
		most = max(most, value(&points[i]))
	}
	width := plotWidth / float64(slots)
	for i := range points {
		back := int(newest.Sub(points[i].At) / step)
		n := value(&points[i])
		if back >= slots || n <= 0 {
			continue
		}
		height := math.Max(plotHeight*float64(n)/float64(most), 1)
		p.Bars = append(p.Bars, bar{X: round(plotWidth - float64(back+1)*width), Y: round(plotHeight - height), Width: round(width * 0.8), Height: round(height)})
	}
	last := points[len(points)-1]
	p.Most, p.Last = show(most), show(value(&last))
	p.From, p.To = newest.Add(-time.Duration(slots)*step).Local().Format(clock), newest.Local().Format("15:04 MST")
	p.Summary = text.say("%s: at most %s a step, now %s", title, p.Most, p.Last)
	return p
}

func round(v float64) float64 { return math.Round(v*100) / 100 }

// outcomes are those of the delivery log, for forms.
func outcomes() []string {
	var list []string
	for _, o := range delivery.Outcomes() {
		list = append(list, string(o))
	}
	return list
}
