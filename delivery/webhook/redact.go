package webhook

import (
	"net/url"
	"strings"
)

const masked = "***"

// redactURL returns the URL for logs: user and password and the values of its query are masked, the
// fragment is left out.
func redactURL(u *url.URL) string {
	var b strings.Builder
	if u.Scheme != "" {
		b.WriteString(u.Scheme + ":")
	}
	if u.Opaque != "" {
		b.WriteString(masked)
		return b.String()
	}
	if u.Host != "" || u.User != nil {
		b.WriteString("//")
		if u.User != nil {
			b.WriteString(masked + "@")
		}
		b.WriteString(u.Host)
	}
	b.WriteString(u.EscapedPath())
	if u.RawQuery != "" {
		b.WriteByte('?')
		b.WriteString(redactQuery(u.RawQuery))
	}
	return b.String()
}

// redactQuery keeps the names of a query and masks everything else.
func redactQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, _, hasValue := strings.Cut(part, "=")
		switch {
		case hasValue:
			parts[i] = name + "=" + masked
		case part != "":
			parts[i] = masked
		}
	}
	return strings.Join(parts, "&")
}

// redactText redacts what should be a URL, such as a reply's Location.
func redactText(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return masked
	}
	return printable(redactURL(u))
}
