package delivery

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// AppendFolded appends a text without what collations take for nothing: case, accents, width, spaces at
// the end, kinds of kana and of digits, and characters that cannot be seen. Texts that a collation
// takes for equal become one, whichever of the databases' general collations it is, and few others
// do. Collations of a language may have equals of their own, such as ae for ä. Characters beyond the
// basic plane are one, as the older collations have it, but for those that are a letter or a digit in
// another shape: to these collations they are the others' equals too, and to newer ones the letter's.
//
// What it makes is stored as part of ordering keys: see mapping's orderVersion.
func AppendFolded(dst, text []byte) []byte {
	text = bytes.TrimRight(text, " ")
	start := len(dst)
	for i := 0; i < len(text); i++ {
		c := lowerASCII(text[i])
		if c >= utf8.RuneSelf {
			if !utf8.Valid(text) { // no text: its bytes are compared
				return append(dst[:start], text...)
			}
			return bytes.TrimRight(appendFoldedRunes(dst[:start], text), " ")
		}
		if c < ' ' || c == 0x7f || c == 's' && len(dst) > start && dst[len(dst)-1] == 's' {
			continue
		}
		dst = append(dst, c)
	}
	for len(dst) > start && dst[len(dst)-1] == ' ' { // before what was left out
		dst = dst[:len(dst)-1]
	}
	return dst
}

func appendFoldedRunes(dst, text []byte) []byte {
	put := func(r rune) {
		if r == 's' && len(dst) > 0 && dst[len(dst)-1] == 's' { // as ß is one s or two
			return
		}
		dst = utf8.AppendRune(dst, r)
	}
	for _, whole := range string(text) {
		if as, ok := foldings[whole]; ok {
			for _, r := range as {
				put(r)
			}
			continue
		}
		if whole > maxBasic && len(norm.NFKD.String(string(whole))) == utf8.UTFMax && !unicode.Is(unicode.Nd, whole) {
			put(utf8.RuneError)
			continue
		}
		for _, r := range norm.NFKD.String(string(whole)) {
			if as, ok := foldings[r]; ok {
				for _, r := range as {
					put(r)
				}
			} else if !unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Cc) {
				put(foldRune(r))
			}
		}
	}
	return dst
}

// maxBasic is the last of the characters that all collations tell apart. The older ones, general and
// unicode, have one weight for all behind it.
const maxBasic = 0xffff

func foldRune(r rune) rune {
	if r >= utf8.RuneSelf && unicode.Is(unicode.Nd, r) {
		for _, digits := range unicode.Nd.R16 { // ten by ten
			if r >= rune(digits.Lo) && r <= rune(digits.Hi) {
				return '0' + (r-rune(digits.Lo))%10
			}
		}
		for _, digits := range unicode.Nd.R32 {
			if r >= rune(digits.Lo) && r <= rune(digits.Hi) {
				return '0' + (r-rune(digits.Lo))%10
			}
		}
	}
	r = unicode.ToLower(unicode.ToUpper(r))
	if r >= 'ァ' && r <= 'ヶ' {
		r -= 'ァ' - 'ぁ'
	}
	return r
}

// foldings are characters that general collations take for others although Unicode does not
// decompose them, and small kana.
var foldings = func() map[rune]string {
	m := map[rune]string{}
	for pair := range strings.FieldsSeq(foldingPairs) {
		chars, as, _ := strings.Cut(pair, "=")
		for _, r := range chars {
			m[r] = as
		}
	}
	for _, run := range []struct {
		first rune
		as    string
	}{
		{0x363, "a e i o u c d h m r t v x"}, {0x9f4, "1 2 3 4"}, {0xc78, "0 1 2 3 1 2 3"}, {0xf2a, "1 2 3 4 5 6 7 8 9 0"},
		{0x1369, "1 2 3 4 5 6 7 8 9"}, {0x17f0, "0 1 2 3 4 5 6 7 8 9"}, {0x1dd3, "a ae ao av c d d g"}, {0x1de4, "s s z"}, {0x1df0, "u w a o u"},
		{0x24eb, "11 12 13 14 15 16 17 18 19 20 1 2 3 4 5 6 7 8 9 10 0"}, {0x2776, "1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10"},
		{0x3021, "1 2 3 4 5 6 7 8 9"}, {0x3248, "10 20 30 40 50 60 70 80"}, {0x31f0, "く し す と ぬ は ひ ふ へ ほ む ら り る れ ろ"},
	} {
		r := run.first
		for as := range strings.FieldsSeq(run.as) {
			m[r] = as
			r++
		}
	}
	m[0x1680] = " "
	return m
}()

const foldingPairs = `Ææᴭ=ae ÐðĐđᶞꝹꝺ=d Øø=o ßẞ=s Ħħℏ=h ŁłĿŀ=l Œœꟹ=oe ƍ=zw ƾ=ts ȸ=db ȹ=qp ʣ=dz ʦ=ts ʪ=ls ʫ=lz
ـ= ᵹ=g ᵺ=th ᷊=r ᷜ=k ᷝ=l ᷠ=n ᷨ=b ᷫ=f ᷭ=o ᷮ=p Ỻỻ=ll ⅍=a/s ↅ=6 ᧚=1 〇=0 Ꜩꜩ=tz Ꜳꜳ=aa Ꜵꜵ=ao Ꜷꜷ=au ꜸꜹꜺꜻ=av Ꜽꜽ=ay Ꝏꝏ=oo Ꝡꝡ=vy
Ꝼꝼ=f Ᵹ=g Ꞃꞃ=r Ꞅꞅ=s Ꞇꞇ=t Ꞛꞛ=a Ꞝꞝ=o Ꞟꞟ=u Ꞡꞡ=g Ꞣꞣ=k Ꞥꞥ=n Ꞧꞧ=r Ꞩꞩ=s ꟸ=h ͅͺ=ι Ґґ=г ς=σ
ぁァ=あ ぃィ=い ぅゥ=う ぇェ=え ぉォ=お っッ=つ ゃャ=や ゅュ=ゆ ょョ=よ ゎヮ=わ ゕヵ=か ゖヶ=け`
