package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/jackc/pgx/v5/pgproto3"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// largeSink notes changes by the length of their values, and what was kept of those that were read
// past.
type largeSink struct {
	*listSink
	unwanted string // a table
	weighed  []capture.Weighed
}

func (s *largeSink) Weigh(w *capture.Weighed) (capture.Verdict, error) {
	s.weighed = append(s.weighed, *w)
	return capture.Verdict{Unwanted: w.Table.Name == s.unwanted}, nil
}

func (s *largeSink) Change(c *capture.Change) error {
	s.add(fmt.Sprintf("%d %s %s old=%s new=%s", c.Ordinal, c.Op, c.Table, lengths(c.Old), lengths(c.New)))
	return nil
}

func (s *largeSink) Park(u *capture.Undecoded) error {
	kept := "nothing"
	if u.Kept != nil {
		kept = changeLine(u.Kept)
	}
	s.add(fmt.Sprintf("%d park %s of %d MB: %v; kept %s", u.Ordinal, u.Table, u.Size/1_000_000, u.Err, kept))
	return nil
}

// lengths tells a row's values, long ones by their length and last character.
func lengths(row capture.Row) string {
	var out []string
	for _, v := range row {
		text := string(v.Text)
		if len(text) > 100 {
			text = fmt.Sprintf("%d*%s", len(text), text[len(text)-1:])
		}
		out = append(out, [...]string{"?", "=", "NULL", text}[v.State])
	}
	return strings.Join(out, ",")
}

// TestLargeChanges reads rows that are taken by themselves, and rows that are read past.
func TestLargeChanges(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "verified"}[tls], func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{}, "create table t (id int primary key, note text, more text)", "create table other (id int primary key, note text)",
				"alter table t replica identity full", "create table keyed (id int primary key, note text)")
			url := pg.DSN
			if tls {
				ca := writeCertificate(t, pg.DataDir)
				capturetest.Must(t, pg.Stop(capturetest.Fast))
				pg.Set(map[string]string{"ssl": "on"})
				capturetest.Must(t, pg.Start())
				url = fmt.Sprintf("postgres://postgres@localhost:%d/postgres?sslmode=verify-full&sslrootcert=%s", pg.Port, ca)
			}
			source, err := New(capture.SourceConfig{URL: url, MaxChange: 5 << 20}, Options{Logger: testLogger(t), AgentID: "test"})
			capturetest.Must(t, err)
			t.Cleanup(source.Close)
			sink := &largeSink{listSink: newListSink(""), unwanted: "other"}
			running, _ := follow(t, source, capture.StartOptions{}, sink)
			pg.Run(t, "insert into t values (1, repeat('x', 3000000), 'a')",
				`begin; insert into t values (2, 'small', null); insert into t values (3, repeat('y', 9000000), 'b');
				insert into other values (1, repeat('z', 9000000)); insert into t values (4, 'small', repeat('w', 1500000)); commit`,
				"update t set more = 'c' where id = 3", "update t set note = repeat('v', 9000000) where id = 2", "delete from t where id = 3",
				"insert into keyed values (1, repeat('y', 9000000))", "update keyed set note = note || 'z' where id = 1",
				"select pg_logical_emit_message(true, 'somebody', repeat('m', 9000000))",
				"insert into t values (5, 'last', '')")
			sink.await(t, "the last row", func() bool { return strings.Contains(strings.Join(sink.changes(), "\n"), "new=5,last,") })
			running.stop(t)
			refused := ": the change has %d bytes, more than source.max_change: 5242880; kept "
			park := func(size int) string { return fmt.Sprintf(refused, size) }
			want := []string{
				"0 insert public.t old= new=1,3000000*x,a",
				"0 insert public.t old= new=2,small,NULL",
				"1 park public.t of 9 MB" + park(9000050) + `1 insert public.t (id:3 note:? more:"b")`,
				"3 insert public.t old= new=4,small,1500000*w",
				"0 park public.t of 9 MB" + park(9000066) + `0 update public.t (id:3 note:? more:"b") -> (id:3 note:= more:"c")`,
				"0 park public.t of 9 MB" + park(9000065) + `0 update public.t (id:2 note:"small" more:null) -> (id:2 note:? more:null)`,
				"0 park public.t of 9 MB" + park(9000050) + `0 delete public.t (id:3 note:? more:"c")`,
				"0 park public.keyed of 9 MB" + park(9000044) + "0 insert public.keyed (id:1 note:?)",
				"0 park public.keyed of 9 MB" + park(9000045) + "0 update public.keyed (id:1 note:?) -> (id:1 note:?)",
				"0 park  of 9 MB: logical message" + park(9000048) + "nothing",
				"0 insert public.t old= new=5,last,",
			}
			if got := sink.changes(); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// FuzzFrames holds that small messages pass as they came and large ones are announced in their
// place, however the bytes arrive.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{3, 'w', 0, 'k', 255, 'd', 1}, uint8(0))
	f.Add([]byte{'d', 200, 'd', 201, 'd', 2, 'E', 9}, uint8(1))
	f.Fuzz(func(t *testing.T, script []byte, slow uint8) {
		var wire bytes.Buffer
		var want []string
		for i := 0; i+1 < len(script) && i < 20; i += 2 {
			kind, size := byte('d'), int(script[i+1])
			if script[i]%4 == 0 {
				kind = 'N'
			}
			if size >= 250 {
				size = capture.LargeChange - 4 + size - 252 // around the bound
			}
			wire.Write(binary.BigEndian.AppendUint32([]byte{kind}, uint32(size+4)))
			wire.Write(bytes.Repeat([]byte{byte(i)}, size))
			want = append(want, fmt.Sprint(string(kind), " ", size, " ", size+4 > capture.LargeChange && kind == 'd'))
		}
		var in io.Reader = &wire
		switch slow % 4 {
		case 1:
			in = iotest.HalfReader(in)
		case 2:
			in = iotest.OneByteReader(in)
		}
		fr := newFrames(in)
		var got []string
		head := make([]byte, 5)
		for {
			if _, err := io.ReadFull(fr, head); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
			if _, err := io.ReadFull(fr, body); err != nil {
				t.Fatal(err)
			}
			large := len(body) == 1 && body[0] == copyLarge && fr.large > 0
			if large {
				body = make([]byte, fr.large)
				for n := 0; n < len(body); {
					k, err := fr.body(body[n:])
					if n += k; err != nil {
						t.Fatal(err)
					}
				}
			}
			got = append(got, fmt.Sprint(string(head[:1]), " ", len(body), " ", large))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestLargeClaims: a length that a server makes up takes no memory.
func TestLargeClaims(t *testing.T) {
	t.Parallel()
	fr := newFrames(bytes.NewReader([]byte{'d', 0xff, 0xff, 0xff, 0xff, 'w'}))
	if n, err := pgproto3.NewFrontend(fr, io.Discard).Receive(); err != nil || fr.large != 1<<32-5 {
		t.Errorf("%v, %v, %d", n, err, fr.large)
	}
}
