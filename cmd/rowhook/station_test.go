package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
