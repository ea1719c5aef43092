package delivery

import (
	"context"
	"io"
	"iter"
	"time"
)

// Class is what a reply means for the delivery and for its endpoint.
type Class uint8

// The classes of replies, and of what keeps a request from having one.
const (
	ClassOK        Class = iota + 1
	ClassEvent           // the event is refused: 3 tries, then dead
	ClassEndpoint        // the endpoint is not as configured: retried
	ClassAuth            // 401 403 407: alert, one probe each retry.max, no attempt spent
	ClassTransient       // retried on the schedule
	ClassThrottle        // the whole endpoint waits
	ClassNetwork         // no reply: retried on the schedule
	ClassGone            // 410: the profile becomes inactive
	ClassProfile         // our own setting stands in the way: waits, alerts, spends nothing
	ClassOurs            // never deliverable: dead at once
	ClassDead            // the config says dead
	ClassStopped         // we stopped it: interrupted, spends nothing
)

// Reasons of the delivery log's closed set: why an attempt failed, or a delivery ended otherwise
// than delivered.
const (
	// The endpoint replied, with a status that does not mean delivered.
	ReasonStatus1xx   = "status_1xx"
	ReasonStatus2xx   = "status_2xx" // but not in the profile's success
	ReasonStatus3xx   = "status_3xx"
	ReasonStatus4xx   = "status_4xx"
	ReasonStatus5xx   = "status_5xx"
	ReasonStatusOther = "status_other" // outside HTTP's 100 to 599

	// No reply came.
	ReasonDNS         = "dns"         // the host name has no address
	ReasonRefused     = "refused"     // nobody listens there
	ReasonUnreachable = "unreachable" // no way to the host or network
	ReasonReset       = "reset"       // the connection was closed before a reply
	ReasonTimeout     = "timeout"
	ReasonTLS         = "tls"      // no trusted TLS connection
	ReasonProtocol    = "protocol" // what came is not HTTP
	ReasonLocal       = "local"    // this machine could not: out of files, ports or memory

	// A setting of the profile stands in the way.
	ReasonGuard  = "guard"  // the address is not in allow_networks
	ReasonSecret = "secret" // no secret is valid any more
	ReasonToken  = "token"  // the token endpoint gave no access token
	ReasonProxy  = "proxy"  // the proxy refuses

	ReasonLog = "log" // the delivery log cannot be written: all deliveries wait

	// The profile is not active.
	ReasonChallenge = "challenge" // its endpoint has not agreed to deliveries
	ReasonConfig    = "config"    // active: false
	ReasonSandbox   = "sandbox"   // it has no URL in a sandbox

	// The delivery cannot be made, or was ended by us.
	ReasonOversize    = "oversize"    // the body is larger than max_body
	ReasonFormat      = "format"      // the body could not be rendered
	ReasonOperator    = "operator"    // somebody skipped or discarded it
	ReasonInterrupted = "interrupted" // rowhook stopped during the request
	ReasonMaxBlock    = "max_block"   // it kept its key waiting for too long
	ReasonShare       = "share"       // dropped: the profile's share of the spool is used up
	ReasonExpired     = "expired"     // the dead letter was kept for spool.dead

	// The source's lines are about no delivery.
	ReasonGap       = "gap"       // changes between two positions may be missing
	ReasonUndecoded = "undecoded" // a change could not be decoded, and is parked
)

// Request is one attempt's worth for a [Sender].
type Request struct {
	ID   string // webhook-id: the event's, or the group's
	Body []byte
	// Stream is the body instead of Body when it is too large for memory; else nil.
	Stream *Stream
	Head   Head
	Gap    string // value of the rowhook-gap header; empty for none
	Epoch  string // value of the rowhook-epoch header; empty for none
	// May, if not nil, is asked once the connection is there, immediately before the first byte goes
	// out. Where it says no the request is not made, and the reply is Unsent.
	May func() bool
}

// Stream is a body that is written anew each time it is wanted, always the same. It takes two
// passes to send it: the first tells its size, and what a signature needs.
type Stream struct {
	Size  int64
	Write func(w io.Writer) error
}

// Reply is what came of an attempt.
type Reply struct {
	Class      Class
	Reason     string        // from the closed set; empty when delivered
	Status     int           // 0 without a reply
	Error      string        // redacted, for the delivery log; empty with a reply other than a redirect
	RetryAfter time.Duration // 0 when the endpoint did not say
	Location   string        // of a redirect that was not followed, redacted
	Response   []byte        // the start of the reply's body, for the delivery log, credentials masked
	Started    time.Time
	Duration   time.Duration
	Date       time.Time // the endpoint's clock; zero when it did not say
	Allowed    Rate      // of a consent: how many requests the endpoint agrees to; zero for any number
	Unsent     bool      // nothing of the request went out, since it might not any more
}

// Sender makes one attempt. It never retries, and returns within the profile's timeout. When it has
// returned it does not use the request's body any more.
type Sender interface {
	Send(ctx context.Context, req *Request) Reply
	// Describe returns method and URL for the delivery log, credentials masked.
	Describe() (method, url string)
}

// Challenger is a [Sender] whose endpoint may have to agree before it gets deliveries, and which
// may have no endpoint at all. A Sender that is none is active from the start.
type Challenger interface {
	// Endpoint is where requests go. It costs little and may change between calls.
	Endpoint() Endpoint
	// Challenge asks the endpoint for its consent. ClassOK is consent; otherwise Error says why
	// there is none.
	Challenge(ctx context.Context) Reply
}

// Endpoint says where a profile's requests go, without saying it.
type Endpoint struct {
	// Name is another one for another URL, and the same with another secret. It is empty while
	// there is nowhere to send to.
	Name string
	// Sandbox is set in a sandbox, where nothing of what production uses is used.
	Sandbox bool
}

// Head is what a body's format wants in the request's header.
type Head struct {
	ContentType string
	// Header are further headers, such as the attributes of a CloudEvent in binary mode. They are
	// kept with the body for later attempts.
	Header []HeaderConfig
}

// Formatter renders events for a profile's receiver. It keeps no state between calls and is safe
// for concurrent use; the same event and configuration give the same bytes.
type Formatter interface {
	// AppendBody appends the whole body of a request with one event (unit record) to dst.
	AppendBody(dst []byte, ev *Event) ([]byte, error)
	// Head returns what goes with that body. It allocates nothing where it is the same for all
	// events.
	Head(ev *Event) Head
}

// Copier is a [Formatter] whose bodies hold an event's data and previous as they stand, so that a
// large body can be sent without being held.
type Copier interface {
	// Copies reports whether the event's body is of that kind.
	Copies(ev *Event) bool
}

// GroupFormatter is a [Formatter] that can also render several events into one request. The
// configuration is refused where a profile's unit asks for groups and its format has none.
type GroupFormatter interface {
	Formatter
	// WriteGroup writes the whole body of a request with the group's events to w, in pieces, so
	// that a large group need not be held in memory. It ranges over the events once.
	WriteGroup(w io.Writer, g *Group) error
	// GroupHead returns what goes with that body.
	GroupHead(g *Group) Head
}

// Flagger is a [Formatter] whose form does not have all characters. Flags names the columns in
// which some give way to others, which the delivery log flags as it does with columns whose value
// does not fit its type. It is nil for most events.
type Flagger interface {
	Formatter
	Flags(ev *Event) []string
}

// Group is what a request with several events says about all of them. Its events are of one
// profile, in commit order.
type Group struct {
	ID          string // a hash of its events' ids
	Unit        string // type, transaction or batch
	Type        string // the events' where they share it (unit type), else empty
	Count       int    // of events in this request
	Part, Parts int    // from 1; both 0 where the group is whole
	First       *Event
	// Events ranges over the events, each valid until the next; an error ends it.
	Events iter.Seq2[*Event, error]
}
