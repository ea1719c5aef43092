package mysql

import (
	"encoding/hex"
	"encoding/json"
	"testing"

	"rowhook/capture"
)

// loansMap is the table map of (id INT PRIMARY KEY, title VARCHAR(100), due DATETIME).
const loansMap = "076c696272617279000570" + "6c6f616e00" + "03030f1203900100" + "06010180020121040d0269640574697468650364756508010" + "0"

func FuzzTableMap(f *testing.F) {
	seed, _ := hex.DecodeString(loansMap)
	f.Add(seed, []byte{1, 3, 0, 7, 0})
	f.Add([]byte("\x01a\x00\x01b\x00\x01\x03\x00\x00\x04\x02\x01i"), []byte("\x01\x01\x00\x01\x00\x05\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, body, row []byte) {
		for _, flavour := range []byte{flavourMySQL, flavourMariaDB} {
			m, err := newTableMap(flavour, body, map[uint64]string{45: "utf8mb4", 8: "latin1"}, nil)
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
					if out, _ := m.table.Columns[i].Type.AppendJSON(nil, v.Text); !json.Valid(out) {
						t.Errorf("%s of %q is no JSON: %s", m.table.Columns[i].Type.Name, v.Text, out)
					}
				}
			}
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
		d := decoder{sink: newNotes(), at: place{mysql: mysqlSet{}, maria: mariaSet{}}, tables: map[uint64]*tableMap{}, log: quiet(),
			wanted:   func(string, string) bool { return true },
			describe: func(body []byte) (*tableMap, error) { return newTableMap(flavourMySQL, body, nil, nil) },
			lookup:   func(string) (*capture.Table, error) { return nil, nil }}
		for range 2 {
			_ = d.event(header{kind: kind, size: uint32(len(body))}, body) // it must not panic
		}
	})
}
