package webhook

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
)

// Probe connects to the endpoint as an attempt would, TLS included, and sends nothing; or to its
// proxy. The error is safe to show.
func (s *Sender) Probe(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	transport, ok := s.transport.(finite)
	if !ok {
		return errors.New("the transport cannot be probed")
	}
	err := s.connect(timed, transport.Transport)
	if err == nil {
		return nil
	}
	a := s.attempts.Get().(*attempt)
	defer s.attempts.Put(a)
	a.by = newGeneral(s) // which got nowhere
	return errors.New(s.failure(ctx, a, err).Error)
}

func (s *Sender) connect(ctx context.Context, transport *http.Transport) error {
	to, secure := s.url, s.url.Scheme == "https"
	if s.proxy != nil {
		to, secure = s.proxy, false // how far it gets from there, it tells with the first request
	}
	port := map[string]string{"https": "443", "http": "80"}[to.Scheme]
	conn, err := transport.DialContext(ctx, "tcp", net.JoinHostPort(to.Hostname(), cmp.Or(to.Port(), port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	if !secure {
		return nil
	}
	config := transport.TLSClientConfig.Clone()
	config.ServerName = cmp.Or(config.ServerName, s.url.Hostname())
	return tls.Client(conn, config).HandshakeContext(ctx)
}
