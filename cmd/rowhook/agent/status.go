package agent

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
)

// skewAlert is from when on a clock's difference needs a hand.
const skewAlert = 2 * time.Minute

// statusTimeout bounds what status asks of the database.
const statusTimeout = 3 * time.Second

// status reports on the state directory and asks the database itself.
func (w *workspace) status(ctx context.Context) (*operation.StatusReport, error) {
	report, err := w.report()
	if err != nil {
		return nil, err
	}
	report.Source.State = "stopped"
	source, err := w.options.Source(w.config(), w.logger, "status")
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if report.Source.Name == "" {
		report.Source.Name = source.Database()
	}
	report.Source.Hosts = source.Hosts()
	askSource(ctx, report, source)
	report.Attention = append(report.Attention, "no agent is running: changes wait in the database, and deliveries in the spool")
	w.lastInLog(report)
	judge(report)
	return report, nil
}

// lastInLog fills in when profiles last delivered and failed, which without an agent only the
// delivery log knows.
func (w *workspace) lastInLog(report *operation.StatusReport) {
	last := deliverylog.LastResults(w.config().Log.Deliveries)
	for i := range report.Profiles {
		p := &report.Profiles[i]
		if p.LastSuccess.IsZero() {
			p.LastSuccess = last[p.Profile].Success
		}
		if p.LastFailure.IsZero() {
			p.LastFailure = last[p.Profile].Failure
		}
	}
}

// report is what the state directory itself tells.
func (w *workspace) report() (*operation.StatusReport, error) {
	profiles, err := w.engine.Status()
	if err != nil {
		return nil, err
	}
	usage := w.spool.Usage()
	count, bytes := w.spool.ParkedCount()
	report := &operation.StatusReport{
		Time:     time.Now().UTC(),
		Agent:    operation.AgentStatus{Version: w.options.Version},
		Source:   operation.SourceStatus{Name: w.config().Source.Name, Type: w.config().Source.Type, Position: w.spool.Position(), Durable: w.spool.Durable()},
		Profiles: profiles,
		Parked:   operation.ParkedStatus{Count: count, Bytes: bytes},
		Spool: operation.SpoolStatus{
			Bytes: usage.Bytes, MaxBytes: usage.Max, HistoryBytes: usage.History, FreeBytes: usage.Free, ReserveBytes: usage.Reserve,
		},
	}
	backfills, err := w.backfills()
	if err != nil {
		return nil, err
	}
	for _, b := range backfills.List() {
		if !b.State.Over() {
			report.Backfills = append(report.Backfills, b)
		}
	}
	if err := w.spool.Room(); err != nil {
		report.Spool.Error = err.Error()
	}
	pinned, known, err := loadIdentity(w.spool)
	if err != nil {
		return nil, err
	}
	if known {
		report.Identity.Pinned = &pinned
	}
	report.Removed, err = w.removedProfiles()
	report.Removed = slices.DeleteFunc(report.Removed, func(r operation.RemovedStatus) bool { // being drained
		return slices.ContainsFunc(profiles, func(p delivery.ProfileStatus) bool { return p.Profile == r.Profile })
	})
	return report, err
}

// askSource adds how the slot stands.
func askSource(ctx context.Context, r *operation.StatusReport, from Source) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	stream, err := from.Status(ctx, capture.Position(r.Source.Durable))
	if err != nil {
		r.Source.Error, r.Source.Remedy = err.Error(), capture.Remedy(err)
		return
	}
	r.Source.Stream = &stream
}

// status is the whole report: of a cluster, what all of its machines know.
func (a *Agent) status(ctx context.Context) (*operation.StatusReport, error) {
	report, err := a.statusHere(ctx)
	if err != nil {
		return nil, err
	}
	if a.shared() {
		a.join(ctx, report)
	}
	judge(report)
	return report, nil
}

// statusHere adds to the workspace's report what only the running agent knows.
func (a *Agent) statusHere(ctx context.Context) (*operation.StatusReport, error) {
	report, err := a.report()
	if err != nil {
		return nil, err
	}
	report.Agent.Running, report.Agent.PID, report.Agent.Since = true, os.Getpid(), a.began.UTC()
	report.Source.Name, report.Source.Hosts = a.sourceName(), a.sourceNow().Hosts()
	a.mu.Lock()
	connection, findings, growth, reloaded, sampled := a.connection, slices.Clone(a.findings), a.growth, a.reloaded, a.sampled
	a.mu.Unlock()
	report.Reload = &reloaded
	report.Source.State, report.Source.Since = connection.State, connection.Since.UTC()
	report.Findings = findings
	report.Identity.Differences = connection.Diffs
	if server := connection.Server; server != nil {
		report.Source.Server = &operation.ServerStatus{
			Lineage: server.Lineage, Timeline: server.Timeline, Version: server.Version, Host: server.Host, Standby: server.Standby,
		}
		report.Identity.Found = &connection.Found
	}
	if t := a.term.Load(); t != nil {
		report.Memory = t.memory()
		counts := t.pipe.Counts()
		report.Source.LastCommit, report.Source.Counts = counts.LastCommit.UTC(), &counts
	}
	report.Spool.FullInSeconds = growth.fullIn(roomLeft(report.Spool.MaxBytes-report.Spool.Bytes, report.Spool.FreeBytes-report.Spool.ReserveBytes, report.Spool.HistoryBytes)).Seconds()
	askSource(ctx, report, a.sourceNow())
	if sampled.stalled() {
		report.Source.Stalled = sampled.stall(report.Time)
	}
	if report.Source.Error == "" && connection.Err != nil {
		report.Source.Error, report.Source.Remedy = connection.Err.Error(), capture.Remedy(connection.Err)
	}
	if c := a.config().Alerts; c.Enabled() {
		mail := a.mailer.Status()
		report.Mail = &mail
	}
	if err := a.engine.LogError(); err != nil {
		report.Attention = append(report.Attention, fmt.Sprintf("the delivery log cannot be written, and deliveries wait until it can: %v; make room, or fix its directory's owner", err))
	}
	return report, nil
}

// judge fills in what needs a hand.
func judge(r *operation.StatusReport) {
	say := func(format string, args ...any) { r.Attention = append(r.Attention, fmt.Sprintf(format, args...)) }
	if len(r.Identity.Differences) > 0 {
		say("%s; %s", describeDifferences(r.Identity.Differences), adoptRemedy)
	}
	if r.Reload != nil && !r.Reload.OK {
		say("the config could not be reloaded, and the one before is in force: %s", r.Reload.Error)
	}
	if r.Reload != nil && len(r.Reload.Restart) > 0 {
		say("the config has changes that take effect with a restart, which repeats nothing: %s", strings.Join(r.Reload.Restart, ", "))
	}
	if r.Source.Error != "" {
		say("source: %s%s", r.Source.Error, remedyWords(r.Source.Remedy))
	}
	if stalled := r.Source.Stalled; stalled != nil {
		say("%s%s", stalled.Text, remedyWords(stalled.Remedy))
	}
	if stream := r.Source.Stream; stream != nil && stream.Binlog != nil && stream.Binlog.Lost {
		say("the server no longer has the binlog after the stored position")
	} else if stream != nil && stream.Binlog != nil && stream.Binlog.LostInSeconds >= 0 && stream.Binlog.LostInSeconds < stream.Binlog.KeepSeconds/4 {
		say("the server removes the binlog after the stored position in %s", operation.FormatDuration(time.Duration(stream.Binlog.LostInSeconds)*time.Second))
	} else if stream != nil && stream.Slot != nil {
		switch slot := stream.Slot; {
		case !slot.Exists && r.Source.Position != "":
			say("slot %s is gone while a position is stored", slot.Name)
		case slot.Invalid != "":
			say("slot %s can no longer be used: %s", slot.Name, slot.Invalid)
		case slot.WALStatus == "unreserved":
			say("slot %s is about to be lost: the server keeps no WAL for it any more", slot.Name)
		}
	}
	if r.Spool.Error != "" {
		say("spool: %s", r.Spool.Error)
	}
	if r.Mail != nil && r.Mail.Error != "" {
		say("mail cannot be sent since %s: %s", r.Mail.Since.UTC().Format(time.RFC3339), r.Mail.Error)
	}
	for i := range r.Backfills {
		if b := &r.Backfills[i]; b.State == operation.BackfillFailed {
			say("backfill %s of %s failed: %s%s", b.ID, b.What(), b.Error, remedyWords(b.Remedy))
		}
	}
	for _, m := range r.Memory {
		if m.State == operation.MemoryFull {
			say("memory of table %s has no room, so that its old values are not known: raise spool.max_size or remember fewer columns, then `rowhook reload`", m.Table)
		}
	}
	if r.Parked.Count > 0 {
		say("%d changes are parked: `rowhook failed list --source`", r.Parked.Count)
	}
	for _, p := range r.Profiles {
		if math.Abs(p.ClockSkewSeconds) >= skewAlert.Seconds() {
			say("profile %s: this machine's clock differs from the endpoint's by %s; signatures are refused at five minutes",
				p.Profile, operation.FormatDuration(time.Duration(math.Abs(p.ClockSkewSeconds))*time.Second))
		}
		switch {
		case p.Attention && p.State == delivery.StateWaiting && p.Reason == delivery.ReasonLog: // said for all of them
		case p.Attention:
			say("profile %s is %s: %s%s", p.Profile, p.State, operation.ReasonWord(p.Reason, p), profileRemedy(p))
		case p.HeldKeys > 0:
			say("profile %s has %d dead letters, and %d keys wait for them: `rowhook failed list --profile %s`", p.Profile, p.Dead, p.HeldKeys, p.Profile)
		case p.Dead > 0:
			say("profile %s has %d dead letters: `rowhook failed list --profile %s`", p.Profile, p.Dead, p.Profile)
		}
	}
	for _, p := range r.Removed {
		say("profile %s is no longer in the config, %d of its events wait in the spool: put it back, or `rowhook reload --removed %s=drop`", p.Profile, p.BacklogEvents, p.Profile)
	}
	if r.Cluster != nil {
		judgeCluster(r.Cluster, say)
	}
	for _, f := range r.Findings {
		if f.Severity == capture.Error {
			say("%s: %s", f.Subject, f.Text)
		}
	}
}

// profileRemedy is what a person does for a profile that needs a hand; empty where the reason says
// it.
func profileRemedy(p delivery.ProfileStatus) string {
	switch {
	case p.State == "inactive":
		return fmt.Sprintf("; `rowhook profile resume %s` delivers again", p.Profile)
	case p.Reason == p.LastReason && slices.Contains([]int{401, 403, 407}, p.LastStatus):
		return fmt.Sprintf("; fix the credentials: a reload with them tries at once, so does `rowhook queue retry-now --profile %s`", p.Profile)
	}
	return ""
}

// growthWindow is how many samples of the spool's size, one a minute, growth looks back.
const growthWindow = 30

// spoolGrowth tells how fast the spool grows, from samples taken now and then.
type spoolGrowth struct {
	times [growthWindow]time.Time
	sizes [growthWindow]int64
	next  int
	count int
}

// roomLeft is what the spool may still grow by: up to its own limit, or to the disk's reserve if that
// comes first. History makes room when it is needed.
func roomLeft(limit, disk, history int64) int64 { return max(min(limit, disk)+history, 0) }

// add takes a sample.
func (g *spoolGrowth) add(at time.Time, size int64) {
	g.times[g.next], g.sizes[g.next] = at, size
	g.next = (g.next + 1) % growthWindow
	g.count = min(g.count+1, growthWindow)
}

// fullIn is how long the free bytes last at the present growth; 0 when it does not grow.
func (g *spoolGrowth) fullIn(free int64) time.Duration {
	if g.count < 2 {
		return 0
	}
	oldest := (g.next - g.count + growthWindow) % growthWindow
	newest := (g.next - 1 + growthWindow) % growthWindow
	grown, took := g.sizes[newest]-g.sizes[oldest], g.times[newest].Sub(g.times[oldest])
	if grown <= 0 || took <= 0 {
		return 0
	}
	return time.Duration(float64(free) / float64(grown) * float64(took)).Round(time.Second)
}
