package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

const reloadLong = `Has the running agent read its config again, as SIGHUP and a change of the file do. The agent
checks all of it first. If something is wrong it goes on as before, and the errors are printed
with their places. Profiles that did not change notice nothing. Retries use the present URL and
secret; a body that has been sent stays as it was.

The answer names what does not fit the tables of the database, such as a column that is not there.
The config is in force all the same; with an error among the findings the exit code is 3.

If a profile is no longer in the config while deliveries or dead letters wait for it, say what to
do with them: drain delivers them, park keeps them until the profile is back or dropped, drop ends
each with a line in the delivery log.

mapping, defaults, profiles, alerts, source.context and source.signals take effect at once, and
admin's console, hosts and tokens. The rest of source, and state, cannot change while the agent
runs. What waits for the next start, such as a new password of the database, is named.`

const reloadExample = `  rowhook reload
  rowhook reload --removed old-desk=drain --removed test=drop`

func newReloadCommand(c *console) *cobra.Command {
	var asJSON bool
	var words []string
	cmd := &cobra.Command{
		Use: "reload", Short: "Have the agent read its config again", Long: reloadLong, Example: reloadExample, GroupID: groupRun, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			removed, err := parseRemovals(words)
			if err != nil {
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			running, err := agent.ReachRunning(c.stateDir())
			if err != nil {
				_, cerr := c.config()
				return errors.Join(cerr, noAgentFailure(err))
			}
			defer running.Close()
			var status operation.ReloadStatus
			request := operation.ReloadRequest{User: directories.User(), Removed: removed, By: operation.ReloadByCommand}
			answered := c.waiting("the agent, which compares the config with the database")
			err = running.Call(cmd.Context(), "reload", request, &status)
			answered()
			if err != nil {
				return err
			}
			if asJSON {
				return errors.Join(printJSON(c.out, status), unfit(&status))
			}
			return c.printReload(&status)
		},
	}
	cmd.Flags().StringArrayVar(&words, "removed", nil, "what becomes of what waits for a removed profile: `CODE=drain|park|drop`")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// printReload tells what came of a reload, and how the config fits the database.
func (c *console) printReload(status *operation.ReloadStatus) error {
	if _, err := fmt.Fprintf(c.out, "reloaded: %s\n", status.Words()); err != nil {
		return err
	}
	if status.Uncompared != "" {
		fmt.Fprintf(c.err, "note: the mapped tables were not compared with the database's: %s\n", status.Uncompared)
	}
	if err := printFindings(c.runnable(c.out), status.Findings); err != nil {
		return err
	}
	return unfit(status)
}

// unfit is an error where the config that is in force now does not fit the database.
func unfit(status *operation.ReloadStatus) error {
	if slices.ContainsFunc(status.Findings, func(f capture.Finding) bool { return f.Severity == capture.Error }) {
		return findingsError{}
	}
	return nil
}

// noAgentFailure adds what to do where no agent runs.
func noAgentFailure(err error) error {
	if !errors.Is(err, control.ErrNoAgent) {
		return err
	}
	return &control.Failure{Message: err.Error(), Remedy: "`rowhook run` starts with the config as it is"}
}

// parseRemovals reads CODE=WORD.
func parseRemovals(words []string) (map[string]engine.Removal, error) {
	removed := map[string]engine.Removal{}
	for _, word := range words {
		code, how, _ := strings.Cut(word, "=")
		switch removal := engine.Removal(how); removal {
		case engine.Drain, engine.Park, engine.Drop:
			if code == "" {
				return nil, fmt.Errorf("--removed %s names no profile", word)
			}
			removed[code] = removal
		default:
			return nil, fmt.Errorf("--removed %s: expected CODE=drain, CODE=park or CODE=drop", word)
		}
	}
	return removed, nil
}
