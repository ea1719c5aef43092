package main

import (
	"os"
	"strings"
	"testing"

	"rowhook/cmd/rowhook/agent"
)

// TestReloadCommand follows the command through what people do to a config.
func TestReloadCommand(t *testing.T) {
	t.Parallel()
	w := newConfiguredAgent(t, reloadSource+"profiles:\n"+reloadDesk)
	for _, step := range []struct {
		name, config string
		args         []string
		code         int
		out, message string
	}{
		{"nothing", reloadSource + "profiles:\n" + reloadDesk, nil, 0, "reloaded: nothing changed\n", "note: the mapped tables were not compared with the database's: "},
		{"added and changed", reloadSource + "profiles:\n  desk: {url: https://new.example.org/, signature: none}\n  shelf: {url: https://shelf.example.org/, signature: none}\n", nil,
			0, "reloaded: added shelf; changed desk\n", ""},
		{"mapping and a key of the start", strings.Replace(reloadSource, "{}", "{title: Loans}", 1) + "log: {level: warn}\nprofiles:\n" + reloadDesk, nil,
			0, "reloaded: changed desk; removed shelf; changed the mapping; needs a restart: log.level\n", ""},
		{"once more", strings.Replace(reloadSource, "{}", "{title: Loans}", 1) + "log: {level: warn}\nprofiles:\n" + reloadDesk, nil,
			0, "reloaded: nothing changed; needs a restart: log.level\n", ""},
		{"an error", reloadSource + "profiles:\n  desk: {url: https://desk.example.org/, signature: nine}\n", nil,
			exitUsage, "", "/config.yaml:5:53: profiles.desk.signature: expected "},
		{"not YAML", "a: [", nil, exitUsage, "", "/config.yaml:1"},
		{"another source", strings.Replace(reloadSource, "library", "branch", 1) + "profiles:\n" + reloadDesk, nil,
			exitUsage, "", "/config.yaml:1:31: source.url: cannot change while the agent runs\nhint: restart rowhook"},
		{"a word about nobody", reloadSource + "profiles:\n" + reloadDesk, []string{"--removed", "dask=drop"},
			exitUsage, "", `--removed names "dask", and nothing is known of such a profile; did you mean "desk"?`},
		{"a word about one that is there", reloadSource + "profiles:\n" + reloadDesk, []string{"--removed", "desk=drop"},
			exitFailed, "", "profile desk is in the config"},
		{"no such word", reloadSource + "profiles:\n" + reloadDesk, []string{"--removed", "desk=burn"},
			exitUsage, "", "--removed desk=burn: expected CODE=drain, CODE=park or CODE=drop"},
	} {
		w.write(step.config)
		code, out, messages := w.command(append([]string{"reload"}, step.args...)...)
		if code != step.code || out != step.out || !strings.Contains(messages, step.message) {
			t.Errorf("%s: exit %d, %q, %q; want exit %d, %q, %q", step.name, code, out, messages, step.code, step.out, step.message)
		}
		if strings.Contains(out+messages, "s3cretword") {
			t.Errorf("%s: the password is shown: %s%s", step.name, out, messages)
		}
	}
	code, out, messages := w.command("status")
	if code != exitFindings || !strings.Contains(out, "the config could not be reloaded, and the one before is in force: ") || !strings.Contains(out, "reload    ") {
		t.Errorf("status: exit %d\n%s%s", code, out, messages)
	}
}

// TestHealthCommands: a container's health check asks the agent without HTTP. One whose database
// does not answer works, but is not ready.
func TestHealthCommands(t *testing.T) {
	t.Parallel()
	w := newConfiguredAgent(t, reloadSource+"profiles:\n"+reloadDesk)
	for _, tt := range []struct {
		args          []string
		code          int
		out, messages string
	}{
		{[]string{"status", "--live"}, 0, "ok\n", ""},
		{[]string{"status", "--ready"}, exitFailed, "failing\n", "rowhook: source: the source is connecting"},
		{[]string{"status", "--ready", "--json"}, exitFailed, `"reason": "source"`, "the source is connecting"},
		{[]string{"status", "--live", "--ready"}, exitUsage, "", "none of the others can be"},
	} {
		if code, out, messages := w.command(tt.args...); code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(messages, tt.messages) {
			t.Errorf("%v: exit %d, %q, %q", tt.args, code, out, messages)
		}
	}
	_, path := write(t, smallConfig+"profiles:\n"+reloadDesk)
	var out, messages strings.Builder
	code := execute(t.Context(), []string{"status", "--live", "-c", path}, &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(nil)})
	if code != exitFailed || !strings.Contains(messages.String(), "no agent is running") {
		t.Errorf("without an agent: exit %d, %q", code, messages.String())
	}
}

// configuredAgent is a running agent whose database does not answer, and its config file.
type configuredAgent struct {
	t    *testing.T
	file string
}

func newConfiguredAgent(t *testing.T, text string) *configuredAgent {
	t.Helper()
	c, file := write(t, text)
	t.Cleanup(runAgent(t, c, func(s agent.Source) agent.Source { return s }))
	return &configuredAgent{t, file}
}

// write has the file hold another config.
func (w *configuredAgent) write(text string) {
	w.t.Helper()
	next := w.file + ".new"
	must(w.t, os.WriteFile(next, []byte(text), 0o600))
	must(w.t, os.Rename(next, w.file))
}

// command runs a command as a person would.
func (w *configuredAgent) command(args ...string) (code int, out, messages string) {
	got := rowhook(w.t, append(args, "-c", w.file)...)
	return got.code, got.out, got.err
}

const reloadSource = `source: {type: postgres, url: "postgres://rowhook:s3cretword@127.0.0.1:1/library"}
mapping:
  public.loans: {}
`

const reloadDesk = "  desk: {url: https://desk.example.org/, signature: none}\n"
