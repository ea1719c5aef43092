package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// in makes a database in an encoding, with a slot and a publication of its own.
func in(t testing.TB, pg *capturetest.Postgres, encoding string, sql ...string) *Source {
	t.Helper()
	name := "in_" + strings.ToLower(encoding)
	pg.Run(t, fmt.Sprintf("create database %s encoding '%s' template template0 lc_collate 'C' lc_ctype 'C'", name, encoding))
	sql = append(sql, "create publication rowhook for all tables with (publish_via_partition_root = true)",
		fmt.Sprintf("select pg_create_logical_replication_slot('%s', 'pgoutput')", name))
	capturetest.Must(t, pg.Exec(context.Background(), name, sql...))
	s, err := New(capture.SourceConfig{URL: pg.URL(name), Slot: name}, Options{Logger: testLogger(t), AgentID: "test"})
	capturetest.Must(t, err)
	t.Cleanup(s.Close)
	return s
}

// TestEncodings holds that a database in another encoding than UTF-8 comes whole: texts read as the server itself converts them,
// and one that has no counterpart in UTF-8 is flagged and stops nothing.
func TestEncodings(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	tests := []struct {
		encoding, good, bad string // hexadecimal
		want, broken        string
	}{
		{"WIN1252", "636166e920", "62616481" + "78", "café ", "bad\x81x"},
		{"SQL_ASCII", "636166c3a9", "62ff64", "café", "b\xffd"},
		{"EUC_JP", "a4a2c6fc8eb18fb0a1", "61f5a162", "あ日ｱ丂", "a\xf5\xffb"},
		{"LATIN1", "fc80", "", "ü\u0080", ""},
		{"KOI8R", "c1d7", "", "ав", ""},
		{"EUC_KR", "b0a1", "61c9a162", "가", "a\xc9\xffb"},
		{"UTF8", "c3a9", "", "é", ""},
	}
	for _, test := range tests {
		t.Run(test.encoding, func(t *testing.T) {
			t.Parallel()
			quoted := func(digits string) string {
				return fmt.Sprintf("convert_from(decode('%s', 'hex'), '%s')", digits, test.encoding)
			}
			if test.encoding == "SQL_ASCII" {
				quoted = func(digits string) string {
					return `E'\x` + strings.Join(strings.Split(pairs(digits), " "), `\x`) + `'`
				}
			}
			s := in(t, pg, test.encoding, "create table t (id int primary key, v text, l text[])")
			sink := newListSink("")
			running, _ := follow(t, s, capture.StartOptions{}, sink)
			good := quoted(test.good)
			sql := []string{
				fmt.Sprintf("insert into t values (1, %s, array[%s])", good, good),
				fmt.Sprintf("do $$begin perform pg_logical_emit_message(true, 'rowhook', %s); end$$", good),
			}
			if test.bad != "" {
				sql = append(sql, fmt.Sprintf("insert into t values (2, %s, array[%s])", quoted(test.bad), quoted(test.bad)))
			}
			capturetest.Must(t, pg.Exec(context.Background(), s.Database(), append(sql, "insert into t values (3, 'after', null)")...))
			sink.await(t, "the last row", hasInsert(sink, 3))
			running.stop(t)
			want := []string{
				fmt.Sprintf(`0 insert public.t (id:1 v:"%s" l:["%s"])`, test.want, test.want),
				"0 message rowhook " + test.want,
			}
			if test.bad != "" {
				shown := ""
				for _, r := range test.broken { // a broken byte is U+FFFD
					shown += string(r)
				}
				want = append(want, fmt.Sprintf(`0 insert public.t (id:2 v:!"%s" l:!["%s"])`, shown, shown))
			}
			want = append(want, `0 insert public.t (id:3 v:"after" l:null)`)
			if got := sink.changes(); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("came\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// pairs puts a space between hexadecimal bytes.
func pairs(digits string) string {
	raw, _ := hex.DecodeString(digits)
	return fmt.Sprintf("% x", raw)
}

// TestEveryCharacter compares each character of an encoding with what the server makes of it.
func TestEveryCharacter(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	// Each row is all that begins with one byte. The oracle tells each character alone, since the server converts all or none.
	const oracle = `create function utf8(c bytea, encoding name) returns text language plpgsql as
$$begin return encode(convert(c, encoding, 'UTF8'), 'hex'); exception when others then return null; end$$`
	for _, encoding := range []string{"WIN1252", "ISO_8859_5", "WIN874", "EUC_JP", "EUC_TW", "EUC_JIS_2004"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			wide := strings.HasPrefix(encoding, "EUC_")
			characters := `select decode(lpad(to_hex(b), 2, '0'), 'hex') as c, b / 16 as part from generate_series(128, 255) b`
			if wide {
				characters = `select decode(to_hex(a * 256 + b), 'hex') as c, a as part from generate_series(161, 254) a, generate_series(161, 254) b`
			}
			s := in(t, pg, encoding, "create table t (id int primary key, v text)", oracle)
			capturetest.Must(t, pg.Exec(context.Background(), s.Database(), fmt.Sprintf(
				`insert into t select part, convert_from(string_agg(c, '' order by c), '%s') from (%s) x group by part`, encoding, characters)))
			rows, err := pg.Query(context.Background(), s.Database(), fmt.Sprintf(
				`select part, encode(c, 'hex'), coalesce(utf8(c, '%s'), '') from (%s) x order by part, c`, encoding, characters))
			capturetest.Must(t, err)
			want, broken := map[string]string{}, 0
			for _, row := range rows {
				raw, err := hex.DecodeString(row[2])
				capturetest.Must(t, err)
				if len(raw) == 0 {
					c, err := hex.DecodeString(row[1])
					capturetest.Must(t, err)
					want[row[0]], broken = string(appendBroken([]byte(want[row[0]]), 0, c)), broken+1
				}
				want[row[0]] = string(append([]byte(want[row[0]]), raw...))
			}
			sink := &textSink{listSink: newListSink(""), texts: map[string]string{}}
			running, _ := follow(t, s, capture.StartOptions{}, sink)
			sink.await(t, "all rows", func() bool { return len(sink.changes()) == len(want) })
			running.stop(t)
			for id, text := range want {
				if sink.texts[id] != text {
					t.Errorf("row %s is %q, the server says %q", id, sink.texts[id], text)
				}
			}
			t.Logf("%d characters, %d without a counterpart", len(rows), broken)
		})
	}
}

// textSink keeps the second column's text by the first's.
type textSink struct {
	*listSink
	texts map[string]string
}

func (s *textSink) Change(c *capture.Change) error {
	s.texts[string(c.New[0].Text)] = string(c.New[1].Text)
	return s.listSink.Change(c)
}

// TestBrokenBytes holds that bytes without a counterpart are no UTF-8 wherever they stand, and differ where they do.
func TestBrokenBytes(t *testing.T) {
	t.Parallel()
	none := func(text []byte) ([]byte, error) { return nil, &pgconn.PgError{Code: "22P05"} }
	for _, name := range []string{"WIN1252", "EUC_JP", "EUC_TW"} {
		e := newEncoding(name, none)
		seen := map[string]string{}
		for a := 0x80; a <= 0xff; a++ {
			for b := 0x80; b <= 0xff; b++ {
				text := string([]byte{'x', byte(a), byte(b), 'y'})
				got, err := e.append(nil, []byte(text))
				if err != nil || utf8.Valid(got) || got[0] != 'x' || got[len(got)-1] != 'y' {
					t.Fatalf("%s: %q became %q, %v", name, text, got, err)
				}
				seen[string(got)] = text
			}
		}
	}
	// A database that cannot be asked is not the change's fault.
	lost := errors.New("connection refused")
	e := newEncoding("WIN1252", func([]byte) ([]byte, error) { return nil, lost })
	for range 2 {
		if _, err := e.append(nil, []byte("\xe9")); !errors.Is(err, lost) || !errors.As(err, new(*lookupError)) {
			t.Errorf("got %v", err)
		}
	}
}
