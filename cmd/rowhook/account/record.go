package account

import (
	"encoding/binary"
	"encoding/json"
	"time"
	"unicode/utf8"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// The kinds of records.
const (
	kindBegin       = 'B'
	kindEnd         = 'E'
	kindPlan        = 'P'
	kindTransaction = 'T'
	kindAbort       = 'A'
	kindLeftOut     = 'L'
	kindChange      = 'C'
	kindPassed      = 'U'
)

// The bits of a change.
const (
	hasKey = 1 << iota
	hasOldKey
	hasWho
	hasFailure
	hasAbout
	hasVerdicts
	hasFolded
	hasLookups // or lists
)

// touchedLookup marks the byte of a look-up whose row's change is what the entry was asked about.
const touchedLookup = 16

// What came of a list.
const (
	listUntold = iota // no event was to have it
	listUnknown
	listWhole
	listCut
)

// The bits of a value.
const (
	valueNull = 1 << iota
	valueText
	valueMasked
	valueHidden
	valueCut
)

// lengthBytes is how many bytes tell a change's length.
const lengthBytes = 3

// follows marks a verdict's or an answer's byte behind which there is more.
const follows = 8

// oldValue marks a verdict that the old value decided.
const oldValue = 16

// Plan is what is known of an entry as one table binds it.
type Plan struct {
	mapping.Watched
	Profiles [][]string // for each event, the profiles that subscribe to its type
	Values   bool       `json:",omitempty"` // of look-ups and lists are kept
}

func (p *Plan) encode() []byte {
	raw, err := json.Marshal(p)
	if err != nil { // strings and lists of strings
		return []byte("{}")
	}
	return raw
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(dst, 0)
	}
	return binary.BigEndian.AppendUint64(dst, uint64(t.UnixNano()))
}

func appendText[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

func appendPlan(dst []byte, p *plan) []byte {
	return appendText(binary.AppendUvarint(append(dst, kindPlan), p.number), p.text)
}

func appendTransaction(dst []byte, tx *capture.Transaction) []byte {
	dst = appendTime(append(dst, kindTransaction), tx.Time)
	return appendText(appendText(dst, tx.ID), string(tx.Position))
}

func appendLeftOut(dst []byte, plan uint64, s stretch) []byte {
	dst = binary.AppendUvarint(append(dst, kindLeftOut), plan)
	dst = appendTime(appendTime(dst, s.from), s.to)
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(s.changes[eventful])), uint64(s.changes[uneventful]))
}

// hashKey is FNV-1a, which needs no state.
func hashKey(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

// appendChange writes down the change at hand, whole or not at all. Called with mu held.
func (a *Account) appendChange(p *plan, j *mapping.Judgement) bool {
	begin := len(a.buf) + 1 + lengthBytes
	a.buf = binary.AppendUvarint(append(a.buf, kindChange, 0, 0, 0), p.number)
	a.buf = binary.AppendUvarint(append(a.buf, byte(j.Op())), uint64(j.Ordinal()))
	bits, at := byte(0), len(a.buf)
	a.buf = append(a.buf, 0)
	sound := j.Sound()
	if sound {
		bits |= a.appendKeys(j)
	}
	if a.options.Values && sound {
		if actor, operation := j.Told(); actor != (delivery.Actor{}) || operation != "" {
			bits |= hasWho
			for _, text := range [...]string{actor.ID, actor.Name, operation} {
				a.buf = appendText(a.buf, cut(text, maxText))
			}
		}
	}
	if f := j.Failure(); f != nil {
		bits |= hasFailure
		a.buf = appendText(a.buf, string(f.Reason))
		a.buf = appendText(a.buf, cut(f.Err.Error(), maxError))
	}
	nothing := j.Nothing()
	if sound && !nothing {
		if about := j.About(); about.Standing != mapping.Holds {
			bits |= hasAbout
			a.appendVerdict(j, &about)
		}
		bits |= hasVerdicts
		a.verdicts = j.AppendVerdicts(a.verdicts[:0])
		for i := range a.verdicts {
			a.appendVerdict(j, &a.verdicts[i])
		}
	}
	whole := a.appendEvents(p, j)
	if folded := j.Folded(); folded != nil {
		bits |= hasFolded
		a.appendFolded(folded, nothing)
	}
	if sound && p.found(j) {
		bits |= hasLookups
		a.appendLookups(p, j)
		a.appendLists(p, j)
	}
	a.buf[at] = bits
	length := len(a.buf) - begin
	if !whole || length >= 1<<(8*lengthBytes) { // of very many events or profiles
		a.buf = a.buf[:begin-lengthBytes-1]
		return false
	}
	a.buf[begin-3], a.buf[begin-2], a.buf[begin-1] = byte(length>>16), byte(length>>8), byte(length)
	return true
}

// appendKeys writes the hashes of the row's key now and before.
func (a *Account) appendKeys(j *mapping.Judgement) (bits byte) {
	start := len(a.buf)
	hash := func(old bool) bool {
		key, ok := j.AppendKey(a.buf, old)
		h := hashKey(key[len(a.buf):])
		a.buf = key[:len(a.buf)] // what it grew to is kept
		if ok {
			a.buf = binary.BigEndian.AppendUint64(a.buf, h)
		}
		return ok
	}
	if !hash(false) {
		a.buf = a.buf[:start]
		return 0
	}
	if j.Moved() && hash(true) {
		return hasKey | hasOldKey
	}
	return hasKey
}

// mostFolded is how many of the changes that became one are told each.
const mostFolded = 32

// appendFolded writes which changes became one, or nothing.
func (a *Account) appendFolded(changes []*capture.Change, nothing bool) {
	told := changes
	if len(told) > mostFolded { // the first ones, and the last, where the event is
		told = append(append(a.folded[:0], changes[:mostFolded-1]...), changes[len(changes)-1])
		a.folded = told
	}
	none := byte(0)
	if nothing {
		none = 1
	}
	a.buf = binary.AppendUvarint(append(a.buf, none), uint64(len(changes)))
	a.buf = binary.AppendUvarint(a.buf, uint64(len(told)))
	for _, c := range told {
		a.buf = binary.AppendUvarint(append(a.buf, byte(c.Op)), uint64(c.Ordinal))
	}
	clear(a.folded)
}

// appendLookups writes what each look-up found: the values of the columns that the entry uses, or of
// those that it was to be found by.
func (a *Account) appendLookups(p *plan, j *mapping.Judgement) {
	for i := range p.lookups {
		found, l := j.LookedUp(i), &p.lookups[i]
		first := byte(found)
		if j.Touched(i) {
			first |= touchedLookup
		}
		a.buf = append(a.buf, first)
		if !a.options.Values {
			continue
		}
		for _, column := range l.By {
			a.appendColumn(j, column)
		}
		if found == mapping.RowFound {
			for _, column := range l.Columns {
				a.appendColumn(j, column)
			}
		}
	}
}

// found reports whether anything of other tables was looked for.
func (p *plan) found(j *mapping.Judgement) bool {
	if len(p.lookups) > 0 && j.LookedUp(0) != mapping.NotLookedUp {
		return true
	}
	for i := range p.parts {
		if _, told := j.Listed(i); told {
			return true
		}
	}
	return false
}

// appendLists writes how many rows each list has, and the values that they were to be found by.
func (a *Account) appendLists(p *plan, j *mapping.Judgement) {
	for i := range p.parts {
		l, told := j.Listed(i)
		switch {
		case !told:
			a.buf = append(a.buf, listUntold)
			continue
		case !l.Known:
			a.buf = append(a.buf, listUnknown)
		case l.More:
			a.buf = binary.AppendUvarint(append(a.buf, listCut), uint64(l.Rows))
		default:
			a.buf = binary.AppendUvarint(append(a.buf, listWhole), uint64(l.Rows))
		}
		if a.options.Values {
			for _, column := range p.parts[i].By {
				a.appendColumn(j, column)
			}
		}
	}
}

// appendColumn writes a column's value.
func (a *Account) appendColumn(j *mapping.Judgement, column string) {
	value, _ := j.Value(column)
	a.appendValue(&value)
}

// appendPassed writes down a change that was not decoded.
func appendPassed(dst []byte, p *delivery.Parked) []byte {
	bits := byte(0)
	if len(p.Key) > 0 {
		bits = hasKey
	}
	dst = binary.AppendUvarint(append(dst, kindPassed, bits), uint64(p.Ordinal))
	if bits != 0 {
		dst = binary.BigEndian.AppendUint64(dst, hashKey(p.Key))
	}
	return appendText(appendText(appendText(dst, p.Table), p.Reason), cut(p.Error, maxError))
}

func (a *Account) appendVerdict(j *mapping.Judgement, v *mapping.Verdict) {
	if v.Standing != mapping.Fails && v.Standing != mapping.Undecided {
		a.buf = append(a.buf, byte(v.Standing))
		return
	}
	first := byte(v.Standing) | follows
	if v.Old {
		first |= oldValue
	}
	a.buf = append(a.buf, first, byte(v.Reason))
	a.buf = binary.AppendUvarint(a.buf, uint64(v.Clause+1))
	at := len(a.buf)
	a.buf = append(a.buf, 0)
	if a.options.Values {
		j.Values(v, func(value mapping.ColumnValue) {
			a.buf[at]++ // there are four at most
			a.appendValue(&value)
		})
	}
}

func (a *Account) appendValue(v *mapping.ColumnValue) {
	bits, text := byte(0), v.Text
	switch {
	case v.Hidden:
		bits, text = valueHidden, nil
	case v.Known == delivery.ValueNull:
		bits, text = valueNull, nil
	case v.Known == delivery.ValuePresent:
		bits = valueText
	}
	if v.Masked {
		bits |= valueMasked
	}
	if short := cut(text, maxText); len(short) < len(text) {
		bits, text = bits|valueCut, short
	}
	a.buf = appendText(append(a.buf, bits), text)
}

// cut is the start of a text, of so many bytes at most, without half a character.
func cut[T string | []byte](text T, most int) T {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// mostEvents is how many events of one change can be written down.
const mostEvents = 127

// appendEvents writes the events of the change at hand, with their profiles' answers. It reports
// whether these are all.
func (a *Account) appendEvents(p *plan, j *mapping.Judgement) bool {
	at := len(a.buf)
	a.buf = append(a.buf, 0)
	answers := a.answers
	for i := range a.events {
		seen := &a.events[i]
		of := answers[:seen.answers]
		answers = answers[seen.answers:]
		place := -1
		for k, typ := range p.types {
			if typ == seen.event.Type {
				place = k
			}
		}
		if place < 0 || len(p.bare[place]) != len(of) || a.buf[at] == mostEvents {
			return false // the profiles are other ones than the plan's, or there are too many events
		}
		a.buf[at]++
		a.buf = appendText(binary.AppendUvarint(a.buf, uint64(place)), seen.event.ID)
		for k := range of {
			a.appendAnswer(j, &of[k], a.options.Values && !p.bare[place][k])
		}
	}
	return true
}

func (a *Account) appendAnswer(j *mapping.Judgement, m *matching, values bool) {
	if m.column == "" || m.answer == delivery.True {
		a.buf = append(a.buf, byte(m.answer))
		return
	}
	a.buf = appendText(append(a.buf, byte(m.answer)|follows), m.column)
	value, ok := j.Value(m.column)
	switch {
	case !ok:
		value = mapping.ColumnValue{}
	case !values:
		value = mapping.ColumnValue{Known: value.Known, Hidden: true}
	}
	a.appendValue(&value)
}

// reader reads records. Once something is not as it should be, everything is zero and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// number is a uvarint that is believed up to a bound.
func (r *reader) number(most uint64) int {
	v := r.uvarint()
	if v > most {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *reader) text() string { return string(r.take(r.number(uint64(len(r.b))))) }

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) time() time.Time {
	n := int64(r.uint64())
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
