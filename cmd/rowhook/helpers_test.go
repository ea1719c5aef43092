package main

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
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
func write(t *testing.T, text string) (*config.Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, env(map[string]string{"SECRET": "from the environment, and long"}))
	if err != nil {
		t.Fatal(err)
	}
	return c, path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newTestStation opens the state directory of a config with the profile desk.
func newTestStation(t *testing.T) *station {
	t.Helper()
	c, _ := write(t, smallConfig+"profiles:\n  desk: {url: http://127.0.0.1:1/, signature: none, allow_networks: [loopback]}\n")
	c.Spool.Reserve = -1
	s, err := openStation(c, slog.New(slog.DiscardHandler), false)
	must(t, err)
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// storeEvent stores an event for profiles.
func (s *station) storeEvent(t *testing.T, codes ...string) {
	t.Helper()
	var to []delivery.ProfileID
	for _, code := range codes {
		id, err := s.spool.Register(code)
		must(t, err)
		to = append(to, id)
	}
	batch := s.spool.NewBatch()
	batch.Add(&delivery.Event{ID: "evt_1", Type: "loan.created", Time: time.Now(), Key: []byte("{}"), Data: []byte("{}"), OrderKey: "1"}, to)
	batch.Commit("0/20")
	must(t, s.spool.Apply(batch))
}
