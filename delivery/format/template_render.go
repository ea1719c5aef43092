package format

import (
	"io"
	"slices"

	"rowhook/delivery"
)

// renderer runs a program for one body after another. It gives up by being odd, which what it does
// then notices at the next statement.
type renderer struct {
	bigints bool  // 64-bit integers are texts in JSON
	reads   []int // which rows of each event there must be
	odd     bool
	err     error // of reading a group's events; not odd
	ev      *delivery.Event
	group   *delivery.Group
	read    bool // the group's events have been read
	rows    [len(rowNames)]row
	slots   []value
	args    []value // of the calls at hand, the innermost's last
	made    []byte  // the texts that functions have made
	text    []byte  // room for the text that a function looks at
	body    []byte  // room for a group's body
	steps   int     // what is left
	bytes   int     // likewise
	shapes  map[shape]*outline
}

// newRenderer returns a renderer for the templates of one profile, which look at the rows of those
// names.
func newRenderer(rows []string, bigints bool) *renderer {
	r := &renderer{bigints: bigints}
	for _, name := range rows {
		r.reads = append(r.reads, slices.Index(rowNames[:], name))
	}
	return r
}

// rowNames are the members that are rows.
var rowNames = [...]string{"key", "data", "previous"}

// shape is what tells rows apart that have other members.
type shape struct {
	entry, op string
	row       int
}

const (
	// quickSteps bounds the steps that text/template might take for a body at worst, beside those that
	// it takes for bytes: four for each KiB of three times quickBytes at the very most.
	quickSteps = maxTemplateSteps / 4 * 3
	// quickBytes bounds what a body's functions take and give, and what is written. What
	// text/template makes of it on the way is at most three times that: a byte that is no character
	// becomes three.
	quickBytes = 8 << 20
	// quickText bounds what one call takes, for the same reason a third of what functions may give.
	quickText = 256 << 10
	// keptRoom bounds what a renderer keeps for the next body.
	keptRoom = 64 << 10
	// keptPlaces likewise, for each row.
	keptPlaces = 2 << 10
	// keptShapes bounds how many outlines it keeps, and keptRow the rows that they are of.
	keptShapes = 64
	keptRow    = 16 << 10
)

// append appends an event's body, and reports whether it could.
func (r *renderer) append(dst []byte, p *program, ev *delivery.Event) ([]byte, bool) {
	r.begin(p)
	defer r.end()
	if r.take(ev); !r.odd {
		dst = r.run(dst, p.body)
	}
	return dst, !r.odd
}

// writeGroup writes a group's body, and reports whether it could; if not, nothing is written. An
// error is that of reading the events, or of writing.
func (r *renderer) writeGroup(w io.Writer, p *program, g *delivery.Group) (ok bool, err error) {
	r.begin(p)
	defer r.end()
	r.group, r.read = g, false
	r.body = r.run(r.body[:0], p.body)
	if !r.read && !r.odd { // what is wrong with an event shows, whether the template looks at it or not
		r.each(nil, &statement{index: unset, element: unset, dot: unset})
	}
	switch {
	case r.err != nil:
		return true, r.err
	case r.odd:
		return false, nil
	}
	_, err = w.Write(r.body)
	return true, err
}

func (r *renderer) begin(p *program) {
	r.odd, r.err, r.steps, r.bytes = false, nil, quickSteps, quickBytes
	for len(r.slots) < p.slots {
		r.slots = append(r.slots, value{})
	}
}

// end lets go of all that belongs to an event.
func (r *renderer) end() {
	r.ev, r.group = nil, nil
	clear(r.slots)
	clear(r.args[:cap(r.args)])
	r.args, r.made = r.args[:0], r.made[:0]
	for i := range r.rows {
		x := &r.rows[i]
		x.src, x.like = nil, nil
		if cap(x.places)+cap(x.open) > keptPlaces || cap(x.text) > keptRoom {
			x.places, x.open, x.text = nil, nil, nil
		}
	}
	if cap(r.made)+cap(r.text)+cap(r.body) > keptRoom {
		r.made, r.text, r.body = nil, nil, nil
	}
}

// take makes an event the one at hand.
func (r *renderer) take(ev *delivery.Event) {
	r.ev = ev
	for _, i := range r.reads {
		object := [...][]byte{ev.Key, ev.Data, ev.Previous}[i]
		var guess *outline
		if len(object) > len("{}") {
			guess = r.shapes[shape{ev.Entry, ev.Op, i}]
		}
		x := &r.rows[i]
		if !x.read(object, guess) {
			r.odd = true
			return
		}
		if r.bigints && len(ev.Bigints) > 0 {
			x.quote(ev.Bigints)
		}
	}
}

// outline returns a row's outline, and keeps it for the rows to come.
func (r *renderer) outline(x *row) *outline {
	if x.like == nil && len(x.src) <= keptRow {
		at := 0
		for x != &r.rows[at] {
			at++
		}
		if r.shapes == nil || len(r.shapes) >= keptShapes {
			r.shapes = map[shape]*outline{}
		}
		r.shapes[shape{r.ev.Entry, r.ev.Op, at}] = x.outline()
	}
	return x.outline()
}

// charge takes account of bytes.
func (r *renderer) charge(n int) {
	if r.bytes -= n; r.bytes < 0 {
		r.odd = true
	}
}

// run appends what a block writes.
func (r *renderer) run(dst []byte, b *block) []byte {
	if b == nil {
		return dst
	}
	if r.steps -= b.steps; r.steps < 0 {
		r.odd = true
	}
	for i := range b.statements {
		if r.odd {
			return dst
		}
		switch s := &b.statements[i]; s.do {
		case writeText:
			r.charge(len(s.text))
			dst = append(dst, s.text...)
		case writeValue:
			before := len(dst)
			dst = r.write(dst, s.of)
			r.charge(len(dst) - before)
		case setVariable:
			r.slots[s.element] = r.eval(s.of)
		case choose, enter:
			dst = r.branch(dst, s)
		case repeat:
			dst = r.loop(dst, s)
		case repeatEach:
			dst = r.each(dst, s)
		}
	}
	return dst
}

func (r *renderer) branch(dst []byte, s *statement) []byte {
	v := r.eval(s.of)
	r.set(s.element, &v)
	if r.odd {
		return dst
	}
	if !r.holds(&v) {
		return r.run(dst, s.otherwise)
	}
	r.set(s.dot, &v)
	return r.run(dst, s.then)
}

func (r *renderer) set(slot int, v *value) {
	if slot != unset {
		r.slots[slot] = *v
	}
}

// iteration runs a loop's block once.
func (r *renderer) iteration(dst []byte, s *statement, index, element value) []byte {
	r.set(s.index, &index)
	r.set(s.element, &element)
	r.set(s.dot, &element)
	return r.run(dst, s.then)
}

func (r *renderer) loop(dst []byte, s *statement) []byte {
	v := r.eval(s.of)
	if r.odd {
		return dst
	}
	if v.kind != isNothing && v.kind != isList && v.kind != isObject && v.kind != isRow && v.kind != isNames {
		r.odd = true
		return dst
	}
	if !r.holds(&v) {
		return r.run(dst, s.otherwise)
	}
	switch x := v.row; v.kind {
	case isNames:
		for i, name := range r.ev.Unavailable {
			if dst = r.iteration(dst, s, integer(i), textValue(name)); r.odd {
				return dst
			}
		}
	case isRow:
		for _, at := range r.outline(x).order {
			if dst = r.member(dst, s, x, x.places[x.outer.start+at]); r.odd {
				return dst
			}
		}
	case isObject:
		before := len(x.places)
		members := x.inside(&v.place)
		for i := members.start; i < members.end && !r.odd; i++ {
			dst = r.member(dst, s, x, x.places[i])
		}
		x.places = x.places[:before]
	case isList:
		before := len(x.places)
		elements := x.inside(&v.place)
		for i := elements.start; i < elements.end && !r.odd; i++ {
			dst = r.iteration(dst, s, integer(i-elements.start), x.at(x.places[i]))
		}
		x.places = x.places[:before]
	}
	return dst
}

// each runs the loop over a group's events. What was made of one event is gone with it.
func (r *renderer) each(dst []byte, s *statement) []byte {
	r.read = true
	made, i := len(r.made), 0
	for ev, err := range r.group.Events {
		if err != nil {
			r.odd, r.err = true, err
			break
		}
		if r.take(ev); r.odd {
			break
		}
		if dst = r.iteration(dst, s, integer(i), value{kind: isReserved}); r.odd {
			break
		}
		r.made = r.made[:made]
		i++
	}
	r.ev = nil
	return dst
}

// member runs a loop's block for a member of an object, whose index is its name.
func (r *renderer) member(dst []byte, s *statement, x *row, p place) []byte {
	name := value{kind: isQuoted, row: x, place: place{value: p.start + 1, end: p.nameEnd, exact: true}}
	return r.iteration(dst, s, name, x.at(p))
}

// write appends what an expression gives as it is shown.
func (r *renderer) write(dst []byte, e *expression) []byte {
	if e.make != nil {
		first := len(r.args)
		r.evalArgs(e)
		dst = r.make(dst, e, r.args[first:])
		r.args = r.args[:first]
		return dst
	}
	v := r.eval(e)
	return r.appendShown(dst, &v)
}

// make appends the text that a function makes.
func (r *renderer) make(dst []byte, e *expression, args []value) []byte {
	if r.odd {
		return dst
	}
	before := len(dst)
	dst = e.make(r, dst, e, args)
	if r.charge(len(dst) - before); len(dst)-before > maxTemplateText {
		r.odd = true
	}
	return dst
}

// evalArgs puts a call's arguments behind the others.
func (r *renderer) evalArgs(e *expression) {
	sum := 0
	for _, arg := range e.args {
		v := r.eval(arg)
		sum += v.size()
		r.args = append(r.args, v)
	}
	if r.charge(sum); sum > quickText {
		r.odd = true
	}
}

func (r *renderer) eval(e *expression) value {
	if r.odd {
		return value{}
	}
	switch e.op {
	case literal:
		return e.it
	case variable:
		return r.slots[e.slot]
	case ofEvent:
		return r.eventMember(e.name)
	case ofGroup:
		return r.groupMember(e.name)
	case follow:
		v := r.eval(e.args[0])
		for _, name := range e.path {
			v = r.memberOf(&v, name, e.strict)
		}
		return v
	}
	return r.call(e)
}
