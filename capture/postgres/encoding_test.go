package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
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

// TestCitextLocale asks databases of several locales what citext takes for equal: check notes where
// that is not what conditions do.
func TestCitextLocale(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	for _, locale := range []string{"C", "C.UTF-8"} {
		name := "citext_" + strings.ToLower(strings.Trim(locale[1:], ".-8"))
		pg.Run(t, fmt.Sprintf("create database %s encoding 'UTF8' template template0 lc_collate '%s' lc_ctype '%[2]s'", name, locale))
		capturetest.Must(t, pg.Exec(t.Context(), name, "create extension citext", "create table people (id int primary key, mail citext, name text)",
			"create table answers (equal bool)", "insert into answers select U&'\\00C9'::citext = U&'\\00E9'::citext"))
		s, err := New(capture.SourceConfig{URL: pg.URL(name)}, Options{Logger: testLogger(t), AgentID: "test"})
		capturetest.Must(t, err)
		t.Cleanup(s.Close)
		var equal bool
		capturetest.Must(t, s.query.do(t.Context(), func(c *pgx.Conn) error {
			return c.QueryRow(t.Context(), "select equal from public.answers").Scan(&equal)
		}))
		if equal != (locale != "C") {
			t.Errorf("%s: citext takes É and é for the same: %v", locale, equal)
		}
		findings, _, err := s.Check(t.Context(), []string{"public.people"})
		capturetest.Must(t, err)
		told := slices.ContainsFunc(findings, func(f capture.Finding) bool { return f.Code == "citext_locale" && strings.Contains(f.Text, "mail") })
		if told == equal {
			t.Errorf("%s: check notes it: %v; the server takes them for the same: %v", locale, told, equal)
		}
	}
}

// TestEncodings holds that a database in another encoding than UTF-8 comes whole: texts read as the
// server itself converts them, and one that has no counterpart in UTF-8 is flagged and stops
// nothing.
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
			// A table's and a column's name, and a label.
			sql = append(sql, fmt.Sprintf("do $$begin execute format('create type m as enum (%%1$L); create table %%1$I (id int primary key, %%1$I m);"+
				" insert into %%1$I values (4, %%1$L)', %s); end$$", good))
			if test.bad != "" {
				sql = append(sql, fmt.Sprintf("insert into t values (2, %s, array[%s])", quoted(test.bad), quoted(test.bad)))
			}
			capturetest.Must(t, pg.Exec(context.Background(), s.Database(), append(sql, "insert into t values (3, 'after', null)")...))
			sink.await(t, "the last row", hasInsert(sink, 3))
			running.stop(t)
			want := []string{
				fmt.Sprintf(`0 insert public.t (id:1 v:"%s" l:["%s"])`, test.want, test.want),
				"0 message rowhook " + test.want,
				fmt.Sprintf(`0 insert public.%[1]s (id:4 %[1]s:"%[1]s")`, test.want),
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

// TestUnreadableEncoding holds that a database whose texts the server converts to UTF-8 by no means
// ends the run with a remedy, which check has too.
func TestUnreadableEncoding(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	s := in(t, pg, "MULE_INTERNAL", "create table t (id int primary key)")
	ended := runSource(t, s, capture.StartOptions{}, newListSink("")).wait(t)
	if !errors.As(ended, new(*capture.OperatorError)) {
		t.Errorf("run ended with %v", ended)
	}
	_, _, checked := s.Check(t.Context(), []string{"public.t"})
	for _, err := range []error{ended, checked} {
		var remedy interface{ RemedyText() string }
		if !errors.As(err, &remedy) || remedy.RemedyText() != unreadableEncoding {
			t.Errorf("no remedy: %v", err)
		}
	}
}

// pairs puts a space between hexadecimal bytes.
func pairs(digits string) string {
	raw, _ := hex.DecodeString(digits)
	return fmt.Sprintf("% x", raw)
}

// TestEveryCharacter sends all characters of an encoding in blocks, as texts, lists and JSON: each
// is what the server makes of it in UTF-8, which its client reads too, and flagged where the server
// makes nothing of it. A run takes some encodings, and Unicode's first plane; ROWHOOK_SOAK takes
// all, on each version.
func TestEveryCharacter(t *testing.T) {
	t.Parallel()
	whole := os.Getenv("ROWHOOK_SOAK") != ""
	majors := []int{0}
	if whole {
		majors = capturetest.Majors()
	}
	for _, major := range majors {
		pg := capturetest.StartPostgres(t, capturetest.Options{Major: major, Settings: map[string]string{"max_replication_slots": "50"}})
		encodings := []string{"SQL_ASCII", "LATIN1", "WIN1252", "ISO_8859_5", "WIN874", "EUC_JP", "EUC_TW", "EUC_JIS_2004", "UTF8"}
		if whole {
			// Those that a database may have stand before KOI8U. MULE_INTERNAL has no way to UTF-8.
			rows := pg.Rows(t, `select string_agg(name, ' ') from (select pg_encoding_to_char(n) as name from generate_series(0, pg_char_to_encoding('KOI8U')) n) x
where name not in ('MULE_INTERNAL', '')`)
			encodings = strings.Fields(rows[0][0])
		}
		for _, encoding := range encodings {
			t.Run(fmt.Sprint(pg.Major, " ", encoding), func(t *testing.T) {
				t.Parallel()
				everyCharacter(t, pg, encoding, blocksOf(encoding, whole))
			})
		}
	}
}

// blocksOf are an encoding's characters in blocks, and bytes that are none in SQL_ASCII, which is
// taken for UTF-8.
func blocksOf(encoding string, whole bool) [][][]byte {
	var blocks [][][]byte
	span := func(prefix []byte, first, last int) {
		var block [][]byte
		for b := first; b <= last; b++ {
			block = append(block, append(slices.Clip(prefix), byte(b)))
		}
		blocks = append(blocks, block)
	}
	squares := func(step int, prefix ...byte) {
		for b := 0xa1; b <= 0xfe; b += step {
			span(append(slices.Clip(prefix), byte(b)), 0xa1, 0xfe)
		}
	}
	span(nil, 1, 0x7f)
	switch {
	case encoding == encodingUTF8 || encoding == encodingASCII:
		planes := 1
		if whole {
			planes = 17
		}
		for first := rune(0x80); first < rune(planes)<<16; first += 0x80 {
			if first >= 0xd800 && first < 0xe000 {
				continue
			}
			var block [][]byte
			for r := range rune(0x80) {
				block = append(block, utf8.AppendRune(nil, first+r))
			}
			blocks = append(blocks, block)
		}
		if encoding == encodingASCII {
			span(nil, 0x80, 0xff)
		}
	case !strings.HasPrefix(encoding, "EUC_"):
		span(nil, 0x80, 0xff)
	default:
		squares(1)
		switch {
		case encoding == "EUC_JP" || encoding == "EUC_JIS_2004":
			span([]byte{0x8e}, 0xa1, 0xdf)
			if whole {
				squares(1, 0x8f)
			} else {
				squares(8, 0x8f)
			}
		case encoding == "EUC_TW" && whole:
			for plane := byte(0xa1); plane <= 0xa7; plane++ {
				squares(1, 0x8e, plane)
			}
		case encoding == "EUC_TW":
			span([]byte{0x8e, 0xa2, 0xa1}, 0xa1, 0xfe)
		}
	}
	return blocks
}

// oracleSQL tells each character alone, since the server converts all or none.
const oracleSQL = `create function utf8(c bytea, encoding name) returns text language plpgsql as
$$begin return encode(convert(c, encoding, 'UTF8'), 'hex'); exception when others then return ''; end$$`

// everyCharacter makes two rows of each block: one with all its characters, and one with those that
// the server has in UTF-8.
func everyCharacter(t *testing.T, pg *capturetest.Postgres, encoding string, blocks [][][]byte) {
	s := in(t, pg, encoding, "create table t (id int primary key, v text, l text[], j jsonb)", oracleSQL)
	conn := pg.Connect(t, pg.URL(s.Database()))
	ask := func(sql string) [][][]byte {
		results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
		capturetest.Must(t, err)
		return results[len(results)-1].Rows
	}
	sink := &blockSink{listSink: newListSink(""), values: map[string]string{}}
	running, _ := follow(t, s, capture.StartOptions{}, sink)
	want, characters, broken := map[string]string{}, 0, 0
	for i, block := range blocks {
		var digits []string
		for _, c := range block {
			digits = append(digits, hex.EncodeToString(c))
		}
		var all, good, text, goodText []byte
		for n, row := range ask(fmt.Sprintf(`select utf8(decode(c, 'hex'), '%s') from unnest('{%s}'::text[]) with ordinality u(c, n) order by n`, encoding, strings.Join(digits, ","))) {
			c, utf := block[n], make([]byte, len(row[0])/2)
			_, err := hex.Decode(utf, row[0])
			capturetest.Must(t, err)
			characters, all = characters+1, append(all, c...)
			if len(utf) == 0 {
				broken++
				if encoding == encodingASCII {
					text = append(text, c...)
				} else {
					text = appendBroken(text, 0, c)
				}
				continue
			}
			text, good, goodText = append(text, utf...), append(good, c...), append(goodText, utf...)
		}
		want[fmt.Sprint(2*i)], want[fmt.Sprint(2*i+1)] = string(text), string(goodText)
		ask(fmt.Sprintf(`insert into t select id, x, array[x], to_jsonb(x) from (values (%d, convert_from('\x%x', '%s')), (%d, convert_from('\x%x', '%s'))) v(id, x)`,
			2*i, all, encoding, 2*i+1, good, encoding))
		if i%50 == 49 || i == len(blocks)-1 {
			// A character without a counterpart costs some questions when it first comes.
			sink.await(t, "the rows so far", func() bool { return sink.last.Load() == int64(2*i+1) })
		}
	}
	for _, row := range ask("set client_encoding = 'UTF8'; select id, v from t where id % 2 = 1") {
		if id := string(row[0]); string(row[1]) != want[id] {
			t.Errorf("row %s is %q for the server's client, want %q", id, row[1], want[id])
		}
	}
	running.stop(t)
	for id, text := range want {
		sink.compare(t, id, text)
	}
	t.Logf("%d characters, %d without a counterpart", characters, broken)
	if characters-broken < 200 {
		t.Error("too few to tell")
	}
}

// blockSink keeps the values of each column as JSON by id and column. An exclamation mark precedes
// one that is flagged.
type blockSink struct {
	*listSink
	values map[string]string
	last   atomic.Int64 // id
}

func (s *blockSink) Change(c *capture.Change) error {
	for i, v := range c.New {
		out, fits := c.Table.Columns[i].Type.AppendJSON(nil, v.Text)
		if !fits {
			out = append([]byte{'!'}, out...)
		}
		s.values[string(c.New[0].Text)+" "+c.Table.Columns[i].Name] = string(out)
	}
	id, err := strconv.ParseInt(string(c.New[0].Text), 10, 64)
	s.last.Store(id)
	s.add("") // wakes who waits
	return err
}

// compare holds a row's values against its text, in which bytes that are no UTF-8 have no
// counterpart.
func (s *blockSink) compare(t *testing.T, id, text string) {
	t.Helper()
	shown := string([]rune(text)) // a broken byte is U+FFFD
	for _, column := range []string{"v", "l", "j"} {
		value, flagged := strings.CutPrefix(s.values[id+" "+column], "!")
		if flagged == utf8.ValidString(text) {
			t.Errorf("row %s: %s is flagged: %t, and is %.200s", id, column, flagged, value)
		}
		var got string
		var err error
		switch {
		case !utf8.ValidString(value):
			err = errors.New("it is no UTF-8")
		case column == "l":
			var list [1]string
			err = json.Unmarshal([]byte(value), &list)
			got = list[0]
		default:
			err = json.Unmarshal([]byte(value), &got)
		}
		if column == "j" && flagged { // the JSON's own text
			if written := got; json.Unmarshal([]byte(written), &got) != nil {
				t.Errorf("row %s: j is %q", id, written)
			}
		}
		if err != nil || got != shown {
			t.Errorf("row %s: %s is %q, %v, the server says %q", id, column, got, err, shown)
		}
	}
}

// TestBrokenBytes holds that bytes without a counterpart are no UTF-8 wherever they stand, and
// differ where they do.
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
