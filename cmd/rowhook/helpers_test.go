package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
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
	c, err := config.Load(path, env(map[string]string{"SECRET": "from the environment, and long"}), "")
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

// runAgent runs an agent, with the source of the config or what is made of it, until the function
// that it returns is called.
func runAgent(t *testing.T, c *config.Config, of func(agent.Source) agent.Source) (stop func()) {
	t.Helper()
	options := (&console{err: io.Discard, env: env(nil)}).agentOptions(c)
	options.Logger, options.QuietPeriod = slog.New(slog.DiscardHandler), time.Hour // commands are to be first
	options.Source = func(c *config.Config, logger *slog.Logger, id string) (agent.Source, error) {
		s, err := newSource(c, logger, id)
		if err != nil {
			return nil, err
		}
		return of(s), nil
	}
	a, err := agent.New(c, agent.Start{}, options)
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for deadline := time.After(20 * time.Second); ; {
		running, err := agent.ReachRunning(c.State)
		if err == nil {
			must(t, running.Close())
			break
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
	return func() {
		cancel()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	}
}
