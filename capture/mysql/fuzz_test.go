package mysql

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"rowhook/capture"
)

// loansMap is the table map of (id INT PRIMARY KEY, title VARCHAR(100), due DATETIME).
const loansMap = "076c696272617279000570" + "6c6f616e00" + "03030f1203900100" + "06010180020121040d0269640574697468650364756508010" + "0"

func FuzzTableMap(f *testing.F) {
	seed, _ := hex.DecodeString(loansMap)
	f.Add(seed, []byte{1, 3, 0, 7, 0})
	f.Add([]byte("\x01a\x00\x01b\x00\x01\x03\x00\x00\x04\x02\x01i"), []byte("\x01\x01\x00\x01\x00\x05\x00\x00\x00"))
	f.Add([]byte("\x01a\x00\x01v\x00\x04\x03\x0f\x11\x11\x04\x28\x00\x06\x06\x00\x04\x1b\x02id\x04note\x09row_start\x07row_end\x08\x02\x00\x03"),
		[]byte("\x02\x04\x00\x0f\x0f\x00\x01\x00\x00\x00\x01a\x01\x02\x03\x04\x05\x06\x07\x7f\xff\xff\xff\x0f\x42\x3f\x00\x01\x00\x00\x00\x01b\x01\x02\x03\x04\x05\x06\x07\x7f\xff\xff\xff\x0f\x42\x3f"))
	f.Fuzz(func(t *testing.T, body, row []byte) {
		for _, told := range possibleFacts(body) {
			relation := appendRelation(nil, told.flavour, told.facts, body)
			flavour, facts, again, err := parseRelation(relation)
			if err != nil || !bytes.Equal(again, body) || len(body) == 0 {
				if len(body) > 0 {
					t.Errorf("a relation is not read again: %v", err)
				}
				continue
			}
			m, err := newTableMap(flavour, body, &charsets{names: map[uint64]string{45: "utf8mb4", 8: "latin1"}, version: 110800}, facts)
			if err != nil {
				continue
			}
			change, err := decodeParked(m, row)
			if err != nil {
				continue
			}
			for _, values := range []capture.Row{change.Old, change.New} {
				for i, v := range values {
					if v.State != capture.Present {
						continue
					}
					if out, _ := m.table.Columns[i].Type.AppendJSON(nil, v.Text); !json.Valid(out) || !utf8.Valid(out) {
						t.Errorf("%s of %q is no JSON: %s", m.table.Columns[i].Type.Name, v.Text, out)
					}
				}
			}
		}
	})
}

// toldFacts are a flavour of server with what its catalog tells.
type toldFacts struct {
	flavour byte
	facts   *facts
}

// possibleFacts are those that a catalog may tell of a table map: nothing, or one of the types that
// each column may have.
func possibleFacts(body []byte) []toldFacts {
	list := []toldFacts{{flavourMySQL, nil}, {flavourMariaDB, nil}, {flavourMariaDB, &facts{At: 1}}}
	m, err := parseTableMap(body)
	if err != nil || m.names == nil {
		return list
	}
	m.vectors = true
	entries, err := m.entries(flavourMariaDB)
	if err != nil {
		return list
	}
	for nth := range 3 {
		f := &facts{Told: true, Types: map[string]string{}}
		for i, name := range m.names {
			if kinds := m.alike(i, entries[i], flavourMariaDB); kinds != nil {
				f.Types[name] = fmt.Sprintf("%s(%d)", kinds[0], nth*3)
				if !m.unsized(i, flavourMariaDB) {
					f.Types[name] = kinds[min(nth, len(kinds)-1)]
				}
			}
			if m.bounds(i) {
				f.End = name
			}
			if m.mayBeHash(i, name) {
				f.Hidden = append(f.Hidden, name)
			}
		}
		list = append(list, toldFacts{flavourMariaDB, f})
	}
	return list
}

// FuzzRelation takes what a parked change may come with.
func FuzzRelation(f *testing.F) {
	f.Add(appendRelation(nil, flavourMariaDB, &facts{Told: true, Types: map[string]string{"t": "time(3)"}},
		[]byte("\x01a\x00\x01v\x00\x02\x03\x0b\x00\x02\x04\x05\x02id\x01t")))
	f.Add([]byte("m\x01a\x00\x01v\x00\x01\x03\x00\x00"))
	f.Fuzz(func(t *testing.T, relation []byte) {
		if flavour, told, body, err := parseRelation(relation); err == nil {
			_, _ = newTableMap(flavour, body, &charsets{}, told) // it must not panic
		}
	})
}

func FuzzBinaryJSON(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x0d\x00\x0b\x00\x02\x00\x05\x03\x00ab"))
	f.Add([]byte("\x02\x01\x00\x08\x00\x05\x01\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := appendBinaryJSON(nil, nil, b)
		if err == nil && !json.Valid(out) {
			t.Errorf("not JSON: %q", out)
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add("gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:batch:1-3 at:binlog.000001:4 xa:61..1@3e11fa47-71ca-11e1-9e33-c80aa9429562:4")
	f.Add("mariadb:0-1-100,1-2-3")
	f.Add("file:3e11fa47-71ca-11e1-9e33-c80aa9429562/binlog.000001:1234@1700000000")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(capture.Position(text))
		if err != nil {
			return
		}
		once := p.position()
		again, err := parsePlace(once)
		if err != nil || again.position() != once {
			t.Errorf("%q became %q, then %q (%v)", text, once, again.position(), err)
		}
	})
}

func FuzzEvents(f *testing.F) {
	for kind := range 45 {
		f.Add(byte(kind), []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00BEGIN"))
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		d := decoder{sink: newNotes(), at: place{mysql: mysqlSet{}, maria: mariaSet{}}, log: quiet(),
			wanted: func(string, string) bool { return true },
			describe: func(body []byte, _ question) (*tableMap, error) {
				return newTableMap(flavourMySQL, body, &charsets{}, nil)
			},
			lookup: func(string) (*capture.Table, error) { return nil, nil }}
		for range 2 {
			_ = d.event(header{kind: kind, size: uint32(len(body))}, body) // it must not panic
		}
	})
}

// FuzzAddress never shows a password, and knows each host of the addresses that it takes.
func FuzzAddress(f *testing.F) {
	f.Add("127.0.0.1:3306,[::1]:3307/lib?tls=verify")
	f.Add("/lib?socket=/run/mysqld.sock&tls=off")
	f.Add("host%zz/?ca=/nowhere")
	f.Fuzz(func(t *testing.T, rest string) {
		a, err := parseAddress("mysql://user:s3cr3t@" + rest)
		if err != nil && !strings.Contains(rest, "s3cr3t") && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", rest, err)
		}
		if err == nil && (len(a.hosts) == 0 || slices.ContainsFunc(a.hosts, func(h host) bool { return h.name == "" })) {
			t.Errorf("%q: hosts %v", rest, a.hosts)
		}
	})
}

func FuzzXID(f *testing.F) {
	f.Add("X'6162',X'',1")
	f.Fuzz(func(t *testing.T, text string) {
		xid, ok := parseXID(text)
		if ok && strings.Count(xid, ".") != 2 {
			t.Errorf("%q became %q", text, xid)
		}
	})
}

func FuzzStatement(f *testing.F) {
	f.Add("lib", []byte("/* a */ INSERT LOW_PRIORITY INTO `lib`.`lo``ans` VALUES (1)"))
	f.Add("lib", []byte("TRUNCATE TABLE loans -- x"))
	f.Add("lib", []byte("SET STATEMENT a=(1) FOR /*!50000 INSERT INTO*/ loans VALUES (1)"))
	f.Add("lib", []byte("CREATE OR REPLACE TABLE a.b (c INT COMMENT 'it''s') /*M!100500 AS */ VALUES (1)"))
	f.Add("lib", []byte("ANALYZE FORMAT=JSON UPDATE a, \"b\" SET c = '\\'"))
	f.Fuzz(func(t *testing.T, database string, text []byte) {
		for _, how := range []dialect{{}, {noEscapes: true, ansiQuotes: true}, {wide: true}} {
			// What stands before a statement changes neither what it does nor to which table.
			want := judge(database, text, how)
			for _, prefix := range []string{" /* INSERT */ ", "-- '\n", "SET STATEMENT max_statement_time = (1) FOR "} {
				if got := judge(database, append([]byte(prefix), text...), how); got != want {
					t.Errorf("%q is %+v, behind %q %+v", text, want, prefix, got)
				}
			}
			if want.name == "" && want.schema != "" || want.effect == truncates && want.name == "" {
				t.Errorf("%q is %+v", text, want)
			}
		}
	})
}

func FuzzInflate(f *testing.F) {
	f.Add([]byte("\x81\x03\x78\x9c\x4b\x4c\x4a\x06\x00\x02\x4d\x01\x27"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := inflate(b); err == nil && len(out) > keepMost {
			t.Errorf("%d bytes", len(out))
		}
	})
}

func FuzzUnpacked(f *testing.F) {
	f.Add([]byte("\x00plain"))
	f.Add([]byte("\x89\x03\x4b\x4c\x4a\x06\x00"))
	f.Fuzz(func(t *testing.T, v []byte) {
		out, err := appendUnpacked(&column{unpacked: appendBytes}, []byte("before"), v)
		if err == nil && !strings.HasPrefix(string(out), "before") {
			t.Errorf("%q became %q", v, out)
		}
	})
}
