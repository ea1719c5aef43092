package alert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"mime"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mime/quotedprintable"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	login    = "rowhook"
	password = "correct horse battery staple"
)

// mailServer is a real SMTP server that keeps what it takes.
type mailServer struct {
	addr     string
	caFile   string
	server   *smtp.Server
	listener net.Listener
	served   chan struct{}

	mu     sync.Mutex
	got    []received
	refuse map[string]error // by recipient
	secure bool             // the last session spoke TLS
}

// received is a mail that the server took.
type received struct {
	from, to      string
	header        mail.Header
	subject, text string
}

// newMailServer starts a server; plain ones offer no TLS.
func newMailServer(t *testing.T, plain bool) *mailServer {
	t.Helper()
	s := &mailServer{refuse: map[string]error{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.caFile = s.listen(t, l, plain)
	t.Cleanup(s.close)
	return s
}

func (s *mailServer) listen(t *testing.T, l net.Listener, plain bool) (caFile string) {
	t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c}, nil }))
	server.Domain = "mail.example.org"
	if !plain {
		certificate, pemBytes := newCertificate(t)
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
		caFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(caFile, pemBytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.server, s.listener, s.served = server, l, make(chan struct{})
	go func() {
		defer close(s.served)
		_ = server.Serve(l) // ends with close
	}()
	return caFile
}

func (s *mailServer) close() {
	_ = s.listener.Close() // the server does not know it before it serves; twice is fine
	_ = s.server.Close()
	<-s.served
}

// newCertificate makes a certificate for the loopback address that signs itself.
func newCertificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// session is one client's connection. It takes mail only over TLS and after a login, where it has
// TLS.
type session struct {
	server   *mailServer
	conn     *smtp.Conn
	in       bool
	from, to string
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if user != login || pass != password {
			return errors.New("wrong login")
		}
		s.in = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	_, secure := s.conn.TLSConnectionState()
	if s.server.server.TLSConfig != nil && (!secure || !s.in) {
		return &smtp.SMTPError{Code: 530, Message: "log in first"}
	}
	s.server.mu.Lock()
	s.server.secure = secure
	s.server.mu.Unlock()
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.to = to
	return s.server.refuse[to]
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(msg.Body))
	if err != nil {
		return err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
	if err != nil {
		return err
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.got = append(s.server.got, received{from: s.from, to: s.to, header: msg.Header, subject: subject, text: strings.ReplaceAll(string(text), "\r\n", "\n")})
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// mails returns what came so far.
func (s *mailServer) mails() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.got...)
}

// config is how a mailer reaches the server.
func (s *mailServer) config(t *testing.T) Config {
	t.Helper()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.SMTP.Host, c.SMTP.From, c.SMTP.CAFile = host, "rowhook@example.org", s.caFile
	c.SMTP.Username, c.SMTP.Password = login, password
	if c.SMTP.Port, err = net.LookupPort("tcp", port); err != nil {
		t.Fatal(err)
	}
	return c
}
