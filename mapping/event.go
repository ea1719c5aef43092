package mapping

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
)

// idEncoding spells ids without dots, which Standard Webhooks forbids in them.
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// appendIdentity appends what makes an event the same event whenever its change is mapped again:
// the source's lineage, the transaction, the change's place in it, the entry and the type. Each
// part is preceded by its length, so that no two lists of parts run together.
func appendIdentity(dst []byte, lineage, transaction string, ordinal int, entry, typ string) []byte {
	for _, part := range [2]string{lineage, transaction} {
		dst = append(binary.AppendUvarint(dst, uint64(len(part))), part...)
	}
	dst = binary.AppendUvarint(dst, uint64(ordinal))
	for _, part := range [2]string{entry, typ} {
		dst = append(binary.AppendUvarint(dst, uint64(len(part))), part...)
	}
	return dst
}

// eventID hashes an identity to 128 bits, such as evt_ca6u7mhyqhq6oqylqqvbgc2nqm.
func eventID(identity []byte) string {
	sum := sha256.Sum256(identity)
	id := append(make([]byte, 0, 32), "evt_"...)
	return string(idEncoding.AppendEncode(id, sum[:16]))
}

// maxScratch is how many bytes of working memory are kept from one change to the next. A huge row
// takes more for itself alone.
const maxScratch = 1 << 20

// bodies are the parts of an event that all events of one entry and change share.
type bodies struct {
	key, data             []byte
	previous, shape       []byte
	marks                 []byte
	kinds                 string
	unavailable, flags    []string
	order, orderOld, link string
	told                  told
	assumed               bool
}

// render makes the shared parts. It fails where a column of the key or of the ordering key is
// unknown.
func (m *Mapper) render(be *boundEntry) (bodies, error) {
	e, w := &m.eval, &m.renderer
	*w = renderer{e: e, buf: w.buf[:0], marks: w.marks[:0]}
	var out bodies
	if e.op == capture.Truncate {
		w.buf = append(w.buf, "{}"...)
	} else {
		w.object(be.key, (*renderer).now)
	}
	if len(w.unavailable) > 0 {
		return out, be.undecidable(blame{clause: "key", column: w.unavailable[0], old: e.op == capture.Delete})
	}
	endOfKey := len(w.buf)
	startOfData := 0
	if e.op == capture.Insert || e.op == capture.Update || e.op == capture.Read {
		startOfData = endOfKey
		out.kinds = w.payload(be)
	}
	endOfData := len(w.buf)
	if e.op == capture.Update || e.op == capture.Delete {
		w.object(be.shape, (*renderer).before)
		if len(w.buf) == endOfData+len("{}") {
			w.buf = w.buf[:endOfData]
		}
	}
	endOfPrevious := len(w.buf)
	if e.op == capture.Delete && be.wholeDelete {
		// What is missing in it is told by kinds: unavailable is about the data, which is the key.
		told := w.unavailable
		out.kinds, w.unavailable = w.payload(be), told
	}
	endOfShape := len(w.buf)
	known := be.marked && out.kinds != ""
	if known {
		w.buf = append(w.buf, w.marks...)
	}
	all := w.take()
	out.key = all[:endOfKey:endOfKey]
	out.data = all[startOfData:endOfData:endOfData]
	if endOfPrevious > endOfData {
		out.previous = all[endOfData:endOfPrevious:endOfPrevious]
	}
	payload := out.data
	if endOfShape > endOfPrevious {
		out.shape = all[endOfPrevious:endOfShape:endOfShape]
		payload = out.shape
	}
	if known && canTell(payload) {
		out.marks = all[endOfShape:]
	}
	out.unavailable, out.flags = w.unavailable, w.flags
	for _, column := range w.rounded {
		m.out.Notice(Notice{Kind: BigintRounded, Entry: be.entry.Name, Column: m.bound.name + "." + column, Position: m.tx.Position})
	}
	return out, m.renderTexts(be, &out)
}

// take returns what was written, which is the event's from then on. What is large is not copied.
func (w *renderer) take() []byte {
	if len(w.buf) <= maxScratch {
		return bytes.Clone(w.buf)
	}
	all := w.buf
	w.buf, w.marks = nil, nil
	return all
}

// renderTexts makes the ordering keys, the link and the context. The three texts share one
// allocation.
func (m *Mapper) renderTexts(be *boundEntry, out *bodies) error {
	e := &m.eval
	buf, err := be.appendOrder(m.text[:0], e, (*rows).current)
	if err != nil {
		return err
	}
	endOfOrder := len(buf)
	if be.moved(e) {
		buf, _ = be.appendOrder(buf, e, func(r *rows, col int) capture.Value {
			if v := r.before(col); known(v) {
				return v
			}
			return r.current(col)
		})
	}
	if string(buf[endOfOrder:]) == string(buf[:endOfOrder]) { // another spelling of the key
		buf = buf[:endOfOrder]
	}
	endOfOld := len(buf)
	buf = be.appendLink(buf, e)
	m.text = buf
	all := string(buf)
	out.order, out.orderOld, out.link = all[:endOfOrder], all[endOfOrder:endOfOld], all[endOfOld:]
	outright := e.toldOutright()
	out.told = outright.or(e.context.defaults)
	out.assumed = outright.operation == "" && out.told != outright
	return nil
}

// orderVersion is of what ordering keys are made of besides columns: where it is another, so are the
// keys of equal rows, and events from before are over before others begin.
const orderVersion = "canonical"

// appendOrder appends the ordering key: the table or group, and the values percent-encoded
// behind slashes. A NULL is a bare %, which no value is encoded to. What the database takes for one
// value is one key, however it is written.
func (be *boundEntry) appendOrder(dst []byte, e *evaluation, pick func(*rows, int) capture.Value) ([]byte, error) {
	dst = append(dst, be.order...)
	if e.op == capture.Truncate {
		return dst, nil
	}
	for _, col := range be.orderBy {
		dst = append(dst, '/')
		switch v := pick(&e.rows, col); v.State {
		case capture.Present:
			if e.untyped(v, col) { // it would be another key than the row has in other events
				return dst, be.undecidable(blame{clause: "order_by", column: e.table.Columns[col].Name, untyped: true})
			}
			be.spelling = appendOneSpelling(be.spelling[:0], e.table.Columns[col].Type, v.Text)
			dst = appendEscaped(dst, be.spelling)
		case capture.Null:
			dst = append(dst, '%')
		default:
			return dst, be.undecidable(blame{clause: "order_by", column: e.table.Columns[col].Name, old: e.op == capture.Delete})
		}
	}
	return dst, nil
}

// moved reports whether an update took the row from one ordering key to another.
func (be *boundEntry) moved(e *evaluation) bool {
	if e.op != capture.Update || e.old == nil {
		return false
	}
	for _, col := range be.orderBy {
		if before := e.before(col); known(before) && !equal(before, e.after(col)) {
			return true
		}
	}
	return false
}

// appendLink appends the link, or nothing where one of its columns is NULL or unknown.
func (be *boundEntry) appendLink(dst []byte, e *evaluation) []byte {
	start := len(dst)
	if e.op == capture.Truncate {
		return dst
	}
	for i := range be.link {
		part := &be.link[i]
		if part.col == none {
			dst = append(dst, part.text...)
			continue
		}
		v := e.current(part.col)
		if v.State != capture.Present {
			return dst[:start]
		}
		text := plainText(v, e.table.Columns[part.col].Type.Kind)
		if part.mask != nil {
			text = mask(part.mask, text)
		}
		dst = appendEscaped(dst, text)
	}
	return dst
}

// event makes one event of the shared parts. The names are those of the rule that fired.
func (m *Mapper) event(be *boundEntry, fired firing, b *bodies, ordinal int) *delivery.Event {
	typ := be.events[fired.event].typ
	m.text = appendIdentity(m.text[:0], m.lineage, m.tx.Identity, ordinal, be.Name, typ)
	if m.eval.touched { // of one change come those of several rows
		m.text = append(m.text, m.touched.name...)
	}
	return &delivery.Event{
		Making: m.making(be, fired), Commit: m.commitOf(b.told, b.assumed),
		ID: eventID(m.text), Ordinal: ordinal, Link: b.link,
		Key: b.key, Data: b.data, Previous: b.previous, Shape: b.shape, Kinds: b.kinds, Marks: b.marks,
		Unavailable: b.unavailable, Flags: b.flags, OrderKey: b.order, OrderKeyOld: b.orderOld,
	}
}

// making returns what the events of a rule and an operation share.
func (m *Mapper) making(be *boundEntry, fired firing) *delivery.Making {
	ev := &be.events[fired.event]
	made := &ev.rules[fired.rule].made[m.eval.op]
	if *made == nil || (*made).Source != m.source {
		*made = &delivery.Making{
			Type: ev.typ, Entry: be.Name, Source: m.source, Table: m.bound.name, Op: m.eval.op.String(), Bigints: be.bigints,
			As: ev.rules[fired.rule].rule.as, Title: be.Title, Code: be.Code, Object: be.Object,
		}
	}
	return *made
}

// commitOf returns what events of the open transaction share, of those that were made by somebody.
func (m *Mapper) commitOf(by told, assumed bool) *delivery.Commit {
	if c := m.commit; c != nil && c.Assumed == assumed && c.Operation == by.operation && c.Actor == by.actor {
		return c
	}
	m.commit = &delivery.Commit{
		Time: m.tx.Time, Position: string(m.tx.Position), Transaction: m.tx.ID,
		Actor: by.actor, Operation: by.operation, Assumed: assumed,
	}
	return m.commit
}

// signalEvent makes the event of a signal.
func (m *Mapper) signalEvent(s *signal, ordinal int) *delivery.Event {
	m.text = appendIdentity(m.text[:0], m.lineage, m.tx.Identity, ordinal, "", s.typ)
	outright := m.contexts.transaction()
	t := outright.or(m.contexts.defaults)
	config := m.signalTypes[s.typ]
	return &delivery.Event{
		Making: &delivery.Making{Type: s.typ, Source: m.source, Op: "signal", As: config.as, Title: config.Title, Object: config.Object},
		Commit: m.commitOf(t, outright.operation == "" && t != outright),
		ID:     eventID(m.text), Ordinal: ordinal, Key: s.key, Data: s.data, OrderKey: s.orderKey(),
	}
}

// commitTime is what now() gives in expressions.
func (m *Mapper) commitTime() time.Time { return m.tx.Time.UTC() }

// changeRow is the changed row as subscriptions' conditions see it, by the table's own names.
type changeRow struct{ m *Mapper }

// Column returns a column of the new row, or of the old one for a delete. A truncate has no
// columns.
func (r changeRow) Column(name string) (text string, state delivery.Known, sense delivery.Sense, ok bool) {
	b, e := r.m.bound, &r.m.eval
	col, ok := b.columns[name]
	if !ok && e.entry != nil && len(e.entry.lookups) > 0 {
		col = e.entry.table.Column(name)
		ok = col >= 0
	}
	if !ok || e.op == capture.Truncate {
		return "", delivery.ValueUnknown, delivery.SenseText, false
	}
	t := e.table.Columns[col].Type
	if col < len(b.senses) {
		sense = b.senses[col]
	} else { // of a row that was looked up
		sense = senseOf(t)
	}
	switch v := e.current(col); v.State {
	case capture.Null:
		return "", delivery.ValueNull, sense, true
	case capture.Present:
		if t.Kind == capture.Untyped {
			break
		}
		return string(plainText(v, t.Kind)), delivery.ValuePresent, sense, true
	}
	return "", delivery.ValueUnknown, sense, true
}
