package webhook

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

// Headers of the handshake of CloudEvents webhooks 1.0.2.
const (
	requestOrigin = "Webhook-Request-Origin"
	allowedOrigin = "Webhook-Allowed-Origin"
	allowedRate   = "Webhook-Allowed-Rate"
)

var _ delivery.Challenger = (*Sender)(nil)

// Endpoint is named for the URL without its credentials, which the name does not give away.
func (s *Sender) Endpoint() delivery.Endpoint {
	sum := sha256.Sum256([]byte(s.url.String()))
	return delivery.Endpoint{Name: hex.EncodeToString(sum[:16])}
}

// Challenge asks the endpoint whether it wants deliveries, in the profile's way. Neither way is
// signed; both carry the profile's own headers. Class is ClassOK when it does, and Error says why
// not.
func (s *Sender) Challenge(ctx context.Context) delivery.Reply {
	started, begin := s.now(), time.Now()
	reply := delivery.Reply{Class: delivery.ClassOK}
	switch s.challenge {
	case "query":
		text := rand.Text()
		reply = s.ask(ctx, http.MethodGet, withQuery(s.url, "challenge="+text), func(resp *http.Response, body string) string {
			switch {
			case resp.StatusCode != http.StatusOK:
				return fmt.Sprintf("the reply to the challenge has status %d instead of 200", resp.StatusCode)
			case !strings.Contains(body, text):
				return "the reply does not contain the challenge's text"
			}
			return ""
		})
	case "cloudevents":
		var allowed delivery.Rate
		reply = s.ask(ctx, http.MethodOptions, s.url, func(resp *http.Response, _ string) (lacks string) {
			allowed, lacks = s.consent(resp.Header)
			return lacks
		})
		reply.Allowed = allowed
	}
	reply.Started, reply.Duration = started, time.Since(begin)
	return reply
}

// withQuery appends to a URL's query, which stays as it is.
func withQuery(u *url.URL, more string) *url.URL {
	asked := *u
	if asked.RawQuery != "" {
		more = asked.RawQuery + "&" + more
	}
	asked.RawQuery = more
	return &asked
}

// consent returns the rate that a reply to the handshake allows, in requests a minute, and reports
// what is missing in it; its status says nothing.
func (s *Sender) consent(h http.Header) (allowed delivery.Rate, lacks string) {
	switch origin := h.Get(allowedOrigin); {
	case origin == "":
		return allowed, "the reply has no WebHook-Allowed-Origin header, so deliveries are not allowed"
	case origin != "*" && !strings.EqualFold(origin, s.origin):
		return allowed, "the reply's WebHook-Allowed-Origin allows another origin than " + s.origin
	}
	rate := h.Get(allowedRate)
	if rate == "*" {
		return allowed, ""
	}
	n, err := strconv.Atoi(rate)
	if err != nil || n <= 0 {
		return allowed, "the reply has no WebHook-Allowed-Rate header with a number or *, so deliveries are not allowed"
	}
	return delivery.Rate{Requests: n, Per: time.Minute}, ""
}

// asking is the way of requests without a body and a signature.
type asking struct {
	*general
	method string
	to     *url.URL
}

func (k *asking) once(ctx context.Context, a *attempt) (status int, err error) {
	header := k.sender.fixed.Clone()
	if a.token != "" {
		header["Authorization"] = []string{a.token}
	}
	return k.request(ctx, &http.Request{Method: k.method, URL: k.to, Header: header})
}

// ask makes one request without a body and has judge say what its reply lacks.
func (s *Sender) ask(ctx context.Context, method string, to *url.URL, judge func(*http.Response, string) string) delivery.Reply {
	a := s.newAttempt()
	asking := &asking{general: newGeneral(s), method: method, to: to}
	a.by = asking
	timed, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if _, err := a.make(timed); err != nil {
		return s.failure(ctx, a, err)
	}
	resp := asking.resp
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, readReply))
	reply := delivery.Reply{Class: delivery.ClassOK, Status: resp.StatusCode, Response: s.discreet(body[:min(len(body), keptReply)])}
	lacks := judge(resp, string(body))
	if lacks == "" {
		return reply
	}
	reply.Class, reply.Reason, reply.Error = delivery.ClassEndpoint, delivery.ReasonChallenge, lacks
	if err != nil && timed.Err() != nil {
		reply.Reason, reply.Error = delivery.ReasonTimeout, "the reply to the challenge did not end in time"
	}
	return reply
}
