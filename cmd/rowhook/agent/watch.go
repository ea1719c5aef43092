package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
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
// mapping needs them, and a spool that fills up.
func (a *Agent) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	alerted := 0
	for {
		again := a.describe(ctx)
		a.compare(ctx)
		alerted = a.watchSpool(alerted)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-again:
		case <-a.compareNow:
		}
	}
}

// describeAgain is how long a database is left alone that did not tell what its tables look like.
const describeAgain = time.Second

// describe tells the pipeline what looked-up tables look like, for which the stream waits. What it
// returns says when to try again; nil is never.
func (a *Agent) describe(ctx context.Context) (again <-chan time.Time) {
	if !a.pipe.Undescribed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	tables, err := lookedUp(ctx, a.source, a.config())
	if err != nil {
		a.logger.Debug("looked-up tables not read", "err", err)
		return time.After(describeAgain)
	}
	a.pipe.Describe(tables)
	return nil
}

// lookedUp asks the database what the tables look like that the mapping looks rows up in.
func lookedUp(ctx context.Context, source Source, c *config.Config) ([]*capture.Table, error) {
	var names []string
	for _, l := range c.Rules().LookedUp() {
		names = append(names, l.Table)
	}
	if len(names) == 0 {
		return nil, nil
	}
	return source.Tables(ctx, names)
}

// compare looks at the mapped tables in the database. A database that is away is the stream's
// matter.
func (a *Agent) compare(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	found, err := a.source.Drift(ctx, a.config().Rules().Tables())
	if err != nil {
		a.logger.Debug("mapped tables not compared", "err", err)
		return
	}
	tables, err := a.source.Tables(ctx, a.config().Rules().Tables())
	if err != nil {
		a.logger.Debug("mapped tables not read", "err", err)
		return
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
			"full_in", growth.fullIn(usage.Max-usage.Bytes+usage.History))
	}
	return passed
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
		rec.Event, rec.Type, rec.Table, rec.Key, rec.Position = ev.ID, ev.Type, ev.Origin.Table, ev.Key, ev.Origin.Position
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
