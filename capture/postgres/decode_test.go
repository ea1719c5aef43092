package postgres

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"

	"rowhook/capture"
)

// message builds one pgoutput message: bytes, strings (with their zero byte), numbers.
func message(parts ...any) []byte {
	var b []byte
	for _, part := range parts {
		switch v := part.(type) {
		case byte:
			b = append(b, v)
		case rune:
			b = append(b, byte(v))
		case string:
			b = append(append(b, v...), 0)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

func text(s string) []byte { return message('t', uint32(len(s)), []byte(s)) }

func loans(identity rune) []byte {
	return message('R', uint32(7), "public", "loans", identity, uint16(2),
		byte(1), "id", uint32(23), uint32(0xffffffff), byte(0), "title", uint32(25), uint32(0xffffffff))
}

func begin(commit uint64) []byte { return message('B', commit, uint64(0), uint32(700)) }

func commit(end uint64) []byte { return message('C', byte(0), end-1, end, uint64(0)) }

func insert(id, title string) []byte {
	return message('I', uint32(7), 'N', uint16(2), text(id), text(title))
}

// newDecoder makes a decoder that asks no catalog.
func newDecoder(sink capture.Sink) *decoder {
	return &decoder{sink: sink, relations: map[uint32]*relation{}, types: map[uint32]typeMessage{}, describe: describeOffline}
}

func describeOffline(m *description) (*relation, error) {
	t := &capture.Table{Schema: m.schema, Name: m.name, Identity: identityOf(m.identity)}
	for _, c := range m.columns {
		typ := builtinTypes[c.oid]
		if typ == nil {
			typ = textType("unknown", capture.Other)
		}
		t.Columns = append(t.Columns, capture.Column{Name: c.name, Type: typ, Identity: c.key})
	}
	t.Key = keyOf(t, nil)
	rel := &relation{oid: m.oid, table: t}
	rel.judge(tableShape{})
	return rel, nil
}

func TestDecode(t *testing.T) {
	t.Parallel()
	update := func(old []byte) []byte {
		return message('U', uint32(7), old, 'N', uint16(2), text("1"), message('u'))
	}
	tests := []struct {
		name     string
		messages [][]byte
		want     []string
		err      string
	}{
		{"transaction", [][]byte{begin(100), loans('d'), insert("1", "a"), insert("2", "b"), commit(120)},
			[]string{"begin", `0 insert public.loans (id:1 title:"a")`, `1 insert public.loans (id:2 title:"b")`, "commit"}, ""},
		{"key of an update", [][]byte{begin(1), loans('d'), update(message('K', uint16(2), text("9"), 'n'))},
			[]string{"begin", `0 update public.loans (id:9 title:?) -> (id:1 title:=)`}, ""},
		{"no old row", [][]byte{begin(1), loans('d'), update(nil)},
			[]string{"begin", `0 update public.loans (id:1 title:?) -> (id:1 title:=)`}, ""},
		{"unchanged, and known from the old row", [][]byte{begin(1), loans('f'), update(message('O', uint16(2), text("1"), text("old")))},
			[]string{"begin", `0 update public.loans (id:1 title:"old") -> (id:1 title:"old")`}, ""},
		{"null in a whole old row", [][]byte{begin(1), loans('f'), message('D', uint32(7), 'O', uint16(2), text("1"), 'n')},
			[]string{"begin", `0 delete public.loans (id:1 title:null)`}, ""},
		{"type, origin and ignored messages", [][]byte{message('M', byte(0), uint64(1), "p", uint32(1), byte('x')), begin(1),
			message('Y', uint32(1), "public", "mood"), message('O', uint64(1), "origin"), message('M', byte(1), uint64(1), "p", uint32(1), byte('x')), commit(2)},
			[]string{"begin", "0 message p x", "commit"}, ""},
		{"column count", [][]byte{begin(1), loans('d'), message('I', uint32(7), 'N', uint16(1), text("1")), insert("2", "b"), commit(2)},
			[]string{"begin", "0 park public.loans: the row has 1 columns where the table was described with 2", `1 insert public.loans (id:2 title:"b")`, "commit"}, ""},
		{"a name twice", [][]byte{begin(1), message('R', uint32(7), "public", "loans", 'd', uint16(2), byte(1), "id", uint32(23), uint32(0xffffffff),
			byte(0), "id", uint32(25), uint32(0xffffffff)), insert("1", "a"), loans('d'), insert("2", "b"), commit(2)},
			[]string{"begin", `0 park public.loans: the server described the table with two columns "id": it takes it for what it was not when the row was written`,
				`1 insert public.loans (id:2 title:"b")`, "commit"}, ""},
		{"cut tuple", [][]byte{begin(1), loans('d'), insert("1", "a")[:12], commit(2)},
			[]string{"begin", "0 park public.loans: column id: malformed change message", "commit"}, ""},
		{"binary value", [][]byte{begin(1), loans('d'), message('I', uint32(7), 'N', uint16(2), text("1"), 'b', uint32(0))},
			[]string{"begin", "0 park public.loans: column title: malformed change message"}, ""},
		{"more than a tuple", [][]byte{begin(1), loans('d'), append(insert("1", "a"), 0)},
			[]string{"begin", "0 park public.loans: malformed change message"}, ""},
		{"unknown table", [][]byte{begin(1), insert("1", "a"), commit(2)},
			[]string{"begin", "0 park : the stream did not describe the table", "commit"}, ""},
		{"truncate of an unknown table", [][]byte{begin(1), loans('d'), message('T', uint32(2), byte(0), uint32(8), uint32(7))},
			[]string{"begin", "0 park : the stream did not describe the table", "1 truncate public.loans"}, ""},
		{"cut truncate", [][]byte{begin(1), message('T', uint32(2), byte(0), uint32(8))},
			[]string{"begin", "0 park : malformed change message"}, ""},
		{"delete without a row", [][]byte{begin(1), loans('d'), message('D', uint32(7), 'N', uint16(0))},
			[]string{"begin", "0 park public.loans: malformed change message"}, ""},
		{"empty", [][]byte{{}}, nil, "empty message"},
		{"unknown type", [][]byte{{'?'}}, nil, `unknown message '?'`},
		{"outside a transaction", [][]byte{loans('d'), insert("1", "a")}, nil, "change outside a transaction"},
		{"begin in begin", [][]byte{begin(1), begin(2)}, []string{"begin"}, "begin message"},
		{"commit alone", [][]byte{commit(2)}, nil, "commit message"},
		{"cut begin", [][]byte{begin(1)[:9]}, nil, "begin message"},
		{"cut relation", [][]byte{loans('d')[:20]}, nil, "relation message"},
		{"relation of too many columns", [][]byte{message('R', uint32(7), "a", "b", 'd', uint16(0xffff))}, nil, "relation message"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sink := newListSink("")
			d := newDecoder(sink)
			var err error
			for _, m := range test.messages {
				if err = d.message(m); err != nil {
					break
				}
			}
			if !slices.Equal(sink.lines, test.want) {
				t.Errorf("came %q, want %q", sink.lines, test.want)
			}
			if err == nil != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			var malformed *streamError
			if err != nil && !errors.As(err, &malformed) {
				t.Errorf("error is a %T", err)
			}
		})
	}
}

func TestTransactionNames(t *testing.T) {
	t.Parallel()
	r := reader{b: message(uint64(0))}
	tx := transaction(pglogrepl.LSN(0x1_016B3748), r.time(), 745)
	want := capture.Transaction{ID: "745", Identity: "1/16B3748 745 946684800000000", Position: "1/16B3748", Time: tx.Time}
	if tx != want || tx.Time.Year() != 2000 {
		t.Errorf("transaction %+v, want %+v", tx, want)
	}
	for _, lsn := range []pglogrepl.LSN{1, 0x16B3748, 0xFFFFFFFF_FFFFFFFF, 0xABCDEF01_00000000} {
		if got := position(lsn); string(got) != lsn.String() {
			t.Errorf("position %s, want %s", got, lsn)
		}
		if back, err := parsePosition(position(lsn)); err != nil || back != lsn {
			t.Errorf("%s came back as %s: %v", lsn, back, err)
		}
	}
	for _, bad := range []capture.Position{"x", "1", "1/", "1/g", "/"} {
		if _, err := parsePosition(bad); err == nil {
			t.Errorf("%q is taken as a position", bad)
		}
	}
}

// TestTableKeepsItsPointer holds that a *Table is a key for caches.
func TestTableKeepsItsPointer(t *testing.T) {
	t.Parallel()
	d := newDecoder(newListSink(""))
	table := func(relation []byte) *capture.Table {
		if err := d.message(relation); err != nil {
			t.Fatal(err)
		}
		return d.relations[7].table
	}
	first := table(loans('d'))
	if again := table(loans('d')); again != first {
		t.Error("the same description made a new table")
	}
	if changed := table(loans('f')); changed == first {
		t.Error("another description kept the table")
	}
}

func TestSinkErrorsEndTheMessage(t *testing.T) {
	t.Parallel()
	sink := newListSink("")
	sink.fail = errors.New("spool is closed")
	d := newDecoder(sink)
	var err error
	for _, m := range [][]byte{begin(1), loans('d'), insert("1", "a")} {
		err = d.message(m)
	}
	if !capture.IsPermanent(err) || !errors.Is(err, sink.fail) {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{loans('d'), loans('f'), insert("1", "a"), begin(1), commit(2),
		message('U', uint32(7), 'K', uint16(2), text("1"), 'n', 'N', uint16(2), text("2"), 'u'),
		message('U', uint32(7), 'O', uint16(2), text("1"), text("b"), 'N', uint16(2), text("2"), 'n'),
		message('D', uint32(7), 'O', uint16(2), text("1"), 'n'),
		message('T', uint32(1), byte(3), uint32(7)),
		message('M', byte(1), uint64(1), "p", uint32(1), byte('x')),
		message('Y', uint32(1), "public", "mood"), message('O', uint64(1), "origin")} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		sink := &checkingSink{t: t}
		d := newDecoder(sink)
		for _, m := range [][]byte{begin(1), loans('d'), first, second} {
			if err := d.message(m); err != nil {
				return
			}
		}
		parseKeepalive(second)
	})
}

// checkingSink holds that rows fit their table.
type checkingSink struct {
	listSink
	t *testing.T
}

func (s *checkingSink) Begin(*capture.Transaction) error { return nil }
func (s *checkingSink) Message(*capture.Message) error   { return nil }
func (s *checkingSink) Park(*capture.Undecoded) error    { return nil }
func (s *checkingSink) Commit(capture.Position) error    { return nil }
func (s *checkingSink) Change(c *capture.Change) error {
	for _, row := range []capture.Row{c.Old, c.New} {
		if row != nil && len(row) != len(c.Table.Columns) {
			s.t.Errorf("%s of %d values for %d columns", c.Op, len(row), len(c.Table.Columns))
		}
		for i, v := range row {
			if (v.State != capture.Present) != (v.Text == nil) && len(v.Text) > 0 {
				s.t.Errorf("value %d has state %d and %d bytes", i, v.State, len(v.Text))
			}
		}
	}
	return nil
}

// FuzzStored reads what the state directory and the server hold as text or bytes: positions,
// timeline histories and parked changes.
func FuzzStored(f *testing.F) {
	f.Add("0/16B3748", "1\t0/16B3748\tno recovery target specified\n", loans('d'), insert("1", "a"))
	f.Add("FFFFFFFF/FFFFFFFF", "# a comment\n2 0/0\n", loans('f'), message('D', uint32(7), 'O', uint16(2), text("1"), 'n'))
	f.Fuzz(func(t *testing.T, position, history string, described, parked []byte) {
		if lsn, err := parsePosition(capture.Position(position)); err == nil && lsn != 0 {
			if again, err := parsePosition(capture.Position(lsn.String())); err != nil || again != lsn {
				t.Errorf("%q became %s, then %s (%v)", position, lsn, again, err)
			}
		}
		_, _ = parseHistory(history, 2) // it must not panic
		if len(described) == 0 || len(parked) == 0 {
			return // refused before
		}
		m, _, err := parseDescription(described)
		if err != nil {
			return
		}
		rel, err := describeOffline(m)
		if err != nil {
			return
		}
		var change capture.Change
		if err := decodeParked(parked, rel, &change); err != nil {
			return
		}
		for _, row := range []capture.Row{change.Old, change.New} {
			if row != nil && len(row) != len(rel.table.Columns) {
				t.Errorf("%d values of %d columns", len(row), len(rel.table.Columns))
			}
		}
	})
}
