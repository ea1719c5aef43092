package mysql

import (
	"encoding/base64"
	"unicode/utf8"

	"rowhook/capture"
)

// The payload forms of the types. The functions append the JSON of a value's text to dst and
// return ok = false when the text did not fit and was written as a string instead.

// misencoded is the first byte of a text whose bytes could not be turned into UTF-8, in
// which it never occurs; the bytes follow as they were.
const misencoded = 0xff

func textType(name string) *capture.Type {
	return &capture.Type{Name: name, Base: name, Kind: capture.Text, AppendJSON: appendTextJSON, Folds: true} // by collation
}

func stringType(name string, kind capture.Kind) *capture.Type {
	return &capture.Type{Name: name, Base: name, Kind: kind, AppendJSON: capture.AppendJSONString}
}

func floatType(name string) *capture.Type {
	return &capture.Type{Name: name, Base: name, Kind: capture.Float, AppendJSON: verbatim(capture.IsNumber)}
}

func bytesType(name string) *capture.Type {
	return &capture.Type{Name: name, Base: name, Kind: capture.Bytes, AppendJSON: appendBase64}
}

// undecodedType is a text in a charset that is not known here: its bytes are sent, and flagged.
func undecodedType(name, charset string) *capture.Type {
	return &capture.Type{Name: name + " in " + charset, Kind: capture.Untyped, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		dst, _ = appendBase64(dst, text)
		return dst, false
	}}
}

// untypedType writes what another type does, which the value may be of, and flags it.
func untypedType(t *capture.Type) *capture.Type {
	return &capture.Type{Name: t.Name, Kind: capture.Untyped, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		dst, _ = t.AppendJSON(dst, text)
		return dst, false
	}}
}

func jsonType() *capture.Type {
	return &capture.Type{Name: "json", Base: "json", Kind: capture.JSON, AppendJSON: appendJSONText}
}

// uuidType is MariaDB's, whose order is not that of the digits.
func uuidType() *capture.Type {
	return &capture.Type{Name: "uuid", Base: "mariadb.uuid", Kind: capture.Text, AppendJSON: capture.AppendJSONString}
}

func enumType() *capture.Type {
	return &capture.Type{Name: "enum", Base: "enum", Kind: capture.Text, AppendJSON: appendLabel, Folds: true}
}

func setType() *capture.Type {
	return &capture.Type{Name: "set", Base: "set", Kind: capture.List, AppendJSON: appendLabels}
}

func vectorType() *capture.Type {
	return &capture.Type{Name: "vector", Base: "vector", Kind: capture.List, AppendJSON: appendJSONText}
}

func yearType() *capture.Type {
	return &capture.Type{Name: "year", Base: "year", Kind: capture.Integer, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		if string(text) == "0000" {
			return capture.AppendJSONString(dst, text)
		}
		return verbatim(capture.IsInteger)(dst, text)
	}}
}

func datetimeType() *capture.Type {
	return &capture.Type{Name: "datetime", Base: "datetime", Kind: capture.DateTime, AppendJSON: appendDatetimeJSON}
}

func timestampType() *capture.Type {
	return &capture.Type{Name: "timestamp", Base: "timestamp", Kind: capture.Instant, AppendJSON: appendTimestampJSON}
}

func geometryType() *capture.Type {
	return &capture.Type{Name: "geometry", Base: "geometry", Kind: capture.Other, AppendJSON: appendGeometry}
}

// verbatim copies texts that fit, and writes others as strings.
func verbatim(fits func([]byte) bool) func(dst, text []byte) ([]byte, bool) {
	return func(dst, text []byte) ([]byte, bool) {
		if fits(text) {
			return append(dst, text...), true
		}
		dst, _ = capture.AppendJSONString(dst, text)
		return dst, false
	}
}

// appendTextJSON appends a text, or the base64 of bytes that are not UTF-8: never mojibake.
func appendTextJSON(dst, text []byte) ([]byte, bool) {
	if len(text) > 0 && text[0] == misencoded {
		dst, _ = appendBase64(dst, text[1:])
		return dst, false
	}
	if !utf8.Valid(text) {
		dst, _ = appendBase64(dst, text)
		return dst, false
	}
	return capture.AppendJSONString(dst, text)
}

func appendBase64(dst, text []byte) ([]byte, bool) {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, text)
	return append(dst, '"'), true
}

// appendLabel appends a label, or the base64 of one that is no text.
func appendLabel(dst, label []byte) ([]byte, bool) {
	if len(label) > 0 && label[0] == misencoded {
		dst, _ = capture.AppendJSONString(dst, label[1:])
		return dst, false
	}
	return capture.AppendJSONString(dst, label)
}

// appendLabels appends a set's labels as a list. A label never holds a comma.
func appendLabels(dst, text []byte) ([]byte, bool) {
	dst = append(dst, '[')
	all := true
	for i, label := range splitLabels(text) {
		if i > 0 {
			dst = append(dst, ',')
		}
		var ok bool
		dst, ok = appendLabel(dst, label)
		all = all && ok
	}
	return append(dst, ']'), all
}

// appendDatetimeJSON puts the T of ISO 8601 between date and time. Zero and partial
// dates stay as the database has them.
func appendDatetimeJSON(dst, text []byte) ([]byte, bool) {
	if !wholeDate(text) {
		return capture.AppendJSONString(dst, text)
	}
	dst = append(append(dst, '"'), text[:10]...)
	dst = append(append(dst, 'T'), text[11:]...)
	return append(dst, '"'), true
}

// appendTimestampJSON appends RFC 3339 in UTC.
func appendTimestampJSON(dst, text []byte) ([]byte, bool) {
	if utc := len(text) > 3 && string(text[len(text)-3:]) == "+00"; !utc || !wholeDate(text) {
		return capture.AppendJSONString(dst, text)
	}
	clock := text[11 : len(text)-3]
	dst = append(append(dst, '"'), text[:10]...)
	dst = append(append(dst, 'T'), clock...)
	return append(dst, 'Z', '"'), true
}

// wholeDate reports whether a text begins with a date without zero parts.
func wholeDate(text []byte) bool {
	return len(text) > 11 && string(text[:4]) != "0000" && string(text[5:7]) != "00" && string(text[8:10]) != "00"
}
