package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
)

const backfillLong = `Sends the rows that a table has as events of their own: op read, of the type that the entry's rule
for op read names (record.read where the entry names no events), to the profiles that subscribe to
it. Rows are read in chunks by key beside the running stream, without locks, and nothing is written
to the database. Events of a row keep their order: no older state of it arrives after a newer one.

The agent does the work, one chunk after the other, and goes on with it after a restart. It waits
while much waits for a profile that gets the events. A row has the same event id however often it is
read within one backfill.

--where compares as the database's own = does, by the column's collation: on MySQL and MariaDB it
mostly takes main for MAIN, which rules and subscriptions do not. The rows are put to them then.`

const backfillExample = `  rowhook backfill circulation.loans --wait
  rowhook backfill circulation.loans --profile desk --where branch=MAIN --rate 500/s
  rowhook backfill list`

func newBackfillCommand(c *console) *cobra.Command {
	var where []string
	var rate string
	var wait, asJSON bool
	request := operation.BackfillRequest{User: directories.User()}
	cmd := &cobra.Command{
		Use: "backfill ENTRY...", Short: "Send existing rows as events", Long: backfillLong, Example: backfillExample, GroupID: groupFix,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("missing the name of an entry of the mapping")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Entries = args
			var err error
			if request.Where, err = operation.ParseReadConditions(where); err != nil {
				return &usageError{err: fmt.Errorf("--where: %w", err), command: cmd.CommandPath()}
			}
			if request.Rate, err = operation.ParseReadRate(rate); err != nil {
				return &usageError{err: fmt.Errorf("--rate: %w", err), command: cmd.CommandPath()}
			}
			return c.withControl(func(access *agent.Access) error { return c.backfill(cmd.Context(), access, request, wait, asJSON) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Profile, "profile", "", "only for the profile with this `code`")
	f.StringArrayVar(&where, "where", nil, "only rows with this `COLUMN=VALUE`; null is NULL; may be given again")
	f.StringVar(&rate, "rate", "", "at most so many rows in a time, such as 500/s")
	f.BoolVar(&wait, "wait", false, "wait for the end, and show how far it is")
	addJSONFlag(cmd, &asJSON)
	cmd.AddCommand(
		newBackfillListCommand(c),
		newBackfillChangeCommand(c, "pause", "Leave a backfill for later"),
		newBackfillChangeCommand(c, "resume", "Go on with a backfill that was paused, or that failed"),
		newBackfillChangeCommand(c, "cancel", "End a backfill; what it has sent stays sent"),
	)
	return cmd
}

const triggerLong = `Sends one row as an event, as backfill does: read beside the running stream, in order with the
row's other events. Give every column of the table's key, as the database's own = compares it.`

func newTriggerCommand(c *console) *cobra.Command {
	var asJSON bool
	request := operation.BackfillRequest{User: directories.User()}
	cmd := &cobra.Command{
		Use: "trigger ENTRY KEY=VALUE...", Short: "Send one row as an event", Long: triggerLong,
		Example: "  rowhook trigger circulation.loans loan_id=1000 --profile desk", GroupID: groupFix,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("give an entry of the mapping and the row's key as COLUMN=VALUE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			request.Entries = args[:1]
			if request.Key, err = operation.ParseReadKey(args[1:]); err != nil {
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			return c.withControl(func(access *agent.Access) error { return c.backfill(cmd.Context(), access, request, true, asJSON) })
		},
	}
	cmd.Flags().StringVar(&request.Profile, "profile", "", "only for the profile with this `code`")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func newBackfillListCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the backfills, the oldest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(func(access *agent.Access) error {
				list := []operation.Backfill{}
				if err := access.Call(cmd.Context(), "backfill/list", operation.None{}, &list); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, list)
				}
				if len(list) == 0 {
					_, err := fmt.Fprintln(c.err, "There has been no backfill.")
					return err
				}
				return printBackfills(c.runnable(c.out), list)
			})
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func newBackfillChangeCommand(c *console, what, short string) *cobra.Command {
	return &cobra.Command{
		Use: what + " ID", Short: short, Args: oneArg("the backfill's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(access *agent.Access) error {
				var b operation.Backfill
				request := operation.BackfillChange{User: directories.User(), ID: args[0]}
				if err := access.Call(cmd.Context(), "backfill/"+what, request, &b); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.err, "Backfill %s is %s, after %s.\n", b.ID, b.State, plural(int(b.Rows), "row"))
				return err
			})
		},
	}
}

// backfill begins a backfill, and waits for its end if that is wanted.
func (c *console) backfill(ctx context.Context, access *agent.Access, request operation.BackfillRequest, wait, asJSON bool) error {
	var b operation.Backfill
	if err := access.Call(ctx, "backfill", request, &b); err != nil {
		return err
	}
	if request.Key == nil {
		about := ""
		if b.Total >= 0 {
			about = ", about " + plural(int(b.Total), "row")
		}
		fmt.Fprintf(c.err, "Backfill %s of %s begins%s.\n", b.ID, b.What(), about)
	}
	if wait {
		var err error
		if b, err = c.awaitBackfill(ctx, access, b); err != nil {
			return err
		}
	}
	if asJSON {
		return errors.Join(printJSON(c.out, &b), backfillError(&b))
	}
	if !wait {
		_, err := fmt.Fprintln(c.err, "`rowhook backfill list` shows how far it is.")
		return err
	}
	if err := backfillError(&b); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.err, backfillWords(&b))
	return err
}

// backfillWords says what came of a backfill.
func backfillWords(b *operation.Backfill) string {
	text := fmt.Sprintf("%s read, %s made", plural(int(b.Rows), "row"), plural(int(b.Events), "event"))
	if b.Failed > 0 {
		text += fmt.Sprintf("; %d could not be mapped: `rowhook log --outcome unmapped` tells why", b.Failed)
	}
	return text + "."
}

// backfillError is why a backfill ended before it was done.
func backfillError(b *operation.Backfill) error {
	switch b.State {
	case operation.BackfillFailed:
		return &capture.OperatorError{Err: fmt.Errorf("backfill %s failed: %s", b.ID, b.Error), Remedy: strings.TrimSpace(b.Remedy + "; then `rowhook backfill resume " + b.ID + "`")}
	case operation.BackfillCancelled, operation.BackfillPaused:
		return fmt.Errorf("backfill %s was %s after %s", b.ID, b.State, plural(int(b.Rows), "row"))
	}
	return nil
}

const (
	// backfillEvery is how often a backfill is asked how far it is.
	backfillEvery = 100 * time.Millisecond
	// barWidth is that of the bar on a terminal.
	barWidth = 30
)

// awaitBackfill waits until a backfill is over, paused or failed. An interrupt ends the waiting, not
// the backfill.
func (c *console) awaitBackfill(ctx context.Context, access *agent.Access, b operation.Backfill) (operation.Backfill, error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(backfillEvery)
	defer tick.Stop()
	for b.State == operation.BackfillRunning {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.drawBar(nil)
			return b, fmt.Errorf("backfill %s goes on without this command", b.ID)
		}
		var list []operation.Backfill
		if err := access.Call(ctx, "backfill/list", operation.None{}, &list); err != nil {
			c.drawBar(nil)
			if ctx.Err() != nil {
				continue
			}
			return b, err
		}
		found := false
		for i := range list {
			if list[i].ID == b.ID {
				b, found = list[i], true
			}
		}
		if !found {
			return b, fmt.Errorf("backfill %s is not known any more", b.ID)
		}
		c.drawBar(&b)
	}
	c.drawBar(nil)
	return b, nil
}

// drawBar shows on a terminal how far a backfill is; nil takes the bar away.
func (c *console) drawBar(b *operation.Backfill) {
	if c.screen == nil {
		return
	}
	text := ""
	if b != nil {
		text = backfillBar(b)
	}
	fmt.Fprintf(c.screen, "\r\x1b[K%s", text)
}

// backfillBar is a bar with rows, rate and the time that is left.
func backfillBar(b *operation.Backfill) string {
	var text strings.Builder
	if b.Total > 0 {
		full := int(min(b.Rows*barWidth/b.Total, barWidth))
		fmt.Fprintf(&text, "[%s%s] %3d%% ", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), min(b.Rows*100/b.Total, 100))
	}
	fmt.Fprintf(&text, "%d rows", b.Rows)
	switch {
	case b.Waiting != "":
		text.WriteString(", waits")
	case b.RowsPerSecond > 0:
		fmt.Fprintf(&text, ", %.0f/s", b.RowsPerSecond)
		if b.SecondsLeft > 0 {
			fmt.Fprintf(&text, ", %s left", operation.FormatDuration(time.Duration(b.SecondsLeft*float64(time.Second))))
		}
	}
	return text.String()
}

// backfillLine is a backfill in the status report.
func backfillLine(b *operation.Backfill) string {
	text := fmt.Sprintf("%s of %s, %s, %s", b.ID, b.What(), b.State, plural(int(b.Rows), "row"))
	if b.Total >= 0 {
		text += fmt.Sprintf(" of about %d", b.Total)
	}
	if b.SecondsLeft > 0 {
		text += fmt.Sprintf(", %.0f/s, %s left", b.RowsPerSecond, operation.FormatDuration(time.Duration(b.SecondsLeft*float64(time.Second))))
	}
	if b.Waiting != "" {
		text += ", waits for " + b.Waiting
	}
	if b.Error != "" {
		text += ": " + b.Error
	}
	return text
}

// terminal returns the terminal that w is; nil for anything else.
func (c *console) terminal(w io.Writer) io.Writer {
	if term, _ := c.env("TERM"); term == "dumb" {
		return nil
	}
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}

// printBackfills prints backfills for people.
func printBackfills(w io.Writer, list []operation.Backfill) error {
	t := newTable("ID", "STATE", "ENTRIES", "PROFILE", "ROWS", "OF ABOUT", "EVENTS", "UNMAPPED", "RATE", "LEFT", "NOTE")
	for i := range list {
		b := &list[i]
		total, rate, left, note := "-", "-", "-", b.Waiting
		if b.Total >= 0 {
			total = fmt.Sprint(b.Total)
		}
		if b.RowsPerSecond > 0 {
			rate = fmt.Sprintf("%.0f/s", b.RowsPerSecond)
		}
		if b.SecondsLeft > 0 {
			left = operation.FormatDuration(time.Duration(b.SecondsLeft * float64(time.Second)))
		}
		if note != "" {
			note = "waits for " + note
		}
		if b.Error != "" {
			note = b.Error
			if b.Remedy != "" {
				note += ": " + b.Remedy
			}
		}
		t.add(b.ID, string(b.State), b.What(), orDash(b.Profile), fmt.Sprint(b.Rows), total, fmt.Sprint(b.Events), fmt.Sprint(b.Failed), rate, left, orDash(note))
	}
	return t.print(w)
}
