package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// stream is what the machines of these tests have in common.
const stream = "rowhook-proof"

// All servers end under load, in order and by kill -9, and start again on what they have; one starts
// with an empty disk, and the others die then in turn: nothing is lost, and the order of each key holds.
func TestClusterServers(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			testClusterServers(t, newWorldOf(t, database, nil))
		})
	}
}

func testClusterServers(t *testing.T, w *world) {
	c := newCluster(t, w, "n1", "n2", "n3")
	c.s = w.scenario("cluster")
	l := c.begin(usualLoad)
	c.haltAll("all servers stopped", c.nats.Terminate)
	c.haltAll("all servers killed", c.nats.Kill)
	for server := range 3 {
		c.loseDisk(server)
	}
	c.finish(l)
}

// haltAll ends all servers at once and starts them again.
func (c *clustered) haltAll(what string, halt func(server int)) {
	c.tb.Helper()
	v := c.awaitView(c.another().name, "the machines have shared out what there is", c.spread(3))
	c.fault("time with "+what, "times with "+what)
	for server := range 3 {
		halt(server)
	}
	for _, m := range c.machines {
		eventually(c.tb, patience, m.name+" is not ready without servers", func() bool {
			r := m.rowhook("status", "--ready")
			return r.code == 1 && strings.Contains(r.stderr, "quorum")
		})
	}
	sent := c.hook.requests.Load()
	elapse(c.tb, clusterLease, "nothing is sent without servers", func() bool { return c.hook.requests.Load() == sent })
	for server := range 3 {
		capturetest.Must(c.tb, c.nats.Restart(server))
	}
	c.takeOver("stream, "+what, c.mark())
	now := c.awaitView(c.another().name, "the machines have shared out what there is", c.spread(3))
	if now.Epoch < v.Epoch {
		c.tb.Errorf("epoch %d of the capture after %d", now.Epoch, v.Epoch)
	}
}

// loseDisk has a server start anew with nothing. What it is told by the others is held to be whole: the
// next one loses its disk then.
func (c *clustered) loseDisk(server int) {
	c.tb.Helper()
	c.fault("server's disk lost", "servers' disks lost")
	c.nats.Kill(server)
	c.mark()
	capturetest.Must(c.tb, os.RemoveAll(c.nats.Dir(server)))
	capturetest.Must(c.tb, c.nats.Restart(server))
	capturetest.Must(c.tb, c.nats.Current(c.tb.Context(), stream))
	c.mark()
}

// A stream that went backwards, since all servers got older copies of their directories, is noticed by
// every machine, which ends and says what to do. What it says is done here as it stands: nothing is lost.
func TestClusterBackwards(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	for _, database := range []string{"postgres", "mariadb"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			testClusterBackwards(t, newWorldOf(t, database, nil))
		})
	}
}

func testClusterBackwards(t *testing.T, w *world) {
	c := newCluster(t, w, "n1", "n2", "n3")
	c.s = w.scenario("cluster")
	l := c.begin(usualLoad)
	copies := newTempDir(t)
	copied := func(server int) string { return filepath.Join(copies, strconv.Itoa(server)) }
	c.fault("stream restored from an older copy", "streams restored from an older copy")
	c.withServersDown(func(server int) { copyDir(t, c.nats.Dir(server), copied(server)) })
	for range 3 {
		c.mark()
	}
	captured := c.awaitView(c.another().name, "the machines have shared out what there is", c.spread(3)).Captures
	c.recent()
	c.withServersDown(func(server int) { copyDir(t, copied(server), c.nats.Dir(server)) })
	for name, m := range c.machines {
		if code := m.agent.wait(patience); code != 4 {
			t.Errorf("%s ends with code %d", name, code)
		}
		for _, words := range []string{"lost its end", "nats stream rm"} {
			if !strings.Contains(m.agent.stderr.String(), words) {
				t.Errorf("%s does not say %q:\n%s", name, words, m.agent.stderr.tail())
			}
		}
	}

	// As the remedy says.
	first := c.machines[captured]
	for name, m := range c.machines {
		if name != captured {
			m.forget()
		}
	}
	block := first.conf.top
	first.conf.top = ""
	first.write()
	first.rowhook("status")
	for _, name := range []string{stream, "OBJ_" + stream + "-snapshots"} {
		capturetest.Must(t, c.nats.Delete(t.Context(), name))
	}
	first.conf.top = block
	first.run()
	c.awaitView(captured, "the first machine has all", c.whole)
	for name, m := range c.machines {
		if name != captured {
			m.run()
		}
	}
	c.awaitView(captured, "the machines have shared out what there is", c.spread(3))
	c.mark()
	c.finish(l)
}

// withServersDown stops all servers in order, does something to their directories, and starts them.
func (c *clustered) withServersDown(do func(server int)) {
	c.tb.Helper()
	for server := range 3 {
		c.nats.Terminate(server)
	}
	for server := range 3 {
		do(server)
		capturetest.Must(c.tb, c.nats.Restart(server))
	}
}
