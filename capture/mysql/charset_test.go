package mysql

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestCharsets compares what becomes of every seventh pair of bytes with what the server makes of
// it, in every charset that it has; and of three of which the first is 8f, where that begins a
// character.
func TestCharsets(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "USE "+database, "CREATE TABLE digits (d INT)", "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15)",
			"CREATE TABLE numbers (n INT PRIMARY KEY)", "INSERT INTO numbers SELECT 4096 * a.d + 256 * b.d + 16 * c.d + d.d FROM digits a, digits b, digits c, digits d",
			fmt.Sprintf("DELETE FROM numbers WHERE n %% 7 <> %d", len(s.flavour)-4))
		rows, err := s.Query(t.Context(), "", "SELECT character_set_name FROM information_schema.character_sets WHERE character_set_name NOT IN ('binary', 'utf8mb4', 'utf32', 'filename')")
		capturetest.Must(t, err)
		if len(rows) < 30 {
			t.Errorf("%d charsets", len(rows))
		}
		for _, row := range rows {
			charset := row[0]
			decode, builtIn := builtInDecoder(charset)
			if !builtIn {
				decode, err = readCharset(t.Context(), s.db, charset)
				capturetest.Must(t, err)
			}
			if decode == nil { // UTF-8, which needs none
				continue
			}
			compareCharset(t, s, database, charset, "", decode)
			if charset == "ujis" || charset == "eucjpms" {
				compareCharset(t, s, database, charset, "8F", decode)
			}
		}
	})
}

func compareCharset(t *testing.T, s *testServer, database, charset, prefix string, decode decodeText) {
	rows, err := s.Query(t.Context(), database, fmt.Sprintf(
		"SELECT CONCAT('%[1]s', LPAD(HEX(n), 4, '0')), HEX(CONVERT(CONVERT(UNHEX(CONCAT('%[1]s', LPAD(HEX(n), 4, '0'))) USING %[2]s) USING utf8mb4)) FROM numbers", prefix, charset))
	capturetest.Must(t, err)
	var wrong []string
	for _, row := range rows {
		src, _ := hex.DecodeString(row[0])
		want, _ := hex.DecodeString(row[1])
		got, ok := decode(nil, src)
		switch {
		case row[1] == "", strings.Count(string(want), "?") > strings.Count(string(src), "?"): // malformed, or without a counterpart in Unicode
			if ok {
				wrong = append(wrong, fmt.Sprintf("%x: %q, the server has none", src, got))
			}
		case !ok && serverGuesses(src, want, charset, decode):
		case !ok || string(got) != string(want):
			wrong = append(wrong, fmt.Sprintf("%x: %q %v, the server has %q", src, got, ok, want))
		}
	}
	if len(rows) < 9000 || len(wrong) > 0 {
		t.Errorf("%s: %d of %d wrong: %s", charset, len(wrong), len(rows), strings.Join(wrong[:min(8, len(wrong))], ", "))
	}
}

// serverGuesses reports whether the server makes something of what is no text: half of a surrogate
// pair, bytes that ascii does not have, the beginning of a character at the end, what it has no
// character for either, or a question mark that src has as a byte.
func serverGuesses(src, want []byte, charset string, decode decodeText) bool {
	cut, whole := decode(nil, src[:len(src)-1])
	return strings.ContainsAny(string(want), "?\ufffd") || charset == "ucs2" && src[0]&0xf8 == 0xd8 || charset == "ascii" && src[0] >= 0x80 ||
		whole && string(cut) == string(want)
}

func FuzzCharTable(f *testing.F) {
	f.Add([]byte("\x81\x40\x41\x8f\xa2\xb7\x90\x30\x81\x30"))
	table := charTable{four: true}
	table.add('A', 'A')
	table.add(0x8140, 'あ')
	table.add(0x8fa2b7, '～')
	f.Fuzz(func(t *testing.T, src []byte) {
		decoders := []decodeText{table.decode, decodeUTF32, decodeLatin1}
		for _, charset := range []string{"utf16", "utf16le"} {
			decode, _ := builtInDecoder(charset)
			decoders = append(decoders, decode)
		}
		for _, decode := range decoders {
			if out, ok := decode(nil, src); ok && strings.ToValidUTF8(string(out), "") != string(out) {
				t.Errorf("%x became %q", src, out)
			}
		}
	})
}

// TestCharsetBodies sends texts, labels and MariaDB's JSON of every charset as the server converts
// them to UTF-8.
func TestCharsetBodies(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		rows, err := s.Query(t.Context(), "", "SELECT character_set_name FROM information_schema.character_sets WHERE character_set_name NOT IN ('binary', 'filename')")
		capturetest.Must(t, err)
		statements := []string{"USE " + database, "SET NAMES utf8mb4", "SET sql_mode = ''"}
		const sample = "é漢字誠表〜Привет한글αβγ žluťoučký İş ა ≠ 🙂"
		for _, row := range rows {
			charset := row[0]
			json := "TEXT CHARACTER SET " + charset
			if s.kind == "mariadb" {
				json = "LONGTEXT CHARACTER SET " + charset + " CHECK (json_valid(j))"
			}
			document := `{\"ü\": \"` + sample + `\"}`
			if charset == "swe7" { // which has no braces
				document = `\"` + sample + `\"`
			}
			// Of the sample the server keeps what the charset has.
			statements = append(statements, fmt.Sprintf("CREATE TABLE %[1]s (id INT PRIMARY KEY, e ENUM('a', '%[2]s') CHARACTER SET %[1]s, s SET('b', 'z%[3]s') CHARACTER SET %[1]s, j %[4]s, "+
				"c CHAR(40) CHARACTER SET %[1]s, v VARCHAR(90) CHARACTER SET %[1]s, t MEDIUMTEXT CHARACTER SET %[1]s)", charset, s.kept(t, charset, sample), s.kept(t, charset, "誠表é"), json),
				fmt.Sprintf("INSERT INTO %[1]s VALUES (1, 2, 2, '%[3]s', '%[2]s', '%[2]s', '%[2]s')", charset, sample, document))
		}
		source := newTestSource(t, s, database)
		n := newNotes()
		n.json = true
		stop := n.capture(t, source, capture.StartOptions{})
		s.exec(t, append(statements, "CREATE TABLE done (v INT)", "INSERT INTO done VALUES (1)")...)
		lines := n.await(t, "insert done")
		stop()
		for _, row := range rows {
			got, err := s.Query(t.Context(), database, fmt.Sprintf("SELECT CONVERT(e USING utf8mb4), CONVERT(s USING utf8mb4), CONVERT(j USING utf8mb4), CONVERT(c USING utf8mb4), CONVERT(v USING utf8mb4), CONVERT(t USING utf8mb4) FROM %s", row[0]))
			capturetest.Must(t, err)
			want := " insert " + row[0] + " old=- new={id:1"
			for i, name := range []string{"e", "s", "j", "c", "v", "t"} {
				text, _ := capture.AppendJSONString(nil, []byte(got[0][i]))
				switch {
				case name == "s":
					text = []byte("[" + string(text) + "]")
				case name == "j" && s.kind == "mariadb":
					text = []byte(got[0][i])
				}
				want += " " + name + ":" + string(text)
			}
			if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasSuffix(line, want+"}") }) {
				t.Errorf("%s did not come, but\n%s", want, strings.Join(slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, " "+row[0]+" ") }), "\n"))
			}
		}
	})
}

// kept is what a charset has of a text.
func (s *testServer) kept(t *testing.T, charset, text string) string {
	rows, err := s.Query(t.Context(), "", fmt.Sprintf("SELECT REPLACE(CONVERT(CONVERT(_utf8mb4'%s' USING %s) USING utf8mb4), '?', '')", text, charset))
	capturetest.Must(t, err)
	return rows[0][0]
}

// TestUndecodableLabels flags labels in a charset that is not known, as the base64 of their bytes.
func TestUndecodableLabels(t *testing.T) {
	t.Parallel()
	body := []byte("\x01a\x00\x01t\x00\x02\xfe\xfe\x04\xf7\x01\xf8\x01\x00\x04\x04\x01e\x01s\x06\x03\x01\x01\xe9\x05\x05\x02\x01\x2c\x01\xe9\x0a\x01\x07")
	m, err := newTableMap(flavourMySQL, body, &charsets{names: map[uint64]string{7: "strange"}}, nil)
	if err != nil || m.undecodable != nil {
		t.Fatal(err, m.undecodable)
	}
	change, err := decodeParked(m, []byte("\x01\x02\x00\x03\x00\x01\x03"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`"6Q=="`, `["LA==","6Q=="]`} {
		if got, ok := m.table.Columns[i].Type.AppendJSON(nil, change.New[i].Text); string(got) != want || ok {
			t.Errorf("got %s, flagged %v", got, !ok)
		}
	}
}
