package engine

import (
	"log/slog"
	"time"

	"rowhook/delivery"
)

// lines writes a profile's lines of the delivery log: it counts them, collapses those that repeat
// what many before them said, and hands on what people are told of. The worker of a request that
// succeeds writes its line itself.
type lines struct {
	profile   *Profile // in force
	log       Recorder
	logger    *slog.Logger
	onFailure func(delivery.Failure) // may be nil
	endings   map[Ending]int64       // what the lines are about, in events
	flood     flood
	buried    int       // dead letters that the engine's own messages have not told of
	buriedAt  time.Time // when they last did
	buf       delivery.LogRecord
	epoch     uint64 // under which the profile is owned
}

func (w *lines) follow(p *Profile) { w.profile = p }

// attempt writes the line of an attempt that did not succeed, before the record counts it.
func (w *lines) attempt(j *job, outcome delivery.Outcome, next time.Time) {
	rec := &w.buf
	body := j.record.Body
	if body == nil {
		body = j.shown
	}
	w.profile.line(rec, j, outcome, body)
	rec.NextAttempt = next
	rec.Method, rec.URL = w.profile.sender.Describe()
	w.append(rec)
	w.tellFailure(rec, j.event)
}

// event writes a line about an event, or with members about the group that begins with it,
// that no attempt was made of.
func (w *lines) event(ev *delivery.Event, m *delivery.Members, outcome delivery.Outcome, reason string, now time.Time) {
	rec := &w.buf
	w.profile.lineAbout(rec, ev, m, outcome)
	rec.Time, rec.Reason = now, reason
	w.append(rec)
}

// append appends a line to the delivery log and counts it.
func (w *lines) append(rec *delivery.LogRecord) {
	rec.Epoch = w.epoch
	w.endings[Ending{rec.Outcome, rec.Reason}] += int64(max(1, rec.Count))
	if w.flood.collapses(rec) {
		w.flood.add(rec)
		return
	}
	w.log.Append(rec)
}

// sumUp writes what was collapsed, when it is time or the dispatcher stops. It reports whether there
// was any: the log is to be flushed.
func (w *lines) sumUp(now time.Time, stopping bool) (wrote bool) {
	f := &w.flood
	if len(f.kinds) == 0 || !stopping && now.Before(f.due) {
		return false
	}
	for i := range f.kinds {
		w.log.Append(&f.kinds[i])
	}
	clear(f.kinds)
	f.kinds = f.kinds[:0]
	return true
}

// tellFailure hands an attempt's line on to whoever tells people.
func (w *lines) tellFailure(rec *delivery.LogRecord, ev *delivery.Event) {
	tell := w.onFailure
	if tell == nil || rec.Outcome == delivery.OutcomeInterrupted || len(w.profile.config.Contacts) == 0 {
		return
	}
	f := delivery.Failure{
		Profile: rec.Profile, Time: rec.Time, Outcome: rec.Outcome, Event: rec.Event, Type: ev.Type, Op: ev.Op, As: ev.As,
		Code: ev.Code, Title: ev.Title, URL: rec.URL, Attempt: rec.Attempt, Status: rec.Status, Reason: rec.Reason, Error: rec.Error,
		Next: rec.NextAttempt,
	}
	if n := len(w.profile.config.Retry.Schedule); n > 0 {
		f.Attempts = n + 1
	}
	if rec.Count <= 1 && !repeatsData(rec.Response, ev) {
		f.Response = string(rec.Response)
	}
	tell(f)
}

// tellBuried speaks of the dead letters since it last did, at most once a minute. The reason is that
// of the last attempt.
func (w *lines) tellBuried(now time.Time, reason string) {
	if w.buried == 0 || now.Sub(w.buriedAt) < buriedInterval {
		return
	}
	w.logger.Warn("deliveries given up", "count", w.buried, "reason", reason,
		"remedy", "rowhook failed list --profile "+w.profile.code)
	w.buried, w.buriedAt = 0, now
}

// buriedInterval is the least time between two messages about dead letters: the delivery log has
// each of them.
const buriedInterval = time.Minute
