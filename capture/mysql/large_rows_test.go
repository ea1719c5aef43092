package mysql

import (
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// largeNotes notes values by their length, and what was kept of rows that were read past.
type largeNotes struct {
	*notes
	unwanted string // a table
}

func (n *largeNotes) Weigh(w *capture.Weighed) (capture.Verdict, error) {
	return capture.Verdict{Unwanted: w.Table.Name == n.unwanted}, nil
}

func (n *largeNotes) Change(c *capture.Change) error {
	return n.add("%d %s %s old=%s new=%s", c.Ordinal, c.Op, c.Table.Name, n.lengths(c.Table, c.Old), n.lengths(c.Table, c.New))
}

func (n *largeNotes) Park(u *capture.Undecoded) error {
	kept := "nothing"
	if u.Kept != nil {
		kept = fmt.Sprintf("%s old=%s new=%s", u.Kept.Op, n.lengths(u.Kept.Table, u.Kept.Old), n.lengths(u.Kept.Table, u.Kept.New))
	}
	return n.add("%d park %s of %d MB: %v; kept %s", u.Ordinal, u.Table, u.Size/1_000_000, u.Err, kept)
}

// lengths is row with long values told by their length and last character.
func (n *largeNotes) lengths(t *capture.Table, row capture.Row) string {
	short := make(capture.Row, len(row))
	for i, v := range row {
		if short[i] = v; len(v.Text) > 100 {
			short[i].Text = fmt.Appendf(nil, "%d*%c", len(v.Text), v.Text[len(v.Text)-1])
		}
	}
	if row == nil {
		short = nil
	}
	return n.row(t, short)
}

// TestLargeRows reads rows that are taken by themselves, and rows that are read past, as they are
// and compressed.
func TestLargeRows(t *testing.T) {
	onEach(t, func(t *testing.T, s *testServer) {
		compress := []string{"SET SESSION binlog_transaction_compression = ON", "DO 1"}
		if s.kind == "mariadb" {
			compress = []string{"SET GLOBAL log_bin_compress = ON", "SET GLOBAL log_bin_compress = OFF"}
		}
		for name, packed := range map[string]bool{"plain": false, "compressed": true} {
			t.Run(name, func(t *testing.T) {
				database := s.database(t)
				s.exec(t, "CREATE TABLE "+database+".t (id INT PRIMARY KEY, note LONGTEXT, more LONGTEXT CHARACTER SET latin1)",
					"CREATE TABLE "+database+".other (id INT PRIMARY KEY, note LONGTEXT)", "CREATE TABLE "+database+".ignored (id INT PRIMARY KEY, note LONGTEXT)")
				source := newTestSource(t, s, database)
				source.config.MaxChange = 3 << 20
				source.wanted = func(schema, table string) bool { return schema == database && table != "ignored" }
				n := &largeNotes{notes: newNotes(), unwanted: "other"}
				stop := n.captureInto(t, source, capture.StartOptions{}, n)
				statements := []string{"USE " + database}
				if packed {
					statements = append(statements, compress[0])
				}
				statements = append(statements, "INSERT INTO t VALUES (1, REPEAT('x', 2000000), 'a')",
					"BEGIN", "INSERT INTO t VALUES (2, 'small', NULL)", "INSERT INTO t VALUES (3, REPEAT('y', 6000000), 'b')", "INSERT INTO other VALUES (1, REPEAT('z', 6000000))",
					"INSERT INTO ignored VALUES (1, REPEAT('z', 6000000)), (2, 'z')", "INSERT INTO t VALUES (4, 'small', REPEAT(_latin1 x'e4', 1500000))", "COMMIT",
					"UPDATE t SET more = 'c' WHERE id = 3", "UPDATE t SET note = REPEAT('v', 6000000) WHERE id = 2", "DELETE FROM t WHERE id = 3",
					"INSERT INTO t VALUES (5, REPEAT('p', 1400000), REPEAT('q', 1400000)), (6, REPEAT('r', 1800000), REPEAT('s', 1800000)), (7, 'small', '')",
					"/* first */ INSERT INTO t VALUES (8, 'literal', '"+strings.Repeat("m", 2_000_000)+"') /*k='v'*/")
				if packed {
					statements = append(statements, compress[1])
				}
				s.session(t, append(statements, "INSERT INTO t VALUES (9, 'last', '')")...)
				got := strings.Join(n.await(t, "id:9"), "\n")
				stop()
				park := func(size int) string {
					return fmt.Sprintf(" park %s.t of %d MB: the change has %d bytes, more than source.max_change: 3145728; kept ", database, size/1_000_000, size)
				}
				for _, want := range []string{
					"0 insert t old=- new={id:1 note:2000000*x more:a}",
					"0 insert t old=- new={id:2 note:small more:NULL}",
					"1" + park(6000014) + "insert old=- new={id:3 note:? more:b}",
					"5 insert t old=- new={id:4 note:small more:3000000*¤}",
					"0" + park(12000028) + "update old={id:3 note:? more:b} new={id:3 note:? more:c}",
					"0" + park(6000023) + "update old={id:2 note:small more:NULL} new={id:2 note:? more:NULL}",
					"0" + park(6000014) + "delete old={id:3 note:? more:c} new=-",
					"0 insert t old=- new={id:5 note:1400000*p more:1400000*q}",
					"1" + park(3600013) + "insert old=- new={id:6 note:? more:?}",
					"2 insert t old=- new={id:7 note:small more:}",
					"insert t old=- new={id:8 note:literal more:2000000*m}",
				} {
					if !strings.Contains(got, want) {
						t.Errorf("missing: %s", want)
					}
				}
				if t.Failed() {
					t.Logf("got\n%s", got)
				}
			})
		}
	})
}

// TestWindow keeps both ends of a text of any length.
func TestWindow(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, windowHead, windowHead + windowTail, windowHead + 2*windowTail, windowHead + 2*windowTail + 1, windowHead + 3*windowTail,
		windowHead + 3*windowTail + 1, 1 << 20, 1<<20 + 17} {
		text := make([]byte, size)
		for i := range text {
			text[i] = byte(i * 7 / 5)
		}
		got, err := window(strings.NewReader(string(text)))
		capturetest.Must(t, err)
		head, tail := min(size, windowHead), min(size, windowTail)
		if string(got[:head]) != string(text[:head]) || string(got[len(got)-tail:]) != string(text[size-tail:]) || size <= windowHead && len(got) != size {
			t.Errorf("%d bytes: the ends are not kept", size)
		}
	}
}
