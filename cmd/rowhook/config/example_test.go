package config

import (
	"os"
	"strings"
	"testing"
)

// TestExampleConfig: the reference loads as it stands, without findings, and is short enough to be
// read.
func TestExampleConfig(t *testing.T) {
	t.Parallel()
	c, err := Load(exampleConfig, exampleEnv, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Mapping) != 1 || len(c.Mapping[0].Events) != 5 || len(c.Profiles) != 1 || c.Profiles[0].Format != "native" {
		t.Errorf("mapping %+v, profiles %+v", c.Mapping, c.Profiles)
	}
	if got := codes(c); got != "" {
		t.Errorf("findings %q", got)
	}
	text, err := os.ReadFile(exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) >= 250 {
		t.Errorf("it has %d lines", len(lines))
	}
	for i, line := range lines {
		if len(line) > 100 {
			t.Errorf("line %d has %d columns", i+1, len(line))
		}
	}
}

func TestLibraryConfig(t *testing.T) {
	t.Parallel()
	c, err := Load(libraryConfig, exampleEnv, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.State != "../../../testdata/library/state" || c.Log.Deliveries != "../../../testdata/library/log/deliveries.jsonl" {
		t.Errorf("paths %q and %q", c.State, c.Log.Deliveries)
	}
	if len(c.Mapping) != 14 || len(c.Mapping[0].Events) != 8 || c.Mapping[5].Name != "catalog.items" {
		t.Errorf("%d entries of the mapping, the first %+v", len(c.Mapping), c.Mapping[0])
	}
	if len(c.Profiles) != 8 || c.Profiles[1].Format != "native" || c.Profiles[0].Subscriptions[0].Operations.Not[0] != "web_api" {
		t.Errorf("profiles %+v", c.Profiles)
	}
	if got := codes(c); got != "" {
		t.Errorf("findings %q", got)
	}
}

// TestMinimalConfig: a database, a table and a receiver are all that one has to name.
func TestMinimalConfig(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(minimalConfig)
	if err != nil {
		t.Fatal(err)
	}
	secrets := func(string) ([]byte, error) { return []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n"), nil }
	c, err := Parse(minimalConfig, raw, func(string) (string, bool) { return "", false }, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Mapping) != 1 || len(c.Profiles) != 1 {
		t.Errorf("got %+v", c)
	}
}
