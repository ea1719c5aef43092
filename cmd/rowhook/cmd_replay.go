package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

const replayLong = `Sends delivered events again, from the spool's history (spool.history and spool.history_size
decide how far it goes back). Events keep their ids, so that receivers can recognise them. Their
lines in the delivery log begin another round. They go in commit order within their keys, before
newer ones that have not gone, one in a request even where requests carry several. A profile that
was added later gets what its subscriptions select, except by conditions on columns.`

const replayExample = `  rowhook replay --profile desk --since 2h --dry-run
  rowhook replay --profile desk --since 2026-11-22T08:00:00Z --until 2026-11-22T09:00:00Z --type 'loan.*'`

func newReplayCommand(c *console) *cobra.Command {
	var filter engine.ReplayFilter
	var since, until string
	var dry, stop, asJSON bool
	cmd := &cobra.Command{
		Use: "replay", Short: "Send delivered events again", Long: replayLong, Example: replayExample, GroupID: groupFix, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			var sinceErr, untilErr, which error
			filter.Since, sinceErr = parseMoment(since, now)
			filter.Until, untilErr = parseMoment(until, now)
			switch {
			case filter.Profile == "":
				which = errors.New("which profile? Name one with --profile")
			case stop && (dry || since != "" || until != "" || filter.Type != ""):
				which = errors.New("--stop takes only --profile")
			}
			if err := errors.Join(sinceErr, untilErr, which); err != nil {
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			request := operation.ReplayRequest{User: directories.User(), Filter: filter, DryRun: dry}
			return c.withControl(func(access *agent.Access) error {
				if stop {
					return c.stopReplay(cmd, access, request, asJSON)
				}
				var replayed engine.Replayed
				if err := access.Call(cmd.Context(), "replay", request, &replayed); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, replayed)
				}
				return c.printReplayed(&replayed, filter.Profile, dry)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&filter.Profile, "profile", "", "profile's `code`")
	f.StringVar(&since, "since", "", "committed since `time`: RFC 3339, or how long ago, such as 2h or 7d")
	f.StringVar(&until, "until", "", "committed before `time`, likewise")
	f.StringVar(&filter.Type, "type", "", "event type, may be a `glob`")
	f.BoolVar(&dry, "dry-run", false, "only count, by type")
	f.BoolVar(&stop, "stop", false, "end the profile's replay; what is in hand goes on")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func (c *console) printReplayed(r *engine.Replayed, profile string, dry bool) error {
	if r.Events > 0 {
		t := newTable("TYPE", "EVENTS")
		for _, eventType := range slices.Sorted(maps.Keys(r.Types)) {
			t.add(eventType, fmt.Sprint(r.Types[eventType]))
		}
		if err := t.print(c.out); err != nil {
			return err
		}
	}
	switch {
	case r.Events == 0:
		fmt.Fprintln(c.err, "History has no such events.")
	case dry:
		fmt.Fprintf(c.err, "%d events of %s to %s would be sent again to %s.\n", r.Events, r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339), profile)
	default:
		fmt.Fprintf(c.err, "%d events of %s to %s are sent again to %s.\n", r.Events, r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339), profile)
	}
	if r.Waiting > 0 {
		fmt.Fprintf(c.err, "%d others wait or are dead letters: `rowhook queue list` and `rowhook failed list` show them.\n", r.Waiting)
	}
	if r.Undecided > 0 {
		fmt.Fprintf(c.err, "%d others are left out: the profile did not get them, and its conditions on columns cannot be decided any more.\n", r.Undecided)
	}
	return nil
}

func (c *console) stopReplay(cmd *cobra.Command, access *agent.Access, request operation.ReplayRequest, asJSON bool) error {
	var stopped operation.ReplayStopped
	if err := access.Call(cmd.Context(), "replay/stop", request, &stopped); err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.out, stopped)
	}
	_, err := fmt.Fprintf(c.err, "The replay is over; %d events are not sent again.\n", stopped.Left)
	return err
}
