package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
)

const runLong = `Runs the agent until SIGTERM or SIGINT: reads the replication stream, spools events, delivers
them. It reads the config again on SIGHUP, on rowhook reload, and when the config file or a file
that it names has changed. The first signal stops it in order: requests in flight finish within
shutdown_grace, and a restart repeats nothing. A second signal stops it at once: what was in
flight is sent again, with the same ids.

The first start creates the slot and delivers what is committed from then on. Afterwards the
stored position decides. An empty state directory beside a slot that is in use, and a stored
position that the server cannot continue, stop the agent with exit code 4.`

func newRunCommand(c *console) *cobra.Command {
	var start agent.Start
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Run the agent",
		Long:    runLong,
		GroupID: groupRun,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			return c.runAgent(cmd.Context(), conf, start)
		},
	}
	cmd.Flags().StringVar(&start.Position, "start", "", "where to begin when nothing is stored: `slot|now|POSITION`")
	cmd.Flags().BoolVar(&start.AcceptGap, "accept-gap", false, "go on although changes behind the stored position are lost, or the server cannot send them")
	return cmd
}

// runAgent runs the agent until a signal ends it.
func (c *console) runAgent(ctx context.Context, conf *config.Config, start agent.Start) (err error) {
	options := c.agentOptions(conf)
	if _, given := c.env("GOMEMLIMIT"); !given {
		debug.SetMemoryLimit(memoryGoal)
	}
	if _, given := c.env("GOGC"); !given {
		pacing, stopPacing := context.WithCancel(context.WithoutCancel(ctx))
		var paced sync.WaitGroup
		paced.Go(func() { paceGarbage(pacing, liveHeap, debug.SetGCPercent) })
		defer paced.Wait()
		defer stopPacing()
	}
	a, err := agent.New(conf, start, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	signal.Notify(a.Hangups(), syscall.SIGHUP)
	defer signal.Stop(a.Hangups())

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	second := context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGTERM, syscall.SIGINT)
		<-again
		options.Logger.Warn("second signal: stopping at once")
		os.Exit(exitFailed) //nolint:forbidigo // the second signal says that nothing is to be closed first
	})
	defer second()
	return a.Run(ctx)
}
