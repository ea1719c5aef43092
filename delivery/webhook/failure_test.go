package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// hidden is in every credential and body of these tests, and must be in nothing that is shown.
const hidden = "hunter2"

// secretive returns a profile full of credentials for a host and port.
func secretive(scheme, host string) delivery.ProfileConfig {
	cfg := profile(scheme + "://user:" + hidden + "@" + host + "/hooks?token=" + hidden)
	cfg.Secret = hidden + hidden + hidden + hidden
	cfg.Headers = headers("x-api-key", hidden)
	cfg.Timeout = 2 * time.Second
	return cfg
}

var secretiveRequest = delivery.Request{ID: "evt_1", Body: []byte(`{"email":"` + hidden + `"}`), Head: delivery.Head{ContentType: "application/json"}}

// assertSafe fails when a reply shows what must not be shown.
func assertSafe(t *testing.T, s *Sender, reply delivery.Reply) {
	t.Helper()
	_, url := s.Describe()
	for _, shown := range []string{reply.Error, reply.Location, reply.Reason, url, string(reply.Response)} {
		if strings.Contains(shown, hidden) {
			t.Errorf("a secret is shown: %q", shown)
		}
	}
	if strings.ContainsAny(reply.Error, "\n\r\x00") {
		t.Errorf("control characters in %q", reply.Error)
	}
}

// serve accepts connections on loopback and gives each to handle, until the test ends. It returns
// host and port.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// readRequest reads one request with its body.
func readRequest(conn net.Conn) []byte {
	var raw bytes.Buffer
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &raw)))
	if err != nil {
		return nil
	}
	_, _ = io.Copy(io.Discard, req.Body)
	return raw.Bytes()
}

// answering returns a connection handler that reads a request and writes a fixed reply.
func answering(reply string) func(net.Conn) {
	return func(conn net.Conn) {
		if readRequest(conn) != nil {
			_, _ = io.WriteString(conn, reply)
		}
	}
}

// untilClosed waits for the other side to close.
func untilClosed(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func reset(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }

func TestNetworkFailures(t *testing.T) {
	t.Parallel()
	dead := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	for _, test := range []struct {
		name   string
		scheme string
		host   func(*testing.T) string
		class  delivery.Class
		reason string
		text   string
	}{
		{"refused", "http", dead, delivery.ClassNetwork, delivery.ReasonRefused, "connection refused"},
		{"refused with TLS", "https", dead, delivery.ClassNetwork, delivery.ReasonRefused, "connection refused"},
		{"black hole", "http", func(t *testing.T) string { return serve(t, untilClosed) },
			delivery.ClassNetwork, delivery.ReasonTimeout, "no reply within 1s"},
		{"black hole with TLS", "https", func(t *testing.T) string { return serve(t, untilClosed) },
			delivery.ClassNetwork, delivery.ReasonTimeout, "no connection within 1s"},
		{"closed before a reply", "http", func(t *testing.T) string { return serve(t, func(c net.Conn) { readRequest(c) }) },
			delivery.ClassNetwork, delivery.ReasonReset, "closed before a reply"},
		{"reset before a reply", "http", func(t *testing.T) string { return serve(t, func(c net.Conn) { readRequest(c); reset(c) }) },
			delivery.ClassNetwork, delivery.ReasonReset, "reset before a reply"},
		{"closed at once with TLS", "https", func(t *testing.T) string { return serve(t, func(c net.Conn) { reset(c) }) },
			delivery.ClassNetwork, delivery.ReasonReset, "before a reply"},
		{"closed within the header", "http", func(t *testing.T) string { return serve(t, answering("HTTP/1.1 200 OK\r\nDate:")) },
			delivery.ClassNetwork, delivery.ReasonReset, "reply's header"},
		{"not HTTP, and an echo", "http", func(t *testing.T) string {
			return serve(t, func(c net.Conn) {
				request := readRequest(c)
				_, _ = c.Write(bytes.ReplaceAll(request, []byte("\r\n"), []byte(" ")))
				_, _ = c.Write([]byte("\r\n\r\n"))
			})
		}, delivery.ClassNetwork, delivery.ReasonProtocol, "not HTTP/1.1"},
		{"bad header line", "http", func(t *testing.T) string { return serve(t, answering("HTTP/1.1 200 OK\r\n"+hidden+"\r\n\r\n")) },
			delivery.ClassNetwork, delivery.ReasonProtocol, "not HTTP/1.1"},
		{"huge header", "http", func(t *testing.T) string {
			return serve(t, answering("HTTP/1.1 200 OK\r\nX: "+strings.Repeat(hidden, 20000)+"\r\n\r\n"))
		}, delivery.ClassNetwork, delivery.ReasonProtocol, "above 64 KiB"},
		{"endless 1xx", "http", func(t *testing.T) string {
			return serve(t, answering(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 1000)+"\r\n\r\n", 100)))
		}, delivery.ClassNetwork, delivery.ReasonProtocol, "not HTTP/1.1"},
		{"plain HTTP where TLS should be", "https", func(t *testing.T) string {
			return serve(t, func(c net.Conn) {
				_, _ = io.CopyN(io.Discard, c, 5)
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
				untilClosed(c)
			})
		}, delivery.ClassNetwork, delivery.ReasonTLS, "does not speak TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := secretive(test.scheme, test.host(t))
			if test.reason == delivery.ReasonTimeout {
				cfg.Timeout = time.Second
			}
			s, _ := sender(t, cfg)
			reply := s.Send(context.Background(), &secretiveRequest)
			if reply.Class != test.class || reply.Reason != test.reason || reply.Status != 0 || !strings.Contains(reply.Error, test.text) {
				t.Errorf("reply %s %+v", classNames[reply.Class], reply)
			}
			assertSafe(t, s, reply)
		})
	}
}

func TestGuardedAddress(t *testing.T) {
	t.Parallel()
	connected := make(chan struct{}, 8)
	host := serve(t, func(net.Conn) { connected <- struct{}{} })
	_, port, _ := net.SplitHostPort(host)
	for _, name := range []string{"127.0.0.1", "localhost"} {
		cfg := secretive("https", net.JoinHostPort(name, port))
		cfg.AllowNetworks = []string{"10.0.0.0/8"}
		s, transports := sender(t, cfg)
		reply := s.Send(context.Background(), &secretiveRequest)
		if reply.Class != delivery.ClassProfile || reply.Reason != delivery.ReasonGuard ||
			!strings.Contains(reply.Error, "loopback") || !strings.Contains(reply.Error, "profiles.desk.allow_networks") {
			t.Errorf("%s: %+v", name, reply)
		}
		if transports.Opened() != 0 || len(connected) != 0 {
			t.Errorf("%s: connected", name)
		}
		assertSafe(t, s, reply)
	}
}

func TestLookupFailure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer byte // response code
		want   string
	}{
		{"no such host", 3, "look up desk.example.com: no such host"},
		{"server failure", 2, "look up desk.example.com: server misbehaving"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			transports := NewTransports()
			transports.resolver = nameServer(t, test.answer, netip.Addr{})
			s, err := New(secretive("https", "desk.example.com"), Options{Transports: transports})
			if err != nil {
				t.Fatal(err)
			}
			reply := s.Send(context.Background(), &secretiveRequest)
			if reply.Class != delivery.ClassNetwork || reply.Reason != delivery.ReasonDNS || reply.Error != test.want {
				t.Errorf("reply %+v", reply)
			}
			assertSafe(t, s, reply)
		})
	}
}

// TestRebinding answers a harmless name with addresses of this machine.
func TestRebinding(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1", "169.254.169.254", "10.1.2.3"} {
		transports := NewTransports()
		transports.resolver = nameServer(t, 0, netip.MustParseAddr(addr))
		cfg := secretive("https", "desk.example.com")
		cfg.AllowNetworks = nil
		s, err := New(cfg, Options{Transports: transports})
		if err != nil {
			t.Fatal(err)
		}
		reply := s.Send(context.Background(), &secretiveRequest)
		if reply.Reason != delivery.ReasonGuard || !strings.Contains(reply.Error, addr) {
			t.Errorf("%s: %+v", addr, reply)
		}
	}
}

// nameServer returns a resolver that gets the same answer to everything: a response code, or an
// IPv4 address.
func nameServer(t *testing.T, code byte, addr netip.Addr) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(dnsAnswer(buf[:n], code, addr), from)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// dnsAnswer answers a query by RFC 1035.
func dnsAnswer(query []byte, code byte, addr netip.Addr) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5
	answer := append([]byte(nil), query[:end]...)
	answer[2], answer[3] = 0x81, 0x80|code
	copy(answer[6:12], make([]byte, 6))
	if isA := query[end-3] == 1; code == 0 && isA {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4)
		answer = append(answer, addr.AsSlice()...)
	}
	return answer
}

func TestBrokenTLS(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, test := range []struct {
		name     string
		template x509.Certificate
		trusted  bool
		text     string
	}{
		{"good", x509.Certificate{NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}, true, ""},
		{"self-signed", x509.Certificate{NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}, false, "signed by an unknown authority"},
		{"expired", x509.Certificate{NotAfter: now.Add(-time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}, true, "expired"},
		{"other host", x509.Certificate{NotAfter: now.Add(time.Hour), DNSNames: []string{"other.example.org"}}, true, "127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cert, leaf := certificate(t, test.template)
			host := serve(t, func(c net.Conn) {
				secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
				answering("HTTP/1.1 204 No Content\r\n\r\n")(secure)
			})
			transports := NewTransports()
			t.Cleanup(transports.CloseIdle)
			transports.roots = x509.NewCertPool()
			if test.trusted {
				transports.roots.AddCert(leaf)
			}
			s, err := New(secretive("https", host), Options{Transports: transports})
			if err != nil {
				t.Fatal(err)
			}
			reply := s.Send(context.Background(), &secretiveRequest)
			if test.text == "" {
				if reply.Class != delivery.ClassOK {
					t.Errorf("reply %+v", reply)
				}
				return
			}
			if reply.Class != delivery.ClassNetwork || reply.Reason != delivery.ReasonTLS || !strings.Contains(reply.Error, test.text) {
				t.Errorf("reply %+v", reply)
			}
			assertSafe(t, s, reply)
		})
	}
	t.Run("old version", func(t *testing.T) {
		t.Parallel()
		cert, _ := certificate(t, x509.Certificate{NotAfter: now.Add(time.Hour)})
		host := serve(t, func(c net.Conn) {
			_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS11}).Handshake()
		})
		s, _ := sender(t, secretive("https", host))
		reply := s.Send(context.Background(), &secretiveRequest)
		if reply.Reason != delivery.ReasonTLS || !strings.Contains(reply.Error, "version") {
			t.Errorf("reply %+v", reply)
		}
	})
}

// certificate makes a certificate that signs itself.
func certificate(t *testing.T, template x509.Certificate) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.Subject = pkix.Name{CommonName: "receiver"}
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	template.IsCA, template.BasicConstraintsValid = true, true
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, leaf
}

// TestMissingIntermediate: a chain that lacks its middle is told from one whose authority is not
// trusted.
func TestMissingIntermediate(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Hour)
	signed := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), until.Add(-2*time.Hour), until
		template.BasicConstraintsValid = true
		if parent == nil {
			parent, by = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made, key
	}
	root, rootKey := signed(&x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true}, nil, nil)
	middle, middleKey := signed(&x509.Certificate{Subject: pkix.Name{CommonName: "middle"}, IsCA: true}, root, rootKey)
	leaf, key := signed(&x509.Certificate{Subject: pkix.Name{CommonName: "receiver"}, IPAddresses: []net.IP{{127, 0, 0, 1}}}, middle, middleKey)
	const unknown, hint = "signed by an unknown authority", "if it is an intermediate one, the endpoint has to send it beside its own"
	for name, test := range map[string]struct {
		sent    [][]byte
		trusted bool
		text    string
		hint    bool
	}{
		"whole":            {[][]byte{leaf.Raw, middle.Raw}, true, "", false},
		"lacking":          {[][]byte{leaf.Raw}, true, unknown, true},
		"root alone":       {[][]byte{leaf.Raw, root.Raw}, true, unknown, true},
		"foreign":          {[][]byte{leaf.Raw, middle.Raw}, false, unknown, false},
		"foreign and root": {[][]byte{leaf.Raw, middle.Raw, root.Raw}, false, unknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := serve(t, func(c net.Conn) {
				answering("HTTP/1.1 204 No Content\r\n\r\n")(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: test.sent, PrivateKey: key}}}))
			})
			transports := NewTransports()
			t.Cleanup(transports.CloseIdle)
			transports.roots = x509.NewCertPool()
			if test.trusted {
				transports.roots.AddCert(root)
			}
			s, err := New(secretive("https", host), Options{Transports: transports})
			if err != nil {
				t.Fatal(err)
			}
			reply := s.Send(context.Background(), &secretiveRequest)
			if !strings.Contains(reply.Error, test.text) || (reply.Error == "") != (test.text == "") || strings.Contains(reply.Error, hint) != test.hint {
				t.Errorf("reply %+v", reply)
			}
		})
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	host := serve(t, func(c net.Conn) {
		readRequest(c)
		cancel()
		untilClosed(c)
	})
	s, _ := sender(t, secretive("http", host))
	reply := s.Send(ctx, &secretiveRequest)
	if reply.Class != delivery.ClassStopped || reply.Reason != delivery.ReasonInterrupted {
		t.Errorf("reply %+v", reply)
	}
	assertSafe(t, s, reply)
}

func TestOursBeforeAnyRequest(t *testing.T) {
	t.Parallel()
	connected := make(chan struct{}, 1)
	host := serve(t, func(net.Conn) { connected <- struct{}{} })
	oversize := secretive("http", host)
	oversize.MaxBody = 10
	expired := secretive("http", host)
	expired.Secret, expired.Secrets = "", []delivery.SecretConfig{{Secret: testSecret, NotAfter: time.Now().Add(-time.Second)}}
	for _, test := range []struct {
		cfg    delivery.ProfileConfig
		class  delivery.Class
		reason string
		text   string
	}{
		{oversize, delivery.ClassOurs, delivery.ReasonOversize, "profiles.desk.max_body"},
		{expired, delivery.ClassProfile, delivery.ReasonSecret, "profiles.desk.secrets"},
	} {
		s, _ := sender(t, test.cfg)
		reply := s.Send(context.Background(), &secretiveRequest)
		if reply.Class != test.class || reply.Reason != test.reason || !strings.Contains(reply.Error, test.text) || reply.Started.IsZero() {
			t.Errorf("reply %+v", reply)
		}
		assertSafe(t, s, reply)
	}
	if len(connected) != 0 {
		t.Error("a connection was made")
	}
}
