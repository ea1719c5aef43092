package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestConfigFiles loads every file of testdata/config. What is wrong with a file stands,
// as people see it, in the file of the same name with .txt; a file without one is valid.
func TestConfigFiles(t *testing.T) {
	t.Parallel()
	variables := env(map[string]string{"TIMEOUT": "5s", "PASSWORD": "s3cr3t/p@ss", "EMPTY": "", "LIMIT": "many-s3cr3ts"})
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(file, variables, "")
			valid := strings.HasPrefix(name, "valid-")
			if valid != (err == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if code := err.(interface{ ExitCode() int }).ExitCode(); code != exitConfig {
				t.Errorf("exit code %d", code)
			}
			told := printed(err)
			for _, secret := range []string{"s3cr3t", "p%40ss"} {
				if strings.Contains(told, secret) {
					t.Errorf("%q is shown", secret)
				}
			}
			golden(t, filepath.Join("config", name+".txt"), told)
		})
	}
}

// printed is an error as rowhook prints it, each part with its remedy.
func printed(err error) string {
	var b strings.Builder
	for _, one := range capture.Errors(err) {
		fmt.Fprintf(&b, "rowhook: %s\n", one)
		if remedy := capture.Remedy(one); remedy != "" {
			fmt.Fprintf(&b, "hint: %s\n", strings.ReplaceAll(remedy, "\n", "\n      "))
		}
	}
	return b.String()
}

// TestStateDir: the state directory alone is what the whole config has, also where the rest is wrong.
func TestStateDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	variables := env(map[string]string{"WHERE": "/srv/elsewhere"})
	for text, want := range map[string]string{
		"state: ./here\nnonsense: 1\n":   filepath.Join(dir, "here"),
		"state: ${WHERE}/x\nprofiles: 7": "/srv/elsewhere/x",
		"source: {type: postgres}\n":     filepath.Join(dir, "state"),
		"state: [\n":                     filepath.Join(dir, "state"),
		"- a list\n":                     filepath.Join(dir, "state"),
	} {
		file := filepath.Join(dir, fmt.Sprintf("%x.yaml", text))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		whole, _ := Load(file, variables, "")
		if got := StateDir(file, variables); got != want || got != whole.State {
			t.Errorf("%q: %s, the whole config has %s, want %s", text, got, whole.State, want)
		}
	}
	if got := StateDir(filepath.Join(dir, "absent.yaml"), variables); got != filepath.Join(dir, "state") {
		t.Errorf("without a file: %s", got)
	}
}
