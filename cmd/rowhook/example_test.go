package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

const (
	exampleConfig = "../../config.example.yaml"          // every key
	libraryConfig = "../../testdata/library/config.yaml" // a library's, with all its tables
)

var exampleEnv = env(map[string]string{
	"DESK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "ALMA_SECRET": "rowhook-test-secret",
})

// TestExampleHasEveryKey holds the reference to the schema: a key that it lacks is one that nobody
// finds. Keys that are commented out count, and so do those that a comment names as the other way
// to say it.
func TestExampleHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(exampleConfig)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := execute(t.Context(), []string{"schema"}, &console{out: &out, err: &out, env: exampleEnv}); code != exitDone {
		t.Fatal(&out)
	}
	var schema configNode
	if err := json.Unmarshal(out.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, object := range append(slices.Collect(maps.Values(schema.Definitions)), &schema) {
		for key := range object.Properties {
			found++
			if !regexp.MustCompile(`(?m)(^|[ {#])` + key + `: |(^|[ #])` + key + `:$|# .*\bor ` + key + `\b`).Match(text) {
				t.Errorf("it lacks %s", key)
			}
		}
	}
	if found < 150 {
		t.Errorf("the schema has %d keys only", found)
	}
}

// TestLibraryFits sets the library's database up by its config, with only the addresses
// changed, and checks it: nothing may stand in the way but what depends on the server.
func TestLibraryFits(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pg := capturetest.StartPostgres(t, capturetest.Options{})
		pg.Run(t, "create database library", "create role rowhook login replication")
		capturetest.Must(t, pg.Exec(context.Background(), "library", append(librarySQL(t, "postgres"),
			"grant usage on schema circulation, catalog, acquisition, sharing, app to rowhook",
			"grant select on all tables in schema circulation, catalog, acquisition, sharing, app to rowhook")...))
		checkExample(t, exampleOnThisMachine(t, map[string]string{
			"postgres://rowhook@127.0.0.1:5432/library?sslmode=verify-full": pg.TCP("library", "rowhook"),
		}), pg.URL("library"))
	})
	for name, start := range mysqlFlavours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, capturetest.MySQLOptions{Settings: map[string]string{"sync_binlog": "1"}})
			server.Run(t, librarySQL(t, "mysql")...)
			server.User(t, "rowhook", "secret", "replication slave, replication client, select on *.*")
			checkExample(t, exampleOnThisMachine(t, map[string]string{
				"type: postgres": "type: mysql",
				"postgres://rowhook@127.0.0.1:5432/library?sslmode=verify-full": server.TCP("catalog", "rowhook", "secret"),
				"\n  slot: ":             "\n  # slot: ",
				"\n  publication: ":      "\n  # publication: ",
				"\n  heartbeat: ":        "\n  # heartbeat: ",
				"message: rowhook  ":     "table: app.rowhook_context  ",
				"message: rowhook.event": "table: app.rowhook_signal  ",
			}), server.URL("catalog"))
		})
	}
}

// mysqlFlavours start a server of each kind that speaks MySQL's protocol.
var mysqlFlavours = map[string]func(capturetest.TB, capturetest.MySQLOptions) *capturetest.MySQL{
	"mysql": capturetest.StartMySQL, "mariadb": capturetest.StartMariaDB,
}

// checkExample has setup repair the database and check find nothing that a person must do.
func checkExample(t *testing.T, conf, owner string) {
	t.Helper()
	if got := onExample(t, "setup", "--apply", "--as", owner, "-c", conf); got.code != exitDone {
		t.Fatalf("setup: exit %d\n%s%s", got.code, got.out, got.err)
	}
	got := onExample(t, "check", "--json", "-c", conf)
	var report struct {
		Findings []struct{ Severity, Code, Subject, Text string }
	}
	if err := json.Unmarshal([]byte(got.out), &report); err != nil {
		t.Fatalf("%v in %s%s", err, got.out, got.err)
	}
	for _, finding := range report.Findings {
		if finding.Severity != "info" {
			t.Errorf("%+v", finding)
		}
	}
}

// exampleOnThisMachine is the library's config with its database and its receivers on this machine.
func exampleOnThisMachine(t *testing.T, database map[string]string) string {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	text, err := os.ReadFile(libraryConfig)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	changes := map[string]string{
		"https://desk.example.org/":     receiver.URL + "/",
		"https://search.example.org/":   receiver.URL + "/",
		"https://alma.example.org/":     receiver.URL + "/",
		"https://archive.example.org/":  receiver.URL + "/",
		"https://plans.example.org/":    receiver.URL + "/",
		"https://workflow.example.org/": receiver.URL + "/",
		"https://chat.example.org/":     receiver.URL + "/",
		"    allow_networks: []":        "   ",
		"\ndefaults:\n":                 "\ndefaults:\n  allow_networks: [loopback]\n",
	}
	maps.Copy(changes, database)
	for old, fresh := range changes {
		if !strings.Contains(changed, old) {
			t.Fatalf("the example has no %q", old)
		}
		changed = strings.ReplaceAll(changed, old, fresh)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func onExample(t *testing.T, args ...string) result {
	t.Helper()
	var out, messages bytes.Buffer
	code := execute(t.Context(), args, &console{in: strings.NewReader(""), out: &out, err: &messages, env: exampleEnv})
	return result{code, out.String(), messages.String()}
}
