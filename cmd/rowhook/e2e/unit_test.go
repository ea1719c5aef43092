package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"rowhook/capture/capturetest"
)

// unitVariable names a unit of systemd. Each world's agent then runs under the unit's restrictions, as
// systemd itself lays them on: `make unit` sets it, in a machine that systemd has booted.
const unitVariable = "ROWHOOK_TEST_UNIT"

// binaryVariable names an agent that is built already.
const binaryVariable = "ROWHOOK_TEST_BINARY"

// unitNumber counts the services that tests have begun.
var unitNumber atomic.Int64

// notOfTests are a unit's settings that are about how it is started and where it writes. A test's
// directory belongs to root, so that its agent is root, without root's capabilities.
var notOfTests = []string{"User", "Exec", "Restart", "TimeoutStopSec", "StateDirectory", "LogsDirectory"}

// underUnit is a command as a service with a unit's settings, which may write into one directory.
// name is the service's.
func underUnit(tb testing.TB, unit string, cmd *exec.Cmd, env []string) (service *exec.Cmd, name string) {
	tb.Helper()
	raw, err := os.ReadFile(unit)
	capturetest.Must(tb, err)
	name = fmt.Sprintf("rowhook-test-%d-%d.service", os.Getpid(), unitNumber.Add(1))
	args := []string{"--quiet", "--pipe", "--wait", "--collect", "--service-type=exec", "--unit=" + name,
		"--property=WorkingDirectory=" + cmd.Dir, "--property=ReadWritePaths=" + cmd.Dir}
	for _, variable := range env {
		args = append(args, "--setenv="+variable)
	}
	_, settings, _ := strings.Cut(string(raw), "[Service]\n")
	settings, _, _ = strings.Cut(settings, "\n[")
	taken := 0
setting:
	for line := range strings.Lines(settings) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for _, prefix := range notOfTests {
			if strings.HasPrefix(line, prefix) {
				continue setting
			}
		}
		args = append(args, "--property="+line)
		taken++
	}
	if taken < 20 {
		tb.Fatalf("%s has only %d settings", unit, taken)
	}
	return exec.Command("systemd-run", append(append(args, cmd.Path), cmd.Args[1:]...)...), name
}

// serve launches the service and waits until its process is there, or it has ended.
func serve(tb testing.TB, cmd *exec.Cmd, name string) *agent {
	tb.Helper()
	a := launch(tb, cmd)
	eventually(tb, patience, "systemd starts "+name, func() bool {
		out, err := exec.Command("systemctl", "show", "--property=MainPID", "--value", name).Output()
		pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
		if err == nil && pid > 0 {
			a.pid = pid
		}
		return err == nil && pid > 0 || !a.running()
	})
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.pid)); err == nil && a.running() {
		for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n"} {
			if !strings.Contains(string(status), want) && a.running() {
				tb.Errorf("%s runs without %q:\n%s", name, want, status)
			}
		}
	}
	return a
}
