package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const adoptLong = `A state directory belongs to one database and one machine. When either is another than the
pinned one, deliveries wait, since it may be a clone. adopt says that the change is meant: the
present database and machine are pinned, and deliveries go on. A position that belongs to
another database's stream is given up and written to state/audit.jsonl.`

func newSourceCommand(c *console) *cobra.Command {
	return newGroupCommand("source", "Adopt a changed source or machine", groupFix, newSourceAdoptCommand(c))
}

func newSourceAdoptCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "adopt", Short: "Pin the present source and machine", Long: adoptLong, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(func(control *control) error {
				var done adoption
				if err := control.call(cmd.Context(), "source/adopt", userRequest{User: osUser()}, &done); err != nil {
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
