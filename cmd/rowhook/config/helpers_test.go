package config

import (
	"flag"
	"os"
	"path/filepath"
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

const smallConfig = `source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library"}
mapping:
  circulation.loans: {events: {loan.returned: {op: update, set: returned_at}}}
  catalog.items: {}
`

// write puts a config into a file that only its owner may read, and loads it.
func write(t *testing.T, text string) (*Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, env(map[string]string{"SECRET": "from the environment, and long"}), "")
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}

const (
	exampleConfig = "../../../config.example.yaml"          // every key
	libraryConfig = "../../../testdata/library/config.yaml" // a library's, with all its tables
	minimalConfig = "../../../testdata/library/minimal.yaml"
)

var exampleEnv = env(map[string]string{
	"DESK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "ALMA_SECRET": "rowhook-test-secret",
})
