package e2e_test

import (
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// An agent that has no room for what it reads keeps nobody waiting: not the database that shuts
// down, nor who stops the agent. What it could not store comes when there is room.
func TestPausedAgentLetsGo(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testPausedAgentLetsGo)
}

func testPausedAgentLetsGo(t *testing.T, w *world) {
	const most = 5 * time.Second
	w.begin().term()
	w.conf.spool = "{max_size: 1GiB, reserve: 100TiB}"
	a := w.begin()
	for id := range int64(100) {
		w.insert(id + 1)
	}
	a.says("the source is paused")
	if pg, ok := w.server.(*postgres); ok {
		began := time.Now()
		capturetest.Must(t, pg.Stop(capturetest.Fast))
		if took := time.Since(began); took > most {
			t.Errorf("the database took %s to stop", took)
		}
		capturetest.Must(t, pg.Start())
	}
	began := time.Now()
	a.term()
	if took := time.Since(began); took > most {
		t.Errorf("the agent took %s to stop", took)
	}
	w.conf.spool = ""
	a = w.begin()
	w.hook.wait(t, "main", 100, patience)
	w.logCount("main", 100)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
}
