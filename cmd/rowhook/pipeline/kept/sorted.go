package kept

import (
	"bytes"

	"rowhook/capture"
)

// Keys in indexes are in order: numbers by their size, all else by the bytes of their text. A column
// of a key is a byte and what follows it:
//
//   - sortedNumber plus, or for a number below zero minus, how many digits stand before its point; then
//     the digits, the point and those behind it, and a 0. Below zero, all bits of that are turned.
//   - sortedText; then the text, in which a 0 is followed by 0xff; then 0 and 1.
const (
	sortedNumber = 0x80
	sortedText   = 0xff
	digitsMost   = sortedText - sortedNumber - 1
)

// AppendSorted writes a column of a key so that the bytes are in the order of lists: whole numbers and
// decimals by their size, all else by the bytes of its text.
func AppendSorted(dst []byte, kind capture.Kind, text []byte) []byte {
	if kind == capture.Integer || kind == capture.Bigint || kind == capture.Decimal {
		digits, negative := bytes.CutPrefix(text, []byte("-"))
		if whole := wholeDigits(digits, negative); whole > 0 {
			return appendNumber(dst, digits, whole, negative)
		}
	}
	dst = append(dst, sortedText)
	for _, c := range text {
		if dst = append(dst, c); c == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 1)
}

func appendNumber(dst, digits []byte, whole int, negative bool) []byte {
	if !negative {
		dst = append(append(dst, byte(sortedNumber+whole)), digits...)
		return append(dst, 0)
	}
	dst = append(dst, byte(sortedNumber-whole))
	for _, c := range digits {
		dst = append(dst, ^c)
	}
	return append(dst, 0xff)
}

// wholeDigits counts the digits before the point; 0 is a text that is not the one way to write a number.
func wholeDigits(text []byte, negative bool) int {
	whole, fraction, pointed := bytes.Cut(text, []byte("."))
	other := func(c rune) bool { return c < '0' || c > '9' }
	switch {
	case len(whole) == 0, len(whole) > digitsMost, bytes.ContainsFunc(text[:len(whole)], other), len(whole) > 1 && whole[0] == '0':
		return 0
	case pointed && (len(fraction) == 0 || bytes.ContainsFunc(fraction, other)):
		return 0
	case negative && len(bytes.Trim(text, "0.")) == 0:
		return 0
	}
	return len(whole)
}

// cutSorted takes one column off.
func cutSorted(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	switch kind := b[0]; {
	case kind == sortedText:
		return cutText(b[1:])
	case kind > sortedNumber:
		end := bytes.IndexByte(b, 0)
		if end < 0 || wholeDigits(b[1:end], false) != int(kind-sortedNumber) {
			return nil, nil, false
		}
		return b[1:end:end], b[end+1:], true
	default:
		end := bytes.IndexByte(b, 0xff)
		if end < 0 {
			return nil, nil, false
		}
		text = append(make([]byte, 0, end), '-')
		for _, c := range b[1:end] {
			text = append(text, ^c)
		}
		return text, b[end+1:], wholeDigits(text[1:], true) == int(sortedNumber-kind) && kind != sortedNumber
	}
}

func cutText(b []byte) (text, rest []byte, ok bool) {
	end := bytes.IndexByte(b, 0)
	if end >= 0 && end+1 < len(b) && b[end+1] == 1 { // none in it, which is the rule
		return b[:end:end], b[end+2:], true
	}
	for i := 0; i+1 < len(b); i++ {
		switch {
		case b[i] != 0:
			text = append(text, b[i])
		case b[i+1] == 0xff:
			text = append(text, 0)
			i++
		default:
			return text, b[i+2:], b[i+1] == 1
		}
	}
	return nil, nil, false
}
