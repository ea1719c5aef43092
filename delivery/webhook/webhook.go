// Package webhook makes the HTTP requests of profiles: one attempt a call, signed by
// Standard Webhooks 1.0.0 or as a product does, classified by one table, with errors that are safe to show.
//
// What holds here:
//
//   - One attempt is one request. Redirects are not followed, and a request is sent again only when nothing
//     of it went out: the connection kept from earlier had been closed by the other side. A request of which a
//     byte could have been acted on is never repeated unseen, although its id would allow it.
//   - A reply's status decides as soon as it is there. Its body is read up to 64 KiB, so that the connection can be
//     used again; a body that breaks off or never ends does not undo a success.
//   - The profile's timeout covers everything from the look-up of the name to the end of the reply.
//   - Every address is checked after name resolution, on every connection, against ranges that are not public
//     (RFC 6890 registries, cloud metadata services). allow_networks opens them per profile.
//   - net/http's errors can hold URLs and bytes of replies, which may echo bodies. None is shown: texts are made
//     here from what an error is, not from what it says.
//   - A reply is kept for the delivery log without the credentials that the request carried, where it repeats them.
//
// HTTP/1.1 is spoken unless a profile asks for HTTP/2, where all requests to an endpoint share the fate of one connection. Bodies in
// memory up to 64 KiB go by a client of our own (package http1), at a fraction of net/http's cost; bodies that are larger or made while
// they are sent, proxies, HTTP/2, hosts in other scripts and challenges go by net/http, with the same dials, guard and TLS settings. Profiles
// with equal network settings share the connections to a common endpoint.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/webhook/http1"
)

// Options are what all profiles have in common.
type Options struct {
	// Products tell how profiles sign, beside Standard Webhooks.
	Products delivery.Products
	// UserAgent is the user-agent header, rowhook/VERSION. Default "rowhook".
	UserAgent string
	// Transports holds the connections, shared by the senders made with it. Nil gives the sender
	// its own.
	Transports *Transports
	// Origin is our DNS name, for the handshake of CloudEvents webhooks. Default "rowhook".
	Origin string
	// Now tells the time for signatures. Default time.Now.
	Now func() time.Time
}

// Sender makes the attempts of one profile. It is safe for concurrent use.
type Sender struct {
	profile     string
	url         *url.URL // without credentials
	shown       string
	confidences confidences // what replies must not bring into the delivery log
	fixed       http.Header // headers that every request carries
	keys        []signingKey
	signature   *delivery.Signature // how keys sign; nil for Standard Webhooks
	table       statusTable
	timeout     time.Duration
	maxBody     int64
	transport   http.RoundTripper
	host        *http1.Host // nil where only the transport will do
	first       []byte      // the lines that every direct request begins with
	proxy       *url.URL    // nil for none
	http2       bool
	gzip        bool
	tokens      *tokens // nil for none
	now         func() time.Time
	warnings    []error
	challenge   string // none, query or cloudevents
	origin      string
	attempts    sync.Pool // of *attempt
}

// New returns the sender of a profile. The error joins everything that is wrong with the profile's
// settings; each part has a ConfigPath and a remedy.
func New(cfg delivery.ProfileConfig, opts Options) (*Sender, error) {
	p := parser{cfg: &cfg, products: opts.Products}
	s := &Sender{
		profile: cfg.Code,
		timeout: cfg.Timeout,
		maxBody: cfg.MaxBody,
		now:     opts.Now,
		fixed:   http.Header{},
	}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.now == nil {
		s.now = time.Now
	}
	setHeader(s.fixed, "User-Agent", opts.UserAgent, "rowhook")
	allowed := p.networks()
	s.url = p.url(allowed)
	p.headers(s.fixed)
	s.tokens = p.authorize(s.fixed)
	how := p.setup(newGuard(allowed, s.url.Scheme == "http"), s.url)
	s.challenge, s.origin = p.challenge(), cmp.Or(opts.Origin, "rowhook")
	if s.challenge == "cloudevents" {
		setHeader(s.fixed, requestOrigin, s.origin, "")
	}
	s.signature, s.keys = p.keys()
	s.table = p.statuses()
	if err := errors.Join(p.found...); err != nil {
		return nil, err
	}
	s.warnings = p.warnings
	s.shown, s.confidences = p.shownURL(s.url), p.confidences(s.url, s.fixed)
	s.url.User = nil
	transports := opts.Transports
	if transports == nil {
		transports = NewTransports()
	}
	s.transport, s.proxy, s.http2, s.gzip = transports.get(how), how.proxy, cfg.HTTP.HTTP2, cfg.HTTP.Gzip
	if s.host = transports.host(how, s.url); s.host != nil {
		s.first = s.opening()
	}
	if s.tokens != nil {
		s.tokens.client = &http.Client{Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	s.attempts.New = func() any { return s.newAttempt() }
	return s, nil
}

// Warnings returns what is allowed but should be known, such as unsigned requests. Each has a
// ConfigPath and a remedy.
func (s *Sender) Warnings() []error { return s.warnings }

// Describe returns method and URL for the delivery log, credentials masked.
func (s *Sender) Describe() (method, url string) { return http.MethodPost, s.shown }

// Send makes one attempt. It returns within the profile's timeout, and does not touch the body
// afterwards.
func (s *Sender) Send(ctx context.Context, req *delivery.Request) delivery.Reply {
	started := s.now()
	begin := time.Now()
	reply := s.send(ctx, req, started)
	reply.Started = started
	reply.Duration = time.Since(begin)
	return reply
}

func (s *Sender) send(ctx context.Context, req *delivery.Request, now time.Time) delivery.Reply {
	if s.maxBody > 0 && int64(len(req.Body)) > s.maxBody {
		return delivery.Reply{
			Class:  delivery.ClassOurs,
			Reason: delivery.ReasonOversize,
			Error:  fmt.Sprintf("the body has %d bytes, more than profiles.%s.max_body allows (%d)", len(req.Body), s.profile, s.maxBody),
		}
	}
	var status int
	a := s.attempts.Get().(*attempt)
	ok, err := a.prepare(req, now)
	if req.Stream != nil {
		defer a.general.endStreams()
	}
	if err != nil {
		return delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: "the body cannot be written"}
	}
	if !ok {
		s.attempts.Put(a)
		return delivery.Reply{
			Class:  delivery.ClassProfile,
			Reason: delivery.ReasonSecret,
			Error:  fmt.Sprintf("every secret in profiles.%s.secrets is past its not_after", s.profile),
		}
	}
	if a.by != way(a.direct) || s.tokens != nil { // which keeps to the timeout itself
		timed, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		status, err = a.make(timed)
	} else {
		status, err = a.make(ctx)
	}
	if err != nil {
		return s.failure(ctx, a, err)
	}
	reply := s.reply(status, a, now)
	if a.done() {
		s.attempts.Put(a)
	}
	return reply
}

// signatureHeader is the header that carries the signature.
func (s *Sender) signatureHeader() string {
	if s.signature != nil {
		return s.signature.Header
	}
	return standardHeader
}
