package e2e_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// binary is the agent, built once for the run.
var binary string

// roleVariable makes the test binary act as another process of a benchmark.
const roleVariable = "ROWHOOK_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(playRole(role))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rowhook-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary = os.Getenv(binaryVariable); binary != "" {
		return runRounds(m)
	}
	binary = filepath.Join(dir, "rowhook")
	// As `make build` does it; also under -race, where the agent stays as users have it.
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=test", "-o", binary, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the agent: %v\n%s", err, out)
		return 1
	}
	return runRounds(m)
}

// hoursVariable is for how long rounds begin.
const hoursVariable = "ROWHOOK_SOAK_HOURS"

// round is the number of this round, from 0.
var round int

// runRounds runs all tests once, or round after round until the hours are over or one fails.
func runRounds(m *testing.M) int {
	hours, err := strconv.ParseFloat(cmp.Or(os.Getenv(hoursVariable), "0"), 64)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", hoursVariable, err)
		return 1
	}
	over := time.Now().Add(time.Duration(hours * float64(time.Hour)))
	code := m.Run()
	for code == 0 && time.Now().Before(over) {
		round++
		fmt.Printf("round %d\n", round+1)
		code = m.Run()
	}
	return faults.close(code)
}

// chance is a source of randomness that is the same in each run, and another in each round.
func chance(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(round))) }

// soak says that the scenarios run in full.
func soak() bool { return os.Getenv("ROWHOOK_SOAK") != "" }

// count is n in full, and few in `make test`.
func count(few, n int) int {
	if soak() {
		return n
	}
	return few
}

// patience is how long a condition may take that normally holds within a second or
// two: the machine may be busy with everything else.
const patience = 60 * time.Second

// eventually waits until a condition holds.
func eventually(tb testing.TB, within time.Duration, what string, ok func() bool) {
	tb.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("not within %s: %s", within, what)
		}
	}
}

// elapse lets time pass that is itself what the test is about, such as how long an
// outage lasts, while cond, if any, must keep holding.
func elapse(tb testing.TB, d time.Duration, what string, cond func() bool) {
	tb.Helper()
	over := time.NewTimer(d)
	defer over.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if cond != nil && !cond() {
				tb.Fatalf("did not hold: %s", what)
			}
		case <-over.C:
			return
		}
	}
}
