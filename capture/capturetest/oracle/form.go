package oracle

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Form says how the text that a Column's Want yields is to be read.
type Form uint8

// The forms.
const (
	String   Form = iota // a string
	Raw                  // JSON, digit by digit
	Document             // JSON whose numbers may be written in another way
	Base64               // hexadecimal digits, for base64
	Single               // a number, in single precision
	Double               // a number, in double precision
	Labels               // a list with commas between
	Geometry             // SRID, a colon and the WKB's hexadecimal digits
	Floats               // hexadecimal digits of floats, little-endian
)

// expect makes of a server's text what a payload's JSON must be. A text that does not fit its type
// may be anything, with a flag.
func (f Form) expect(text string) (want any, fits bool, err error) {
	switch f {
	case Raw:
		want, err = parse([]byte(text))
		return want, true, err
	case Document:
		want, err = parse([]byte(text))
		return want, err == nil, nil // MariaDB has an empty text too
	case Base64:
		b, err := hex.DecodeString(text)
		return base64.StdEncoding.EncodeToString(b), true, err
	case Single, Double:
		return json.Number(text), true, nil
	case Labels:
		list := []any{}
		for label := range strings.SplitSeq(text, ",") {
			if text != "" {
				list = append(list, label)
			}
		}
		return list, true, nil
	case Geometry: // MariaDB has one of no bytes too
		srid, digits, fits := strings.Cut(text, ":")
		b, err := hex.DecodeString(digits)
		return map[string]any{"srid": json.Number(srid), "wkb": base64.StdEncoding.EncodeToString(b)}, fits, err
	case Floats:
		return floats(text)
	}
	return text, true, nil
}

func floats(digits string) (want any, fits bool, err error) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b)%4 != 0 {
		return nil, false, err
	}
	list := []any{}
	for ; len(b) > 0; b = b[4:] {
		f := float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, false, nil
		}
		list = append(list, json.Number(strconv.FormatFloat(f, 'g', -1, 32)))
	}
	return list, true, nil
}

// parse reads JSON and keeps numbers as they are written.
func parse(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, nil
}

// same reports whether a payload's value is the one that is due.
func (f Form) same(got, want any) bool {
	switch want := want.(type) {
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return false
		}
		for i := range want {
			if !f.same(list[i], want[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return false
		}
		for name := range want {
			if member, ok := object[name]; !ok || !f.same(member, want[name]) {
				return false
			}
		}
		return true
	case json.Number:
		number, ok := got.(json.Number)
		return ok && f.sameNumber(number.String(), want.String())
	}
	return got == want
}

func (f Form) sameNumber(got, want string) bool {
	bits := 64
	switch f {
	case Single, Floats:
		bits = 32
	case Double:
	case Document:
		// The same number may be written with an exponent and without.
		a, ok := new(big.Rat).SetString(got)
		b, ok2 := new(big.Rat).SetString(want)
		return got == want || ok && ok2 && strings.ContainsAny(got+want, "eE") && a.Cmp(b) == 0
	default:
		return got == want
	}
	a, err := strconv.ParseFloat(got, bits)
	b, err2 := strconv.ParseFloat(want, 64)
	if bits == 32 {
		a, b = float64(float32(a)), float64(float32(b))
	}
	return err == nil && err2 == nil && a == b && math.Signbit(a) == math.Signbit(b)
}
