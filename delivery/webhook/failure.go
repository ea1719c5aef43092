package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"rowhook/delivery"
	"rowhook/delivery/webhook/http1"
)

// failure says what became of a request without a reply. Its texts hold host names and addresses,
// never the URL's rest, a header or a body.
func (s *Sender) failure(ctx context.Context, a *attempt, err error) delivery.Reply {
	if errors.Is(err, http1.ErrWithheld) {
		return delivery.Reply{Class: delivery.ClassStopped, Reason: delivery.ReasonInterrupted, Error: "not made: it might not be any more", Unsent: true}
	}
	if ctx.Err() != nil {
		return delivery.Reply{Class: delivery.ClassStopped, Reason: delivery.ReasonInterrupted, Error: "stopped before a reply came"}
	}
	var refused *guardError
	if errors.As(err, &refused) {
		return delivery.Reply{
			Class:  delivery.ClassProfile,
			Reason: delivery.ReasonGuard,
			Error:  fmt.Sprintf("%s; profiles.%s.allow_networks has to allow it", refused, s.profile),
		}
	}
	var proxy *proxyError
	if errors.As(err, &proxy) {
		// A gateway's error is the endpoint's; all else is about the proxy's own rules.
		class := delivery.ClassProfile
		if proxy.status >= 500 {
			class = delivery.ClassNetwork
		}
		return delivery.Reply{Class: class, Reason: delivery.ReasonProxy, Error: proxy.Error()}
	}
	var token *tokenError
	if errors.As(err, &token) {
		reply := delivery.Reply{Class: delivery.ClassNetwork, Reason: delivery.ReasonToken, Error: token.Error()}
		if token.lasting() {
			reply.Class = delivery.ClassProfile
		}
		return reply
	}
	if errors.Is(err, errHeader) {
		return delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: errHeader.Error()}
	}
	reply := delivery.Reply{Class: delivery.ClassNetwork}
	reply.Reason, reply.Error = s.networkFailure(a, err)
	return reply
}

// networkFailure returns reason and text of a failure on the way.
func (s *Sender) networkFailure(a *attempt, err error) (reason, text string) {
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return delivery.ReasonDNS, "look up " + s.url.Hostname() + ": " + lookupText(lookup)
	}
	if isTimeout(err) {
		return delivery.ReasonTimeout, s.timeoutText(a)
	}
	if reason, text, ok := s.tlsFailure(a, err); ok {
		return reason, text
	}
	where := s.address(err)
	for _, known := range []struct {
		err          error
		reason, text string
	}{
		{syscall.ECONNREFUSED, delivery.ReasonRefused, "connection refused"},
		{syscall.EHOSTUNREACH, delivery.ReasonUnreachable, "no route to host"},
		{syscall.ENETUNREACH, delivery.ReasonUnreachable, "network is unreachable"},
		{syscall.EHOSTDOWN, delivery.ReasonUnreachable, "host is down"},
		{syscall.EACCES, delivery.ReasonUnreachable, "forbidden by this machine's firewall"},
		{syscall.EPERM, delivery.ReasonUnreachable, "forbidden by this machine's firewall"},
		{syscall.EMFILE, delivery.ReasonLocal, "too many open files in this process"},
		{syscall.ENFILE, delivery.ReasonLocal, "too many open files on this machine"},
		{syscall.EADDRNOTAVAIL, delivery.ReasonLocal, "no free local port"},
		{syscall.ENOBUFS, delivery.ReasonLocal, "no buffer space"},
		{syscall.ECONNRESET, delivery.ReasonReset, "connection reset before a reply"},
		{syscall.EPIPE, delivery.ReasonReset, "connection closed before a reply"},
		{io.EOF, delivery.ReasonReset, "connection closed before a reply"},
		{io.ErrUnexpectedEOF, delivery.ReasonReset, "connection closed within the reply's header"},
	} {
		if errors.Is(err, known.err) {
			return known.reason, where + known.text
		}
	}
	if !a.by.progress().replied {
		return delivery.ReasonReset, where + "connection closed before a reply"
	}
	return delivery.ReasonProtocol, fmt.Sprintf("the reply is not HTTP/1.1, or its header is above %d KiB", maxReplyHeader>>10)
}

// tlsFailure recognises failures of the TLS handshake: by type, or by having come before the
// connection was ready without being a network's.
func (s *Sender) tlsFailure(a *attempt, err error) (reason, text string, ok bool) {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return delivery.ReasonTLS, "certificate of " + s.url.Hostname() + ": " + certificateText(certificate), true
	}
	var network *net.OpError
	isOp := errors.As(err, &network)
	if isOp && network.Op == "remote error" && network.Err != nil { // how crypto/tls wraps an alert
		return delivery.ReasonTLS, "the endpoint refused the TLS handshake: " + printable(network.Err.Error()), true
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) {
		return delivery.ReasonTLS, "the endpoint does not speak TLS on this port", true
	}
	var number syscall.Errno
	isNetwork := isOp && network.Op != "local error" || errors.As(err, &number) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if s.url.Scheme == "https" && !a.by.progress().connected && !isNetwork {
		return delivery.ReasonTLS, "the TLS handshake failed: " + printable(err.Error()), true
	}
	return "", "", false
}

// certificateText says why a certificate is not trusted. x509's texts hold names and dates.
func certificateText(failure *tls.CertificateVerificationError) string {
	var unknown x509.UnknownAuthorityError
	if !errors.As(failure.Err, &unknown) {
		return printable(failure.Err.Error())
	}
	const text = "signed by an unknown authority"
	if missing(failure.UnverifiedCertificates) {
		return text + "; the endpoint does not send that authority's certificate: if it is an intermediate one, the endpoint has to send it beside its own"
	}
	return text
}

// missing reports whether an endpoint sent its own certificate without that of who signed it. Only a
// root may be left out.
func missing(sent []*x509.Certificate) bool {
	if len(sent) == 0 || bytes.Equal(sent[0].RawIssuer, sent[0].RawSubject) {
		return false
	}
	return !slices.ContainsFunc(sent[1:], func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, sent[0].RawIssuer) })
}

func lookupText(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "no such host"
	case err.IsTimeout:
		return "no answer in time"
	}
	return printable(err.Err)
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// timeoutText says how far the request came.
func (s *Sender) timeoutText(a *attempt) string {
	switch {
	case !a.by.progress().connected:
		return fmt.Sprintf("no connection within %s", s.timeout)
	case !a.by.progress().wrote:
		return fmt.Sprintf("the request was not taken within %s", s.timeout)
	}
	return fmt.Sprintf("no reply within %s", s.timeout)
}

// address returns where a connection went, for the start of a text.
func (s *Sender) address(err error) string {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" && network.Addr != nil {
		return network.Addr.String() + ": "
	}
	return ""
}

// printable makes text of others fit for a log line.
func printable(text string) string {
	const longest = 300
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if len(clean) > longest {
		clean = strings.ToValidUTF8(clean[:longest], "") + "…"
	}
	return clean
}
