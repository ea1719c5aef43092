package e2e_test

import (
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// A server that sends nothing before a standby has confirmed it, which is down, is seen after a
// minute: in the log, in status and in the exit code, with the reason; and it is over when the
// standby is given up.
func TestStandbyIsDown(t *testing.T) {
	t.Parallel()
	if !soak() {
		return // it takes more than a minute; TestStall and TestStandbyConfirmation are about its parts
	}
	w := newWorld(t, capturetest.Options{Major: 19})
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.exec("select pg_create_physical_replication_slot('down', true)", "alter system set synchronized_standby_slots = 'down'", "select pg_reload_conf()")
	elapse(t, 2*time.Second, "", nil)
	w.insert(2)
	eventually(t, 2*time.Minute, "status tells of the standby", func() bool {
		report, code := w.status()
		source, _ := report["source"].(map[string]any)
		stalled, _ := source["stalled"].(map[string]any)
		reason, _ := stalled["reason"].(string)
		return code == 3 && strings.Contains(reason, "synchronized_standby_slots (down)")
	})
	a.says("committed changes do not come through")
	w.exec("alter system reset synchronized_standby_slots", "select pg_reload_conf()")
	w.hook.wait(t, "main", 2, patience)
	a.says("committed changes come through again")
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
}
