package webhook

import (
	"net/url"
	"strings"
)

const masked = "***"

// secretPath reports whether the profile's URL holds its credential in the path, as the incoming
// webhooks of chat systems do, or is a secret as a whole.
func (p *parser) secretPath() bool {
	return p.cfg.URLFile != "" || p.products.Of(p.cfg.Format).SecretPath
}

// shownURL returns the profile's URL for logs: as [redactURL] does, and nothing behind the host
// where that is a secret.
func (p *parser) shownURL(u *url.URL) string {
	if !p.secretPath() || u.Opaque != "" {
		return redactURL(u)
	}
	bare := *u
	bare.Path, bare.RawPath, bare.RawQuery = "", "", ""
	if strings.Trim(u.Path, "/") == "" && u.RawQuery == "" {
		return redactURL(&bare)
	}
	return redactURL(&bare) + "/" + masked
}

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
