package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
)

// result is what a command line came to.
type result struct {
	code     int
	out, err string
}

func rowhook(t testing.TB, args ...string) result {
	t.Helper()
	var out, messages bytes.Buffer
	code := execute(t.Context(), args, &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(nil)})
	return result{code, out.String(), messages.String()}
}

// TestHelp holds every help page to its golden file.
func TestHelp(t *testing.T) {
	t.Parallel()
	var pages func(cmd *cobra.Command)
	pages = func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())
		t.Run(strings.Join(path, " "), func(t *testing.T) {
			got := rowhook(t, append(path[1:], "--help")...)
			if got.code != exitDone || got.err != "" {
				t.Errorf("exit %d, messages %q", got.code, got.err)
			}
			golden(t, filepath.Join("help", strings.Join(path, "-")+".txt"), got.out)
		})
		for _, sub := range cmd.Commands() {
			pages(sub)
		}
	}
	pages(newRootCommand(&console{env: env(nil)}))
}

func TestAloneIsHelp(t *testing.T) {
	t.Parallel()
	if alone, help := rowhook(t), rowhook(t, "--help"); alone != help || alone.code != exitDone || alone.out == "" {
		t.Errorf("alone %+v, help %+v", alone, help)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"versoin"}, "rowhook: there is no command \"versoin\"; did you mean \"version\"?\nTry: rowhook --help\n"},
		{[]string{"frobnicate"}, "rowhook: there is no command \"frobnicate\"\nTry: rowhook --help\n"},
		{[]string{"--nothing"}, "rowhook: unknown flag: --nothing\nTry: rowhook --help\n"},
		{[]string{"version", "--jsno"}, "rowhook: unknown flag: --jsno\nTry: rowhook version --help\n"},
		{[]string{"version", "1"}, "rowhook: unexpected argument \"1\"\nTry: rowhook version --help\n"},
		{[]string{"version", "--config"}, "rowhook: flag needs an argument: --config\nTry: rowhook version --help\n"},
		{[]string{"completion"}, "rowhook: missing shell: bash, zsh, fish or powershell\nTry: rowhook completion --help\n"},
		{[]string{"completion", "bsh"}, "rowhook: there is no completion for \"bsh\"; did you mean \"bash\"?\nTry: rowhook completion --help\n"},
		{[]string{"queue", "list", "--state", "blokced"}, "rowhook: there is no state \"blokced\"; did you mean \"blocked\"?\nTry: rowhook queue list --help\n"},
		{[]string{"queue", "list", "--state", "ready"}, "rowhook: there is no state \"ready\"; there are pending, in_flight, retrying, blocked, held\nTry: rowhook queue list --help\n"},
		{[]string{"help", "versoin"}, "rowhook: there is no command \"versoin\"; did you mean \"version\"?\nTry: rowhook --help\n"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			got := rowhook(t, test.args...)
			if got.code != exitUsage || got.err != test.want || got.out != "" {
				t.Errorf("got %+v, want %q", got, test.want)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	gap := &capture.GapError{Stored: "0/2", Server: "0/1", Text: "the server is behind", Remedy: "rowhook run --accept-gap"}
	_, wrong := config.Parse("config.yaml", []byte("source: {type: mysql}\n"), env(nil), nil)
	_, empty := config.Parse("config.yaml", nil, env(nil), nil)
	for _, test := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"failure", errors.New("no disk"), exitFailed, "rowhook: no disk\n"},
		{"failure with a remedy", &capture.OperatorError{Err: errors.New("no slot"), Remedy: "rowhook setup --apply\nrowhook run"}, exitFailed,
			"rowhook: no slot\nhint: rowhook setup --apply\n      rowhook run\n"},
		{"config", wrong, exitUsage,
			"rowhook: config.yaml:1:1: source.url: missing; expected the database's URL, such as postgres://rowhook@127.0.0.1/library\n" +
				"rowhook: config.yaml:1:1: mapping: missing; expected at least one table, such as circulation.loans: {}\n"},
		{"config with a remedy", empty, exitUsage, "rowhook: config.yaml:1:1: the file is empty\n" +
			"hint: `rowhook init` writes one; config.example.yaml shows every key: source, mapping and profiles are what it takes\n"},
		{"findings", findingsError{}, exitFindings, ""},
		{"gap", fmt.Errorf("start the source: %w", gap), exitGap,
			"rowhook: start the source: stream gap: the server is behind (stored position 0/2, server 0/1)\nhint: rowhook run --accept-gap\n"},
		{"joined", errors.Join(errors.New("one"), errors.New("two")), exitFailed, "rowhook: one\nrowhook: two\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			report(&b, test.err)
			if code := exitCode(test.err); code != test.code || b.String() != test.want {
				t.Errorf("exit %d, %q; want %d, %q", code, b.String(), test.code, test.want)
			}
		})
	}
}

// TestSchema prints the schema that the config's own tests look at.
func TestSchema(t *testing.T) {
	t.Parallel()
	got := rowhook(t, "schema")
	var printed, want any
	text, err := json.Marshal(config.Schema())
	if err := errors.Join(err, json.Unmarshal(text, &want), json.Unmarshal([]byte(got.out), &printed)); err != nil {
		t.Fatal(err)
	}
	if got.code != exitDone || !reflect.DeepEqual(printed, want) {
		t.Errorf("exit code %d, and printed\n%s", got.code, got.out)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := rowhook(t, "version"); got.code != exitDone || !strings.HasPrefix(got.out, "rowhook devel") || strings.Count(got.out, "\n") != 1 {
		t.Errorf("got %+v", got)
	}
	if got := rowhook(t, "version", "--json"); got.code != exitDone || !strings.Contains(got.out, `"version": "devel"`) {
		t.Errorf("got %+v", got)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := rowhook(t, "completion", shell); got.code != exitDone || !strings.Contains(got.out, "rowhook") {
			t.Errorf("%s: exit %d, %d bytes", shell, got.code, len(got.out))
		}
	}
}

func TestMissingConfig(t *testing.T) {
	t.Parallel()
	_, err := config.Load("testdata/none.yaml", env(nil), "")
	var b strings.Builder
	report(&b, err)
	want := "rowhook: testdata/none.yaml: read the config: no such file or directory\n" +
		"hint: -c FILE or ROWHOOK_CONFIG names the config file; without them it is ./config.yaml, or else /etc/rowhook/config.yaml. config.example.yaml is one to start from\n"
	if exitCode(err) != exitUsage || b.String() != want {
		t.Errorf("got %q", b.String())
	}
}
