package spool

import (
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

	"github.com/klauspost/compress/s2"

	"rowhook/delivery"
)

var updateGolden = flag.Bool("update", false, "rewrite golden files")

// fullEvent has every member set.
func fullEvent() *delivery.Event {
	action := "RETURN"
	return &delivery.Event{
		Making: &delivery.Making{
			Type: "loan.returned", Entry: "circulation.loans", Source: "library", Table: "circulation.loans", Op: "update",
			Bigints: []string{"loan_id", "item.id"}, As: map[string]*string{"action": &action, "event": nil}, Title: "Loans",
			Code: "LOANS", Object: "item_loan",
		},
		Commit: &delivery.Commit{
			Time: time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC), Position: "0/16B3748", Transaction: "745",
			Actor: delivery.Actor{ID: "aa010001", Name: "木村"}, Operation: "web_form", Assumed: true,
		},
		ID: "evt_1", Ordinal: 2, Link: "https://ils.example.org/loans/1000", Key: []byte(`{"loan_id":1000}`),
		Data: []byte(`{"loan_id":1000}`), Previous: []byte{}, Shape: []byte(`{"loan_id":1000}`), Kinds: "I-s", Marks: []byte{44},
		Unavailable: []string{"big_note"}, Flags: []string{"due_at"}, OrderKey: "loans/1000", OrderKeyOld: "loans/999",
	}
}

func fullDelivery() *delivery.Delivery {
	return &delivery.Delivery{
		State: delivery.Retrying, Lane: 0x0102030405060708, WaitLane: 9, Round: 2, Attempts: 3, Refusals: 1,
		Due: epoch.Add(time.Minute), Since: epoch, Clock: 90 * time.Second, Reason: "status_5xx", Status: 503,
		Error: "503 Service Unavailable", Body: []byte("body"), Bytes: 411,
		Head: delivery.Head{ContentType: "application/json", Header: []delivery.HeaderConfig{{Name: "ce-id", Value: "evt_1"}}},
	}
}

func fullGroup() *delivery.Delivery {
	d := fullDelivery()
	d.Lane, d.WaitLane = 0, 0
	d.Members = &delivery.Members{
		ID: "grp_1", Unit: "type", Last: 300, LastID: "evt_300", Count: 100, Part: 1, Parts: 2,
		Entry: "circulation.loans", Type: "loan.returned", Lanes: []uint64{3, 0x0102030405060708},
	}
	return d
}

func fullParked() *delivery.Parked {
	return &delivery.Parked{
		Table: "circulation.loans", Entry: "circulation.loans", Profile: "desk", Reason: "undecidable", Error: "column note is not known",
		Transaction: "745", Identity: "abc", Position: "0/16B3748", Time: epoch, Ordinal: 3, Actor: delivery.Actor{ID: "a", Name: "b"},
		Operation: "web_form", Assumed: true, Relation: []byte{1, 2}, Change: []byte{3, 4, 5}, Second: []byte{6},
		Made: []string{"loan.created", "loan.lost"},
	}
}

// fullUpdate has every member set that other machines are told.
func fullUpdate() *delivery.Update {
	one, group := *fullDelivery(), *fullGroup()
	one.Seq, group.Seq, group.Body = 301, 7, nil
	return &delivery.Update{
		Progress: &delivery.Progress{Cursor: 300, Done: []delivery.Seq{302, 900}}, Put: []delivery.Delivery{one, group}, Remove: []delivery.Seq{9, 4},
		State: []byte{}, DoneEvents: -3, DoneBytes: 700,
	}
}

// mergedParked is a parked change of several that became one.
func mergedParked() *delivery.Parked {
	p := fullParked()
	p.Second, p.Merged = nil, [][]byte{{7}, {8, 9}}
	return p
}

// touchParked is a parked touch, which has no change.
func touchParked() *delivery.Parked {
	p := fullParked()
	p.Relation, p.Change, p.Second, p.Touch = nil, nil, nil, []byte("{}")
	return p
}

// records are one value of each kind.
func records() map[string][]byte {
	parts, _ := encodeParts(fullBatch(false), 1<<20)
	return map[string][]byte{
		"event":        appendEvent(nil, fullEvent(), []delivery.ProfileID{1, 300}),
		"event_empty":  appendEvent(nil, &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{Time: epoch}}, nil),
		"block":        blockOf(entryOf(fullEvent(), 1, 300), entryOf(fullEvent(), 1, 300), entryOf(testEvent(1))),
		"delivery":     encodeDelivery(nil, fullDelivery(), epoch),
		"group":        encodeDelivery(nil, fullGroup(), epoch),
		"part":         parts[0],
		"part_open":    parts[1],
		"part_pieces":  {partVersion, partPieces, 2, byte(delivery.PartData), 1, 1, 'a', byte(delivery.PartShape), 0, 2, 'b', 'c'},
		"missed":       encodeMissed(tally{2, 500}),
		"update":       EncodeUpdate(nil, fullUpdate()),
		"progress":     (&progressRecord{Progress: delivery.Progress{Cursor: 7, Done: []delivery.Seq{9, 300}}, finished: tally{8, 3000}}).encode(nil),
		"commit":       (&commitRecord{seq: 300, parked: 2, bytes: 70000, position: "0/16B3748"}).encode(nil),
		"undo":         encodeUndo(300, []byte("row"), true),
		"undo_absent":  encodeUndo(1, nil, false),
		"key_undo":     undoKey([]byte("key")),
		"key_kept":     keptKey([]byte("key")),
		"parked":       encodeParked(nil, fullParked()),
		"merged":       encodeParked(nil, mergedParked()),
		"touch":        encodeParked(nil, touchParked()),
		"totals":       (&totalsRecord{seq: 300, sent: map[delivery.ProfileID]tally{1: {300, 70000}}}).encode(nil),
		"mark":         (&mark{time: epoch, before: 70000}).encode(nil),
		"registration": (&registration{code: "desk", retired: true}).encode(nil),
		"parking":      encodeParking(tally{2, 500}),
		"ops":          (&opsCount{count: 300, last: 301}).encode(nil),
		"witness":      (&seal{ops: 300, seq: 299, position: "0/16B3748"}).encode(),
		"key_log":      seqKey(prefixLog, 300),
		"key_delivery": profileKey(2, kindLive, 300),
		"key_lane":     profileKey(2, kindLane, 0x0102030405060708, 300),
		"key_due":      profileKey(2, kindDue, sortableTime(epoch), 300),
	}
}

// TestFormat holds the bytes on disk: a change here needs a new version byte and code that still
// reads the old one.
func TestFormat(t *testing.T) {
	t.Parallel()
	for name, record := range records() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden := filepath.Join("testdata", "format", name+".hex")
			got := hex.Dump(record)
			if *updateGolden {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("bytes changed:\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, ev := range []*delivery.Event{fullEvent(), {Making: &delivery.Making{}, Commit: &delivery.Commit{Time: epoch}}, {Making: &delivery.Making{As: map[string]*string{}}, Commit: &delivery.Commit{Time: time.Time{}}, Data: []byte{}, Marks: []byte{}}, testEvent(5)} {
		got, err := decodeEvent(appendEvent(nil, ev, []delivery.ProfileID{3}))
		if err != nil || !reflect.DeepEqual(got, ev) {
			t.Errorf("event %+v, want %+v: %v", got, ev, err)
		}
	}
	d, err := decodeDelivery(0, encodeDelivery(nil, fullDelivery(), epoch))
	d.Body = []byte("body")
	if err != nil || !d.body || !d.when.Equal(epoch) || !reflect.DeepEqual(&d.Delivery, fullDelivery()) {
		t.Errorf("delivery %+v: %v", d, err)
	}
	for _, alone := range []bool{false, true} {
		want := fullGroup()
		if want.Seq, want.Members.Last = 7, 307; alone {
			want.Members.Alone, want.Members.Lanes = true, nil
		}
		got, err := decodeDelivery(7, encodeDelivery(nil, want, epoch))
		got.Body = want.Body
		if err != nil || !reflect.DeepEqual(&got.Delivery, want) {
			t.Errorf("group %+v, want %+v: %v", got.Delivery, want, err)
		}
	}
	p, err := decodeParked(encodeParked(nil, fullParked()))
	if err != nil || !reflect.DeepEqual(&p, fullParked()) {
		t.Errorf("parked %+v: %v", p, err)
	}
	if p, err = decodeParked(encodeParked(nil, touchParked())); err != nil || !reflect.DeepEqual(&p, touchParked()) {
		t.Errorf("touch %+v: %v", p, err)
	}
	s, ok := decodeSeal((&seal{ops: 1, seq: 2, position: strings.Repeat("x", 1000)}).encode())
	if !ok || s.ops != 1 || s.seq != 2 || len(s.position) != witnessText {
		t.Errorf("witness %+v", s)
	}
}

// TestReadsOlderVersions holds that a spool written before marks, kinds and shapes, headers, and
// groups were kept is read. What an event does not have is not known: no marks are nil.
func TestReadsOlderVersions(t *testing.T) {
	t.Parallel()
	value := func(name string) []byte {
		dump, err := os.ReadFile(filepath.Join("testdata", "format", name+".hex"))
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		for line := range strings.Lines(string(dump)) {
			pairs := strings.ReplaceAll(strings.TrimSpace(line[10:58]), " ", "")
			if b, err = hex.AppendDecode(b, []byte(pairs)); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	if *updateGolden {
		packed := append([]byte{packedVersion}, s2.Encode(nil, blockOf(packedEntries()...))...)
		if err := os.WriteFile(filepath.Join("testdata", "format", "packed.hex"), []byte(hex.Dump(packed)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The bytes of a packed block are the library's business.
	if got, err := readBlock(100, value("packed")); err != nil || !reflect.DeepEqual(got, packedEntries()) {
		t.Errorf("packed block %+v: %v", got, err)
	}
	event := fullEvent()
	event.Marks = nil
	if got, err := decodeEvent(value("event_v2")); err != nil || !reflect.DeepEqual(got, event) {
		t.Errorf("event %+v, want %+v: %v", got, event, err)
	}
	event.Kinds, event.Shape = "", nil
	if got, err := decodeCommit(value("commit_v3")); err != nil || got.position != "0/16B3748" {
		t.Errorf("commit record of version 3: %+v, %v", got, err)
	}
	if got, err := decodeCommit(value("commit_v1")); err != nil || got != (commitRecord{seq: 300, parked: 2, bytes: 70000, position: "0/16B3748"}) {
		t.Errorf("commit record of version 1: %+v, %v", got, err)
	}
	if got, err := decodeEvent(value("event_v1")); err != nil || !reflect.DeepEqual(got, event) {
		t.Errorf("event %+v, want %+v: %v", got, event, err)
	}
	parked := fullParked()
	parked.Made = nil
	if got, err := decodeParked(value("parked_v1")); err != nil || !reflect.DeepEqual(&got, parked) {
		t.Errorf("parked %+v, want %+v: %v", got, parked, err)
	}
	want := fullDelivery()
	want.Body = nil
	if got, err := decodeDelivery(0, value("delivery_v2")); err != nil || !reflect.DeepEqual(&got.Delivery, want) {
		t.Errorf("delivery %+v, want %+v: %v", got.Delivery, want, err)
	}
	want.Head.Header = nil
	if got, err := decodeDelivery(0, value("delivery_v1")); err != nil || !reflect.DeepEqual(&got.Delivery, want) {
		t.Errorf("delivery %+v, want %+v: %v", got.Delivery, want, err)
	}
}

// decoders decode a value and encode what they made of it again.
func decoders() map[string]func([]byte) ([]byte, error) {
	decode := func(b []byte) ([]byte, error) {
		d, err := decodeDelivery(7, b)
		return encodeDelivery(nil, &d.Delivery, d.when), err
	}
	part := func(b []byte) ([]byte, error) {
		d := partReader{find: func(code string) *profile { return &profile{id: 1, code: code} }}
		_, err := d.read(b)
		return b, err
	}
	return map[string]func([]byte) ([]byte, error){
		"part": part, "part_open": part, "part_pieces": part,
		"missed": func(b []byte) ([]byte, error) { x, err := decodeMissed(b); return encodeMissed(x), err },
		"update": func(b []byte) ([]byte, error) { u, err := DecodeUpdate(b); return EncodeUpdate(nil, &u), err },
		"event": func(b []byte) ([]byte, error) {
			ev, err := decodeEvent(b)
			if err != nil {
				return nil, err
			}
			var to []delivery.ProfileID
			err = recipients(b, func(id delivery.ProfileID) { to = append(to, id) })
			return appendEvent(nil, ev, to), err
		},
		"block": func(b []byte) ([]byte, error) {
			if len(b) > 0 && b[0] < blockVersion {
				b = append([]byte{blockVersion}, b...) // a single event is another value
			}
			entries, err := readBlock(1<<40, b)
			if err != nil {
				return nil, err
			}
			return blockOf(entries...), nil
		},
		"delivery":     decode,
		"group":        decode,
		"progress":     func(b []byte) ([]byte, error) { p, err := decodeProgress(b); return p.encode(nil), err },
		"commit":       func(b []byte) ([]byte, error) { c, err := decodeCommit(b); return c.encode(nil), err },
		"parked":       func(b []byte) ([]byte, error) { p, err := decodeParked(b); return encodeParked(nil, &p), err },
		"totals":       func(b []byte) ([]byte, error) { x, err := decodeTotals(b); return x.encode(nil), err },
		"mark":         func(b []byte) ([]byte, error) { m, err := decodeMark(b); return m.encode(nil), err },
		"registration": func(b []byte) ([]byte, error) { g, err := decodeRegistration(b); return g.encode(nil), err },
		"parking":      func(b []byte) ([]byte, error) { x, err := decodeParking(b); return encodeParking(x), err },
	}
}

func TestUnknownVersion(t *testing.T) {
	t.Parallel()
	all := records()
	for name, decode := range decoders() {
		sent := strings.HasPrefix(name, "part") || name == "update"
		value := append([]byte{9}, all[name][1:]...)
		var version *VersionError
		if _, err := decode(value); !errors.As(err, &version) || version.Version != 9 || version.Sent != sent || strings.Contains(version.RemedyText(), "another machine") != sent {
			t.Errorf("%s: %v", name, err)
		}
		for n := range all[name] {
			if _, err := decode(all[name][:n]); err == nil {
				t.Errorf("%s cut to %d bytes is taken", name, n)
			}
		}
		if _, err := decode(append(all[name], 0)); err == nil {
			t.Errorf("%s with a byte too many is taken", name)
		}
	}
}

// FuzzDecode holds that no value makes a decoder panic, and that what is taken can be
// encoded and is taken again.
func FuzzDecode(f *testing.F) {
	for name, record := range records() {
		f.Add(name, record)
	}
	f.Add("block", append([]byte{packedVersion}, s2.Encode(nil, blockOf(packedEntries()...))...))
	all := decoders()
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		decode := all[name]
		if decode == nil {
			return
		}
		again, err := decode(value)
		if err != nil {
			return
		}
		if _, err := decode(again); err != nil {
			t.Fatal(fmt.Errorf("%s was taken once: %w", name, err))
		}
		_, _ = addressed(value, 3)
		_, _ = decodeSeal(value)
	})
}
