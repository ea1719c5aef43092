package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// TestContractsAreAccepted: the validators of OpenAPI and AsyncAPI take what schema prints, with the
// database and without it, and refuse what is none.
func TestContractsAreAccepted(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create database library", "create role rowhook login replication")
	capturetest.Must(t, pg.Exec(t.Context(), "library", librarySQL(t, "postgres")...))
	conf := exampleOnThisMachine(t, map[string]string{"postgres://rowhook@127.0.0.1:5432/library?sslmode=verify-full": pg.TCP("library", "rowhook")})
	nowhere := exampleOnThisMachine(t, map[string]string{"postgres://rowhook@127.0.0.1:5432/library?sslmode=verify-full": "postgres://rowhook@127.0.0.1:1/library"})
	dir := t.TempDir()
	var files []string
	for _, doc := range []struct {
		name string
		code int
		args []string
	}{
		{"openapi", exitDone, []string{"--events", "-c", conf}},
		{"asyncapi", exitDone, []string{"--events", "--format", "asyncapi", "-c", conf}},
		{"open-openapi", exitFindings, []string{"--events", "-c", nowhere}},
		{"open-asyncapi", exitFindings, []string{"--events", "--format", "asyncapi", "-c", nowhere}},
		{"admin", exitDone, []string{"--admin"}},
	} {
		got := onExample(t, append([]string{"schema"}, doc.args...)...)
		if got.code != doc.code || strings.Contains(got.out, "127.0.0.1") || strings.Contains(got.out, "rowhook-test-secret") {
			t.Errorf("%s: exit %d, want %d\n%s", doc.name, got.code, doc.code, got.err)
		}
		if open := doc.code == exitFindings; open != strings.Contains(got.err, "objects of any members") || open != strings.Contains(got.out, "Not told here: the members of keys and payloads of ") {
			t.Errorf("%s: messages %s", doc.name, got.err)
		}
		path := filepath.Join(dir, doc.name+".json")
		must(t, os.WriteFile(path, []byte(got.out), 0o600))
		files = append(files, path)
	}
	for name, text := range map[string]string{
		"broken-openapi": `{"openapi":"3.1.0","webhooks":{}}`, "broken-asyncapi": `{"asyncapi":"3.0.0","info":{"title":"x","version":"1"},"channels":{"a":{"messages":1}}}`,
	} {
		path := filepath.Join(dir, name+".json")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		files = append(files, path)
	}
	modules := filepath.Join(capturetest.Tools(), "validators", "current", "node_modules")
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"testdata/schema/validate.mjs", modules}, files...)...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the validators, which .ci/install gets: %v\n%s", err, messages.String())
	}
	judged := 0
	for line := range bytes.Lines(out) {
		var verdict struct {
			File   string
			Faults []json.RawMessage
		}
		must(t, json.Unmarshal(line, &verdict))
		judged++
		if broken := strings.HasPrefix(verdict.File, "broken"); broken != (len(verdict.Faults) > 0) {
			t.Errorf("%s: faults %.1000s", verdict.File, verdict.Faults)
		}
	}
	if judged != len(files) {
		t.Errorf("%d of %d documents were judged", judged, len(files))
	}
}

const contractConfig = `source: {type: postgres, url: "%s"}
mapping:
  circulation.loans:
    columns: {exclude: [internal_note, email]}
    events:
      loan.created: {op: insert}
      loan.returned: {op: update, set: returned_at}
profiles:
  desk:
    name: Circulation desk
    url: https://desk.example.org/webhooks
    secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  nightly:
    url: https://nightly.example.org/
    unit: batch
    signature: none
    subscriptions: [{events: [loan.returned]}]
`

// TestContractGolden holds the documents of a small config.
func TestContractGolden(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create database library", "create role rowhook login replication")
	capturetest.Must(t, pg.Exec(t.Context(), "library", librarySQL(t, "postgres")...))
	path := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(path, []byte(strings.Replace(contractConfig, "%s", pg.TCP("library", "rowhook"), 1)), 0o600))
	for _, format := range eventFormats {
		got := rowhook(t, "schema", "--events", "--format", format, "-c", path)
		if got.code != exitDone || got.err != "" {
			t.Errorf("%s: exit %d\n%s", format, got.code, got.err)
		}
		golden(t, filepath.Join("schema", format+".json"), got.out)
	}
	golden(t, filepath.Join("schema", "log.json"), rowhook(t, "schema", "--log").out)
	capturetest.Must(t, pg.Exec(t.Context(), "library", "alter table circulation.loans drop column email"))
	if got := rowhook(t, "schema", "--events", "-c", path); got.code != exitFindings || !strings.Contains(got.err, "of circulation.loans: the database shows no such table, or not as the mapping says") ||
		!strings.Contains(got.out, "Not told here: the members of keys and payloads of circulation.loans.") {
		t.Errorf("a mapping that does not fit: exit %d, %s", got.code, got.err)
	}
	if got := rowhook(t, "schema", "--events", "--profile", "nobody", "-c", path); got.code != exitUsage || !strings.Contains(got.err, `no profile "nobody"`) {
		t.Errorf("a profile that is not there: %+v", got)
	}
	if got := rowhook(t, "schema", "--format", "openapi"); got.code != exitUsage || !strings.Contains(got.err, "--format goes with --events") {
		t.Errorf("--format alone: %+v", got)
	}
}
