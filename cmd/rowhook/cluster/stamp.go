package cluster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"rowhook/delivery"
)

// The spool's own values in which a replica keeps how far it is. Each is set in the write that it
// tells of.
const (
	valueLog   = "cluster/log"   // the last part that ended a transaction
	valueRest  = "cluster/rest"  // the last other message that had an effect
	valueTable = "cluster/table" // members and seats, as of valueRest
	valueSelf  = "cluster/self"  // this machine and its process; of no other machine
	valueFloor = "cluster/floor" // the highest epoch of the clusters that the spool was of before
)

// stampVersion is the first byte of these values.
const stampVersion = 1

// stamp is a place in the stream.
type stamp struct {
	seq    uint64
	digest digest
}

func (s *stamp) encode() []byte {
	return append(binary.AppendUvarint([]byte{stampVersion}, s.seq), s.digest[:]...)
}

func decodeStamp(raw []byte) (s stamp, err error) {
	r, err := openValue(valueLog, raw)
	s.seq, s.digest = r.uvarint(), digest(r.take(len(digest{})))
	return s, closeValue(valueLog, r, err)
}

// encodeRest is what changes with every message.
func (s *state) encodeRest() []byte {
	dst := append(binary.AppendUvarint([]byte{stampVersion}, s.seq), s.digest[:]...)
	dst = binary.AppendUvarint(dst, s.open)
	dst = binary.AppendUvarint(dst, uint64(len(s.members)))
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		m := s.members[name]
		dst = binary.AppendUvarint(appendText(dst, name), m.incarnation)
		for _, l := range m.lanes {
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, l.n), l.first)
		}
	}
	return dst
}

// encodeTable is what changes with members and seats.
func (s *state) encodeTable() []byte {
	dst := appendText(appendText([]byte{stampVersion}, s.lineage), s.origin)
	dst = binary.AppendUvarint(dst, uint64(len(s.turns)))
	for _, t := range s.turns {
		dst = binary.AppendUvarint(appendText(binary.AppendUvarint(dst, t.seq), t.config), uint64(t.from))
	}
	dst = appendText(dst, string(s.note))
	dst = binary.AppendUvarint(appendText(dst, s.latest.object), s.latest.covers)
	dst = binary.AppendUvarint(dst, uint64(len(s.members)))
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		m := s.members[name]
		dst = m.about.append(binary.AppendUvarint(appendText(dst, name), m.renewal))
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.seats)))
	for _, name := range slices.Sorted(maps.Keys(s.seats)) {
		t := s.seats[name]
		dst = appendText(appendText(dst, name), t.owner)
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, t.incarnation), t.epoch)
		dst = appendText(dst, t.left)
	}
	return dst
}

// decodeState reads both values.
func decodeState(rest, table []byte) (*state, error) {
	s := newState()
	r, err := openValue(valueRest, rest)
	s.seq, s.digest, s.open = r.uvarint(), digest(r.take(len(digest{}))), r.uvarint()
	for range r.count() {
		m := &member{}
		s.members[r.text()] = m
		m.incarnation = r.uvarint()
		for i := range m.lanes {
			m.lanes[i].n, m.lanes[i].first = r.uvarint(), r.uvarint()
		}
	}
	if err := closeValue(valueRest, r, err); err != nil {
		return nil, err
	}
	r, err = openValue(valueTable, table)
	s.lineage, s.origin = r.text(), r.text()
	for range r.count() {
		s.turns = append(s.turns, turned{seq: r.uvarint(), config: r.text(), from: delivery.Seq(r.uvarint())})
	}
	s.note = bytes.Clone(r.bytes())
	s.latest = snapshot{object: r.text(), covers: r.uvarint()}
	for range r.count() {
		m := s.members[r.text()]
		if m == nil {
			r.err = errMalformed
			break
		}
		m.renewal, m.about = r.uvarint(), r.about()
	}
	for range r.count() {
		name := r.text()
		s.seats[name] = &seat{owner: r.text(), incarnation: r.uvarint(), epoch: r.uvarint(), left: r.text()}
	}
	return s, closeValue(valueTable, r, err)
}

func openValue(key string, raw []byte) (*reader, error) {
	r := &reader{rest: raw}
	if version := r.byte(); r.err == nil && version != stampVersion {
		return r, fmt.Errorf("%s of the spool has version %d, this build knows %d", key, version, stampVersion)
	}
	return r, nil
}

func closeValue(key string, r *reader, err error) error {
	if err == nil && len(r.rest) > 0 {
		r.err = errMalformed
	}
	if err == nil && r.err != nil {
		err = fmt.Errorf("%s of the spool: %w", key, r.err)
	}
	return err
}

// encodeFloor is the highest epoch that a state has.
func (s *state) encodeFloor() []byte {
	floor := s.floor
	for _, t := range s.seats {
		floor = max(floor, t.epoch)
	}
	return binary.AppendUvarint([]byte{stampVersion}, floor)
}

func decodeFloor(raw []byte) (floor uint64, err error) {
	if len(raw) == 0 {
		return 0, nil
	}
	r, err := openValue(valueFloor, raw)
	floor = r.uvarint()
	return floor, closeValue(valueFloor, r, err)
}

// selfValue is what a state directory knows of the machine that it is of.
type selfValue struct {
	machine     string
	incarnation uint64 // of the last process
	lineage     string // of the cluster that the spool began
}

func (v *selfValue) encode() []byte {
	return appendText(binary.AppendUvarint(appendText([]byte{stampVersion}, v.machine), v.incarnation), v.lineage)
}

func decodeSelf(raw []byte) (v selfValue, err error) {
	if len(raw) == 0 {
		return v, nil
	}
	r, err := openValue(valueSelf, raw)
	v = selfValue{machine: r.text(), incarnation: r.uvarint(), lineage: r.text()}
	return v, closeValue(valueSelf, r, err)
}
