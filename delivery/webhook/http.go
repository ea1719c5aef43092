package webhook

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"rowhook/delivery"
)

// setup is what connections are made with. Profiles with equal setups share them.
type setup struct {
	guard *guard
	tls   *tls.Config // nil for the default
	proxy *url.URL    // nil for none
	http2 bool
	// shown tells setups apart, and holds no secret in the clear.
	shown string
}

// setup reads how connections are made.
func (p *parser) setup(g *guard, u *url.URL) *setup {
	c := &p.cfg.HTTP
	s := &setup{guard: g, http2: c.HTTP2, tls: p.tls(&c.TLS), proxy: p.proxy(c.ProxyURL, u, g)}
	digest := sha256.Sum256(fmt.Appendf(nil, "%q", []string{c.TLS.CA, c.TLS.Cert, c.TLS.Key, c.TLS.ServerName, c.ProxyURL}))
	s.shown = fmt.Sprint(g, " ", s.http2, " ", hex.EncodeToString(digest[:]))
	return s
}

func (p *parser) tls(c *delivery.TLSConfig) *tls.Config {
	at := func(key string) []string { return []string{"http", "tls_config", key} }
	if c.InsecureSkipVerify {
		p.wrong("certificates are always verified", "ca_file trusts an authority of your own, server_name another name", at("insecure_skip_verify")...)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			p.wrong("there is no certificate in it", "give certificates in PEM: -----BEGIN CERTIFICATE-----", at("ca")...)
		}
	}
	switch {
	case c.Cert == "" && c.Key == "":
	case c.Cert == "" || c.Key == "":
		p.wrong("a client certificate needs both cert and key", "give cert_file and key_file", "http", "tls_config")
	default:
		pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
		if err != nil {
			p.wrong("cert and key are no pair in PEM", "give the certificate, with its chain, and its own key, without a passphrase", at("cert")...)
			break
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// proxy reads the proxy's URL. Its address is held to the guard like an endpoint's.
func (p *parser) proxy(text string, endpoint *url.URL, g *guard) *url.URL {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		p.wrong("this is not a proxy's URL", "write http://host:port or https://host:port", "http", "proxy_url")
		return nil
	case endpoint.Scheme == "http":
		p.wrong("http:// does not go through a proxy, since the bodies can be read on the way", "use https:// in url", "http", "proxy_url")
		return nil
	}
	// Behind the proxy the guard cannot see; what the URL itself says, it can.
	if addr, err := netip.ParseAddr(endpoint.Hostname()); err == nil {
		if refused := g.check(addr); refused != nil {
			p.wrong("the proxy would be asked for an address that is not allowed: "+refused.Error(), "name it in allow_networks", "url")
		}
	}
	return u
}

// authorize reads the credentials that requests carry: one way of several.
func (p *parser) authorize(h http.Header) *tokens {
	c := &p.cfg.HTTP
	var ways []string
	if _, set := h["Authorization"]; set {
		ways = append(ways, "url or headers")
	}
	if b := c.BasicAuth; b.Username != "" || b.Password != "" {
		ways = append(ways, "basic_auth")
		if b.Username == "" || strings.Contains(b.Username, ":") {
			p.wrong("a user name without a colon is needed", "give username", "http", "basic_auth")
		}
		h["Authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(b.Username+":"+b.Password))}
	}
	if a := c.Authorization; a != (delivery.AuthorizationConfig{}) {
		ways = append(ways, "authorization")
		scheme := a.Type
		if scheme == "" {
			scheme = "Bearer"
		}
		switch {
		case a.Credentials == "":
			p.wrong("there are no credentials", "give credentials_file", "http", "authorization")
		case !isToken(scheme):
			p.wrong("this is not an authentication scheme", "write Bearer, for example", "http", "authorization", "type")
		case strings.EqualFold(scheme, "basic"):
			p.wrong("basic credentials have a place of their own", "use basic_auth", "http", "authorization", "type")
		case !isHeaderValue(a.Credentials):
			p.wrong("the credentials have characters that a header cannot carry", "line ends are not allowed", "http", "authorization", "credentials")
		}
		h["Authorization"] = []string{scheme + " " + a.Credentials}
	}
	var t *tokens
	if o := &c.OAuth2; o.ClientID != "" || o.ClientSecret != "" || o.TokenURL != "" {
		ways = append(ways, "oauth2")
		t = p.tokens(o)
	}
	if len(ways) > 1 {
		p.wrong("the authorization header comes from more than one place: "+strings.Join(ways, ", "), "keep one of them", "http")
	}
	return t
}

func (p *parser) tokens(o *delivery.OAuth2Config) *tokens {
	at := []string{"http", "oauth2"}
	if o.ClientID == "" || o.ClientSecret == "" || o.TokenURL == "" {
		p.wrong("the client credentials grant needs client_id, client_secret and token_url", "give all three", at...)
		return nil
	}
	u, err := url.Parse(o.TokenURL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		p.wrong("this is not the URL of a token endpoint", "write https:// and a host name", append(slices.Clone(at), "token_url")...)
		return nil
	}
	if allowed := p.networks(); u.Scheme == "http" && allowed.empty() {
		p.wrong("http:// is only for networks in allow_networks, since the secret can be read on the way", "use https://", append(slices.Clone(at), "token_url")...)
	}
	params := url.Values{}
	for _, one := range o.EndpointParams {
		params.Add(one.Name, one.Value)
	}
	return newTokens(o, u, params)
}
