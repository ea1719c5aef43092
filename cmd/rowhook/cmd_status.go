package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/alert"
)

const statusLong = `Shows the source, the spool and each profile, with or without a running agent. Exit code 3 when
something needs a hand, and when no agent runs.

--live and --ready only ask the running agent what /healthz and /readyz say, for health
checks of containers: exit code 0, or 1 with the reasons.`

func newStatusCommand(c *console) *cobra.Command {
	var asJSON, live, ready bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show source, spool and profiles", Long: statusLong, GroupID: groupRun, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if live || ready {
				return c.askHealth(cmd.Context(), ready, asJSON)
			}
			access, err := c.reach()
			if err != nil {
				return err
			}
			defer access.Close()
			var report operation.StatusReport
			if err := access.Call(cmd.Context(), "status", operation.None{}, &report); err != nil {
				return err
			}
			if asJSON {
				err = printJSON(c.out, &report)
			} else {
				err = printStatus(c.runnable(c.out), &report)
			}
			if err == nil && len(report.Attention) > 0 {
				return findingsError{}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "only whether the agent works at all: whether a restart might help")
	cmd.Flags().BoolVar(&ready, "ready", false, "only whether committed changes get through to the spool")
	cmd.MarkFlagsMutuallyExclusive("live", "ready")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// healthTimeout bounds what a health check waits for the agent.
const healthTimeout = 5 * time.Second

// askHealth asks the running agent. Health checks know two exit codes.
func (c *console) askHealth(ctx context.Context, ready, asJSON bool) error {
	running, err := agent.ReachRunning(c.stateDir())
	if err != nil {
		return err
	}
	defer running.Close()
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	var answer operation.HealthAnswer
	if err := running.Call(ctx, "health", operation.None{}, &answer); err != nil {
		return err
	}
	h := answer.Live
	if ready {
		h = answer.Ready
	}
	if asJSON {
		err = printJSON(c.out, h)
	} else {
		_, err = fmt.Fprintln(c.out, h.Status)
	}
	if err != nil || len(h.Reasons) == 0 {
		return err
	}
	var reasons []string
	for _, r := range h.Reasons {
		reasons = append(reasons, r.Reason+": "+r.Text)
	}
	return errors.New(strings.Join(reasons, "; "))
}

// printStatus prints a report for people.
func printStatus(w io.Writer, r *operation.StatusReport) error {
	var b strings.Builder
	running := "no agent is running"
	if r.Agent.Running {
		running = fmt.Sprintf("running, pid %d, version %s, started %s", r.Agent.PID, r.Agent.Version, ago(r.Time, r.Agent.Since))
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("agent", "%s", running)
	if r.Reload != nil && r.Reload.By != operation.ReloadByStart {
		line("reload", "%s, %s", ago(r.Time, r.Reload.Time), r.Reload.Words())
	}
	printCluster(r, line)
	printSource(r, line)
	printSpool(r, line)
	if m := r.Mail; m != nil {
		line("mail", "%s", mailWords(m))
	}
	if r.Parked.Count > 0 {
		line("parked", "%d changes, %s", r.Parked.Count, humanBytes(r.Parked.Bytes))
	}
	for i := range r.Backfills {
		line("backfill", "%s", backfillLine(&r.Backfills[i]))
	}
	for _, m := range r.Memory {
		line("memory", "%s", memoryLine(m))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if err := printProfiles(w, r); err != nil {
		return err
	}
	return printAttention(w, r)
}

// printCluster tells which machines there are, and what each has.
func printCluster(r *operation.StatusReport, line func(name, format string, args ...any)) {
	c := r.Cluster
	if c == nil {
		return
	}
	quorum := "quorum"
	if !c.Quorum {
		quorum = "no quorum since " + operation.FormatDuration(time.Duration(c.SecondsSince*float64(time.Second)))
	}
	line("cluster", "%s, %s, stream %s, asked on %s", c.Name, quorum, humanBytes(int64(c.Stream.Bytes)), c.Machine)
	owned := map[string]int{}
	for _, p := range c.Profiles {
		owned[p.Machine]++
	}
	for _, m := range c.Machines {
		text := fmt.Sprintf("%s, roles %s", m.Name, strings.Join(m.Roles, " "))
		if m.Name == c.Captures {
			text += ", captures"
		}
		text += fmt.Sprintf(", delivers %s, %s behind", plural(owned[m.Name], "profile"), plural(int(m.Behind), "message"))
		if !m.Live {
			text += ", not heard of for " + operation.FormatDuration(time.Duration(m.SeenSeconds*float64(time.Second)))
		}
		line("machine", "%s", text)
	}
}

// mailWords tells where the mails to contacts stand; what did not happen is left out.
func mailWords(m *alert.Status) string {
	text := fmt.Sprintf("%d sent", m.Sent)
	for _, part := range []struct {
		n    int64
		what string
	}{{int64(m.Waiting), "waiting"}, {m.Refused, "refused by the server"}, {m.Dropped, "dropped"}, {m.Suppressed, "failures left out for alert.every"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.what)
		}
	}
	return text
}

func printSource(r *operation.StatusReport, line func(name, format string, args ...any)) {
	s := r.Source
	state := s.State
	if !s.Since.IsZero() {
		state += " since " + operation.FormatDuration(r.Time.Sub(s.Since))
	}
	line("source", "%s at %s, %s", orDash(s.Name), s.Hosts, state)
	if s.Position != "" {
		text := "stored " + s.Position
		if s.Durable != s.Position {
			text += ", fsynced " + orDash(s.Durable)
		}
		if !s.LastCommit.IsZero() {
			text += ", last commit " + ago(r.Time, s.LastCommit)
		}
		line("position", "%s", text)
	}
	switch {
	case s.Stream == nil:
	case s.Stream.Slot != nil:
		printSlot(line, s.Stream)
	case s.Stream.Binlog != nil:
		printBinlog(line, s.Stream)
	}
}

// printBinlog tells how far the agent is behind the server's binlog, and how long that is kept.
func printBinlog(line func(name, format string, args ...any), stream *capture.Status) {
	b := stream.Binlog
	kept := "kept for ever"
	if b.KeepSeconds > 0 {
		kept = "kept for " + operation.FormatDuration(time.Duration(b.KeepSeconds)*time.Second)
	}
	lag := humanBytes(stream.LagBytes)
	if b.LagSeconds > 0 {
		lag += " since " + operation.FormatDuration(time.Duration(b.LagSeconds)*time.Second)
	}
	switch {
	case b.LostInSeconds == 0:
		kept += ", what follows our position may go at any time"
	case b.LostInSeconds > 0:
		kept += ", what follows our position for " + operation.FormatDuration(time.Duration(b.LostInSeconds)*time.Second) + " more"
	}
	line("binlog", "%s to %s, lag %s, holds %s, %s", b.Oldest, b.Newest, lag, humanBytes(b.RetainedBytes), kept)
}

func printSlot(line func(name, format string, args ...any), stream *capture.Status) {
	slot := stream.Slot
	if !slot.Exists {
		line("slot", "%s does not exist", slot.Name)
		return
	}
	held := ""
	if slot.Active {
		held = fmt.Sprintf(", in use by pid %d", slot.ActivePID)
	}
	limit := "no limit on retained WAL"
	if slot.SafeBytes >= 0 {
		limit = humanBytes(slot.SafeBytes) + " more until it is lost"
	}
	line("slot", "%s, lag %s, retains %s (%s), %s, catalog %d transactions old%s",
		slot.Name, humanBytes(stream.LagBytes), humanBytes(slot.RetainedBytes), orDash(slot.WALStatus), limit, slot.CatalogAge, held)
}

// memoryLine is a remembered table in the status report.
func memoryLine(m operation.MemoryStatus) string {
	text := fmt.Sprintf("%s, %s, %s", m.Table, m.State, humanBytes(m.Bytes))
	if m.Reason != "" {
		text += ": " + m.Reason
	}
	return text
}

func printSpool(r *operation.StatusReport, line func(name, format string, args ...any)) {
	s := r.Spool
	text := fmt.Sprintf("%s of %s, %s of it history", humanBytes(s.Bytes), humanBytes(s.MaxBytes), humanBytes(s.HistoryBytes))
	if s.FullInSeconds > 0 {
		text += ", full in about " + operation.FormatDuration(time.Duration(s.FullInSeconds*float64(time.Second)))
	}
	line("spool", "%s, disk has %s free", text, humanBytes(s.FreeBytes))
}

func printProfiles(w io.Writer, r *operation.StatusReport) error {
	if len(r.Profiles) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	names := []string{"PROFILE", "STATE", "BACKLOG", "OLDEST", "RETRYING", "BLOCKED", "DEAD", "LAST SUCCESS", "LAST FAILURE", "NEXT TRY", "DRAINED IN"}
	if r.Cluster != nil {
		names = append(names, "MACHINE")
	}
	t := newTable(names...)
	for _, p := range r.Profiles {
		row := profileRow(r, p)
		if r.Cluster != nil {
			row = append(row, orDash(p.Machine))
		}
		t.add(row...)
	}
	return t.print(w)
}

// profileRow is a profile's line in the table.
func profileRow(r *operation.StatusReport, p delivery.ProfileStatus) []string {
	now, state := r.Time, p.State
	if p.Reason != "" {
		state += ": " + operation.ReasonWord(p.Reason, p)
	}
	if !p.Since.IsZero() {
		state += " since " + operation.FormatDuration(now.Sub(p.Since))
	}
	oldest, next, drained, success, failure := "-", "-", "-", "-", "-"
	if r.Agent.Running || !p.LastSuccess.IsZero() { // who has not run knows it from the log at most
		success = ago(now, p.LastSuccess)
	}
	if r.Agent.Running || !p.LastFailure.IsZero() {
		failure = ago(now, p.LastFailure)
	}
	if !p.Oldest.IsZero() {
		oldest = operation.FormatDuration(now.Sub(p.Oldest))
	}
	if !p.NextAttempt.IsZero() {
		next = "in " + operation.FormatDuration(max(p.NextAttempt.Sub(now), 0))
	}
	if p.BacklogEvents > 0 && p.DrainSeconds > 0 {
		drained = operation.FormatDuration(time.Duration(p.DrainSeconds * float64(time.Second)))
	}
	if !p.LastFailure.IsZero() && p.LastReason != "" {
		failure += " (" + operation.ReasonWord(p.LastReason, p) + ")"
	}
	return []string{
		p.Profile, state, fmt.Sprintf("%d, %s", p.BacklogEvents, humanBytes(p.BacklogBytes)), oldest,
		fmt.Sprint(p.Retrying), fmt.Sprintf("%d on %d keys", p.Blocked, p.BlockedKeys), fmt.Sprint(p.Dead),
		success, failure, next, drained,
	}
}

func printAttention(w io.Writer, r *operation.StatusReport) error {
	if len(r.Findings) > 0 {
		fmt.Fprintln(w)
		if err := printFindings(w, r.Findings); err != nil {
			return err
		}
	}
	if len(r.Attention) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nNeeds a hand:")
	for _, text := range r.Attention {
		if _, err := fmt.Fprintf(w, "  %s\n", text); err != nil {
			return err
		}
	}
	return nil
}
