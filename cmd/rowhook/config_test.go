package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// env is an environment for tests.
func env(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := pairs[name]
		return value, ok
	}
}

// golden compares with testdata/name, or rewrites it.
func golden(t *testing.T, name string, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

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
			_, err := loadConfig(file, variables)
			valid := strings.HasPrefix(name, "valid-")
			if valid != (err == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if code := exitCode(err); code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			var b strings.Builder
			report(&b, err)
			for _, secret := range []string{"s3cr3t", "p%40ss"} {
				if strings.Contains(b.String(), secret) {
					t.Errorf("%q is shown", secret)
				}
			}
			golden(t, filepath.Join("config", name+".txt"), b.String())
		})
	}
}
