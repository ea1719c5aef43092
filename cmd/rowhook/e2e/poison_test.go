package e2e_test

import (
	"bytes"
	wire "encoding/binary" // binary is the agent
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// poison is what becomes of one message on its way from the server.
type poison struct {
	name string
	once bool // only on its first way
	// spoil changes a message of row changes in place.
	spoil func(frame []byte)
	halts bool // the agent ends, with the position
	tells bool // the value is told in base64, and the delivery log says so
}

// A stream that is not what the server sent has one outcome, whatever is wrong with it: it is read
// again and is right, the one value is told as bytes and flagged, or the agent ends with exit code
// 1 and says where; it never tries for ever, and what is stored stays whole.
func TestPoison(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testPoison)
}

// marker is in the row that is spoilt.
const marker = "poisonous"

func postgresPoisons() []poison {
	return []poison{
		{name: "unknown message", halts: true, spoil: func(f []byte) { f[pgMessageAt] = '!' }},
		{name: "byte corrupted once", once: true, spoil: func(f []byte) { f[pgMessageAt] ^= 0x40 }},
		{name: "frame corrupted once", once: true, spoil: func(f []byte) { f[0] = 'x' }},
		{name: "frame corrupted for good", halts: true, spoil: func(f []byte) { f[0] = 'x' }},
		{name: "invalid UTF-8", tells: true, spoil: func(f []byte) { f[bytes.Index(f, []byte(marker))] = 0xff }},
	}
}

func mysqlPoisons() []poison {
	sum := func(f []byte) {
		event := f[binlogEventAt:]
		body := event[:len(event)-4]
		wire.LittleEndian.PutUint32(event[len(body):], crc32.ChecksumIEEE(body))
	}
	return []poison{
		{name: "unknown event", halts: true, spoil: func(f []byte) { f[binlogEventAt+4] = 99; sum(f) }},
		{name: "byte corrupted once", once: true, spoil: func(f []byte) { f[len(f)-20] ^= 0x40 }},
		{name: "byte corrupted for good", halts: true, spoil: func(f []byte) { f[len(f)-20] ^= 0x40 }},
		{name: "frame corrupted once", once: true, spoil: func(f []byte) { f[3] ^= 0x40 }},
		{name: "invalid UTF-8", tells: true, spoil: func(f []byte) { f[bytes.Index(f, []byte(marker))] = 0xff; sum(f) }},
	}
}

func testPoison(t *testing.T, w *world) {
	s := w.scenario("poison")
	p := w.through()
	poisons := mysqlPoisons()
	if w.server.kind() == "postgres" {
		poisons = postgresPoisons()
	}
	a := w.begin()
	l := w.load(2, 50, false)
	for round := range count(1, 5) {
		for i, poison := range poisons {
			var spoilt atomic.Int64
			p.tapping(func() tap { return poison.tap(w.server.kind(), &spoilt) })
			p.cut() // the tap is for new connections
			w.streaming(a)
			key := int64(500_000 + 10*round + i)
			w.exec(fmt.Sprintf("begin; insert into proof.rows (id, seq, note) values (%d, 1, '%s %s'); insert into proof.ledger (id, seq, op) values (%d, 1, 'insert'); commit",
				key, marker, filler, key))
			switch {
			case poison.halts:
				if code := a.wait(patience); code != 1 || !strings.Contains(a.stderr.String(), "rowhook: at position ") || !strings.Contains(a.stderr.String(), "hint: ") {
					t.Errorf("%s: ended with %d and says\n%s", poison.name, code, a.stderr.String())
				}
				most := int64(5)
				if w.database == "mariadb" {
					most += 3 // with each try what comes next is read ahead, to learn what the table was
				}
				if n := spoilt.Load(); n == 0 || n > most {
					t.Errorf("%s: came %d times", poison.name, n)
				}
				p.tapping(nil)
				a = w.begin()
			case poison.tells:
				eventually(t, patience, "the value is flagged", func() bool {
					return slices.ContainsFunc(w.readLog(), func(l logLine) bool { return l.Event != "" && len(l.Flags) > 0 && spoilt.Load() > 0 })
				})
				p.tapping(nil)
			default:
				eventually(t, patience, "it was spoilt", func() bool { return spoilt.Load() == 1 })
			}
			w.hook.wait(t, "main", w.hook.distinct("main")+50, patience)
			w.confirmed(patience) // so that the next tap does not meet this one's row
			s.did(1, poison.name, poison.name)
		}
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
}

// tap spoils the message that brings the marker.
func (p poison) tap(flavour string, spoilt *atomic.Int64) tap {
	frames := &frames{postgres: flavour == "postgres"}
	return func(piece []byte) (pass []byte, cut bool) {
		for frame := range frames.feed(piece) {
			if streamed(flavour, frame) == messageRows && bytes.Contains(frame, []byte(marker)) && (!p.once || spoilt.Load() == 0) {
				frame = bytes.Clone(frame)
				p.spoil(frame)
				spoilt.Add(1)
			}
			pass = append(pass, frame...)
		}
		return pass, false
	}
}

// Large rows pass while max_body lets them, and are dead with their own reason otherwise.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	onEach(t, settings{"mysql": {"max_allowed_packet": "256M"}, "mariadb": {"max_allowed_packet": "256M", "innodb_log_file_size": "600M"}}, testLargeRows)
}

func testLargeRows(t *testing.T, w *world) {
	s := w.scenario("poison")
	size := count(20, 50) * 1_000_000
	w.conf.profiles = strings.Replace(w.usualProfile("main"), "timeout: 5s", "timeout: 60s\n    max_body: 64MiB", 1) + w.usualProfile("small")
	a := w.begin()
	w.exec(fmt.Sprintf(`begin; insert into proof.rows (id, seq, note) values (1, 1, repeat('x', %d)); insert into proof.ledger (id, seq, op) values (1, 1, 'insert'); commit`, size))
	w.insert(2)
	w.hook.wait(t, "main", 2, 3*patience)
	w.logCount("main", 2)
	w.hook.wait(t, "small", 1, patience)
	eventually(t, patience, "the small profile's log has both", func() bool { return len(w.told("small")) == 2 })
	peak := a.memory("VmHWM")
	a.term()
	told := strings.Join(w.told("small"), ", ")
	if !strings.Contains(told, "dead oversize") || !strings.Contains(told, "delivered") {
		t.Errorf("the small profile's log tells %q", told)
	}
	w.verify(w.ledger(nil), judge{profile: "main"})
	s.did(1, fmt.Sprintf("row of %d MB", size/1_000_000), "large rows")
	s.most("peak with a large row", peak>>20, "MiB")
}
