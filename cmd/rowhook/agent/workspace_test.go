package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery/spool"
)

// Whoever wants a state directory that is in use waits as long as that is worth it: an agent for a
// command, a command for anybody.
func TestWaitForTheLock(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		passing    bool          // the holder is a command
		suspension time.Duration // 0: longer than anybody waits
		wait       func(*spool.LockedError) bool
		waited     time.Duration
		refused    bool
	}{
		{"an agent for a command", true, 3 * time.Second, (*spool.LockedError).Passing, 3 * time.Second, false},
		{"an agent for a command that stays", true, 0, (*spool.LockedError).Passing, lockPatience, true},
		{"an agent for an agent", false, 0, (*spool.LockedError).Passing, 0, true},
		{"a command for an agent that ends", false, 3 * time.Second, nil, 3 * time.Second, false},
		{"a command for an agent that stays", false, 0, nil, lockPatience, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				holder, err := spool.Open(dir, spool.Options{Passing: test.passing, Reserve: -1})
				if err != nil {
					t.Fatal(err)
				}
				began, holds := time.Now(), test.suspension
				if holds == 0 {
					holds = time.Minute
				}
				time.AfterFunc(holds, func() {
					if err := holder.Close(); err != nil {
						t.Error(err)
					}
				})
				s, err := onceFree(test.wait, func() (*spool.Spool, error) { return spool.Open(dir, spool.Options{Reserve: -1}) })
				if waited := time.Since(began); waited < test.waited || waited > test.waited+time.Second/5 {
					t.Errorf("waited %s, want %s", waited, test.waited)
				}
				if refused := err != nil; refused != test.refused {
					t.Errorf("refused: %v", err)
				}
				if s != nil {
					err = s.Close()
				}
				if !test.refused && err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute) // the holder's end
			})
		})
	}
}
