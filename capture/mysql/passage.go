package mysql

import (
	"strings"
	"sync"

	"rowhook/capture"
)

// passage is how far the stream has come, for those who read rows beside it. The zero value has not
// begun. Its methods are safe for concurrent use, and a nil one takes nothing.
type passage struct {
	mu      sync.Mutex
	host    host
	server  capture.Server
	begun   bool
	reached filePlace           // all before it has been handed over
	handed  capture.Position    // likewise
	open    capture.Transaction // of which something has been handed over; its ID is empty where none is
}

// start notes that a stream begins. What another server's log had is not passed by it.
func (p *passage) start(h host, server capture.Server, at capture.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.host, p.server, p.begun = h, server, true
	p.reached, p.handed, p.open = filePlace{}, at, capture.Transaction{}
}

func (p *passage) reach(at filePlace) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reached, p.open = at, capture.Transaction{}
}

func (p *passage) begin(tx *capture.Transaction) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = *tx
}

func (p *passage) end(at capture.Position, file filePlace) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handed, p.open = at, capture.Transaction{}
	if before(p.reached, file) { // a transaction that is read again ends where it was prepared
		p.reached = file
	}
}

// back notes that what was handed over behind a place comes again.
func (p *passage) back(at capture.Position, file filePlace) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handed, p.reached = at, file
}

// passed reports whether all before a place has been handed over.
func (p *passage) passed(mark filePlace) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reached.name != "" && p.open.ID == "" && !before(p.reached, mark)
}

// before compares places of one server's log. The numbers of files have leading zeros, until these
// are used up.
func before(a, b filePlace) bool {
	if a.name == b.name {
		return a.offset < b.offset
	}
	x, y := a.name[strings.LastIndexByte(a.name, '.')+1:], b.name[strings.LastIndexByte(b.name, '.')+1:]
	if len(x) != len(y) {
		return len(x) < len(y)
	}
	return x < y
}
