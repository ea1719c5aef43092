package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest/child"
)

// agent is one running `rowhook run`.
type agent struct {
	tb     testing.TB
	pid    int
	stderr *output
	done   chan struct{} // closed when it has ended
	code   int           // its exit code once done is closed; -1 when a signal ended it
	rusage syscall.Rusage
}

// output collects what a process writes. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// tail is the end of what was written, for failed tests.
func (o *output) tail() string {
	s := o.String()
	return s[max(0, len(s)-4000):]
}

// launch starts a process that does not outlive this one and is killed at the test's end.
func launch(tb testing.TB, cmd *exec.Cmd) *agent {
	tb.Helper()
	a := &agent{tb: tb, stderr: &output{}, done: make(chan struct{})}
	cmd.Stderr = a.stderr
	p, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		tb.Fatalf("start %s: %v", cmd.Path, err)
	}
	a.pid = p.PID
	go func() {
		_ = p.Wait() // the exit code tells
		a.code = cmd.ProcessState.ExitCode()
		a.rusage = *cmd.ProcessState.SysUsage().(*syscall.Rusage)
		close(a.done)
	}()
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("%s, process %d, says:\n%s", filepath.Base(cmd.Path), a.pid, a.stderr.tail())
		}
		a.kill()
	})
	return a
}

func (a *agent) running() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// kill is kill -9; it returns when the process is gone.
func (a *agent) kill() {
	if a.running() {
		_ = syscall.Kill(a.pid, syscall.SIGKILL) // gone is what is wanted
	}
	<-a.done
}

// signal sends a signal to a process that must be running.
func (a *agent) signal(s syscall.Signal) {
	a.tb.Helper()
	if err := syscall.Kill(a.pid, s); err != nil {
		a.tb.Fatalf("signal %s: %v", s, err)
	}
}

// wait returns the exit code of an agent that is to end on its own.
func (a *agent) wait(within time.Duration) int {
	a.tb.Helper()
	select {
	case <-a.done:
		return a.code
	case <-time.After(within):
		a.tb.Fatalf("the agent still runs after %s", within)
		return 0
	}
}

// term is an orderly stop, which must succeed.
func (a *agent) term() {
	a.tb.Helper()
	a.signal(syscall.SIGTERM)
	if code := a.wait(patience); code != 0 {
		a.tb.Fatalf("exit code %d after SIGTERM, want 0", code)
	}
}

// says waits until the agent has written something.
func (a *agent) says(text string) {
	a.tb.Helper()
	eventually(a.tb, patience, "the agent says "+strconv.Quote(text), func() bool {
		return strings.Contains(a.stderr.String(), text)
	})
}

// memory reads a figure of /proc/PID/status, such as VmHWM, in bytes.
func (a *agent) memory(field string) int64 {
	a.tb.Helper()
	n, err := procStatus(a.pid, field)
	if err != nil {
		a.tb.Fatalf("%v", err)
	}
	return n
}

func procStatus(pid int, field string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

// cpu is the processor time that a process has used, user and system.
func (a *agent) cpu() time.Duration {
	a.tb.Helper()
	return processorTime(a.tb, a.pid)
}

// processorTime is what a process has used, user and system.
func processorTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	// pid (comm) state …; utime and stime are the 14th and 15th fields, in hundredths of a second.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, userErr := strconv.Atoi(fields[11])
	system, systemErr := strconv.Atoi(fields[12])
	if err := errors.Join(userErr, systemErr); err != nil {
		tb.Fatalf("%v", err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// result is what a command came to.
type result struct {
	code           int
	stdout, stderr string
}

// command runs a short command of rowhook to its end.
func command(tb testing.TB, env []string, args ...string) result {
	tb.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout output
	cmd.Stdout = &stdout
	a := launch(tb, cmd)
	code := a.wait(patience)
	return result{code, stdout.String(), a.stderr.String()}
}
