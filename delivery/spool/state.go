package spool

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"rowhook/delivery"
)

// Versions of the values, one each, so that one can change without the others.
const (
	commitVersion   = 4 // of a log that may have packed blocks, and rows beside it: what an earlier build must not take
	undoVersion     = 1
	deliveryVersion = 3
	progressVersion = 1
	parkedVersion   = 5
	mergedVersion   = 4 // of a parked change that several became
	passedVersion   = 3 // of a parked change that was read past, or whose key is known
	keptVersion     = 2 // of any other that stands for itself
	totalsVersion   = 1
	markVersion     = 1
	registryVersion = 1
	parkingVersion  = 1
	missedVersion   = 1
)

// commitRecord says how far the log is committed: what lies beyond is the stored
// part of a transaction whose end has not come.
type commitRecord struct {
	seq      delivery.Seq // last visible event
	parked   delivery.Seq // last visible dead letter of the source
	bytes    uint64       // of all events ever, up to seq
	position string
}

func (c *commitRecord) encode(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, commitVersion), uint64(c.seq))
	dst = binary.AppendUvarint(dst, uint64(c.parked))
	dst = binary.AppendUvarint(dst, c.bytes)
	return appendText(dst, c.position)
}

func decodeCommit(b []byte) (c commitRecord, err error) {
	r, err := open("commit record", b, commitVersion)
	if err != nil {
		return c, err
	}
	c.seq, c.parked, c.bytes = delivery.Seq(r.uvarint()), delivery.Seq(r.uvarint()), r.uvarint()
	c.position = r.text()
	return c, r.close("commit record")
}

// tally counts events and their bytes.
type tally struct{ events, bytes int64 }

func (t *tally) add(events, bytes int64) { t.events += events; t.bytes += bytes }

func (t tally) encode(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(t.events)), uint64(t.bytes))
}

func (r *reader) tally() tally { return tally{int64(r.uvarint()), int64(r.uvarint())} }

// progressRecord is a profile's progress with the counters that go with it: what was
// counted off its backlog, ever.
type progressRecord struct {
	delivery.Progress
	finished tally
}

func (p *progressRecord) encode(dst []byte) []byte {
	dst = p.finished.encode(append(dst, progressVersion))
	dst = binary.AppendUvarint(dst, uint64(p.Cursor))
	dst = binary.AppendUvarint(dst, uint64(len(p.Done)))
	last := p.Cursor
	for _, seq := range p.Done {
		dst = binary.AppendUvarint(dst, uint64(seq-last))
		last = seq
	}
	return dst
}

func decodeProgress(b []byte) (p progressRecord, err error) {
	r, err := open("progress", b, progressVersion)
	if err != nil {
		return p, err
	}
	p.finished = r.tally()
	p.Cursor = delivery.Seq(r.uvarint())
	if n := r.count(); n > 0 {
		p.Done = make([]delivery.Seq, n)
		last := p.Cursor
		for i := range p.Done {
			last += delivery.Seq(r.uvarint())
			p.Done[i] = last
		}
	}
	return p, r.close("progress")
}

// encodeDelivery leaves the body out, which has a key of its own so that lists need
// not read it. when is the commit time of its event.
func encodeDelivery(dst []byte, d *delivery.Delivery, when time.Time) []byte {
	dst = append(dst, deliveryVersion, byte(d.State))
	dst = appendTime(dst, when)
	dst = binary.BigEndian.AppendUint64(dst, d.Lane)
	dst = binary.BigEndian.AppendUint64(dst, d.WaitLane)
	dst = appendTime(dst, d.Due)
	dst = appendTime(dst, d.Since)
	for _, n := range [...]int64{int64(d.Round), int64(d.Attempts), int64(d.Refusals), int64(d.Clock), int64(d.Status), int64(d.Bytes)} {
		dst = binary.AppendUvarint(dst, zigzag(n))
	}
	dst = appendText(dst, d.Reason)
	dst = appendText(dst, d.Error)
	dst = appendText(dst, d.Head.ContentType)
	dst = binary.AppendUvarint(dst, uint64(len(d.Head.Header)))
	for _, h := range d.Head.Header {
		dst = appendText(appendText(dst, h.Name), h.Value)
	}
	return appendBool(appendMembers(dst, d), d.Body != nil)
}

// appendMembers writes 0 for a delivery of one event; otherwise 1 and which events it carries.
func appendMembers(dst []byte, d *delivery.Delivery) []byte {
	m := d.Members
	dst = appendBool(dst, m != nil)
	if m == nil {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(m.Last-d.Seq))
	for _, n := range [...]int{m.Count, m.Part, m.Parts} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for _, s := range [...]string{m.ID, m.Unit, m.LastID, m.Entry, m.Type} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(appendBool(dst, m.Alone), uint64(len(m.Lanes)))
	for _, lane := range m.Lanes {
		dst = binary.BigEndian.AppendUint64(dst, lane)
	}
	return dst
}

// decodeMembers reads what appendMembers wrote. How far the last event lies behind the first is
// added once the first is known.
func decodeMembers(r *reader) *delivery.Members {
	if r.byte() == 0 {
		return nil
	}
	m := &delivery.Members{Last: delivery.Seq(r.uvarint())}
	m.Count, m.Part, m.Parts = int(r.uvarint()), int(r.uvarint()), int(r.uvarint())
	for _, s := range [...]*string{&m.ID, &m.Unit, &m.LastID, &m.Entry, &m.Type} {
		*s = r.text()
	}
	m.Alone = r.byte() != 0
	if n := r.count(); n > 0 && !r.bad {
		m.Lanes = make([]uint64, n)
		for i := range m.Lanes {
			m.Lanes[i] = r.uint64()
		}
	}
	return m
}

// storedDelivery is a delivery without its body.
type storedDelivery struct {
	delivery.Delivery
	when time.Time // commit time of the event
	body bool      // there is a body under its own key
}

func decodeDelivery(seq delivery.Seq, b []byte) (d storedDelivery, err error) {
	r, err := open("delivery", b, deliveryVersion)
	if err != nil {
		return d, err
	}
	d.Seq, d.State = seq, delivery.State(r.byte())
	d.when = r.time()
	d.Lane, d.WaitLane = r.uint64(), r.uint64()
	d.Due, d.Since = r.time(), r.time()
	d.Round, d.Attempts, d.Refusals = int(r.varint()), int(r.varint()), int(r.varint())
	d.Clock = time.Duration(r.varint())
	d.Status, d.Bytes = int(r.varint()), int(r.varint())
	d.Reason, d.Error, d.Head.ContentType = r.text(), r.text(), r.text()
	if r.version >= 2 {
		for n := r.count(); n > 0 && !r.bad; n-- {
			d.Head.Header = append(d.Head.Header, delivery.HeaderConfig{Name: r.text(), Value: r.text()})
		}
	}
	if r.version >= 3 {
		d.Members = decodeMembers(&r)
		if d.Members != nil {
			d.Members.Last += seq
		}
	}
	d.body = r.byte() != 0
	return d, r.close("delivery")
}

func encodeParked(dst []byte, p *delivery.Parked) []byte {
	version := byte(keptVersion)
	switch {
	case len(p.Touch) > 0:
		version = parkedVersion
	case len(p.Merged) > 0:
		version = mergedVersion
	case p.Size > 0 || len(p.Key) > 0:
		version = passedVersion
	}
	dst = appendTime(append(dst, version), p.Time)
	dst = binary.AppendUvarint(dst, zigzag(int64(p.Ordinal)))
	dst = appendBool(dst, p.Assumed)
	for _, s := range [...]string{
		p.Table, p.Entry, p.Profile, p.Reason, p.Error, p.Transaction, p.Identity, p.Position,
		p.Actor.ID, p.Actor.Name, p.Operation,
	} {
		dst = appendText(dst, s)
	}
	dst = appendText(appendText(appendText(dst, p.Relation), p.Change), p.Second)
	dst = binary.AppendUvarint(dst, uint64(len(p.Made)))
	for _, typ := range p.Made {
		dst = appendText(dst, typ)
	}
	if version == keptVersion {
		return dst
	}
	dst = appendText(binary.AppendUvarint(dst, uint64(p.Size)), p.Key)
	if version == passedVersion {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Merged)))
	for _, change := range p.Merged {
		dst = appendText(dst, change)
	}
	if version == mergedVersion {
		return dst
	}
	return appendText(dst, p.Touch)
}

func decodeParked(b []byte) (p delivery.Parked, err error) {
	r, err := open("parked change", b, parkedVersion)
	if err != nil {
		return p, err
	}
	p.Time = r.time()
	p.Ordinal = int(r.varint())
	p.Assumed = r.byte() != 0
	for _, s := range [...]*string{
		&p.Table, &p.Entry, &p.Profile, &p.Reason, &p.Error, &p.Transaction, &p.Identity, &p.Position,
		&p.Actor.ID, &p.Actor.Name, &p.Operation,
	} {
		*s = r.text()
	}
	p.Relation = append([]byte(nil), r.bytes()...)
	p.Change = append([]byte(nil), r.bytes()...)
	p.Second = append([]byte(nil), r.bytes()...)
	if r.version >= 2 {
		for n := r.count(); n > 0 && !r.bad; n-- {
			p.Made = append(p.Made, r.text())
		}
	}
	if r.version >= 3 {
		p.Size = int64(r.uvarint())
		p.Key = append([]byte(nil), r.bytes()...)
	}
	if r.version >= 4 {
		for n := r.count(); n > 0 && !r.bad; n-- {
			p.Merged = append(p.Merged, append([]byte(nil), r.bytes()...))
		}
	}
	if r.version >= 5 {
		p.Touch = append([]byte(nil), r.bytes()...)
	}
	return p, r.close("parked change")
}

// totalsRecord is what each profile was addressed, ever, up to seq: with it, opening
// the spool counts only the events behind it.
type totalsRecord struct {
	seq  delivery.Seq
	sent map[delivery.ProfileID]tally
}

func (t *totalsRecord) encode(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, totalsVersion), uint64(t.seq))
	dst = binary.AppendUvarint(dst, uint64(len(t.sent)))
	for _, id := range slices.Sorted(maps.Keys(t.sent)) {
		dst = t.sent[id].encode(binary.AppendUvarint(dst, uint64(id)))
	}
	return dst
}

func decodeTotals(b []byte) (t totalsRecord, err error) {
	r, err := open("totals", b, totalsVersion)
	if err != nil {
		return t, err
	}
	t.seq = delivery.Seq(r.uvarint())
	t.sent = make(map[delivery.ProfileID]tally)
	for n := r.count(); n > 0; n-- {
		id := delivery.ProfileID(r.uvarint())
		t.sent[id] = r.tally()
	}
	return t, r.close("totals")
}

// mark is a place in the log with its time and the bytes before it: a coarse index
// by time and size for history and replay.
type mark struct {
	seq    delivery.Seq
	time   time.Time
	before uint64
}

func (m *mark) encode(dst []byte) []byte {
	return binary.AppendUvarint(appendTime(append(dst, markVersion), m.time), m.before)
}

func decodeMark(b []byte) (m mark, err error) {
	r, err := open("mark", b, markVersion)
	if err != nil {
		return m, err
	}
	m.time, m.before = r.time(), r.uvarint()
	return m, r.close("mark")
}

// registration names a profile number. Numbers are never used again, so that a
// retired profile keeps its entry.
type registration struct {
	code    string
	retired bool
}

func (g *registration) encode(dst []byte) []byte {
	return appendText(appendBool(append(dst, registryVersion), g.retired), g.code)
}

func decodeRegistration(b []byte) (g registration, err error) {
	r, err := open("registration", b, registryVersion)
	if err != nil {
		return g, err
	}
	g.retired, g.code = r.byte() != 0, r.text()
	return g, r.close("registration")
}

func encodeMissed(t tally) []byte { return t.encode([]byte{missedVersion}) }

func decodeMissed(b []byte) (t tally, err error) {
	r, err := open("missed delivery", b, missedVersion)
	if err != nil {
		return t, err
	}
	t = r.tally()
	return t, r.close("missed delivery")
}

func encodeParking(t tally) []byte { return t.encode([]byte{parkingVersion}) }

func decodeParking(b []byte) (t tally, err error) {
	r, err := open("parking", b, parkingVersion)
	if err != nil {
		return t, err
	}
	t = r.tally()
	return t, r.close("parking")
}
