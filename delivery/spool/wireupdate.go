package spool

import (
	"encoding/binary"
	"time"

	"rowhook/delivery"
)

const updateVersion = 1

// Bits of an update's flag byte.
const (
	updateProgress = 1 << iota
	updateState
	updateComplete = 1<<iota - 1
)

// EncodeUpdate appends an update as other machines are told of it. Its epoch is left out.
func EncodeUpdate(dst []byte, u *delivery.Update) []byte {
	var flags byte
	if u.Progress != nil {
		flags |= updateProgress
	}
	if u.State != nil {
		flags |= updateState
	}
	dst = append(dst, updateVersion, flags)
	if u.Progress != nil {
		dst = binary.AppendUvarint(dst, uint64(u.Progress.Cursor))
		dst = appendSeqs(dst, u.Progress.Cursor, u.Progress.Done)
	}
	if u.State != nil {
		dst = appendText(dst, u.State)
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, zigzag(u.DoneEvents)), zigzag(u.DoneBytes))
	dst = appendSeqs(dst, 0, u.Remove)
	dst = binary.AppendUvarint(dst, uint64(len(u.Put)))
	for i := range u.Put {
		d := &u.Put[i]
		dst = binary.AppendUvarint(dst, uint64(d.Seq))
		start := len(dst)
		dst = encodeDelivery(append(dst, 0, 0, 0, 0), d, time.Unix(0, 0)) // each spool knows the event's time by itself
		binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
		if d.Body != nil {
			dst = appendText(dst, d.Body)
		}
	}
	return dst
}

// appendSeqs writes each number as how far it is behind the one before.
func appendSeqs(dst []byte, last delivery.Seq, seqs []delivery.Seq) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(seqs)))
	for _, seq := range seqs {
		dst = binary.AppendUvarint(dst, zigzag(int64(seq-last)))
		last = seq
	}
	return dst
}

func (r *reader) seqs(last delivery.Seq) []delivery.Seq {
	n := r.count()
	if n == 0 {
		return nil
	}
	seqs := make([]delivery.Seq, n)
	for i := range seqs {
		last += delivery.Seq(r.varint())
		seqs[i] = last
	}
	return seqs
}

// DecodeUpdate returns the update that EncodeUpdate wrote. State and bodies are parts of raw.
func DecodeUpdate(raw []byte) (delivery.Update, error) {
	var u delivery.Update
	r, err := open("update", raw, updateVersion)
	if err != nil {
		return u, sent(err)
	}
	flags := r.byte()
	r.bad = r.bad || flags > updateComplete
	if flags&updateProgress != 0 {
		cursor := delivery.Seq(r.uvarint())
		u.Progress = &delivery.Progress{Cursor: cursor, Done: r.seqs(cursor)}
	}
	if flags&updateState != 0 {
		u.State = r.bytes()
	}
	u.DoneEvents, u.DoneBytes = r.varint(), r.varint()
	u.Remove = r.seqs(0)
	n := r.count()
	if !r.bad && n > 0 {
		u.Put = make([]delivery.Delivery, 0, min(n, (len(raw)-r.off)/leastDelivery+1))
	}
	for ; n > 0 && !r.bad; n-- {
		seq := delivery.Seq(r.uvarint())
		record := r.take(int(r.uint32()))
		if r.bad {
			break
		}
		d, err := decodeDelivery(seq, record)
		if err != nil {
			return delivery.Update{}, sent(err)
		}
		if d.body {
			d.Body = r.bytes()
		}
		u.Put = append(u.Put, d.Delivery)
	}
	if err := r.close("update"); err != nil {
		return delivery.Update{}, err
	}
	return u, nil
}

// leastDelivery is less than any delivery takes in an update.
const leastDelivery = 64
