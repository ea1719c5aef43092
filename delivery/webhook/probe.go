package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
)

// Probe connects to the endpoint as an attempt would, TLS included, and sends nothing. The
// error is safe to show.
func (s *Sender) Probe(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	transport, ok := s.transport.(*http.Transport)
	if !ok {
		return errors.New("the transport cannot be probed")
	}
	err := s.connect(timed, transport)
	if err == nil {
		return nil
	}
	a := s.attempts.Get().(*attempt)
	defer s.attempts.Put(a)
	return errors.New(s.failure(ctx, a, err).Error)
}

func (s *Sender) connect(ctx context.Context, transport *http.Transport) error {
	secure := s.url.Scheme == "https"
	port := map[bool]string{true: "443", false: "80"}[secure]
	conn, err := transport.DialContext(ctx, "tcp", net.JoinHostPort(s.url.Hostname(), cmp.Or(s.url.Port(), port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if !secure {
		return nil
	}
	config := transport.TLSClientConfig.Clone()
	config.ServerName = s.url.Hostname()
	return tls.Client(conn, config).HandshakeContext(ctx)
}
