package mysql

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestCharsetsInBlocks sends all characters of a charset in blocks, as texts, labels and MariaDB's
// JSON: each is what the server makes of it in UTF-8, or the base64 of its bytes, flagged, where
// the server has none. A run takes a third of the charsets on each server and gb18030, which only
// MySQL has; ROWHOOK_SOAK takes all.
func TestCharsetsInBlocks(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		capturetest.Must(t, s.Exec(t.Context(), database, append([]string{"SET NAMES utf8mb4"}, blockTables()...)...))
		source := newTestSource(t, s, database)
		sink := &blockSink{notes: newNotes(), values: map[string]blockValue{}}
		stop := sink.captureInto(t, source, capture.StartOptions{}, sink)
		rows, err := s.Query(t.Context(), "", "SELECT character_set_name FROM information_schema.character_sets WHERE character_set_name NOT IN ('binary', 'filename') ORDER BY 1")
		capturetest.Must(t, err)
		var tables []string
		for i, row := range rows {
			if os.Getenv("ROWHOOK_SOAK") != "" || row[0] == "gb18030" || i%len(flavours) == slices.Index(flavours, s.flavour) {
				tables = append(tables, writeBlocks(t, s, database, row[0])...)
			}
		}
		capturetest.Must(t, s.Exec(t.Context(), database, "CREATE TABLE done (v INT)", "INSERT INTO done VALUES (1)"))
		sink.await(t, "insert done")
		stop()
		values, flagged := 0, 0
		for _, table := range tables {
			n, m := sink.compare(t, s, database, table)
			values, flagged = values+n, flagged+m
		}
		t.Logf("%d values of %d tables, %d of them flagged", values, len(tables), flagged)
		if values < 1000 {
			t.Error("too few to tell")
		}
	})
}

// blockTables make the tables that others are filled from: Unicode in blocks of 64 characters, and
// numbers of 16 bits.
func blockTables() []string {
	var blocks []string
	for first := rune(0); first < 0x30000; first += 64 {
		if first >= 0xd800 && first < 0xe000 || first >= 0x10000 && first < 0x1f300 || first >= 0x1f700 && first < 0x20000 || first >= 0x20400 {
			continue
		}
		var b strings.Builder
		for r := range rune(64) {
			b.WriteRune(first + r)
		}
		blocks = append(blocks, fmt.Sprintf("(%d, CONVERT(x'%x' USING utf8mb4))", first/64, b.String()))
	}
	digits := "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7" +
		" UNION ALL SELECT 8 UNION ALL SELECT 9 UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12 UNION ALL SELECT 13 UNION ALL SELECT 14 UNION ALL SELECT 15)"
	return []string{
		"CREATE TABLE blocks_ (id INT PRIMARY KEY, b VARCHAR(64) CHARACTER SET utf8mb4)", "INSERT INTO blocks_ VALUES " + strings.Join(blocks, ", "),
		"CREATE TABLE numbers_ (n INT PRIMARY KEY)",
		fmt.Sprintf("INSERT INTO numbers_ SELECT 4096 * a.d + 256 * b.d + 16 * c.d + d.d FROM %[1]s a, %[1]s b, %[1]s c, %[1]s d", digits),
	}
}

// writeBlocks makes and fills the tables of a charset, and returns their names.
func writeBlocks(t *testing.T, s *testServer, database, charset string) []string {
	text := " CHARACTER SET " + charset
	kept := fmt.Sprintf("(SELECT id, REPLACE(CONVERT(b USING %[1]s), CONVERT('?' USING %[1]s), '') AS x FROM blocks_) AS kept", charset)
	single := 256
	if charset == "ascii" && s.kind == "mysql" {
		single = 128 // MySQL refuses to read the others
	}
	statements := []string{
		"SET NAMES utf8mb4", "SET sql_mode = ''", "SET group_concat_max_len = 100000",
		fmt.Sprintf("CREATE TABLE %[1]s_text (id INT PRIMARY KEY, c CHAR(64)%[2]s, v VARCHAR(64)%[2]s, t TEXT%[2]s)", charset, text),
		fmt.Sprintf("INSERT INTO %s_text SELECT id, x, x, x FROM %s WHERE CHAR_LENGTH(x) > 0", charset, kept),
		// All pairs of bytes that are characters there, those included that Unicode does not have.
		"CREATE TABLE " + charset + "_bytes (id INT PRIMARY KEY, t TEXT" + text + ")",
		fmt.Sprintf("INSERT INTO %[1]s_bytes SELECT n DIV 16, GROUP_CONCAT(CHAR(n USING %[1]s) ORDER BY n SEPARATOR '') FROM numbers_ "+
			"WHERE (n < %[2]d OR n > 32768) AND CHAR_LENGTH(CHAR(n USING %[1]s)) = 1 AND CONV(HEX(CHAR(n USING %[1]s)), 16, 10) = n GROUP BY 1", charset, single),
	}
	tables := []string{charset + "_text", charset + "_bytes"}
	if s.kind == "mariadb" {
		quoted := fmt.Sprintf("CONVERT(JSON_QUOTE(CONVERT(x USING utf8mb4)) USING %s)", charset)
		statements = append(statements, "CREATE TABLE "+charset+"_json (id INT PRIMARY KEY, j LONGTEXT"+text+" CHECK (json_valid(j)))",
			fmt.Sprintf("INSERT INTO %s_json SELECT id, %s FROM %s WHERE CHAR_LENGTH(x) > 0 AND JSON_VALID(%s)", charset, quoted, kept, quoted))
		tables = append(tables, charset+"_json")
	}
	capturetest.Must(t, s.Exec(t.Context(), database, statements...))
	rows, err := s.Query(t.Context(), database, "SELECT id, HEX(CONVERT(REPLACE(t, ',', '') USING utf8mb4)) FROM "+charset+"_text ORDER BY id")
	capturetest.Must(t, err)
	for part := 0; len(rows) > 0; part++ {
		n := min(len(rows), 60)
		labels, enums, sets := make([]string, n), make([]string, n), make([]string, n)
		for i, row := range rows[:n] {
			label, err := hex.DecodeString(row[1])
			capturetest.Must(t, err)
			labels[i] = "'l" + row[0] + strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", "").Replace(string(label)) + "x'"
			enums[i], sets[i] = fmt.Sprintf("(%d, %d)", i, i+1), fmt.Sprintf("(%d, %d)", i, uint64(1)<<i|1)
		}
		rows = rows[n:]
		for kind, values := range map[string][]string{"enum": enums, "set": sets} {
			table := fmt.Sprintf("%s_%s%d", charset, kind, part)
			tables = append(tables, table)
			capturetest.Must(t, s.Exec(t.Context(), database, "SET NAMES utf8mb4", fmt.Sprintf("CREATE TABLE %s (id INT PRIMARY KEY, e %s(%s)%s)", table, kind, strings.Join(labels, ", "), text+" COLLATE "+charset+"_bin"),
				fmt.Sprintf("INSERT INTO %s VALUES %s", table, strings.Join(values, ", "))))
		}
	}
	return tables
}

// blockSink keeps the values of each column by table, id and column.
type blockSink struct {
	*notes
	mu     sync.Mutex
	values map[string]blockValue
}

type blockValue struct {
	json string
	fits bool
}

func (b *blockSink) Change(c *capture.Change) error {
	if c.Table.Name == "done" {
		return b.notes.Change(c)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, v := range c.New {
		out, ok := c.Table.Columns[i].Type.AppendJSON(nil, v.Text)
		b.values[c.Table.Name+" "+string(c.New[0].Text)+" "+c.Table.Columns[i].Name] = blockValue{string(out), ok}
	}
	return nil
}

// compare holds a table's values against what the server makes of them, and returns how many there
// were and how many were flagged.
func (b *blockSink) compare(t *testing.T, s *testServer, database, table string) (values, flagged int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	columns, err := s.Query(t.Context(), database, "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '"+table+"' AND column_name <> 'id'")
	capturetest.Must(t, err)
	for _, column := range columns {
		name := column[0]
		rows, err := s.Query(t.Context(), database, fmt.Sprintf("SELECT id, HEX(CONVERT(%[1]s USING utf8mb4)), HEX(%[1]s) FROM %[2]s", name, table))
		capturetest.Must(t, err)
		for _, row := range rows {
			got, ok := b.values[table+" "+row[0]+" "+name]
			want, _ := hex.DecodeString(row[1])
			raw, _ := hex.DecodeString(row[2])
			values++
			if !got.fits {
				flagged++
			}
			if why := wrongText(got, string(want), raw, name, strings.Contains(table, "_set")); !ok || why != "" {
				t.Errorf("%s %s of %s: %s %.200s, the server has %.200q", name, row[0], table, why, got.json, want)
			}
		}
		if len(rows) == 0 && name != "j" {
			t.Errorf("%s is empty", table)
		}
	}
	return values, flagged
}

// wrongText says what is wrong with a value; empty is nothing.
func wrongText(got blockValue, want string, raw []byte, name string, set bool) string {
	if !json.Valid([]byte(got.json)) || !utf8.ValidString(got.json) {
		return "is no JSON in UTF-8"
	}
	var text string
	switch {
	case set:
		var labels []string
		if err := json.Unmarshal([]byte(got.json), &labels); err != nil {
			return "is no list"
		}
		text = strings.Join(labels, ",")
	case name == "j" && got.fits:
		text = got.json
	default:
		if err := json.Unmarshal([]byte(got.json), &text); err != nil {
			return "is no string"
		}
	}
	switch {
	case got.fits && text != want:
		return "differs"
	case !got.fits && want != "" && !strings.ContainsAny(want, "?\ufffd"): // of half a surrogate pair the server makes nothing
		return "is flagged"
	case !got.fits && name != "e" && text != base64.StdEncoding.EncodeToString(raw):
		return "is not the base64 of its bytes"
	}
	return ""
}
