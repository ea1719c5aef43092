package webhook

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// shortestConfidence is the shortest credential that is looked for in replies: what is shorter
// stands in them by chance, and masking it would make them unreadable.
const shortestConfidence = 8

// confidences are the credentials that a profile's requests carry, in the forms in which a reply
// may repeat them, the longest first. Receivers that quote what they refuse must not bring them
// into the delivery log.
type confidences [][]byte

// confidences collects them from the settings, the URL and the headers made of these.
func (p *parser) confidences(u *url.URL, fixed http.Header) confidences {
	var c confidences
	if password, ok := u.User.Password(); ok {
		c.add(password)
	}
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if _, value, ok := strings.Cut(part, "="); ok {
			c.add(value)
			if plain, err := url.QueryUnescape(value); err == nil {
				c.add(plain)
			}
		}
	}
	if p.secretPath() {
		c.add(strings.Trim(u.EscapedPath(), "/"))
		for _, path := range []string{u.EscapedPath(), u.Path} {
			for segment := range strings.SplitSeq(path, "/") {
				c.add(segment)
			}
		}
	}
	for _, h := range p.cfg.Headers {
		c.add(h.Value)
	}
	c.add(p.cfg.HTTP.BasicAuth.Password)
	for _, value := range fixed["Authorization"] {
		c.addAuthorization(value)
	}
	slices.SortFunc(c, func(a, b []byte) int { return len(b) - len(a) })
	return c
}

func (c *confidences) add(secret string) {
	if len(secret) >= shortestConfidence && !slices.ContainsFunc(*c, func(have []byte) bool { return string(have) == secret }) {
		*c = append(*c, []byte(secret))
		if escaped := url.QueryEscape(secret); escaped != secret {
			*c = append(*c, []byte(escaped))
		}
	}
}

// addAuthorization adds an authorization header's value without its scheme, which is no secret, and
// the password that basic ones hold.
func (c *confidences) addAuthorization(value string) {
	scheme, credentials, ok := strings.Cut(value, " ")
	if !ok {
		credentials = value
	}
	c.add(credentials)
	if strings.EqualFold(scheme, "basic") {
		if plain, err := base64.StdEncoding.DecodeString(credentials); err == nil {
			_, password, _ := strings.Cut(string(plain), ":")
			c.add(password)
		}
	}
}

// mask masks in the start of a reply what repeats a credential, also one that the end cuts off. It
// changes nothing where there is none.
func (c confidences) mask(reply []byte) []byte {
	for _, secret := range c {
		if bytes.Contains(reply, secret) {
			reply = bytes.ReplaceAll(reply, secret, []byte(masked))
		}
	}
	for _, secret := range c {
		for n := min(len(secret)-1, len(reply)); n >= shortestConfidence/2; n-- {
			if bytes.HasSuffix(reply, secret[:n]) {
				return append(bytes.Clone(reply[:len(reply)-n]), masked...)
			}
		}
	}
	return reply
}

// discreet returns the start of a reply as the delivery log may have it.
func (s *Sender) discreet(reply []byte) []byte {
	if len(reply) == 0 {
		return reply
	}
	reply = s.confidences.mask(reply)
	if s.tokens != nil {
		var c confidences
		c.addAuthorization(s.tokens.last())
		reply = c.mask(reply)
	}
	return reply
}
