package agent

import (
	"strings"
	"testing"

	"rowhook/delivery/engine"
)

// A profile that left the config is forgotten when nothing waits for it, and kept otherwise.
func TestRemovedProfiles(t *testing.T) {
	t.Parallel()
	s := newTestWorkspace(t)
	_, err := s.spool.Register("empty")
	must(t, err)
	s.storeEvent(t, "waiting")
	must(t, s.retireRemoved())
	removed, err := s.removed()
	if err != nil || len(removed) != 1 || removed[0].Code != "waiting" {
		t.Errorf("removed = %+v, %v, want the waiting one only", removed, err)
	}
	shown, err := s.removedProfiles()
	if err != nil || len(shown) != 1 || shown[0].BacklogEvents != 1 {
		t.Errorf("shown = %+v, %v", shown, err)
	}
}

// Only what is stored for a profile asks for a word about it.
func TestRemovalAsksForAWord(t *testing.T) {
	t.Parallel()
	s := newTestWorkspace(t)
	_, err := s.engine.Prepare(nil, nil)
	must(t, err)
	s.storeEvent(t, "desk")
	if _, err := s.engine.Prepare(nil, nil); err == nil || !strings.Contains(err.Error(), "no longer has desk") {
		t.Errorf("a reload without desk: %v", err)
	}
	_, err = s.engine.Prepare(nil, map[string]engine.Removal{"desk": engine.Park})
	must(t, err)
}
