package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
)

// newTestStation opens the state directory of a config with the profile desk.
func newTestWorkspace(t *testing.T) *workspace {
	t.Helper()
	c := write(t, smallConfig+"profiles:\n  desk: {url: http://127.0.0.1:1/, signature: none, allow_networks: [loopback]}\n")
	c.Spool.Reserve = -1
	s, err := openWorkspace(c, testOptions(), false)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// storeEvent stores an event for profiles.
func (w *workspace) storeEvent(t *testing.T, codes ...string) {
	t.Helper()
	var to []delivery.ProfileID
	for _, code := range codes {
		id, err := w.spool.Register(code)
		must(t, err)
		to = append(to, id)
	}
	batch := w.spool.NewBatch()
	batch.Add(&delivery.Event{Making: &delivery.Making{Type: "loan.created"}, Commit: &delivery.Commit{Time: time.Now()}, ID: "evt_1", Key: []byte("{}"), Data: []byte("{}"), OrderKey: "1"}, to)
	batch.Commit("0/20")
	must(t, w.spool.Apply(batch))
}

// testOptions are those of an agent that logs nothing.
func testOptions() Options {
	return Options{
		Logger: slog.New(slog.DiscardHandler), Version: "1",
		Source: func(c *config.Config, logger *slog.Logger, id string) (Source, error) {
			return postgres.New(c.Source.SourceConfig, postgres.Options{Logger: logger, AgentID: id})
		},
	}
}

const smallConfig = `source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library"}
mapping:
  circulation.loans: {events: {loan.returned: {op: update, set: returned_at}}}
  catalog.items: {}
`

func noEnv(string) (string, bool) { return "", false }

// writeA puts a config into a file that only its owner may read, and loads it.
func write(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	c, err := config.Load(path, noEnv, "")
	must(t, err)
	return c
}

// writeWith is write, with files beside the config.
func writeWith(t *testing.T, text string, files map[string]string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	path := filepath.Join(dir, "config.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	c, err := config.Load(path, noEnv, "")
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
