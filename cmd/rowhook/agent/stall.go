package agent

import (
	"fmt"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

// stallAfter is how long nothing may come of what the source has committed before that counts as a
// stall.
const stallAfter = time.Minute

// sourceSample is what the source told last, and since when nothing has come although there is
// something to come.
type sourceSample struct {
	at       time.Time
	stream   *capture.Status // nil while it does not answer
	durable  capture.Position
	changes  int64
	worked   int64 // grows while the end of a transaction is mapped
	received uint64
	since    time.Time // of the last progress
	err      error     // why the stream ended last, if it has since then
	waits    error     // what the stream waits for by itself; nil for nothing
}

// moved reports whether there has been progress since the sample before, or nothing is to come:
// something was received, mapped or stored, everything is, or the server says that it is at work, which a
// large transaction may keep it for long.
func (s *sourceSample) moved(before *sourceSample) bool {
	switch {
	case before.at.IsZero(), s.durable != before.durable, s.changes != before.changes, s.worked != before.worked, s.received != before.received:
		return true
	case s.stream == nil:
		return false
	}
	return !s.stream.Behind() || s.stream.Sender != nil && s.stream.Sender.Works
}

// stalled reports whether nothing has come for too long.
func (s *sourceSample) stalled() bool {
	return !s.since.IsZero() && s.at.Sub(s.since) > stallAfter && s.stream != nil
}

// stall says what is known of a stall.
func (s *sourceSample) stall(now time.Time) *operation.StallStatus {
	out := &operation.StallStatus{Since: s.since.UTC(), Seconds: now.Sub(s.since).Seconds()}
	switch sender := s.stream.Sender; {
	case s.waits != nil:
		out.Reason, out.Remedy = s.waits.Error(), capture.Remedy(s.waits)
	case sender != nil && sender.Reason != "":
		out.Reason, out.Remedy = sender.Reason, sender.Remedy
	case s.err != nil:
		out.Reason = s.err.Error()
	case sender != nil && sender.Wait != "":
		out.Reason = "the server's side of the stream is in " + sender.Wait
	}
	out.Text = fmt.Sprintf("nothing has come for %s although the source has more, which is at %s", operation.FormatDuration(now.Sub(s.since)), s.stream.End)
	if out.Reason != "" {
		out.Text += ": " + out.Reason
	}
	return out
}

// remedyWords is a remedy behind a text; empty where there is none.
func remedyWords(remedy string) string {
	if remedy == "" {
		return ""
	}
	return "; " + remedy
}

// observe takes a sample, and says in the log when a stall begins, when its reason is another, and
// when it is over.
func (a *Agent) observe(next sourceSample) {
	a.mu.Lock()
	before := a.sampled
	switch {
	case next.moved(&before):
		next.since, a.ended = next.at, nil
	case next.stream == nil: // the time in which nobody tells whether there is something to come does not count
		next.since = before.since.Add(next.at.Sub(before.at))
	default:
		next.since = before.since
	}
	next.err, next.waits = a.ended, a.undescribed
	a.sampled = next
	a.mu.Unlock()
	switch {
	case next.stalled():
		stall := next.stall(next.at)
		if !before.stalled() || before.stall(before.at).Reason != stall.Reason {
			a.logger.Warn("committed changes do not come through", "since", stall.Since, "reason", stall.Reason, "server", next.stream.End,
				"durable", next.durable, "remedy", stall.Remedy)
		}
	case before.stalled() && next.stream != nil:
		a.logger.Info("committed changes come through again", "durable", next.durable)
	}
}
