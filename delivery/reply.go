package delivery

import (
	"context"
	"time"
)

// Class is what a reply means for the delivery and for its endpoint.
type Class uint8

// The classes of design section 8's table.
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

// Request is one attempt's worth for a [Sender].
type Request struct {
	ID          string // webhook-id: the event's
	Body        []byte
	ContentType string
	Gap         string // value of the rowhook-gap header; empty for none
}

// Reply is what came of an attempt.
type Reply struct {
	Class      Class
	Reason     string        // from the closed set; empty when delivered
	Status     int           // 0 without a reply
	Error      string        // redacted, for the delivery log; empty with a reply
	RetryAfter time.Duration // 0 when the endpoint did not say
	Location   string        // of a redirect that was not followed, redacted
	Response   []byte        // the start of the reply's body, for the delivery log
	Started    time.Time
	Duration   time.Duration
	Date       time.Time // the endpoint's clock; zero when it did not say
}

// Sender makes one attempt. It never retries, and returns within the profile's timeout.
type Sender interface {
	Send(ctx context.Context, req *Request) Reply
	// Describe returns method and URL for the delivery log, credentials masked.
	Describe() (method, url string)
}

// Formatter renders an event for a profile's receiver.
type Formatter interface {
	// AppendBody appends the whole body to dst.
	AppendBody(dst []byte, ev *Event) ([]byte, error)
	ContentType() string
}
