// Rowhook tails a database's replication stream, turns row changes into events by a
// YAML mapping, and delivers them as signed webhooks.
//
// This package gives people their commands, one file each. It chooses the source that the config
// names and gives it to package agent, which joins the other rooms. Data goes to standard output,
// messages to standard error. What a command returns becomes the exit code in one
// place, [exitCode]: 0 done, 1 failed, 2 usage or config, 3 findings, 4 stream gap.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	_ "time/tzdata" // the config names time zones, and small images have none

	"rowhook/capture"
)

// The exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitFindings = 3
	exitGap      = 4
)

func main() {
	// Samples of what is allocated would take a megabyte and more, and nobody reads them.
	runtime.MemProfileRate = 0
	os.Exit(execute(context.Background(), os.Args[1:], &console{
		in:  os.Stdin,
		out: os.Stdout,
		err: os.Stderr,
		env: os.LookupEnv,
	}))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, c *console) int {
	c.screen = c.terminal(c.err)
	c.out, c.err = &plainWriter{w: c.out}, c.runnable(&plainWriter{w: c.err})
	root := newRootCommand(c)
	root.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	failed, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !c.started && !errors.As(err, new(*usageError)) {
		err = &usageError{err: err, command: failed.CommandPath()}
	}
	report(c.err, err)
	return exitCode(err)
}

// usageError is a command line that makes no sense. Everything that happens before
// a command's own code runs is one.
type usageError struct {
	err     error
	command string // the command whose help to try
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// ExitCode is that of a usage error.
func (e *usageError) ExitCode() int { return exitUsage }

// findingsError ends a command that has printed findings. It is not reported itself.
type findingsError struct{}

func (findingsError) Error() string { return "there are findings" }

// ExitCode is that of findings.
func (findingsError) ExitCode() int { return exitFindings }

// exitCode returns the code that an error ends the program with.
func exitCode(err error) int {
	var gap *capture.GapError
	var own interface{ ExitCode() int }
	switch {
	case errors.As(err, &gap):
		return exitGap
	case errors.As(err, &own):
		return own.ExitCode()
	}
	return exitFailed
}

// report prints errors for people, each with its remedy behind "hint:".
func report(w io.Writer, err error) {
	for _, one := range capture.Errors(err) {
		if errors.As(one, new(findingsError)) {
			continue
		}
		fmt.Fprintf(w, "rowhook: %s\n", one)
		if remedy := capture.Remedy(one); remedy != "" {
			fmt.Fprintf(w, "hint: %s\n", strings.ReplaceAll(remedy, "\n", "\n      "))
		}
		var usage *usageError
		if errors.As(one, &usage) {
			fmt.Fprintf(w, "Try: %s --help\n", usage.command)
		}
	}
}
