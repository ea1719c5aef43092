package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"rowhook/delivery"
)

// keptBody bounds the copy of a body that is kept for the next attempt, in bytes. Larger ones go by
// net/http, which can hear a refusal while it still sends.
const keptBody = 64 << 10

// attempt is the working space of one request, used again for the next one of the profile once
// nothing else has a hold of it.
type attempt struct {
	sender *Sender
	signer *signer

	body []byte       // what goes out: the caller's, or compressed
	zip  *gzip.Writer // nil until it is wanted
	kept []byte       // what it compresses into

	stream *delivery.Stream // the body instead, see stream.go
	may    func() bool      // see delivery.Request

	// The headers that change.
	id, timestamp, signature, contentType, gap, epoch string
	extra                                             []delivery.HeaderConfig // the request's own
	token                                             string                  // an access token, with its scheme; "" for none
	stamped                                           int64                   // what timestamp says
	date                                              string                  // of the last reply
	dated                                             time.Time               // what it says

	direct  *direct // nil where all goes by net/http
	general *general
	by      way // of the request at hand
}

// way is how requests go out and replies come back. It serves one request at a time.
type way interface {
	// once makes the request and returns the reply's status.
	once(ctx context.Context, a *attempt) (status int, err error)
	// answer returns what else is wanted of the reply, valid until the next request, and ends it.
	answer() answer
	// progress tells how far a request came that has no reply.
	progress() progress
	// done reports whether nothing uses the attempt any more.
	done() bool
}

// answer is what matters of a reply beside its status. Its headers are empty where there are none.
type answer struct {
	date, retryAfter, location []byte
	body                       []byte // its start
}

// progress is how far a request came.
type progress struct {
	connected bool // with the TLS handshake made
	wrote     bool // head and body went out
	replied   bool // a first byte came back
}

func (s *Sender) newAttempt() *attempt {
	a := &attempt{sender: s, signer: newSigner(s.signature, s.keys)}
	if s.host != nil {
		a.direct = newDirect(s)
	}
	return a
}

// prepare fills in what is this request's own. It reports false when no key may sign any more, and
// the error of a body that cannot be written.
func (a *attempt) prepare(req *delivery.Request, now time.Time) (ok bool, err error) {
	a.id, a.gap, a.epoch, a.contentType, a.extra = req.ID, req.Gap, req.Epoch, req.Head.ContentType, req.Head.Header
	a.may = req.May
	if unix := now.Unix(); unix != a.stamped {
		a.stamped = unix
		a.timestamp = strconv.FormatInt(unix, 10)
	}
	if a.stream = req.Stream; a.stream == nil {
		a.fill(req.Body)
	} else {
		a.body = nil
	}
	if a.direct != nil && a.stream == nil && len(a.body) <= keptBody {
		a.by = a.direct
	} else {
		if a.general == nil {
			a.general = newGeneral(a.sender)
		}
		a.by = a.general
	}
	if len(a.sender.keys) == 0 {
		return true, nil
	}
	a.signature, ok, err = a.signer.sign(a.id, a.timestamp, req.Body, a.stream, now)
	return ok, err
}

// fill takes the body, compressed where the profile wants it.
func (a *attempt) fill(body []byte) {
	if !a.sender.gzip {
		a.body = body
		return
	}
	buf := bytes.NewBuffer(a.kept[:0])
	if a.zip == nil {
		a.zip = gzip.NewWriter(buf)
	} else {
		a.zip.Reset(buf)
	}
	_, _ = a.zip.Write(body) // a bytes.Buffer takes everything
	_ = a.zip.Close()
	a.kept = buf.Bytes()
	a.body = a.kept
}

// headers calls add with each header that is not every request's, by its canonical name.
func (a *attempt) headers(add func(name, value string)) {
	add("Content-Type", a.contentType)
	add("Webhook-Id", a.id)
	add("Webhook-Timestamp", a.timestamp)
	if len(a.sender.keys) > 0 {
		add(a.sender.signatureHeader(), a.signature)
	}
	if a.gap != "" {
		add("Rowhook-Gap", a.gap)
	}
	if a.epoch != "" {
		add("Rowhook-Epoch", a.epoch)
	}
	if a.token != "" {
		add("Authorization", a.token)
	}
	for _, h := range a.extra {
		add(http.CanonicalHeaderKey(h.Name), h.Value)
	}
}

// make makes the request, with an access token where the profile has such. A token that the
// endpoint refuses is replaced once.
func (a *attempt) make(ctx context.Context) (status int, err error) {
	tokens := a.sender.tokens
	if tokens == nil {
		return a.by.once(ctx, a)
	}
	refused := ""
	for {
		if a.token, err = tokens.header(ctx, refused); err != nil {
			return 0, err
		}
		status, err = a.by.once(ctx, a)
		if err != nil || status != http.StatusUnauthorized || refused != "" || !a.by.progress().wrote {
			return status, err
		}
		a.by.answer() // so that the connection can be used again
		refused = a.token
	}
}

// errHeader is a request with a header that cannot be written.
var errHeader = errors.New("a header cannot carry its value")

// time reads the date of a reply. Endpoints that are busy send the same one again and again.
func (a *attempt) time(date []byte) time.Time {
	if string(date) != a.date {
		a.date = string(date)
		a.dated = httpTime(a.date)
	}
	return a.dated
}

// done reports whether the attempt can be used again.
func (a *attempt) done() bool { return a.by.done() && cap(a.kept) <= keptBody }
