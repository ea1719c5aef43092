package mysql

import (
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// decodeText appends src in UTF-8 to dst; ok is false when it is not in the charset.
type decodeText func(dst, src []byte) ([]byte, bool)

// decoderOf returns how a charset's bytes become UTF-8: nil when they are UTF-8 already.
// known is false for charsets that cannot be turned here.
func decoderOf(charset string) (_ decodeText, known bool) {
	switch charset {
	case "utf8", "utf8mb3", "utf8mb4", "ascii":
		return nil, true
	case "latin1":
		return decodeLatin1, true
	}
	if table := charmapOf(charset); table != nil {
		return decodeCharmap(table), true
	}
	if e := encodingOf(charset); e != nil {
		return decodeWith(e), true
	}
	return nil, false
}

func charmapOf(charset string) *charmap.Charmap {
	switch charset {
	case "latin2":
		return charmap.ISO8859_2
	case "latin5":
		return charmap.ISO8859_9
	case "latin7":
		return charmap.ISO8859_13
	case "greek":
		return charmap.ISO8859_7
	case "hebrew":
		return charmap.ISO8859_8
	case "tis620":
		return charmap.Windows874
	case "cp850":
		return charmap.CodePage850
	case "cp852":
		return charmap.CodePage852
	case "cp866":
		return charmap.CodePage866
	case "cp1250":
		return charmap.Windows1250
	case "cp1251":
		return charmap.Windows1251
	case "cp1256":
		return charmap.Windows1256
	case "cp1257":
		return charmap.Windows1257
	case "koi8r":
		return charmap.KOI8R
	case "koi8u":
		return charmap.KOI8U
	case "macroman":
		return charmap.Macintosh
	}
	return nil
}

func encodingOf(charset string) encoding.Encoding {
	switch charset {
	case "gbk", "gb2312":
		return simplifiedchinese.GBK
	case "gb18030":
		return simplifiedchinese.GB18030
	case "big5":
		return traditionalchinese.Big5
	case "sjis", "cp932":
		return japanese.ShiftJIS
	case "ujis", "eucjpms":
		return japanese.EUCJP
	case "euckr":
		return korean.EUCKR
	case "ucs2", "utf16":
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case "utf16le":
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case "utf32":
		return utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)
	}
	return nil
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

func decodeCharmap(table *charmap.Charmap) decodeText {
	return func(dst, src []byte) ([]byte, bool) {
		for _, c := range src {
			r := table.DecodeByte(c)
			if r == utf8.RuneError {
				return dst, false
			}
			dst = utf8.AppendRune(dst, r)
		}
		return dst, true
	}
}

func decodeWith(e encoding.Encoding) decodeText {
	return func(dst, src []byte) ([]byte, bool) {
		start := len(dst)
		text, err := e.NewDecoder().Bytes(src)
		if err != nil {
			return dst, false
		}
		for _, r := range string(text) {
			if r == utf8.RuneError {
				return dst[:start], false
			}
		}
		return append(dst, text...), true
	}
}
