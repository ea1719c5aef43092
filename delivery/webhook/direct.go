package webhook

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"rowhook/delivery/webhook/http1"
)

// direct is the way by a client of our own: small bodies over HTTP/1.1, which is nearly everything.
type direct struct {
	sender  *Sender
	x       http1.Exchange
	head    []byte
	invalid bool // a header's value cannot go out
	add     func(name, value string)
}

func newDirect(s *Sender) *direct {
	d := &direct{sender: s}
	d.x.Keep, d.x.Read = keptReply, readReply
	d.add = func(name, value string) {
		d.invalid = d.invalid || !isHeaderValue(value) || !isToken(name)
		d.head = append(append(append(append(d.head, name...), ": "...), value...), "\r\n"...)
	}
	return d
}

// host returns where requests go directly, or nil where they cannot.
func (t *Transports) host(how *setup, u *url.URL) *http1.Host {
	name, port := u.Hostname(), u.Port()
	if how.http2 || how.proxy != nil || !isASCIIHost(name) {
		return nil
	}
	if u.Scheme == "http" {
		return t.client(how).Host(net.JoinHostPort(name, cmp.Or(port, "80")), "")
	}
	return t.client(how).Host(net.JoinHostPort(name, cmp.Or(port, "443")), name)
}

// isASCIIHost reports whether a host is written as it goes out: net/http translates other scripts
// and takes zones away.
func isASCIIHost(name string) bool {
	return !slices.ContainsFunc([]byte(name), func(c byte) bool { return c <= ' ' || c == '%' || c >= 0x7f })
}

// opening returns a request's first lines, the same for all of a sender's.
func (s *Sender) opening() []byte {
	b := append([]byte(nil), http.MethodPost+" "+s.url.RequestURI()+" HTTP/1.1\r\nHost: "+s.url.Host+"\r\n"...)
	names := make([]string, 0, len(s.fixed))
	for name := range s.fixed {
		if name != "Authorization" || s.tokens == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range s.fixed[name] {
			b = append(b, name+": "+value+"\r\n"...)
		}
	}
	if s.gzip {
		b = append(b, "Content-Encoding: gzip\r\n"...)
	}
	return b
}

func (d *direct) once(ctx context.Context, a *attempt) (status int, err error) {
	d.invalid = false
	d.head = append(d.head[:0], d.sender.first...)
	a.headers(d.add)
	if d.invalid {
		return 0, errHeader
	}
	d.head = append(d.head, "Content-Length: "...)
	d.head = strconv.AppendInt(d.head, int64(len(a.body)), 10)
	d.head = append(d.head, "\r\n\r\n"...)
	d.x.Head, d.x.Body, d.x.May = d.head, a.body, a.may
	d.x.Deadline = time.Now().Add(d.sender.timeout)
	if until, ok := ctx.Deadline(); ok && until.Before(d.x.Deadline) {
		d.x.Deadline = until
	}
	err = d.sender.host.Do(ctx, &d.x)
	d.x.Body, d.x.May = nil, nil // they are the caller's
	return d.x.Reply.Status, err
}

func (d *direct) answer() answer {
	r := &d.x.Reply
	return answer{r.Date, r.RetryAfter, r.Location, r.Body}
}

func (d *direct) progress() progress {
	return progress{connected: d.x.Connected, wrote: d.x.Wrote, replied: d.x.Replied}
}

func (d *direct) done() bool { return true }
