package webhook

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

const (
	keptReply = 1 << 10  // bytes of a reply's body kept for the delivery log
	readReply = 64 << 10 // bytes of a reply's body read so that the connection can be used again
	// maxRetryAfter bounds what an endpoint may ask for.
	maxRetryAfter = 24 * time.Hour
)

// statusTable is what each status from 100 to 599 means.
type statusTable [500]delivery.Class

// class returns what a status means. Numbers outside HTTP's range say that the endpoint is not what
// it should be.
func (t *statusTable) class(status int) delivery.Class {
	if status < 100 || status > 599 {
		return delivery.ClassEndpoint
	}
	return t[status-100]
}

// defaultClass is the table for statuses that do not mean delivered. Those it does not name are the
// endpoint's doing as far as anybody can tell, so they are retried and never lose an event.
func defaultClass(status int) delivery.Class {
	switch status {
	case 400, 413, 415, 422:
		return delivery.ClassEvent
	case 401, 403, 407:
		return delivery.ClassAuth
	case 408, 409, 425:
		return delivery.ClassTransient
	case 410:
		return delivery.ClassGone
	case 429, 503:
		return delivery.ClassThrottle
	case 501:
		return delivery.ClassEndpoint
	}
	if status >= 500 {
		return delivery.ClassTransient
	}
	return delivery.ClassEndpoint
}

// statuses builds the profile's table. What is more exact counts: a reply's own status, then
// success, then a class of replies, then the default.
func (p *parser) statuses() statusTable {
	success := p.success()
	var exact, classes [500]delivery.Class
	for _, one := range p.cfg.Replies {
		set, err := delivery.ParseStatuses(one.Status)
		if err != nil {
			p.wrong(err.Error(), "write a code such as 404 or a class such as 4xx", "replies", one.Status)
			continue
		}
		class := delivery.ClassDead
		switch one.Action {
		case "dead":
		case "retry":
			class = delivery.ClassTransient
		default:
			p.wrong(fmt.Sprintf("%q is not what can be done with a reply", one.Action), "write dead or retry", "replies", one.Status)
		}
		level := &exact
		if len(strings.TrimSpace(one.Status)) != 3 || strings.HasSuffix(strings.ToLower(one.Status), "xx") {
			level = &classes
		}
		for code := range level {
			if set.Has(code + 100) {
				level[code] = class
			}
		}
	}
	var table statusTable
	for i := range table {
		switch code := i + 100; {
		case exact[i] != 0:
			table[i] = exact[i]
		case success.Has(code):
			table[i] = delivery.ClassOK
		case classes[i] != 0:
			table[i] = classes[i]
		default:
			table[i] = defaultClass(code)
		}
	}
	return table
}

func (p *parser) success() delivery.StatusSet {
	items := p.cfg.Success
	if len(items) == 0 {
		items = []string{"200-299"}
	}
	for i, item := range items {
		if _, err := delivery.ParseStatuses(item); err != nil {
			p.wrong(err.Error(), "write a code such as 200 or a range such as 200-299", "success", strconv.Itoa(i))
			return delivery.StatusSet{}
		}
	}
	set, _ := delivery.ParseStatuses(items...)
	return set
}

// statusReason returns the family of a status in the log's closed set.
func statusReason(status int) string {
	switch status / 100 {
	case 1:
		return delivery.ReasonStatus1xx
	case 2:
		return delivery.ReasonStatus2xx
	case 3:
		return delivery.ReasonStatus3xx
	case 4:
		return delivery.ReasonStatus4xx
	case 5:
		return delivery.ReasonStatus5xx
	}
	return delivery.ReasonStatusOther
}

// reply says what a reply with a status means.
func (s *Sender) reply(status int, a *attempt, now time.Time) delivery.Reply {
	got := a.by.answer()
	reply := delivery.Reply{
		Class:  s.table.class(status),
		Status: status,
		Date:   a.time(got.date),
	}
	if reply.Class != delivery.ClassOK {
		reply.Reason = statusReason(status)
		reply.RetryAfter = retryAfter(string(got.retryAfter), reply.Date, now)
	}
	if to := string(got.location); to != "" && status/100 == 3 {
		reply.Location = string(s.discreet([]byte(redactText(to))))
		if reply.Class != delivery.ClassOK {
			reply.Error = "redirected to " + reply.Location + ", which is not followed"
		}
	}
	if len(got.body) > 0 {
		reply.Response = s.discreet(append([]byte(nil), got.body...))
	}
	return reply
}

// httpTime reads a date of HTTP, which is zero when it is none.
func httpTime(text string) time.Time {
	t, err := http.ParseTime(text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// retryAfter reads how long the endpoint wants to be left alone, in seconds or until a time by its
// own clock (RFC 9110, 10.2.3). It returns 0 when it does not say.
func retryAfter(value string, endpointNow, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 63); err == nil {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	until := httpTime(value)
	if until.IsZero() {
		return 0
	}
	if !endpointNow.IsZero() {
		now = endpointNow
	}
	return min(max(until.Sub(now), 0), maxRetryAfter)
}
