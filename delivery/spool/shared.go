package spool

import (
	"container/list"
	"sync"

	"rowhook/delivery"
)

const (
	// sharedAsks is how often a block is asked for until it is decoded for all: below, it is cheaper
	// that each looks for its own events.
	sharedAsks = 3
	// sharedPerReader and sharedMost bound the memory of the blocks that are decoded for all.
	sharedPerReader = 80 << 10
	sharedMost      = 8 << 20
)

// sharedBlocks are blocks of the log that were decoded once for all who read them at about the same
// time: profiles that are too far behind for the tail, but not far from each other.
//
// A block is decoded when it is asked for the third time before as many others were as there is room
// for. Those that were asked for less often count as if they were decoded, so that memory and time are
// spent only where they save some: readers that are far apart, or alone, cost what they cost without.
type sharedBlocks struct {
	most int // bytes

	mu     sync.Mutex
	bytes  int
	byLast map[delivery.Seq]*list.Element // by the block's last event
	recent list.List                      // of *sharedBlock, the one that was asked for last in front
}

type sharedBlock struct {
	last    delivery.Seq
	asks    int
	bytes   int
	entries []tailEntry // nil until it is decoded
}

func newSharedBlocks(readers int) *sharedBlocks {
	b := &sharedBlocks{byLast: map[delivery.Seq]*list.Element{}}
	if readers >= sharedAsks {
		b.most = min(readers*sharedPerReader, sharedMost)
	}
	return b
}

// opener begins to read values of the log for one who reads from an event on.
func (b *sharedBlocks) opener(from delivery.Seq) opener {
	return func(last delivery.Seq, value func() ([]byte, error), room []byte) (logged, error) {
		return b.open(from, last, value, room)
	}
}

func (b *sharedBlocks) open(from, last delivery.Seq, value func() ([]byte, error), room []byte) (logged, error) {
	if entries := b.decoded(last); entries != nil {
		return openShared(last, entries, room), nil
	}
	v, err := value()
	if err != nil {
		return logged{}, err
	}
	l, err := openLogged(last, v, room)
	// Who goes on in the midst of a block has asked for it before.
	if err != nil || l.value != nil || l.first() < from || !b.ask(last, len(l.r.b)+l.left*entryOverhead) {
		return l, err
	}
	entries, err := l.rest()
	if err != nil {
		return l, err
	}
	b.keep(last, entries)
	return openShared(last, entries, l.room), nil
}

// decoded returns the events of a block, or nil.
func (b *sharedBlocks) decoded(last delivery.Seq) []tailEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.byLast[last]
	if at == nil || at.Value.(*sharedBlock).entries == nil {
		return nil
	}
	b.recent.MoveToFront(at)
	return at.Value.(*sharedBlock).entries
}

// ask notes that somebody asks for a block, and reports whether it is to be decoded for all.
func (b *sharedBlocks) ask(last delivery.Seq, bytes int) bool {
	if bytes > b.most {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.byLast[last]
	if at == nil {
		at = b.recent.PushFront(&sharedBlock{last: last, bytes: bytes})
		b.byLast[last] = at
		b.bytes += bytes
		for b.bytes > b.most {
			b.forget(b.recent.Back())
		}
	}
	b.recent.MoveToFront(at)
	block := at.Value.(*sharedBlock)
	block.asks++
	return block.asks >= sharedAsks
}

func (b *sharedBlocks) keep(last delivery.Seq, entries []tailEntry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.byLast[last]; at != nil {
		at.Value.(*sharedBlock).entries = entries
	}
}

func (b *sharedBlocks) forget(at *list.Element) {
	block := b.recent.Remove(at).(*sharedBlock)
	delete(b.byLast, block.last)
	b.bytes -= block.bytes
}
