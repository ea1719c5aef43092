package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

func newProfileCommand(c *console) *cobra.Command {
	return newGroupCommand("profile", "List, activate, pause, resume and test profiles", groupFix,
		newProfileListCommand(c), newProfileActivateCommand(c), newProfilePauseCommand(c), newProfileResumeCommand(c), newProfileTestCommand(c))
}

const profileListLong = `Lists profiles, how they stand and what they wait for. With --history it lists what was done to
them, by whom and when: activations, pauses, retries, tests and the like, from state/audit.jsonl.`

func newProfileListCommand(c *console) *cobra.Command {
	var asJSON, history bool
	cmd := &cobra.Command{
		Use: "list", Short: "List profiles and how they stand", Long: profileListLong, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if history {
				return c.profileHistory(asJSON)
			}
			return c.withControl(func(access *agent.Access) error {
				var profiles []operation.ProfileListing
				if err := access.Call(cmd.Context(), "profile/list", operation.None{}, &profiles); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, profiles)
				}
				return printProfileList(c.out, profiles)
			})
		},
	}
	cmd.Flags().BoolVar(&history, "history", false, "list what was done to profiles instead")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func printProfileList(w io.Writer, profiles []operation.ProfileListing) error {
	t := newTable("PROFILE", "NAME", "FORMAT", "STATE", "REASON", "SINCE", "HOST", "LAST DELIVERY", "BACKLOG", "SUBSCRIPTIONS")
	for _, p := range profiles {
		since, last := "-", "-"
		if !p.Since.IsZero() {
			since = p.Since.Local().Format("2006-01-02 15:04:05")
		}
		if !p.LastSuccess.IsZero() {
			last = p.LastSuccess.Local().Format("2006-01-02 15:04:05")
		}
		subscriptions := "all events"
		if len(p.Subscriptions) > 0 {
			subscriptions = strings.Join(p.Subscriptions, "; ")
		}
		t.add(p.Profile, orDash(p.Name), p.Format+" "+p.MessageType, p.State, orDash(p.Reason), since, orDash(p.Host), last,
			fmt.Sprint(p.BacklogEvents), subscriptions)
	}
	return t.print(w)
}

// profileHistory prints the audit log's lines about profiles, which needs no agent.
func (c *console) profileHistory(asJSON bool) error {
	conf, err := c.config()
	if err != nil {
		return err
	}
	lines, err := agent.History(conf)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.out, lines)
	}
	if len(lines) == 0 {
		_, err := fmt.Fprintln(c.err, "Nothing was done to profiles yet.")
		return err
	}
	t := newTable("TIME", "USER", "COMMAND", "PROFILE", "KEY", "OLD", "NEW", "REASON")
	for _, l := range lines {
		t.add(l.Time.Local().Format("2006-01-02 15:04:05"), l.User, l.Command, l.Profile, orDash(l.Key), orDash(l.Old), orDash(l.New), orDash(l.Reason))
	}
	return t.print(c.out)
}

func newProfilePauseCommand(c *console) *cobra.Command {
	const done = "is paused; its events are held within its share of the spool, unless when_inactive says otherwise."
	return newProfileStateCommand(c, "pause", &cobra.Command{
		Use: "pause CODE", Short: "Stop deliveries to a profile; its events are held",
	}, new(string), func(operation.StateAnswer) string { return done })
}

func newProfileResumeCommand(c *console) *cobra.Command {
	var from string
	cmd := newProfileStateCommand(c, "resume", &cobra.Command{
		Use: "resume CODE", Short: "Deliver to a paused profile again",
	}, &from, func(a operation.StateAnswer) string {
		if a.State == "active" {
			return "is active again."
		}
		return "is not paused any more, but " + a.State + ": `rowhook profile list` says why."
	})
	cmd.Flags().StringVar(&from, "from", engine.ResumeHeld, "`held` delivers what was held, now skips it")
	return cmd
}

// newProfileStateCommand completes a command that changes one profile's state; said tells what came
// of it.
func newProfileStateCommand(c *console, name string, cmd *cobra.Command, from *string, said func(operation.StateAnswer) string) *cobra.Command {
	var asJSON bool
	cmd.Args = oneArg("the profile's code")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.withControl(func(access *agent.Access) error {
			request := operation.ResumeRequest{User: directories.User(), Profile: args[0], From: *from}
			var answer operation.StateAnswer
			if err := access.Call(cmd.Context(), "profile/"+name, request, &answer); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.out, answer)
			}
			_, err := fmt.Fprintf(c.err, "%s %s\n", args[0], said(answer))
			return err
		})
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}
