package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

var update = flag.Bool("update", false, "rewrite golden files")

// messages has one of each kind.
func messages() []message {
	self := about{Roles: RoleCapture | RoleDeliver, Lease: 5 * time.Second, Config: "c0ffee", Address: "10.0.0.7", Version: "1.2.3"}
	return []message{
		genesis{lineage: "b1946ac92492d2347c6235b4d2611184", snapshot: "0"},
		join{previous: 7, seen: 300, about: self},
		renew{applied: 299, digest: digestOf([]byte("a")), about: self},
		claim{seats: []claimed{{seat: captureSeat, epoch: 3, seen: 300}, {seat: "erp", epoch: 0}}},
		release{seats: []string{"erp", "crm"}},
		gone{machine: "m2", seen: 128},
		part{epoch: 4, commits: true, batch: []byte{1, 2, 3}},
		abort{epoch: 4},
		progress{items: []progressItem{{code: "erp", epoch: 1, update: []byte{9, 8}}, {code: "crm", epoch: 2, update: []byte{}}}},
		meta{epoch: 4, key: "backfill", value: []byte("x")},
		meta{epoch: 4, key: "backfill"},
		unpark{epoch: 4, seqs: []delivery.Seq{1, 128}},
		forgetKept{epoch: 4, lower: []byte("a"), upper: []byte("b")},
		retire{code: "crm", epoch: 3},
		snapshot{object: "300", covers: 299},
		turn{epoch: 4, config: "c0ffee", note: []byte("x")},
	}
}

func envelopeOf(m message) *envelope {
	return &envelope{machine: "m1", incarnation: 0x0102030405060708, lane: laneMembership, n: 129, body: encodeMessage(m)}
}

// TestMessageBytes holds the stream's bytes: machines of two versions work side by side.
func TestMessageBytes(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, m := range messages() {
		e := envelopeOf(m)
		fmt.Fprintf(&b, "%T\n%s", m, hex.Dump(e.append(nil)))
	}
	e := envelope{machine: "m1", incarnation: 1, lane: laneCapture, n: 2, more: true, goesOn: true, body: []byte("piece")}
	fmt.Fprintf(&b, "piece\n%s", hex.Dump(e.append(nil)))
	golden(t, "messages", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; the bytes are a contract:\n%s", name, got)
	}
}

func TestMessagesAreReadAsWritten(t *testing.T) {
	t.Parallel()
	for _, m := range messages() {
		e, err := decodeEnvelope(envelopeOf(m).bytes())
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		if want := envelopeOf(m); !reflect.DeepEqual(e, *want) {
			t.Errorf("%T: envelope %+v, want %+v", m, e, *want)
		}
		back, err := decodeMessage(e.body)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%T: %+v, %v, want %+v", m, back, err, m)
		}
		for n := range e.body {
			if _, isPart := m.(part); isPart && n > 2 {
				continue // what ends with bytes of any length
			}
			if cut, err := decodeMessage(e.body[:n]); err == nil && bytes.Equal(encodeMessage(cut), e.body) {
				t.Errorf("%T cut at %d is the whole", m, n)
			}
		}
	}
}

func TestUnknownMessagesStop(t *testing.T) {
	t.Parallel()
	raw := envelopeOf(abort{epoch: 1}).bytes()
	raw[0] = 2
	var version *VersionError
	if _, err := decodeEnvelope(raw); !errors.As(err, &version) || version.Version != 2 {
		t.Errorf("version 2: %v", err)
	}
	if _, err := decodeMessage([]byte{200}); !errors.As(err, &version) || version.Kind != 200 {
		t.Errorf("kind 200: %v", err)
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range messages() {
		f.Add(envelopeOf(m).bytes())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decodeEnvelope(raw)
		if err != nil {
			return
		}
		if back := e.bytes(); !bytes.Equal(back, raw) {
			t.Fatalf("envelope %x became %x", raw, back)
		}
		m, err := decodeMessage(e.body)
		if err != nil {
			return
		}
		if back := encodeMessage(m); !bytes.Equal(back, e.body) {
			t.Fatalf("message %x became %x", e.body, back)
		}
	})
}

// aState is one with a member that owns something.
func aState(t testing.TB) *state {
	t.Helper()
	s := newState()
	for i, m := range []message{
		genesis{lineage: "l"}, join{about: about{Roles: RoleCapture | RoleDeliver, Lease: time.Second, Config: "c0ffee"}},
		claim{seats: []claimed{{seat: captureSeat}, {seat: "erp"}}}, turn{epoch: 1, config: "c0ffee", note: []byte("x")}, part{epoch: 1, batch: []byte{1}}, snapshot{object: "2", covers: 2},
	} {
		e := envelopeOf(m)
		e.n = uint64(i) + 1
		if f, err := s.apply(uint64(i)+1, e.bytes()); err != nil || f.refused != nil {
			t.Fatal(err, f.refused)
		}
	}
	return s
}

// TestStampBytes holds the bytes of the spool's values: a newer build goes on where this one ended.
func TestStampBytes(t *testing.T) {
	t.Parallel()
	s := aState(t)
	mine := selfValue{machine: "m1", incarnation: 300, lineage: "l"}
	log := stamp{seq: 4, digest: digestOf([]byte("a"))}
	var b strings.Builder
	for _, value := range []struct {
		key   string
		bytes []byte
	}{{valueLog, log.encode()}, {valueRest, s.encodeRest()}, {valueTable, s.encodeTable()}, {valueSelf, mine.encode()}, {valueFloor, s.encodeFloor()}} {
		fmt.Fprintf(&b, "%s\n%s", value.key, hex.Dump(value.bytes))
	}
	golden(t, "stamps", b.String())
	back, err := decodeState(s.encodeRest(), s.encodeTable())
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("the state is read as %+v, %v, want %+v", back, err, s)
	}
	if again, err := decodeSelf(mine.encode()); err != nil || again != mine {
		t.Errorf("the machine is read as %+v, %v", again, err)
	}
	if floor, err := decodeFloor(s.encodeFloor()); err != nil || floor != 1 {
		t.Errorf("the highest epoch is read as %d, %v", floor, err)
	}
}

func FuzzStamps(f *testing.F) {
	s := aState(f)
	f.Add(s.encodeRest(), s.encodeTable(), (&stamp{seq: 3}).encode())
	f.Fuzz(func(t *testing.T, rest, table, log []byte) {
		if s, err := decodeState(rest, table); err == nil && len(s.encodeRest())+len(s.encodeTable()) > len(rest)+len(table) {
			t.Fatalf("%x, %x became longer", rest, table)
		}
		if s, err := decodeStamp(log); err == nil && !bytes.Equal(s.encode(), log) {
			t.Fatalf("%x became %x", log, s.encode())
		}
		if floor, err := decodeFloor(log); err == nil && len(log) > 0 && !bytes.Equal((&state{floor: floor}).encodeFloor(), log) {
			t.Fatalf("%x became %d", log, floor)
		}
		if v, err := decodeSelf(log); err == nil && len(log) > 0 && !bytes.Equal(v.encode(), log) {
			t.Fatalf("%x became %x", log, v.encode())
		}
	})
}
