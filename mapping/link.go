package mapping

import (
	"errors"
	"net/url"
	"strings"
)

// linkPart is a literal stretch of a link template, or a column's place in it.
type linkPart struct {
	text   string
	column string
}

// parseLink splits a template such as https://example.org/loans/{loan_id}.
func parseLink(template string) ([]linkPart, error) {
	if template == "" {
		return nil, nil
	}
	var parts []linkPart
	for rest := template; rest != ""; {
		text, after, found := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return nil, errors.New("a } has no { before it")
		}
		if text != "" {
			parts = append(parts, linkPart{text: text})
		}
		if !found {
			break
		}
		column, after, found := strings.Cut(after, "}")
		if !found || column == "" || strings.Contains(column, "{") {
			return nil, errors.New("a { is not followed by a column's name and a }")
		}
		parts = append(parts, linkPart{column: column})
		rest = after
	}
	if u, err := url.Parse(parts[0].text); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("a link starts with https:// or http://")
	}
	return parts, nil
}

// appendEscaped appends value with everything percent-encoded but the characters
// that RFC 3986 calls unreserved, so that it stays one value wherever it stands in the URL.
func appendEscaped(dst, value []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range value {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
