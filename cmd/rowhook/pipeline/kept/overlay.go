package kept

import "slices"

// overlay has the entries of indexes that the store does not have yet, all of them, in the order in
// which a scan of it would bring them.
type overlay struct {
	cache
	buckets map[string]*bucket
	members int // of all buckets
}

// bucket is what is pending, or was a moment ago, under one beginning.
type bucket struct {
	members map[string]struct{}
	sorted  []string // nil where it has to be made
}

// overlayBytes bounds what is remembered that the store has too.
const overlayBytes = 128 << 10

func newOverlay() overlay {
	o := overlay{cache: newCache(), buckets: map[string]*bucket{}}
	o.limit = overlayBytes
	return o
}

// write notes what the open transaction does to an entry, in a batch.
func (o *overlay) write(e *indexEntry, exists bool, batch uint64) {
	o.cache.write(e.key, nil, exists, batch)
	b := o.buckets[string(e.key[:e.bucket])]
	if b == nil {
		b = &bucket{members: map[string]struct{}{}}
		o.buckets[string(e.key[:e.bucket])] = b
	}
	if _, known := b.members[string(e.key)]; !known {
		b.members[string(e.key)] = struct{}{}
		b.sorted = nil
		o.members++
	}
	if o.members > 2*(len(o.young)+len(o.old))+1000 {
		o.prune()
	}
}

// prune forgets what the store has.
func (o *overlay) prune() {
	for name, b := range o.buckets {
		for key := range b.members {
			if o.waits(key) == nil {
				delete(b.members, key)
				b.sorted = nil
				o.members--
			}
		}
		if len(b.members) == 0 {
			delete(o.buckets, name)
		}
	}
}

// waits finds an entry that the store does not have yet; nil where what the store says is true.
func (o *overlay) waits(key string) *entry {
	e := o.young[key]
	if e == nil {
		e = o.old[key]
	}
	if e == nil || !o.pinned(e) {
		return nil
	}
	return e
}

// in lists the keys that may be pending under one beginning, in order.
func (o *overlay) in(name []byte) []string {
	b := o.buckets[string(name)]
	if b == nil {
		return nil
	}
	if b.sorted == nil {
		b.sorted = make([]string, 0, len(b.members))
		for key := range b.members {
			if o.waits(key) == nil {
				delete(b.members, key)
				o.members--
				continue
			}
			b.sorted = append(b.sorted, key)
		}
		slices.Sort(b.sorted)
	}
	return b.sorted
}
