package spool

import (
	"encoding/binary"
	"slices"
	"time"

	"rowhook/delivery"
)

// Versions of single events. One whose parts are in pieces is of the newest.
const (
	eventVersion = 4
	wholeVersion = 3
)

// Bits of an event's flag byte.
const (
	flagAssumed = 1 << iota
	flagKey
	flagData
	flagPrevious
	flagShape
	flagMarks
)

// appendEvent appends an event's record, see the package comment.
func appendEvent(dst []byte, ev *delivery.Event, to []delivery.ProfileID) []byte {
	version := byte(wholeVersion)
	if ev.Away != nil || large(ev) {
		version = eventVersion
	}
	dst = appendTime(append(dst, version), ev.Time)
	dst = binary.AppendUvarint(dst, uint64(len(to)))
	for _, id := range to {
		dst = binary.AppendUvarint(dst, uint64(id))
	}

	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, s := range textsOf(ev) {
		dst = appendText(dst, *s)
	}
	for _, list := range listsOf(ev) {
		dst = binary.AppendUvarint(dst, uint64(len(*list)))
		for _, s := range *list {
			dst = appendText(dst, s)
		}
	}
	dst = appendText(appendNames(dst, ev.As), ev.Kinds)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))

	dst = append(dst, eventFlags(ev))
	dst = binary.AppendUvarint(dst, zigzag(int64(ev.Ordinal)))
	if version == wholeVersion {
		for _, b := range partsOf(ev) {
			dst = appendText(dst, *b)
		}
		return dst
	}
	if ev.Away == nil {
		ev = ev.WithoutPayload()
	}
	return appendAway(appendText(dst, ev.Key), ev.Away)
}

func appendAway(dst []byte, away *delivery.Away) []byte {
	for _, size := range away.Sizes {
		dst = binary.AppendUvarint(dst, uint64(size+1))
	}
	return dst
}

func (r *reader) away() *delivery.Away {
	away := &delivery.Away{}
	for i := range away.Sizes {
		away.Sizes[i] = int64(r.uvarint()) - 1
	}
	return away
}

// large reports whether an event's parts are stored in pieces.
func large(ev *delivery.Event) bool {
	return ev.Away == nil && ev.PayloadSize() >= delivery.LargePayload
}

func eventFlags(ev *delivery.Event) (flags byte) {
	if ev.Assumed {
		flags |= flagAssumed
	}
	if ev.Key != nil {
		flags |= flagKey
	}
	if ev.Data != nil {
		flags |= flagData
	}
	if ev.Previous != nil {
		flags |= flagPrevious
	}
	if ev.Shape != nil {
		flags |= flagShape
	}
	if ev.Marks != nil {
		flags |= flagMarks
	}
	return flags
}

// appendNames writes Event.As sorted by name: 0 for nil, otherwise the number of
// members plus one, each as name, 0 or 1, and the value in the case of 1.
func appendNames(dst []byte, names map[string]*string) []byte {
	if names == nil {
		return binary.AppendUvarint(dst, 0)
	}
	keys := make([]string, 0, len(names))
	for key := range names {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	dst = binary.AppendUvarint(dst, uint64(len(keys))+1)
	for _, key := range keys {
		dst = appendText(dst, key)
		value := names[key]
		dst = appendBool(dst, value != nil)
		if value != nil {
			dst = appendText(dst, *value)
		}
	}
	return dst
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func openEvent(value []byte) (reader, time.Time, error) {
	r, err := open("event", value, eventVersion)
	if err != nil {
		return r, time.Time{}, err
	}
	t := r.time()
	if r.bad {
		return r, t, r.close("event")
	}
	return r, t, nil
}

// addressed reports whether the record names the profile as a recipient.
func addressed(value []byte, id delivery.ProfileID) (bool, error) {
	r, _, err := openEvent(value)
	if err != nil {
		return false, err
	}
	for n := r.count(); n > 0; n-- {
		if r.uvarint() == uint64(id) && !r.bad {
			return true, nil
		}
	}
	if r.bad {
		return false, r.close("event")
	}
	return false, nil
}

// recipients calls yield for each recipient of the record.
func recipients(value []byte, yield func(delivery.ProfileID)) error {
	r, _, err := openEvent(value)
	if err != nil {
		return err
	}
	for n := r.count(); n > 0; n-- {
		if id := r.uvarint(); !r.bad {
			yield(delivery.ProfileID(id))
		}
	}
	if r.bad {
		return r.close("event")
	}
	return nil
}

// decodeEvent returns the event of a record. It shares no memory with value: all
// texts lie in one string, all JSON in one slice.
func decodeEvent(value []byte) (*delivery.Event, error) {
	r, when, err := openEvent(value)
	if err != nil {
		return nil, err
	}
	for n := r.count(); n > 0; n-- {
		r.uvarint()
	}
	raw := r.take(int(r.uint32()))
	if r.bad {
		return nil, r.close("event")
	}
	ev := &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{Time: when}}
	if err := decodeTexts(ev, raw, r.version); err != nil {
		return nil, err
	}
	flags := r.byte()
	ev.Assumed = flags&flagAssumed != 0
	ev.Ordinal = int(r.varint())
	rest := reader{b: append([]byte(nil), r.b[r.off:]...), version: r.version, bad: r.bad}
	ev.Key = present(rest.bytes(), flags&flagKey)
	if rest.version >= 4 {
		ev.Away = rest.away()
		return ev, rest.close("event")
	}
	ev.Data = present(rest.bytes(), flags&flagData)
	ev.Previous = present(rest.bytes(), flags&flagPrevious)
	if rest.version >= 2 {
		ev.Shape = present(rest.bytes(), flags&flagShape)
	}
	if rest.version >= 3 {
		ev.Marks = present(rest.bytes(), flags&flagMarks)
	}
	return ev, rest.close("event")
}

// present keeps nil and empty apart.
func present(b []byte, flag byte) []byte {
	if flag == 0 {
		return nil
	}
	return b
}

// texts is a reader whose texts are parts of one string.
type texts struct {
	reader
	all string
}

func newTexts(b []byte, version byte) texts {
	return texts{reader: reader{b: b, version: version}, all: string(b)}
}

func (t *texts) text() string {
	b := t.bytes()
	return t.all[t.off-len(b) : t.off]
}

func (t *texts) list() []string {
	n := t.count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = t.text()
	}
	return list
}

// names reads what appendNames wrote.
func (t *texts) names() map[string]*string {
	n := t.uvarint()
	if n == 0 {
		return nil
	}
	if n-1 > uint64(len(t.b))/2 { // each takes two bytes at least
		t.bad = true
		n = 1
	}
	names := make(map[string]*string, n-1)
	for ; n > 1 && !t.bad; n-- {
		key := t.text()
		names[key] = nil
		if t.byte() != 0 {
			value := t.text()
			names[key] = &value
		}
	}
	return names
}

func decodeTexts(ev *delivery.Event, raw []byte, version byte) error {
	t := newTexts(raw, version)
	for _, s := range textsOf(ev) {
		*s = t.text()
	}
	for _, list := range listsOf(ev) {
		*list = t.list()
	}
	ev.As = t.names()
	if t.version >= 2 {
		ev.Kinds = t.text()
	}
	return t.close("event")
}
