package mysql

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// TestCharsets compares what becomes of every seventh pair of bytes with what the server makes of it, in every charset that it
// has; and of three of which the first is 8f, where that begins a character.
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

// serverGuesses reports whether the server makes something of what is no text: half of a surrogate pair, bytes that ascii
// does not have, the beginning of a character at the end, what it has no character for either, or a question mark that src has as a byte.
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
