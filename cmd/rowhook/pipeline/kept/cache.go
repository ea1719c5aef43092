package kept

// cacheBytes is how much the cache holds of what the store has too.
const cacheBytes = 2 << 20

// entryOverhead is about what an entry takes beside key and row.
const entryOverhead = 96

// entry is what is kept under a key. Its row is never written to.
type entry struct {
	row    []byte
	exists bool
	// batch is the one that brings it to the store; until that is stored, only the entry tells. 0 is
	// what was read from the store.
	batch uint64
	// transaction wrote it, or has read it while the store had parts of it; 0 is none.
	transaction uint64
	// before is what was there before that transaction, where the store may not have it yet.
	before *entry
}

// cache holds what is not stored yet, all of it, and as much as it may of what is. It has two halves:
// when the younger is full, the older is dropped, but for what is not stored.
type cache struct {
	young, old map[string]*entry
	bytes      int    // of young
	limit      int    // of both
	stored     uint64 // the last batch that the store has
	open       uint64 // the transaction at hand
}

func newCache() cache {
	return cache{young: map[string]*entry{}, old: map[string]*entry{}, limit: cacheBytes, open: 1}
}

func (c *cache) get(key []byte) *entry {
	if e := c.young[string(key)]; e != nil {
		return e
	}
	e := c.old[string(key)]
	if e != nil {
		c.add(string(key), e)
	}
	return e
}

func (c *cache) add(key string, e *entry) {
	c.young[key] = e
	delete(c.old, key)
	if c.bytes += len(key) + len(e.row) + entryOverhead; c.bytes < c.limit/2 {
		return
	}
	pinned := map[string]*entry{}
	for key, e := range c.old {
		if c.pinned(e) {
			pinned[key] = e
		}
	}
	c.old, c.young, c.bytes = c.young, pinned, 0
}

// pinned reports whether the store does not have the entry yet.
func (c *cache) pinned(e *entry) bool { return e.batch > c.stored }

// write notes what the open transaction leaves under a key, in a batch.
func (c *cache) write(key []byte, row []byte, exists bool, batch uint64) {
	e := &entry{row: row, exists: exists, batch: batch, transaction: c.open}
	if was := c.get(key); was != nil {
		switch {
		case was.transaction == c.open:
			e.before = was.before
		case c.pinned(was):
			was.before = nil
			e.before = was
		}
	}
	c.add(string(key), e)
}

// settle makes what the open transaction wrote that of a complete one.
func (c *cache) settle() { c.open++ }

// abort drops what the open transaction wrote.
func (c *cache) abort() {
	back := map[string]*entry{}
	for _, half := range [...]map[string]*entry{c.young, c.old} {
		for key, e := range half {
			if e.transaction != c.open {
				continue
			}
			delete(half, key)
			if e.before != nil {
				back[key] = e.before
			}
		}
	}
	c.open++
	for key, e := range back {
		c.add(key, e)
	}
}

// read notes what the store has under a key.
func (c *cache) read(key, row []byte, exists bool) *entry {
	e := &entry{row: row, exists: exists}
	c.add(string(key), e)
	return e
}
