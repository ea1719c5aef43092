package e2e_test

import (
	"cmp"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// earlierClusterVariable names the commit of the machines that are upgraded. By default it is the one
// that wrote the messages and stamps of the golden files: the oldest whose machines understand today's.
const earlierClusterVariable = "ROWHOOK_CLUSTER_EARLIER"

// Machines of an earlier build are replaced under load, one after the other, as docs/cluster.md says,
// and one goes back: builds work side by side, nothing is lost, and the order of each key holds.
func TestClusterUpgrade(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	earlier := buildEarlier(t)
	for _, database := range []string{"postgres", "mariadb"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			testClusterUpgrade(t, newWorldOf(t, database, nil), earlier)
		})
	}
}

func testClusterUpgrade(t *testing.T, w *world, earlier string) {
	c := newCluster(t, w, "n1", "n2", "n3")
	c.s = w.scenario("cluster")
	for _, m := range c.machines {
		m.program = earlier
	}
	l := c.begin(usualLoad)
	names := slices.Sorted(maps.Keys(c.machines))
	for _, name := range names {
		c.replace(c.machines[name], "")
	}
	c.replace(c.machines[names[0]], earlier)
	c.replace(c.machines[names[0]], "")
	c.finish(l)
}

// replace hands over, if the machine captures, stops it and starts another build on its directory.
func (c *clustered) replace(m *machineOf, program string) {
	c.tb.Helper()
	v := c.awaitView(m.name, "the machines have shared out what there is", c.spread(3))
	c.s.did(1, "machine replaced by one of another build", "machines replaced by one of another build")
	if v.Captures == m.name {
		m.must("handover")
	}
	c.mark()
	m.agent.term()
	c.mark()
	m.program = program
	m.run()
	c.mark()
	c.awaitView(m.name, "the machine is back", c.spread(3))
}

// buildEarlier builds the agent of an earlier commit.
func buildEarlier(t *testing.T) (program string) {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := cmp.Or(os.Getenv(earlierClusterVariable), run(root, "git", "log", "-1", "--format=%H", "--", "cmd/rowhook/cluster/testdata"))
	t.Logf("the earlier build is %s", run(root, "git", "log", "-1", "--format=%h, %s", commit))
	t.Logf("commits since: %s", run(root, "git", "rev-list", "--count", commit+"..HEAD"))
	dir := newTempDir(t)
	archive := filepath.Join(dir, "earlier.tar")
	run(root, "git", "archive", "--output", archive, commit)
	run(dir, "tar", "-xf", archive)
	program = filepath.Join(dir, "earlier")
	run(dir, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=earlier", "-o", program, "./cmd/rowhook")
	return program
}
