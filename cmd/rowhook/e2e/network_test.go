package e2e_test

import (
	"bytes"
	wire "encoding/binary" // binary is the agent
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The network between agent and receiver is cut, refuses, takes long, or loses what goes one way:
// nothing is lost or overtaken, nothing holds back the database, and only what was cut off before
// its answer is repeated.
func TestReceiverNetwork(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testReceiverNetwork)
}

func testReceiverNetwork(t *testing.T, w *world) {
	s := w.scenario("network-receiver")
	p := newProxy(t, w.hook.addr)
	w.conf.profiles = strings.NewReplacer(w.hook.addr, p.addr(), "timeout: 5s", "timeout: 1s").Replace(w.usualProfile("main"))
	a := w.begin()
	l := w.load(4, 100, false)
	grow := func(what string) {
		t.Helper()
		w.hook.wait(t, "main", w.hook.distinct("main")+50, patience)
		s.did(1, what, what)
	}
	for range count(1, 5) {
		for range 5 {
			p.cut()
			grow("cut")
		}
		p.refusing(true)
		p.cut()
		elapse(t, time.Second, "", nil)
		p.refusing(false)
		grow("time refused")
		p.delaying(100 * time.Millisecond)
		grow("time delayed by 100 to 200 ms each way")
		p.delaying(0)
		for direction, name := range []string{toServer: "to the receiver", toClient: "from the receiver"} {
			p.losing(direction, true)
			elapse(t, time.Duration(count(3, 10))*time.Second, "", nil)
			w.confirmed(5 * time.Second)
			p.losing(direction, false)
			grow("loss of all " + name)
		}
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main", cutOff: true})
}

// Connections that break at one place of a transaction again and again cost neither loss nor
// repetition: behind what announces its rows, between them, and before its end.
func TestCutAtMessages(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCutAtMessages)
}

func testCutAtMessages(t *testing.T, w *world) {
	s := w.scenario("reconnect-mid-tx")
	p := w.through()
	places := []string{placeRows, placeMiddle, placeEnd}
	var cuts atomic.Int64
	wanted := int64(count(6, 120))
	p.tapping(func() tap {
		n := cuts.Load()
		if n >= wanted {
			return nil
		}
		// The first that fits after some whole transactions, so that the stream gets on.
		finder := &placeFinder{flavour: w.server.kind(), place: places[n%int64(len(places))], skip: 1 + int(n%3)}
		return finder.tap(func() { cuts.Add(1) })
	})
	a := w.begin()
	l := w.load(4, 100, false)
	eventually(t, 10*patience, "the connection was cut often enough", func() bool { return cuts.Load() >= wanted })
	w.hook.wait(t, "main", w.hook.distinct("main")+50, patience)
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	s.did(int(cuts.Load()), "cut before a first row, between rows or before an end", "cuts before a first row, between rows or before an end")
}

// The places where a connection breaks.
const (
	placeRows   = "before the first row"
	placeMiddle = "between two rows"
	placeEnd    = "before the end"
)

// placeFinder looks for a place in the transactions of a stream that have two rows or more.
type placeFinder struct {
	flavour string
	place   string
	skip    int // transactions that pass first
	frames  frames
	rows    int // of the transaction so far
}

// tap cuts at the place, once.
func (f *placeFinder) tap(cutting func()) tap {
	f.frames.postgres = f.flavour == "postgres"
	return func(piece []byte) (pass []byte, cut bool) {
		for frame := range f.frames.feed(piece) {
			if f.at(streamed(f.flavour, frame)) {
				cutting()
				return pass, true
			}
			pass = append(pass, frame...)
		}
		return pass, false
	}
}

// at follows the stream, and reports whether the place is before this message.
func (f *placeFinder) at(kind messageKind) bool {
	found := false
	switch kind {
	case messageBegin:
		f.rows = 0
	case messageRows:
		found = f.place == placeRows && f.rows == 0 || f.place == placeMiddle && f.rows == 1
		f.rows++
	case messageCommit:
		found = f.place == placeEnd && f.rows > 0
		if f.rows > 0 && f.skip > 0 {
			f.skip--
			return false
		}
	}
	return found && f.skip == 0
}

// messageKind is what a message of a replication stream is about.
type messageKind int

const (
	messageOther messageKind = iota
	messageBegin
	messageTable
	messageRows
	messageCommit
)

// frames takes a stream of a server's apart into its messages.
type frames struct {
	postgres bool
	held     []byte
}

// feed yields the messages that a piece completes. A message is valid until the next one.
func (f *frames) feed(piece []byte) func(yield func([]byte) bool) {
	f.held = append(f.held, piece...)
	return func(yield func([]byte) bool) {
		rest := f.held
		defer func() { f.held = bytes.Clone(rest) }()
		for {
			n := f.size(rest)
			if n == 0 || len(rest) < n {
				return
			}
			frame := rest[:n]
			rest = rest[n:]
			if !yield(frame) {
				return
			}
		}
	}
}

// size is the length of the message that begins here; 0 while that is not known.
func (f *frames) size(b []byte) int {
	switch {
	case len(b) < 5:
		return 0
	case f.postgres:
		return 1 + int(wire.BigEndian.Uint32(b[1:]))
	}
	return 4 + (int(b[0]) | int(b[1])<<8 | int(b[2])<<16)
}

const (
	pgMessageAt   = 5 + 25 // in a CopyData message, behind its own head and that of XLogData
	binlogEventAt = 4 + 1  // in a packet, behind its head and the byte that says OK
	binlogHeader  = 19
)

// streamed says what a message of a server's is about.
func streamed(flavour string, frame []byte) messageKind {
	if flavour == "postgres" {
		if len(frame) <= pgMessageAt || frame[0] != 'd' || frame[5] != 'w' {
			return messageOther
		}
		switch frame[pgMessageAt] {
		case 'B':
			return messageBegin
		case 'R':
			return messageTable
		case 'I', 'U', 'D':
			return messageRows
		case 'C':
			return messageCommit
		}
		return messageOther
	}
	event, ok := binlogEvent(frame)
	if !ok {
		return messageOther
	}
	switch event[4] {
	case 33, 34, 162: // GTID, anonymous GTID, MariaDB's GTID
		return messageBegin
	case 19: // TABLE_MAP
		return messageTable
	case 23, 24, 25, 30, 31, 32: // WRITE_ROWS, UPDATE_ROWS, DELETE_ROWS in both versions
		return messageRows
	case 16: // XID
		return messageCommit
	}
	return messageOther
}

// binlogEvent is the event that a packet brings whole, if it brings one.
func binlogEvent(frame []byte) ([]byte, bool) {
	if len(frame) < binlogEventAt+binlogHeader || frame[4] != 0 {
		return nil, false
	}
	event := frame[binlogEventAt:]
	return event, int(wire.LittleEndian.Uint32(event[9:])) == len(event)
}
