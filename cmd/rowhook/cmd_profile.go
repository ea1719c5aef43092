package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rowhook/delivery"
)

func newProfileCommand(c *console) *cobra.Command {
	return newGroupCommand("profile", "List, pause and resume profiles", groupMend,
		newProfileListCommand(c), newProfilePauseCommand(c), newProfileResumeCommand(c))
}

func newProfileListCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List profiles and what they wait for", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(func(control *control) error {
				var profiles []delivery.ProfileStatus
				if err := control.call(cmd.Context(), "profile/list", none{}, &profiles); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, profiles)
				}
				t := newTable("PROFILE", "NAME", "STATE", "REASON", "SINCE", "BACKLOG")
				for _, p := range profiles {
					since := "-"
					if !p.Since.IsZero() {
						since = p.Since.Local().Format("2006-01-02 15:04:05")
					}
					t.add(p.Profile, orDash(p.Name), p.State, orDash(p.Reason), since, fmt.Sprint(p.BacklogEvents))
				}
				return t.print(c.out)
			})
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func newProfilePauseCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: "pause CODE", Short: "Stop deliveries to a profile; its events are held", Args: oneArg("the profile's code"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(control *control) error {
				request := resumeRequest{User: osUser(), Profile: args[0]}
				if err := control.call(cmd.Context(), "profile/pause", request, &none{}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.err, "%s is paused; its events are held within its share of the spool.\n", args[0])
				return err
			})
		},
	}
}

func newProfileResumeCommand(c *console) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: "resume CODE", Short: "Deliver to a profile again", Args: oneArg("the profile's code"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(control *control) error {
				request := resumeRequest{User: osUser(), Profile: args[0], From: from}
				if err := control.call(cmd.Context(), "profile/resume", request, &none{}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.err, "%s is active again.\n", args[0])
				return err
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", delivery.ResumeHeld, "`held` delivers what was held, now skips it")
	return cmd
}
