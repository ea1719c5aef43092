package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
)

const adoptLong = `A state directory belongs to one database and one machine. If either is not the pinned one,
deliveries wait, because it may be a clone. adopt confirms the change: it pins the present
database and machine, and deliveries go on. A position in another database's stream is given up
and written to state/audit.jsonl.`

func newSourceCommand(c *console) *cobra.Command {
	return newGroupCommand("source", "Adopt a changed source or machine", groupFix, newSourceAdoptCommand(c))
}

func newSourceAdoptCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "adopt", Short: "Pin the present source and machine", Long: adoptLong, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(func(access *agent.Access) error {
				var done operation.Adoption
				if err := access.Call(cmd.Context(), "source/adopt", operation.UserRequest{User: directories.User()}, &done); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, done)
				}
				for _, d := range done.Diffs {
					if _, err := fmt.Fprintf(c.out, "%s: %s, was %s\n", d.What, d.Found, d.Pinned); err != nil {
						return err
					}
				}
				if done.Abandoned != "" {
					fmt.Fprintf(c.err, "The stored position %s belongs to the former source and was given up.\n", done.Abandoned)
				}
				return nil
			})
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}
