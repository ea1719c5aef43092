package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
)

const handoverLong = `Has another machine of the cluster capture, at once: before the machine that captures is stopped
or restarted, nothing then waits for its lease to end. Nothing is lost or repeated. Any machine of
the cluster can be asked. The agent goes on, and stands by.`

func newHandoverCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "handover", Short: "Have another machine of the cluster capture", Long: handoverLong, GroupID: groupRun, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := agent.ReachRunning(c.stateDir())
			if err != nil {
				return noAgentFailure(err)
			}
			defer running.Close()
			var done operation.HandoverAnswer
			answered := c.waiting("another machine to capture")
			err = running.Call(cmd.Context(), "handover", operation.UserRequest{User: directories.User()}, &done)
			answered()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.out, done)
			}
			_, err = fmt.Fprintf(c.out, "%s captures now, in place of %s\n", done.To, done.From)
			return err
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}
