// Package child starts processes that do not outlive this one, for throwaway servers and tests.
package child

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a child.
type Process struct {
	PID  int
	Done <-chan struct{} // closed when it has ended
	err  error
}

// Start starts cmd. death is the signal that the child gets when this process ends before it does. What
// else cmd.SysProcAttr has stays. cmd.ProcessState is set once Done is closed.
func Start(cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = death
	done, started := make(chan struct{}), make(chan error, 1)
	p := &Process{Done: done}
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends, so the thread is kept for as
		// long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.PID = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Running reports whether the child has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.Done:
		return false
	default:
		return true
	}
}

// Wait returns when the child has ended, with what [exec.Cmd.Wait] says of it.
func (p *Process) Wait() error {
	<-p.Done
	return p.err
}
