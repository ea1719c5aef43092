package e2e_test

import (
	"os"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// A state directory that is taken away under a running agent ends it, also while nothing happens:
// what its open files took would be confirmed and gone. Back in its place it has all of it.
func TestStateTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	capturetest.Must(t, os.Rename(w.path("state"), w.path("elsewhere")))
	code := a.wait(patience)
	said := a.stderr.String()
	if code != 1 || !strings.Contains(said, "directory has gone") || !strings.Contains(said, "hint: the state directory was removed or unmounted") {
		t.Errorf("ended with %d and says\n%s", code, said)
	}
	if strings.Contains(said, "goroutine ") {
		t.Errorf("ended by a crash:\n%s", said)
	}
	w.insert(2)
	capturetest.Must(t, os.RemoveAll(w.path("state")))
	capturetest.Must(t, os.Rename(w.path("elsewhere"), w.path("state")))
	a = w.start()
	w.hook.wait(t, "main", 2, patience)
	a.term()
}
