package child_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rowhook/capture/capturetest/child"
)

// parentVariable has the test's program be the parent of a child that would live on.
const parentVariable = "ROWHOOK_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sleep", "600")
	cmd.Stdout = os.Stdout // which stays open for as long as it lives
	p, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.PID) + "\n")
	_ = p.Wait()
}

func TestEnds(t *testing.T) {
	t.Parallel()
	p, err := child.Start(exec.Command("sh", "-c", "exit 3"), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 || p.Running() {
		t.Errorf("%v, running %v", err, p.Running())
	}
	if _, err := child.Start(exec.Command("/nonexistent"), syscall.SIGKILL); err == nil {
		t.Error("what does not exist was started")
	}
}

// TestDoesNotOutlive kills the parent, and reads the child's output to its end.
func TestDoesNotOutlive(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if pid, bad := strconv.Atoi(strings.TrimSpace(line)); err != nil || bad != nil || pid == parent.PID {
		t.Fatalf("%q, %v", line, err)
	}
	if err := syscall.Kill(parent.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if rest, err := lines.ReadString('\n'); err == nil {
		t.Errorf("the child says %q", rest)
	}
	_ = parent.Wait() // killed
}
