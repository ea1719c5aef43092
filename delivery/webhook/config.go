package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

const (
	defaultTimeout = 15 * time.Second
	// Standard Webhooks wants secrets of 24 to 64 bytes.
	shortSecret, longSecret = 24, 64
)

// parser reads a profile's settings and collects what is wrong with them. Its texts never hold
// values that may be secret: URLs, headers' values, secrets.
type parser struct {
	cfg      *delivery.ProfileConfig
	products delivery.Products
	found    []error
	warnings []error
}

func (p *parser) at(path []string, text, remedy string) *delivery.ConfigError {
	return &delivery.ConfigError{Path: append([]string{"profiles", p.cfg.Code}, path...), Text: text, Remedy: remedy}
}

func (p *parser) wrong(text, remedy string, path ...string) {
	p.found = append(p.found, p.at(path, text, remedy))
}

func (p *parser) warn(text, remedy string, path ...string) {
	p.warnings = append(p.warnings, p.at(path, text, remedy))
}

func (p *parser) networks() networks {
	var n networks
	for i, item := range p.cfg.AllowNetworks {
		if !n.add(item) {
			p.wrong(fmt.Sprintf("%q is not a network", item),
				"write loopback, private, an address, or a range such as 10.20.0.0/16", "allow_networks", strconv.Itoa(i))
		}
	}
	return n
}

// url reads the profile's URL. http is for allowed networks only, since anybody on the way could
// read it.
func (p *parser) url(allowed networks) *url.URL {
	const want = "write https:// and a host name"
	if p.cfg.URL == "" {
		p.wrong("a profile needs a URL", want, "url")
		return &url.URL{}
	}
	u, err := url.Parse(p.cfg.URL)
	if err != nil {
		var why *url.Error
		if errors.As(err, &why) && strings.Contains(why.Err.Error(), "port") {
			p.wrong("the URL's port is not a number", "write a port from 1 to 65535, or none", "url")
		} else {
			p.wrong("this is not a URL", want+"; other characters are written as % and two digits", "url")
		}
		return &url.URL{}
	}
	if port, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || port < 1 || port > 65535) {
		p.wrong("the URL's port is not a number from 1 to 65535", "write such a port, or none", "url")
	}
	switch {
	case u.Hostname() == "":
		p.wrong("the URL has no host", want, "url")
	case u.Scheme == "http" || u.Scheme == "https":
		p.reachable(u.Scheme == "http", u.Hostname(), allowed)
	default:
		p.wrong("the URL's scheme is neither https nor http", want, "url")
	}
	p.credentials(u)
	u.Fragment, u.RawFragment = "", ""
	return u
}

// reachable tells what the dial guard will say, as far as that is known before any look-up. http to
// the public is refused here; an address of this machine or network that is not allowed only has
// its profile wait.
func (p *parser) reachable(plain bool, host string, allowed networks) {
	addr, err := netip.ParseAddr(host)
	if host == "localhost" {
		addr, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	if err != nil {
		if plain && allowed.empty() {
			p.plainToPublic()
		}
		return
	}
	refused := newGuard(allowed, plain).check(addr)
	switch {
	case refused == nil:
	case newGuard(networks{}, false).check(addr) == nil:
		p.plainToPublic()
	default:
		p.warn("nothing will be sent, since "+refused.Error()+" and not in allow_networks",
			"add loopback, private or the range to the profile's allow_networks", "url")
	}
}

func (p *parser) plainToPublic() {
	p.wrong("http:// is only for networks in allow_networks, since the bodies can be read on the way",
		"use https://, or name the network in allow_networks: loopback, private or a range", "url")
}

// credentials checks those in the URL, which become an authorization header.
func (p *parser) credentials(u *url.URL) {
	if u.User != nil && slices.ContainsFunc(p.cfg.Headers, func(h delivery.HeaderConfig) bool {
		return strings.EqualFold(h.Name, "authorization")
	}) {
		p.wrong("the URL has credentials and headers has authorization", "keep one of the two", "url")
	}
}

// ownHeaders are set by rowhook or by HTTP itself. A fixed idempotency key would make receivers
// drop everything after the first request; webhook-id is what they need.
var ownHeaders = []string{
	"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Rowhook-Gap", "Rowhook-Epoch", "Content-Type", "Content-Length",
	"Content-Encoding", "User-Agent", "Host", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Transfer-Encoding",
	"Te", "Trailer", "Upgrade", "Expect", "Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key",
	requestOrigin,
}

// headers adds the configured headers to h, and the URL's credentials.
func (p *parser) headers(h http.Header) {
	seen := map[string]bool{}
	for _, one := range p.cfg.Headers {
		name := http.CanonicalHeaderKey(one.Name)
		switch {
		case !isToken(one.Name):
			p.wrong("one of these is not a header's name", "letters, digits and - make a name; the value stands behind it, as in X-Key: abc", "headers")
		case slices.Contains(ownHeaders, name), p.signs(name):
			p.wrong("rowhook or HTTP itself sets this header", "take it out", "headers", one.Name)
		case seen[name]:
			p.wrong("the header is there twice", "names are the same in upper and lower case", "headers", one.Name)
		case !isHeaderValue(one.Value):
			p.wrong("the header's value has characters that a header cannot carry", "line ends and control characters are not allowed", "headers", one.Name)
		default:
			h[name] = []string{one.Value}
		}
		seen[name] = true
	}
	if u, err := url.Parse(p.cfg.URL); err == nil && u.User != nil {
		password, _ := u.User.Password()
		h["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))}
	}
}

// signs reports whether a header is a product's signature.
func (p *parser) signs(name string) bool {
	for own := range p.products.Signatures() {
		if name == http.CanonicalHeaderKey(own.Header) {
			return true
		}
	}
	return false
}

// challenge reads how the endpoint is asked before its first delivery.
func (p *parser) challenge() string {
	switch p.cfg.Challenge {
	case "", "none", "query", "cloudevents":
		return p.cfg.Challenge
	}
	p.wrong(fmt.Sprintf("%q is no way to ask an endpoint", p.cfg.Challenge), "write none, query or cloudevents", "challenge")
	return ""
}

// isToken reports whether s is a token as RFC 9110 has it for header names.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

func isHeaderValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// keys reads how requests are signed, and the secrets that sign; none when the profile wants no
// signature or has no secret.
func (p *parser) keys() (own *delivery.Signature, keys []signingKey) {
	switch p.cfg.Signature {
	case "none":
		return nil, nil
	case "", "standard":
	default:
		if own = p.products.Signature(p.cfg.Signature); own == nil {
			known := strings.Join(append([]string{"standard"}, p.products.Signers()...), ", ")
			p.wrong(fmt.Sprintf("signature %q is not known", p.cfg.Signature), "write "+known+" or none", "signature")
			return nil, nil
		}
	}
	if p.cfg.Secret != "" {
		keys = p.key(keys, own, p.cfg.Secret, time.Time{}, "secret")
	}
	for i, one := range p.cfg.Secrets {
		if one.Secret == "" {
			p.wrong("the secret is empty", "give secret or secret_file", "secrets", strconv.Itoa(i))
			continue
		}
		keys = p.key(keys, own, one.Secret, one.NotAfter, "secrets", strconv.Itoa(i))
	}
	if len(keys) == 0 && p.cfg.Secret == "" && len(p.cfg.Secrets) == 0 {
		p.warn("requests are not signed, so the receiver cannot tell that they are ours",
			"give secret or secret_file; signature: none says that this is meant")
	}
	return own, keys
}

func (p *parser) key(keys []signingKey, own *delivery.Signature, secret string, notAfter time.Time, path ...string) []signingKey {
	if own != nil {
		return append(keys, signingKey{[]byte(secret), notAfter})
	}
	key, err := decodeSecret(secret)
	if err != nil {
		p.wrong(err.Error(), "take whsec_ away if the secret is plain text", path...)
		return keys
	}
	if len(key) < shortSecret || len(key) > longSecret {
		p.warn(fmt.Sprintf("the secret has %d bytes; Standard Webhooks wants %d to %d", len(key), shortSecret, longSecret),
			"make one with: echo whsec_$(openssl rand -base64 32)", path...)
	}
	return append(keys, signingKey{key, notAfter})
}

// setHeader sets a header to value, or to fallback when that is empty.
func setHeader(h http.Header, name, value, fallback string) {
	if value == "" {
		value = fallback
	}
	h[name] = []string{value}
}
