package format

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"rowhook/delivery"
)

// dice makes templates and events by chance.
type dice struct {
	*rand.Rand
	shape *rand.Rand // decides what a row's members are, but not their values
}

func newDice(seed uint64) *dice { return &dice{Rand: rand.New(rand.NewPCG(seed, 1))} }

func (d *dice) one(of ...string) string { return of[d.IntN(len(of))] }

func (d *dice) often() bool { return d.IntN(4) > 0 }

func (d *dice) seldom() bool { return d.IntN(40) == 0 }

func (d *dice) config(text string, grouped bool) delivery.ProfileConfig {
	cfg := withTemplate(text)
	cfg.Bigint = d.one("", "string")
	if grouped {
		cfg.Unit = "batch"
	}
	return cfg
}

// sight is what a template has in sight where a piece of it is written.
type sight struct {
	dot   string // event, group, or what a value may be
	depth int
	vars  []string
}

func (d *dice) template() (text string, grouped bool) {
	if d.IntN(4) > 0 {
		return d.list(sight{dot: "event", depth: 1 + d.IntN(3)}), false
	}
	loop := d.one(`{{range .events}}`, `{{range $.events}}`, `{{range $i, $e := .events}}{{if $i}},{{end}}{{json $e.id}}`, `{{range $e := .events}}{{$e.key}}`)
	return `{{.count}}{{json .type}}` + d.one("", "{{$g := .unit}}{{if $g}}") + loop + d.list(sight{dot: "event", depth: 2}) + "{{end}}" +
		d.one("{{.part}}", "{{.id}}{{.nosuch}}", "{{if eq .parts 2}}x{{end}}"), true
}

func (d *dice) list(s sight) string {
	var b strings.Builder
	for range 1 + d.IntN(3) {
		b.WriteString(d.piece(&s))
	}
	return b.String()
}

func (d *dice) piece(s *sight) string {
	end := "{{end}}"
	inner := *s
	inner.depth--
	inner.vars = append([]string(nil), s.vars...)
	kind := d.IntN(9)
	if s.depth == 0 {
		kind = d.IntN(4)
	}
	switch kind {
	case 0:
		return d.one(`text`, ` "x": `, "図書館\n", `, `, "")
	case 4:
		return "{{if " + d.pipeline(*s) + "}}" + d.list(inner) + d.one("", "{{else}}"+d.list(inner), "{{else if "+d.pipeline(*s)+"}}"+d.list(inner)) + end
	case 5, 6:
		pipe := d.pipeline(*s)
		if d.often() {
			pipe = d.row(s) + d.one(".o", ".o.in", ".s", ".l")
		}
		name := ""
		within := inner
		within.dot = "any"
		if d.IntN(3) == 0 {
			name = d.one("$a", "$b")
			within.vars = append(within.vars, name)
			name += " := "
		}
		return "{{with " + name + pipe + "}}" + d.list(within) + d.one("", "{{else}}"+d.list(inner)) + end
	case 7:
		within := inner
		within.dot = "any"
		list := d.one(d.row(s)+".l", d.row(s)+".l", d.row(s), d.row(s)+".o", d.pipeline(*s))
		if s.dot == "event" {
			list = d.one(list, ".unavailable")
		}
		decl, other := "", d.one("", "{{else}}"+d.list(inner))
		switch d.IntN(4) {
		case 0:
			decl, other = "$a := ", ""
			within.vars = append(within.vars, "$a")
		case 1:
			decl, other = "$b, $a := ", ""
			within.vars = append(within.vars, "$a", "$b")
		}
		return "{{range " + decl + list + "}}" + d.list(within) + other + end
	case 8:
		if len(s.vars) > 0 && d.often() {
			return "{{" + s.vars[d.IntN(len(s.vars))] + " = " + d.pipeline(*s) + "}}"
		}
		name := d.one("$a", "$b", "$c")
		text := "{{" + name + " := " + d.pipeline(*s) + "}}"
		s.vars = append(s.vars, name)
		return text
	}
	return "{{" + d.pipeline(*s) + "}}"
}

// row is an expression for one of the rows.
func (d *dice) row(s *sight) string {
	if s.dot == "event" {
		return d.one(".data", ".data", ".key", ".previous")
	}
	return d.one("$.data", "$.key")
}

func (d *dice) pipeline(s sight) string {
	text := d.command(s, 2)
	for d.IntN(4) == 0 {
		text += " | " + d.one("json", "upper", "lower", "truncate 3", `default "none"`, "html", "js", "urlquery", "print", "print 1 2", "println", `printf "%v!"`, d.one("not", "eq 1", `join "-"`, `eq "x"`))
	}
	return text
}

func (d *dice) command(s sight, depth int) string {
	if depth == 0 || d.IntN(2) == 0 {
		return d.operand(s, depth, false)
	}
	a := func() string { return d.operand(s, depth-1, true) }
	switch d.IntN(18) {
	case 0, 1, 2:
		return "json " + a()
	case 3, 4:
		return "default " + a() + " " + a()
	case 5:
		return d.one("upper ", "lower ") + a()
	case 6:
		if d.often() {
			return "join " + d.one(`", "`, `""`) + " " + d.row(&s) + ".l"
		}
		return "join " + d.one(`", "`, `""`, `"\n"`) + " " + d.one(a(), d.row(&s)+".l")
	case 7, 8:
		return fmt.Sprintf("truncate %d %s", d.IntN(6)-1, a())
	case 9:
		return d.one("html ", "js ", "urlquery ") + a() + d.one("", " "+a())
	case 10:
		return d.one("print ", "println ") + a() + d.one("", " "+a(), " "+a()+" "+a())
	case 11:
		return d.one(`printf "%s" `, `printf "<%v>%%" `, `printf "%d" `, `printf "%05d" `) + a()
	case 12:
		return `printf "%s and %v" ` + a() + " " + a()
	case 13:
		return d.one("eq ", "ne ") + a() + " " + d.one(a(), `"insert"`, `"x"`)
	case 14:
		return "eq " + a() + " " + a() + " " + a()
	case 15:
		return d.one("and ", "or ") + a() + d.one("", " "+a(), " "+a()+" "+a())
	case 16:
		return "not " + a()
	}
	return "index " + d.row(&s) + " " + d.one(`"s"`, `"n"`, `"a b"`, `"o"`)
}

func (d *dice) operand(s sight, depth int, argument bool) string {
	if depth > 0 && d.IntN(3) == 0 {
		text := "(" + d.pipeline(s) + ")"
		if d.IntN(4) == 0 {
			text = "(" + d.row(&s) + ")" + d.one(".s", ".o.x")
		}
		return text
	}
	switch d.IntN(10) {
	case 0:
		return d.one(`"text"`, `"<a & 'b'>"`, `""`, "`raw \"q\"`", `"図書"`)
	case 1:
		return d.one("1", "0", "-7", "12345", "true", "false")
	case 2:
		if argument && d.IntN(3) == 0 {
			return "nil"
		}
	case 3, 4:
		if len(s.vars) > 0 {
			v := s.vars[d.IntN(len(s.vars))]
			return v + d.one("", "", "", ".s", ".x.y")
		}
	}
	if s.dot == "any" && d.IntN(2) == 0 {
		if d.often() {
			return "."
		}
		return d.one(".s", ".x", ".x.y")
	}
	dollar := ""
	if s.dot != "event" {
		dollar = "$"
	}
	if d.IntN(2) == 0 {
		return dollar + d.one(".id", ".type", ".time", ".source", ".table", ".op", ".position", ".transaction", ".seq", ".title", ".code", ".desc",
			".operation", ".link", ".actor", ".actor.id", ".actor.name", ".actor.no", ".unavailable", ".nosuch", ".nosuch.more")
	}
	return d.row(&s) + d.one("", ".s", ".s", ".n", ".n", ".b", ".z", ".l", ".o", ".o.x", ".o.in.x", ".no", ".no.more", ".t", ".i", ".id", ".名前")
}

func (d *dice) events() []*delivery.Event {
	events := []*delivery.Event{d.event()}
	for range d.IntN(3) {
		events = append(events, d.event())
	}
	return events
}

func (d *dice) event() *delivery.Event {
	text := func() string {
		return d.one("", "plain", "a.b-c_d", "böse\\\"\n", "\u2028\u2029 😀 \xff\xfe", "</script>'", "\x00\x1f\x7f", "図書館の話", "insert", "ǆ ß ŉ İ", "\xe6\xbc")
	}
	ev := &delivery.Event{
		Making: &delivery.Making{
			Type: text(), Entry: d.one("a", "b"), Title: text(), Code: text(), Source: text(), Table: text(),
			Op: d.one("insert", "update"),
		},
		Commit: &delivery.Commit{
			Time: time.Unix(d.Int64N(1<<34), d.Int64N(1e9)), Operation: text(), Position: text(), Transaction: text(),
			Actor: delivery.Actor{ID: text(), Name: text()},
		},
		ID: text(), Link: text(), Ordinal: d.IntN(3), Key: d.object(), Data: d.object(), Previous: d.object(),
	}
	for range d.IntN(3) {
		ev.Unavailable = append(ev.Unavailable, text())
	}
	if d.IntN(3) == 0 {
		desc := text()
		ev.As = map[string]*string{"desc": &desc}
	}
	for range d.IntN(3) {
		ev.Bigints = append(ev.Bigints, d.one("n", "i", "o.x", "o.in.x", "l", "l.x", "l.n", "o", "id", "s", "z", "名前"))
	}
	if d.seldom() {
		ev.Time = time.Date(d.IntN(30000)-9000, 1, 2, 3, 4, 5, 6, time.UTC)
	}
	return ev
}

// object is a row: mostly of one of a few shapes, sometimes broken.
func (d *dice) object() []byte {
	seed := d.Uint64N(2)
	if d.IntN(3) == 0 {
		seed = d.Uint64()
	}
	d.shape = rand.New(rand.NewPCG(seed, 2))
	if d.seldom() {
		return []byte(d.one("", "{}", " { } ", "null", "[]", `{"s":1}x`, `{"s":1,}`, `{"s" 1}`, `{"s":01}`, `{"s":tru}`, `{"s":"`, "{\"s\":\"\x01n\"}", `{"s":"\x"}`,
			`{`+strings.Repeat(`"o":{`, 150)+strings.Repeat("}", 151), `{"s":`+strings.Repeat("[", 120)+strings.Repeat("]", 120)+"}"))
	}
	return []byte(d.jsonObject(2))
}

func (d *dice) space() string {
	if d.seldom() {
		return d.one(" ", "\n\t", "\r")
	}
	return ""
}

func (d *dice) jsonObject(depth int) string {
	var members []string
	for _, name := range []string{"s", "n", "b", "z", "l", "o", "x", "t", "i", "id", "in", "名前", "a b"} {
		if d.shape.IntN(5) == 0 {
			continue
		}
		value := ""
		switch kind := name[0]; {
		case d.shape.IntN(6) == 0:
			value = d.json(depth)
		case kind == 'l':
			value = d.jsonList(depth - 1)
		case kind == 'o' || name == "in":
			if value = "{}"; depth > 0 {
				value = d.jsonObject(depth - 1)
			}
		case kind == 'n' || kind == 'i':
			value = d.jsonNumber()
		case kind == 'b':
			value = d.one("true", "false")
		case kind == 'z':
			value = "null"
		default:
			value = d.jsonText()
		}
		if d.shape.IntN(30) == 0 {
			name = "s"
		}
		if d.IntN(4000) == 0 {
			name = d.one(`\u0073`, "\xff", "\u2028", `q\"`)
		}
		members = append(members, `"`+name+`"`+d.space()+":"+d.space()+value)
		if d.shape.IntN(3) == 0 {
			i := d.shape.IntN(len(members))
			members[i], members[len(members)-1] = members[len(members)-1], members[i]
		}
	}
	return "{" + d.space() + strings.Join(members, d.space()+","+d.space()) + "}"
}

func (d *dice) jsonList(depth int) string {
	elements := []string{}
	for range d.shape.IntN(4) {
		elements = append(elements, d.json(depth))
	}
	return "[" + d.space() + strings.Join(elements, ","+d.space()) + d.space() + "]"
}

func (d *dice) json(depth int) string {
	switch d.shape.IntN(8) {
	case 0, 1:
		return d.jsonNumber()
	case 2:
		return d.one("true", "false", "null")
	case 3:
		if depth > 0 {
			return d.jsonList(depth - 1)
		}
	case 4:
		if depth > 0 {
			return d.jsonObject(depth - 1)
		}
	}
	return d.jsonText()
}

func (d *dice) jsonNumber() string {
	return d.one("0", "-0", "7", "-1", "12.50", "0.10", "9007199254740993", "-9223372036854775808", "18446744073709551615", "1e400", "1E-7", "123456789012345678901234567890.10", "1000")
}

func (d *dice) jsonText() string {
	text := ""
	for range d.IntN(4) {
		text += d.one("plain", "a longer plain text", `\"`, `\\`, `\/`, `\n`, `\t\b\f\r`, `\u0000`, `\u001f`, `\u001F`, `\u00e9`, `\u2028`, "\u2028", "\u2029", "é", "図書館", "😀", `\ud83d\ude00`, `\ud800`, "<&>'",
			"\xff", "\xe6\xbc", "\x7f", "12", "insert", "x", "\xe2\x80", "ı")
	}
	return `"` + text + `"`
}
