package directories

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
)

// A state directory that others may look into is closed to them, whoever made it.
func TestStateDirectoryIsPrivate(t *testing.T) {
	t.Parallel()
	made := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(made, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{made, filepath.Join(t.TempDir(), "a", "state")} {
		if err := MakePrivate(dir); err != nil {
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
	if err := MakePrivate(file); err == nil {
		t.Error("a file was taken for the state directory")
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
		if err := RefuseRoot(state, 0); err != nil {
			t.Errorf("root's own: %v", err)
		}
		if err := os.Chown(filepath.Join(state, "spool"), 54321, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := RefuseRoot(state, 0); err == nil || !strings.Contains(capture.Remedy(err), " -u ") {
		t.Errorf("somebody else's: %v", err)
	}
	if err := RefuseRoot(state, 54321); err != nil {
		t.Errorf("not root: %v", err)
	}
	if err := RefuseRoot(filepath.Join(state, "none"), 0); err != nil {
		t.Errorf("none yet: %v", err)
	}
}

// What stands before a command is there on this machine.
func TestAsUser(t *testing.T) {
	t.Parallel()
	there := func(string) (string, error) { return "/usr/bin/sudo", nil }
	none := func(string) (string, error) { return "", exec.ErrNotFound }
	if got := asUser("rowhook", there); got != "sudo -u rowhook" {
		t.Errorf("with sudo: %q", got)
	}
	if got := asUser("rowhook", none); got != "runuser -u rowhook --" {
		t.Errorf("without sudo: %q", got)
	}
}
