package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery/spool"
)

// Whoever wants a state directory that is in use waits as long as that is worth it: an agent for a
// command, a command for anybody.
func TestWaitForTheLock(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		passing bool          // the holder is a command
		holds   time.Duration // 0: longer than anybody waits
		wait    func(*spool.LockedError) bool
		waited  time.Duration
		refused bool
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
				began, holds := time.Now(), test.holds
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

// A state directory that others may look into is closed to them, whoever made it.
func TestStateDirectoryIsPrivate(t *testing.T) {
	t.Parallel()
	made := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(made, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{made, filepath.Join(t.TempDir(), "a", "state")} {
		if err := makePrivateDir(dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makePrivateDir(file); err == nil {
		t.Error("a file was taken for the state directory")
	}
}

// Before the first event there is no delivery log, which is no error.
func TestLogBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	_, path := write(t, smallConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n")
	var out, messages strings.Builder
	code := execute(t.Context(), []string{"log", "--json", "-c", path}, &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(nil)})
	if code != 0 || out.String() != "" || !strings.Contains(messages.String(), "no delivery log") {
		t.Errorf("exit %d, output %q, messages %q", code, out.String(), messages.String())
	}
}

// Root's commands leave a state directory alone whose agent runs as somebody else.
func TestRefuseOwner(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := refuseOwner(state, 0); err != nil {
			t.Errorf("root's own: %v", err)
		}
		if err := os.Chown(filepath.Join(state, "spool"), 54321, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := refuseOwner(state, 0); err == nil || !strings.Contains(config.Hint(err), "sudo -u") {
		t.Errorf("somebody else's: %v", err)
	}
	if err := refuseOwner(state, 54321); err != nil {
		t.Errorf("not root: %v", err)
	}
	if err := refuseOwner(filepath.Join(state, "none"), 0); err != nil {
		t.Errorf("none yet: %v", err)
	}
}
