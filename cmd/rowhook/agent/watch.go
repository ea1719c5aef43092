package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/spool"
	"rowhook/mapping"
)

const (
	// watchInterval is how often what is mapped is compared with what is published.
	watchInterval = time.Minute
	// watchTimeout bounds one comparison.
	watchTimeout = 30 * time.Second
)

// spoolAlerts are the shares of the spool's budget at which the log speaks up.
var spoolAlerts = []int{50, 80, 100}

// watch looks after what nobody else notices: tables that are no longer published as the
// mapping needs them, looked-up ones that are others than before, and a spool that fills up.
func (a *Agent) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	alerted := 0
	var asked chan<- comparison
	var described *term
	var describer describer
	for {
		var again <-chan time.Time
		if t := a.term.Load(); t != nil {
			if t != described {
				described = t
				describer.source, describer.pipe, describer.logger = t.from, t.pipe, a.logger
			}
			var err error
			again, err = describer.describe(ctx, a.config().Rules(), time.Now())
			a.mu.Lock()
			a.undescribed = err
			a.mu.Unlock()
		}
		result := a.compare(ctx)
		if asked != nil {
			asked <- result
			asked = nil
		}
		alerted = a.watchSpool(alerted)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-again:
		case asked = <-a.compareNow:
		}
	}
}

// describeAgain is how long a database is left alone that did not tell what its tables look like.
const describeAgain = time.Second

// describeMost is about how long the stream waits for that.
const describeMost = time.Minute

// describer tells the pipeline what looked-up tables look like: at first, for which the stream waits,
// and again and again, since a table may be made another one without a change in the stream.
type describer struct {
	source interface {
		Tables(ctx context.Context, names []string) ([]*capture.Table, error)
	}
	pipe interface {
		Undescribed() bool
		Describe(tables []*capture.Table)
		GoOn()
	}
	logger *slog.Logger
	failed time.Time // since when; zero while it does not
	warned time.Time
}

// describe does it once. What it returns says when to try again; nil is with the next comparison.
func (d *describer) describe(ctx context.Context, rules *mapping.Rules, now time.Time) (again <-chan time.Time, err error) {
	names := rules.LooksUp("")
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	tables, err := d.source.Tables(ctx, names)
	if err == nil {
		d.failed, d.warned = time.Time{}, time.Time{}
		d.pipe.Describe(tables)
		return nil, nil
	}
	if d.failed.IsZero() {
		d.failed = now
	}
	waits := d.pipe.Undescribed()
	if now.Sub(d.warned) >= watchInterval {
		d.warned = now
		d.logger.Warn("the looked-up tables cannot be described", "err", err, "tables", names, "stream_waits", waits)
	}
	if !waits {
		return nil, nil
	}
	if now.Sub(d.failed) >= describeMost {
		d.logger.Warn("the stream goes on without: what is looked up is not known until the tables can be described", "tables", names)
		d.pipe.GoOn()
		return nil, nil
	}
	return time.After(describeAgain), fmt.Errorf("the stream waits for the description of looked-up tables: %w", err)
}

// lookedUp asks the database what the tables look like that the mapping looks rows up in.
func lookedUp(ctx context.Context, source Source, c *config.Config) ([]*capture.Table, error) {
	names := c.Rules().LooksUp("")
	if len(names) == 0 {
		return nil, nil
	}
	return source.Tables(ctx, names)
}

// comparison is what a look at the mapped tables brought: findings, or why there was none.
type comparison struct {
	found []capture.Finding
	err   error
}

// compareMost is how long who reloads the config waits to hear how it fits the database.
const compareMost = 10 * time.Second

// compared has the mapped tables compared, and waits for the result. What it waits for may be a
// database that does not answer.
func (a *Agent) compared(ctx context.Context) comparison {
	ctx, cancel := context.WithTimeoutCause(ctx, compareMost, errors.New("the database does not answer"))
	defer cancel()
	done := make(chan comparison, 1)
	select {
	case a.compareNow <- done:
	case <-ctx.Done():
		return comparison{err: context.Cause(ctx)}
	}
	select {
	case result := <-done:
		return result
	case <-ctx.Done():
		return comparison{err: context.Cause(ctx)}
	}
}

// compare looks at the mapped tables in the database. A database that is away is the stream's
// matter.
func (a *Agent) compare(ctx context.Context) comparison {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	found, err := a.sourceNow().Drift(ctx, a.config().Rules().Tables())
	if err != nil {
		a.logger.Debug("mapped tables not compared", "err", err)
		return comparison{err: err}
	}
	tables, err := a.sourceNow().Tables(ctx, a.config().Rules().Tables())
	if err != nil {
		a.logger.Debug("mapped tables not read", "err", err)
		return comparison{err: err}
	}
	found = append(a.config().AtTables(found), a.config().TableFindings(tables)...)
	found = slices.DeleteFunc(found, func(f capture.Finding) bool { return f.Severity == capture.Info })
	a.mu.Lock()
	before := a.findings
	a.findings = found
	a.mu.Unlock()
	for _, f := range found {
		if !slices.Contains(before, f) {
			a.logger.Warn("finding", "code", f.Code, "at", f.At, "subject", f.Subject, "text", f.Text, "remedy", f.Remedy)
		}
	}
	if len(before) > 0 && len(found) == 0 {
		a.logger.Info("all findings are fixed")
	}
	return comparison{found: found}
}

// watchSpool samples the spool's size and says once when it passes a mark. It returns the last mark
// passed.
func (a *Agent) watchSpool(alerted int) int {
	usage := a.spool.Usage()
	a.mu.Lock()
	a.growth.add(time.Now(), usage.Bytes-usage.History)
	growth := a.growth
	a.mu.Unlock()
	passed := 0
	for _, mark := range spoolAlerts {
		if usage.Bytes-usage.History >= usage.Max/100*int64(mark) {
			passed = mark
		}
	}
	if passed > alerted {
		a.logger.Warn("spool fills up", "percent", passed, "bytes", usage.Bytes, "max", usage.Max,
			"full_in", growth.fullIn(roomLeft(usage.Max-usage.Bytes, usage.Free-usage.Reserve, usage.History)))
	}
	return passed
}

// How often the disk is asked whether deliveries may go on: while there is room, and while it is short.
const (
	roomInterval  = time.Second
	shortInterval = 100 * time.Millisecond
)

// watchRoom has deliveries wait while so little of the disk is left that what they write would use it
// up: the delivery log is often on the same one, and failures keep what they sent. The spool ends the
// agent where it cannot write.
func (a *Agent) watchRoom(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := a.spool.Room()
		a.heedRoom(err)
		if err == nil {
			timer.Reset(roomInterval)
		} else {
			timer.Reset(shortInterval)
		}
	}
}

// heedRoom does so for what the spool says of its room.
func (a *Agent) heedRoom(err error) {
	var full *spool.NoRoomError
	reason := ""
	if errors.As(err, &full) && full.Scarce(a.suspension.has(suspendRoom)) {
		reason = "the spool's disk is nearly full: " + full.RemedyText()
	}
	a.suspension.set(suspendRoom, reason)
}

// expired writes the line of a dead letter whose time is over.
func (w *workspace) expired(code string, d delivery.Delivery, ev *delivery.Event) error {
	<-w.opened
	if w.engine == nil {
		return errors.New("the state directory could not be opened")
	}
	rec := delivery.LogRecord{
		Time: time.Now(), Profile: code, Outcome: delivery.OutcomeDiscarded, Attempt: d.Attempts, Round: d.Round, Reason: delivery.ReasonExpired,
	}
	if i := slices.IndexFunc(w.config().Profiles, func(p delivery.ProfileConfig) bool { return p.Code == code }); i >= 0 {
		rec.BodyLimit = w.config().Profiles[i].BodyLimit()
	}
	if ev != nil {
		rec.Event, rec.Type, rec.Table, rec.Key, rec.Position = ev.ID, ev.Type, ev.Table, ev.Key, ev.Position
		if m := d.Members; m != nil {
			rec.About(ev, m)
		}
	}
	w.log.Append(&rec)
	if err := w.log.Flush(); err != nil {
		return fmt.Errorf("log an expired dead letter: %w", err)
	}
	return w.engine.Expired(code, d)
}
