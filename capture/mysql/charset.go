package mysql

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// Texts lie in the binlog in their column's charset. What a charset's characters are is asked of
// the server, once a charset: other tables of it differ in hundreds of characters (a wave dash in
// Japanese, box drawing in Ukrainian), and a text must read as the database's own clients read it.
// Unicode's own charsets need no table.

// decodeText appends src in UTF-8 to dst; ok is false when it is not in the charset.
type decodeText func(dst, src []byte) ([]byte, bool)

// charsets are those that a server has.
type charsets struct {
	version  int                   // of the server
	names    map[uint64]string     // by collation
	decoders map[string]decodeText // of those that were asked for
}

// decoderOf returns how a charset's bytes become UTF-8: nil when they are UTF-8 already.
// known is false for a charset that the server has told nothing of.
func (c *charsets) decoderOf(charset string) (_ decodeText, known bool) {
	if decode, builtIn := builtInDecoder(charset); builtIn {
		return decode, true
	}
	decode, known := c.decoders[charset]
	return decode, known
}

// builtInDecoder returns how a charset is decoded that the server need not be asked about.
func builtInDecoder(charset string) (_ decodeText, builtIn bool) {
	switch charset {
	case "utf8", "utf8mb3", "utf8mb4", charsetBinary:
		return nil, true
	case "latin1":
		return decodeLatin1, true
	case "ucs2", "utf16":
		return decodeUTF16(binary.BigEndian), true
	case "utf16le":
		return decodeUTF16(binary.LittleEndian), true
	case "utf32":
		return decodeUTF32, true
	}
	return nil, false
}

// decodeLatin1 decodes what MySQL calls latin1: Windows-1252, with control characters where
// that has holes.
func decodeLatin1(dst, src []byte) ([]byte, bool) {
	for _, c := range src {
		if c < utf8.RuneSelf {
			dst = append(dst, c)
			continue
		}
		r := charmap.Windows1252.DecodeByte(c)
		if r == utf8.RuneError {
			r = rune(c)
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, true
}

func decodeUTF16(order binary.ByteOrder) decodeText {
	return func(dst, src []byte) ([]byte, bool) {
		for ; len(src) >= 2; src = src[2:] {
			r := rune(order.Uint16(src))
			if utf16.IsSurrogate(r) {
				if len(src) < 4 {
					return dst, false
				}
				if r = utf16.DecodeRune(r, rune(order.Uint16(src[2:]))); r == utf8.RuneError {
					return dst, false
				}
				src = src[2:]
			}
			dst = utf8.AppendRune(dst, r)
		}
		return dst, len(src) == 0
	}
}

func decodeUTF32(dst, src []byte) ([]byte, bool) {
	for ; len(src) >= 4; src = src[4:] {
		r := rune(binary.BigEndian.Uint32(src))
		if !utf8.ValidRune(r) {
			return dst, false
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, len(src) == 0
}

// charTable is a charset as the server knows it. A character is its bytes as a big-endian number; 0
// is none, but for NUL.
type charTable struct {
	one   [1 << 8]rune
	two   []rune          // nil where no character has two bytes
	three map[uint32]rune // ujis and eucjpms
	four  bool            // gb18030, whose characters of four bytes are computed
}

func (t *charTable) decode(dst, src []byte) ([]byte, bool) {
	for i := 0; i < len(src); {
		r, n := t.next(src[i:])
		if n == 0 {
			return dst, false
		}
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst, true
}

// next returns the first character and how many bytes it has; 0 when there is none.
func (t *charTable) next(src []byte) (rune, int) {
	if r := t.one[src[0]]; r != 0 || src[0] == 0 {
		return r, 1
	}
	if len(src) < 2 {
		return 0, 0
	}
	if t.two != nil {
		if r := t.two[binary.BigEndian.Uint16(src)]; r != 0 {
			return r, 2
		}
	}
	if len(src) >= 3 {
		if r := t.three[uint32(bigEndian(src[:3]))]; r != 0 {
			return r, 3
		}
	}
	if t.four && len(src) >= 4 {
		if binary.BigEndian.Uint32(src) == swapped2005 {
			return '\ue7c7', 4
		}
		if text, err := simplifiedchinese.GB18030.NewDecoder().Bytes(src[:4]); err == nil {
			if r, n := utf8.DecodeRune(text); n == len(text) && r != utf8.RuneError {
				return r, 4
			}
		}
	}
	return 0, 0
}

// swapped2005 is the one character of four bytes that MySQL reads as the standard's edition of 2005
// does, and the decoder as that of 2000: the edition swapped its place in Unicode with that of
// 0xa8bc.
const swapped2005 = 0x8135f437

// add takes what the server said of one character.
func (t *charTable) add(n uint32, r rune) {
	switch {
	case n < 1<<8:
		t.one[n] = r
	case n < 1<<16:
		if t.two == nil {
			t.two = make([]rune, 1<<16)
		}
		t.two[n] = r
	default:
		if t.three == nil {
			t.three = map[uint32]rune{}
		}
		t.three[n] = r
	}
}

// charactersSQL makes all numbers of 16 bits, behind a first byte, and asks for those that are one
// character. What has no counterpart in Unicode becomes a question mark.
const charactersSQL = `WITH d AS (SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7
UNION ALL SELECT 8 UNION ALL SELECT 9 UNION ALL SELECT 10 UNION ALL SELECT 11 UNION ALL SELECT 12 UNION ALL SELECT 13 UNION ALL SELECT 14 UNION ALL SELECT 15)
SELECT n, u FROM (SELECT n, c, HEX(CONVERT(c USING utf8mb4)) AS u FROM (SELECT n, CHAR(n USING %[1]s) AS c FROM (
SELECT %[2]d + 4096 * d1.d + 256 * d2.d + 16 * d3.d + d4.d AS n FROM d AS d1, d AS d2, d AS d3, d AS d4) AS numbers) AS characters) AS converted
WHERE c IS NOT NULL AND CHAR_LENGTH(c) = 1 AND (u <> '3F' OR n = 63)`

// readCharset asks the server for a charset's characters; nil when it does not know the charset.
func readCharset(ctx context.Context, db *sql.DB, charset string) (decodeText, error) {
	for _, c := range charset {
		if (c < 'a' || c > 'z') && !isDigit(byte(c)) {
			return nil, nil
		}
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// In other modes what is malformed becomes something else.
	if _, err := conn.ExecContext(ctx, "SET SESSION sql_mode = 'STRICT_ALL_TABLES'"); err != nil {
		return nil, err
	}
	t := &charTable{four: charset == "gb18030"}
	blocks := []uint32{0}
	if charset == "ujis" || charset == "eucjpms" {
		blocks = append(blocks, 0x8f0000)
	}
	for _, first := range blocks {
		if err := t.read(ctx, conn, charset, first); err != nil {
			return nil, fmt.Errorf("ask for the characters of %s: %w", charset, err)
		}
	}
	_, err = conn.ExecContext(ctx, "SET SESSION sql_mode = DEFAULT")
	return t.decode, err
}

func (t *charTable) read(ctx context.Context, conn *sql.Conn, charset string, first uint32) error {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf(charactersSQL, charset, first))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var n uint32
		var text sql.RawBytes
		if err := rows.Scan(&n, &text); err != nil {
			return err
		}
		var buf [8]byte
		size, err := hex.Decode(buf[:], text[:min(len(text), 16)])
		if err != nil {
			return err
		}
		if r, width := utf8.DecodeRune(buf[:size]); width == size && r != utf8.RuneError {
			t.add(n, r)
		}
	}
	return rows.Err()
}
