package agent

import (
	"context"
	"errors"
	"os"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/directories"
	"rowhook/delivery/spool"
)

// Access is how a command works on a state directory: through its agent's socket, or, when none is
// running, on the directory itself.
type Access struct {
	client    *control.Client
	workspace *workspace
	local     operationCalls
}

// Reach reaches the agent or opens the state directory. An agent that is starting or ending has it
// locked and does not answer, so both are tried again.
func Reach(c *config.Config, options Options) (*Access, error) {
	return onceFree(nil, func() (*Access, error) { return tryReach(c, options) })
}

// ReachRunning reaches the agent that runs on a state directory, or returns [control.ErrNoAgent].
func ReachRunning(stateDir string) (*Access, error) {
	client, err := control.Dial(stateDir)
	if err != nil {
		return nil, err
	}
	return &Access{client: client}, nil
}

func tryReach(c *config.Config, options Options) (*Access, error) {
	running, err := ReachRunning(c.State)
	if !errors.Is(err, control.ErrNoAgent) {
		return running, err
	}
	if err := directories.RefuseRoot(c.State, os.Geteuid()); err != nil {
		return nil, err
	}
	if c.Cluster.Enabled() {
		return nil, &capture.OperatorError{Err: control.ErrNoAgent, Remedy: "in a cluster only its running agents can be asked: start this machine's with `rowhook run`, or ask on another machine"}
	}
	w, err := openWorkspace(c, options, true)
	var locked *spool.LockedError
	if errors.As(err, &locked) && !locked.Passing() {
		err = &capture.OperatorError{Err: err, Remedy: "an agent that is starting or ending does not answer: try again when it has"}
	}
	if err != nil {
		return nil, err
	}
	return &Access{workspace: w, local: w.operations()}, nil
}

// Call has one operation done and decodes its answer into resp.
func (a *Access) Call(ctx context.Context, name string, req, resp any) error {
	if a.client != nil {
		return a.client.Call(ctx, name, req, resp)
	}
	if _, known := a.local[name]; !known { // only an agent does it
		return control.ErrNoAgent
	}
	return a.local.Call(ctx, name, req, resp)
}

// Close gives the agent or the state directory up.
func (a *Access) Close() error {
	if a.client != nil {
		a.client.Close()
		return nil
	}
	return a.workspace.Close()
}

// lockPatience is how long an agent waits for commands that have its state directory open, and
// commands for whoever has.
const lockPatience = 10 * time.Second

// onceFree opens what a state directory's lock keeps from being opened twice. While another process
// has the lock it tries again, for as long as that is worth waiting for: wait, if not nil, says so
// at each look but the first.
func onceFree[T any](wait func(*spool.LockedError) bool, open func() (T, error)) (T, error) {
	for began, looks := time.Now(), 0; ; looks++ {
		opened, err := open()
		var locked *spool.LockedError
		if !errors.As(err, &locked) || looks > 0 && wait != nil && !wait(locked) || time.Since(began) > lockPatience {
			return opened, err
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // lockPatience bounds it, and signals end the process: nobody catches them yet
	}
}
