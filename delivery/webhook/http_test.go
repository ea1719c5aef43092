package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

// httpSecrets are what no reply, error or description may show.
var httpSecrets = []string{"p4ssword", "t0ken-", "cl1ent-secret", "pr0xy-password", "PRIVATE KEY", "someone@example.org"}

// safe fails when a text shows a secret.
func safe(t *testing.T, texts ...any) {
	t.Helper()
	for _, secret := range httpSecrets {
		if text := fmt.Sprint(texts...); strings.Contains(text, secret) {
			t.Errorf("%q is shown: %s", secret, text)
		}
	}
}

func TestHTTPErrors(t *testing.T) {
	t.Parallel()
	certificate, _ := clientCertificate(t)
	_, otherKey := clientCertificate(t)
	for _, test := range []struct {
		name   string
		change func(*delivery.ProfileConfig)
		want   string // path, a colon, and a part of the text
	}{
		{"verification off", func(c *delivery.ProfileConfig) { c.HTTP.TLS.InsecureSkipVerify = true }, "tls_config.insecure_skip_verify: certificates are always verified"},
		{"no certificate", func(c *delivery.ProfileConfig) { c.HTTP.TLS.CA = "nothing" }, "tls_config.ca: there is no certificate"},
		{"half a pair", func(c *delivery.ProfileConfig) { c.HTTP.TLS.Cert = certificate }, "tls_config: a client certificate needs both"},
		{"no pair", func(c *delivery.ProfileConfig) { c.HTTP.TLS.Cert, c.HTTP.TLS.Key = certificate, otherKey }, "tls_config.cert: cert and key are no pair"},
		{"two ways", func(c *delivery.ProfileConfig) {
			c.HTTP.BasicAuth = delivery.BasicAuthConfig{Username: "u", Password: "p4ssword"}
			c.HTTP.Authorization.Credentials = "t0ken-1"
		}, "http: the authorization header comes from more than one place: basic_auth, authorization"},
		{"header and block", func(c *delivery.ProfileConfig) {
			c.Headers = []delivery.HeaderConfig{{Name: "Authorization", Value: "x"}}
			c.HTTP.Authorization.Credentials = "t0ken-1"
		}, "http: the authorization header comes from more than one place: url or headers, authorization"},
		{"password alone", func(c *delivery.ProfileConfig) { c.HTTP.BasicAuth.Password = "p4ssword" }, "basic_auth: a user name without a colon"},
		{"basic as a scheme", func(c *delivery.ProfileConfig) {
			c.HTTP.Authorization = delivery.AuthorizationConfig{Type: "Basic", Credentials: "t0ken-1"}
		}, "authorization.type: basic credentials"},
		{"line end", func(c *delivery.ProfileConfig) { c.HTTP.Authorization.Credentials = "t0ken-1\nx" }, "authorization.credentials: the credentials have characters"},
		{"half a grant", func(c *delivery.ProfileConfig) { c.HTTP.OAuth2.ClientSecret = "cl1ent-secret" }, "oauth2: the client credentials grant needs"},
		{"token from http", func(c *delivery.ProfileConfig) {
			c.HTTP.OAuth2 = delivery.OAuth2Config{ClientID: "i", ClientSecret: "cl1ent-secret", TokenURL: "http://x/"}
			c.AllowNetworks = nil
		}, "oauth2.token_url: http:// is only for networks"},
		{"no proxy", func(c *delivery.ProfileConfig) { c.HTTP.ProxyURL = "socks5://x" }, "proxy_url: this is not a proxy's URL"},
		{"http by proxy", func(c *delivery.ProfileConfig) {
			c.URL, c.HTTP.ProxyURL = "http://127.0.0.1/", "http://u:pr0xy-password@127.0.0.1:1"
		}, "proxy_url: http:// does not go through a proxy"},
		{"metadata by proxy", func(c *delivery.ProfileConfig) {
			c.URL, c.HTTP.ProxyURL = "https://169.254.169.254/", "http://u:pr0xy-password@127.0.0.1:1"
		}, "url: the proxy would be asked for an address that is not allowed: 169.254.169.254 is a metadata service"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := profile("https://desk.example.org/")
			test.change(&c)
			_, err := New(c, Options{Products: format.Products()})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			safe(t, err)
			var at *delivery.ConfigError
			if !errors.As(err, &at) || at.RemedyText() == "" {
				t.Errorf("no hint: %v", err)
			}
		})
	}
}

// clientCertificate makes a self-signed certificate.
func clientCertificate(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rowhook"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// secureServer is a TLS server, and its certificate as a ca.
func secureServer(t *testing.T, change func(*httptest.Server), handler http.HandlerFunc) (server *httptest.Server, ca string) {
	t.Helper()
	server = httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = nil
	if change != nil {
		change(server)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	server := receiver(t, func(_ http.ResponseWriter, r *http.Request) { got.Store(r.Header.Get("Authorization")) })
	for want, change := range map[string]func(*delivery.HTTPConfig){
		"Basic dTpwNHNzd29yZA==": func(c *delivery.HTTPConfig) {
			c.BasicAuth = delivery.BasicAuthConfig{Username: "u", Password: "p4ssword"}
		},
		"Bearer t0ken-1": func(c *delivery.HTTPConfig) { c.Authorization.Credentials = "t0ken-1" },
		"Key t0ken-2": func(c *delivery.HTTPConfig) {
			c.Authorization = delivery.AuthorizationConfig{Type: "Key", Credentials: "t0ken-2"}
		},
	} {
		c := profile(server.URL)
		change(&c.HTTP)
		s, _ := sender(t, c)
		if reply := s.Send(t.Context(), &testRequest); reply.Class != delivery.ClassOK || got.Load() != want {
			t.Errorf("authorization %q, want %q; %+v", got.Load(), want, reply)
		}
	}
}

// TestCertificates has endpoint and sender show each other certificates that are trusted by config
// alone.
func TestCertificates(t *testing.T) {
	t.Parallel()
	certificate, key := clientCertificate(t)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(certificate))
	server, ca := secureServer(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	}, func(http.ResponseWriter, *http.Request) {})
	transports := NewTransports()
	t.Cleanup(transports.CloseIdle)
	send := func(config delivery.TLSConfig) delivery.Reply {
		c := profile(server.URL)
		c.HTTP.TLS = config
		s, err := New(c, Options{Transports: transports})
		if err != nil {
			t.Fatal(err)
		}
		return s.Send(t.Context(), &testRequest)
	}
	if reply := send(delivery.TLSConfig{CA: ca, Cert: certificate, Key: key, ServerName: "example.com"}); reply.Class != delivery.ClassOK {
		t.Errorf("with all that is needed: %+v", reply)
	}
	for name, config := range map[string]delivery.TLSConfig{
		"no authority":          {Cert: certificate, Key: key},
		"no client certificate": {CA: ca},
		"another name":          {CA: ca, Cert: certificate, Key: key, ServerName: "desk.example.org"},
	} {
		reply := send(config)
		if reply.Class != delivery.ClassNetwork || reply.Reason != delivery.ReasonTLS && reply.Reason != delivery.ReasonReset {
			t.Errorf("%s: %+v", name, reply)
		}
		safe(t, reply.Error)
	}
	if len(transports.bySetup) != 4 {
		t.Errorf("%d transports for four setups", len(transports.bySetup))
	}
	send(delivery.TLSConfig{CA: ca})
	if len(transports.bySetup) != 4 {
		t.Error("an equal setup has a transport of its own")
	}
}

// tokenServer gives numbered tokens; an endpoint behind it takes the numbers from valid on.
type tokenServer struct {
	given, valid, refused atomic.Int64
	status                atomic.Int64
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		if status := s.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"cl1ent-secret is wrong"}`)
			return
		}
		id, secret, _ := r.BasicAuth()
		if id != "rowhook" || secret != "cl1ent-secret" || r.FormValue("scope") != "a b" || r.FormValue("audience") != "desk" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"t0ken-%d","token_type":"bearer","expires_in":3600}`, s.given.Add(1))
		return
	}
	var n int64
	if _, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer t0ken-%d", &n); err != nil || n < s.valid.Load() {
		s.refused.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	server := &tokenServer{}
	at := receiver(t, server.ServeHTTP)
	c := profile(at.URL)
	c.HTTP.OAuth2 = delivery.OAuth2Config{
		ClientID: "rowhook", ClientSecret: "cl1ent-secret", TokenURL: at.URL + "/token", Scopes: []string{"a", "b"},
		EndpointParams: []delivery.HeaderConfig{{Name: "audience", Value: "desk"}},
	}
	s, _ := sender(t, c)
	send := func() delivery.Reply { return s.Send(t.Context(), &testRequest) }
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if reply := send(); reply.Class != delivery.ClassOK {
				t.Errorf("reply %+v", reply)
			}
		})
	}
	wg.Wait()
	if n := server.given.Load(); n != 1 {
		t.Errorf("%d tokens for eight requests at once", n)
	}
	server.valid.Store(2)
	if reply := send(); reply.Class != delivery.ClassOK || server.given.Load() != 2 || server.refused.Load() != 1 {
		t.Errorf("after the token was revoked: %+v, %d tokens, %d refused", reply, server.given.Load(), server.refused.Load())
	}
	server.valid.Store(99)
	if reply := send(); reply.Class != delivery.ClassAuth || server.given.Load() != 3 || server.refused.Load() != 3 {
		t.Errorf("when no token is good enough: %+v, %d tokens, %d refused", reply, server.given.Load(), server.refused.Load())
	}
	for status, class := range map[int]delivery.Class{401: delivery.ClassProfile, 503: delivery.ClassNetwork, 429: delivery.ClassNetwork} {
		server.status.Store(int64(status))
		s.tokens.mu.Lock()
		s.tokens.token = ""
		s.tokens.mu.Unlock()
		reply := send()
		if reply.Class != class || reply.Reason != delivery.ReasonToken || !strings.HasSuffix(reply.Error, fmt.Sprint(" answered ", status)) {
			t.Errorf("token endpoint with %d: %+v", status, reply)
		}
		safe(t, reply.Error)
	}
}

// TestTokensPassTheGuard holds the token endpoint to allow_networks as well.
func TestTokensPassTheGuard(t *testing.T) {
	t.Parallel()
	at, ca := secureServer(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("a request passed") })
	c := profile("https://93.184.216.34/")
	c.AllowNetworks = nil
	c.HTTP.TLS.CA = ca
	c.HTTP.OAuth2 = delivery.OAuth2Config{ClientID: "rowhook", ClientSecret: "cl1ent-secret", TokenURL: at.URL}
	s, _ := sender(t, c)
	if reply := s.Send(t.Context(), &testRequest); reply.Class != delivery.ClassProfile || reply.Reason != delivery.ReasonGuard {
		t.Errorf("reply %+v", reply)
	}
}

// connectProxy is an HTTP proxy that counts what it connects; status other than 200 refuses.
func connectProxy(t *testing.T, status int, connected *atomic.Int64) *httptest.Server {
	return receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK || r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic dTpwcjB4eS1wYXNzd29yZA==" {
			w.WriteHeader(status)
			return
		}
		connected.Add(1)
		upstream, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(upstream, client)
			upstream.Close()
		}()
		_, _ = io.Copy(client, upstream)
		client.Close()
		<-done
	})
}

func TestProxy(t *testing.T) {
	t.Parallel()
	server, ca := secureServer(t, nil, func(http.ResponseWriter, *http.Request) {})
	for _, test := range []struct {
		name   string
		status int
		allow  []string
		class  delivery.Class
		reason string
	}{
		{"connects", 200, []string{"loopback"}, delivery.ClassOK, ""},
		{"refuses", 407, []string{"loopback"}, delivery.ClassProfile, delivery.ReasonProxy},
		{"cannot", 502, []string{"loopback"}, delivery.ClassNetwork, delivery.ReasonProxy},
		{"is not allowed itself", 200, []string{"10.0.0.0/8"}, delivery.ClassProfile, delivery.ReasonGuard},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var connected atomic.Int64
			proxy := connectProxy(t, test.status, &connected)
			c := profile(server.URL)
			if test.reason == delivery.ReasonGuard {
				c.URL = "https://desk.example.org/" // which the guard does not see
			}
			c.AllowNetworks, c.HTTP.TLS.CA = test.allow, ca
			c.HTTP.ProxyURL = strings.Replace(proxy.URL, "http://", "http://u:pr0xy-password@", 1)
			s, transports := sender(t, c)
			var reply delivery.Reply
			for range 3 {
				reply = s.Send(t.Context(), &testRequest)
			}
			if reply.Class != test.class || reply.Reason != test.reason {
				t.Errorf("reply %+v", reply)
			}
			if test.class == delivery.ClassOK && (connected.Load() != 1 || transports.Opened() != 1) {
				t.Errorf("%d connections for three requests", connected.Load())
			}
			safe(t, reply.Error)
			transports.CloseIdle()
		})
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	var second, first atomic.Int64
	server, ca := secureServer(t, func(s *httptest.Server) { s.EnableHTTP2 = true }, func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			second.Add(1)
		} else {
			first.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	for _, on := range []bool{true, false} {
		c := profile(server.URL)
		c.HTTP.TLS.CA, c.HTTP.HTTP2 = ca, on
		s, transports := sender(t, c)
		if reply := s.Send(t.Context(), &testRequest); reply.Class != delivery.ClassOK {
			t.Fatalf("reply %+v", reply)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if reply := s.Send(context.Background(), &testRequest); reply.Class != delivery.ClassOK {
						t.Errorf("reply %+v", reply)
					}
				}
			})
		}
		wg.Wait()
		if on && transports.Opened() != 1 {
			t.Errorf("%d connections for HTTP/2", transports.Opened())
		}
		transports.CloseIdle()
	}
	if second.Load() != 161 || first.Load() != 161 {
		t.Errorf("%d requests by HTTP/2 and %d by HTTP/1.1, want 161 each", second.Load(), first.Load())
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	bodies := make(chan []byte, 1)
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		zip, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" || r.ContentLength <= 0 {
			t.Errorf("not compressed: %v, %v", r.Header, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body, err := io.ReadAll(zip)
		if err == nil {
			err = Verify(r.Header, body, time.Now(), testSecret)
		}
		if err != nil {
			t.Errorf("the body cannot be verified: %v", err)
		}
		bodies <- body
	})
	c := profile(server.URL)
	c.HTTP.Gzip = true
	s, _ := sender(t, c)
	for range 3 {
		if reply := s.Send(t.Context(), &testRequest); reply.Class != delivery.ClassOK {
			t.Fatalf("reply %+v", reply)
		}
		if got := <-bodies; !bytes.Equal(got, testRequest.Body) {
			t.Errorf("body %s", got)
		}
	}
}
