package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

const (
	witnessFile = "witness"
	witnessSlot = 512
	// witnessText is how much of a position fits a slot; it is only shown, never resumed from.
	witnessText = 400
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// witness says, outside the store, how much of the store had been synced. A store that has less
// when it is opened has lost something, however sound it looks: a log whose tail
// was damaged cannot be told from one that was torn by a crash, except by this.
//
// The file has two slots of 512 bytes, written in turn and synced, so that a torn
// write leaves the older one:
//
//	0    crc32c of the slot's bytes 4 to 511
//	4    batches synced (8 bytes)
//	12   last visible event (8 bytes)
//	20   length of the text (2 bytes), then the position, cut at 400 bytes
type witness struct {
	file vfs.File
	turn int64
	last seal
}

// seal is what one slot holds.
type seal struct {
	ops      uint64
	seq      delivery.Seq
	position string
}

func (w *seal) encode() []byte {
	b := make([]byte, witnessSlot)
	binary.BigEndian.PutUint64(b[4:], w.ops)
	binary.BigEndian.PutUint64(b[12:], uint64(w.seq))
	n := copy(b[22:22+witnessText], w.position)
	binary.BigEndian.PutUint16(b[20:], uint16(n))
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

func decodeSeal(b []byte) (w seal, ok bool) {
	if len(b) != witnessSlot || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) {
		return w, false
	}
	n := int(binary.BigEndian.Uint16(b[20:]))
	if n > witnessText {
		return w, false
	}
	w.ops = binary.BigEndian.Uint64(b[4:])
	w.seq = delivery.Seq(binary.BigEndian.Uint64(b[12:]))
	w.position = string(b[22 : 22+n])
	return w, true
}

// openWitness reads the witness and keeps it open for writing. found is false when nothing was
// ever written to it.
func openWitness(files vfs.FS, dir string) (w *witness, found bool, err error) {
	name := files.PathJoin(dir, witnessFile)
	there, err := exists(files, name)
	if err != nil {
		return nil, false, fmt.Errorf("open witness of the spool: %w", err)
	}
	w = &witness{}
	if there {
		if found, err = w.read(files, name); err != nil {
			return nil, true, err
		}
	}
	if w.file, err = files.OpenReadWrite(name, vfs.WriteCategoryUnspecified); err != nil {
		return nil, found, fmt.Errorf("open witness of the spool: %w", err)
	}
	if !there {
		err = syncDir(files, dir)
	}
	return w, found, err
}

// read takes the newer of the whole slots.
func (w *witness) read(files vfs.FS, name string) (found bool, err error) {
	b, err := readFile(files, name)
	if err != nil {
		return true, fmt.Errorf("read witness of the spool: %w", err)
	}
	if len(b) == 0 {
		return false, nil
	}
	for turn := range int64(2) {
		slot := b[min(len(b), int(turn)*witnessSlot):min(len(b), int(turn+1)*witnessSlot)]
		if s, ok := decodeSeal(slot); ok && (!found || s.ops >= w.last.ops) {
			w.last, w.turn, found = s, turn+1, true
		}
	}
	if !found {
		return true, errWitness
	}
	return true, nil
}

var errWitness = errors.New("no slot of the witness is whole")

func syncDir(files vfs.FS, dir string) error {
	d, err := files.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync directory of the spool: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory of the spool: %w", err)
	}
	return nil
}

// write makes s what the witness says, durably.
func (w *witness) write(s seal) error {
	if _, err := w.file.WriteAt(s.encode(), w.turn%2*witnessSlot); err != nil {
		return fmt.Errorf("write witness of the spool: %w", err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("sync witness of the spool: %w", err)
	}
	w.turn++
	w.last = s
	return nil
}

func (w *witness) Close() error { return w.file.Close() }
