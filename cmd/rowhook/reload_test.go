package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// reloadWorld is a running agent whose database does not answer.
type reloadWorld struct {
	*agent
	t    *testing.T
	file string
}

const reloadHead = `source: {type: postgres, url: "postgres://rowhook:s3cretword@127.0.0.1:1/library"}
mapping:
  public.loans: {}
`

func newReloadWorld(t *testing.T, settle time.Duration, profiles string) *reloadWorld {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	writeFile(t, file, reloadHead+profiles)
	return startReloadWorld(t, file, settle)
}

// startReloadWorld starts the agent. Its own look at the files comes after that time.
func startReloadWorld(t *testing.T, file string, settle time.Duration) *reloadWorld {
	t.Helper()
	w := openReloadWorld(t, file)
	w.settle = settle
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.await("the control socket", func() bool {
		client, err := control.Dial(w.config().State)
		if err == nil {
			client.Close()
		}
		return err == nil
	})
	return w
}

// openReloadWorld is an agent that does not run.
func openReloadWorld(t *testing.T, file string) *reloadWorld {
	t.Helper()
	w := &reloadWorld{t: t, file: file}
	conf, err := config.Load(w.file, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	if w.agent, err = newAgent(conf, startFlags{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *reloadWorld) write(text string) {
	w.t.Helper()
	writeFile(w.t, w.file, text)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func (w *reloadWorld) await(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("waited for %s in vain; the last reload: %+v", what, w.last())
		}
	}
}

func (w *reloadWorld) last() operation.ReloadStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reloaded
}

// command runs a command as a person would.
func (w *reloadWorld) command(args ...string) (code int, out, messages string) {
	var stdout, stderr bytes.Buffer
	c := &console{in: strings.NewReader(""), out: &stdout, err: &stderr, env: func(string) (string, bool) { return "", false }}
	code = execute(w.t.Context(), append(args, "-c", w.file), c)
	return code, stdout.String(), stderr.String()
}

const deskProfile = "  desk: {url: https://desk.example.org/, signature: none}\n"

// TestReloadCommand follows the command through what people do to a config.
func TestReloadCommand(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, time.Hour, "profiles:\n"+deskProfile)
	for _, step := range []struct {
		name, config string
		args         []string
		code         int
		out, message string
	}{
		{"nothing", reloadHead + "profiles:\n" + deskProfile, nil, 0, "reloaded: nothing changed\n", ""},
		{"added and changed", reloadHead + "profiles:\n  desk: {url: https://new.example.org/, signature: none}\n  shelf: {url: https://shelf.example.org/, signature: none}\n", nil,
			0, "reloaded: added shelf; changed desk\n", ""},
		{"mapping and a key of the start", strings.Replace(reloadHead, "{}", "{title: Loans}", 1) + "log: {level: warn}\nprofiles:\n" + deskProfile, nil,
			0, "reloaded: changed desk; removed shelf; changed the mapping; needs a restart: log.level\n", ""},
		{"once more", strings.Replace(reloadHead, "{}", "{title: Loans}", 1) + "log: {level: warn}\nprofiles:\n" + deskProfile, nil,
			0, "reloaded: nothing changed; needs a restart: log.level\n", ""},
		{"an error", reloadHead + "profiles:\n  desk: {url: https://desk.example.org/, signature: nine}\n", nil,
			exitUsage, "", "/config.yaml:5:53: profiles.desk.signature: expected "},
		{"not YAML", "a: [", nil, exitUsage, "", "/config.yaml:1"},
		{"another source", strings.Replace(reloadHead, "library", "branch", 1) + "profiles:\n" + deskProfile, nil,
			exitUsage, "", "/config.yaml:1:31: source.url: cannot change while the agent runs\nhint: restart rowhook"},
		{"a word about nobody", reloadHead + "profiles:\n" + deskProfile, []string{"--removed", "dask=drop"},
			exitUsage, "", `--removed names "dask", and nothing is known of such a profile; did you mean "desk"?`},
		{"a word about one that is there", reloadHead + "profiles:\n" + deskProfile, []string{"--removed", "desk=drop"},
			exitFailed, "", "profile desk is in the config"},
		{"no such word", reloadHead + "profiles:\n" + deskProfile, []string{"--removed", "desk=burn"},
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
}

// TestPendingRestart: what takes effect with a restart only is told until it has, whoever saw the
// change first, and no longer when it is taken back.
func TestPendingRestart(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, settleDelay, "admin: {listen: \"127.0.0.1:0\"}\nprofiles:\n"+deskProfile)
	changed := reloadHead + "admin: {listen: \"127.0.0.1:0\"}\nspool: {max_size: 5GiB}\nprofiles:\n"
	w.write(changed + deskProfile)
	w.await("the file to be noticed", func() bool { return w.last().By == operation.ReloadByFile })
	if code, out, _ := w.command("reload"); code != 0 || out != "reloaded: nothing changed; needs a restart: spool.max_size\n" {
		t.Errorf("reload: exit %d, %q", code, out)
	}
	w.write(changed + "  desk: {url: nothing}\n")
	w.await("the error to be noticed", func() bool { return !w.last().OK })
	const attention = "the config has changes that take effect with a restart, which repeats nothing: spool.max_size"
	if code, out, _ := w.command("status"); code != exitFindings || !strings.Contains(out, attention) || !strings.Contains(out, "; needs a restart: spool.max_size\n") {
		t.Errorf("status: exit %d\n%s", code, out)
	}
	metric := "# HELP rowhook_config_restart_needed Keys of the config that have changed and take effect with a restart.\n" +
		"# TYPE rowhook_config_restart_needed gauge\nrowhook_config_restart_needed 1\n"
	if err := testutil.GatherAndCompare(newRegistry(w.agent), strings.NewReader(metric), "rowhook_config_restart_needed"); err != nil {
		t.Error(err)
	}
	w.write(reloadHead + "admin: {listen: \"127.0.0.1:0\"}\nprofiles:\n" + deskProfile)
	w.await("the change to be taken back", func() bool { return w.last().OK })
	if code, out, _ := w.command("reload"); code != 0 || out != "reloaded: nothing changed\n" {
		t.Errorf("reload: exit %d, %q", code, out)
	}
}

// TestHealthCommands: a container's health check asks the agent without HTTP. One whose database
// does not answer works, but is not ready.
func TestHealthCommands(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, time.Hour, "profiles:\n"+deskProfile)
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
	_, path := write(t, smallConfig+"profiles:\n"+deskProfile)
	var out, messages strings.Builder
	code := execute(t.Context(), []string{"status", "--live", "-c", path}, &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(nil)})
	if code != exitFailed || !strings.Contains(messages.String(), "no agent is running") {
		t.Errorf("without an agent: exit %d, %q", code, messages.String())
	}
}

// TestReloadIsAllOrNothing has a config whose error comes last change nothing, and has commands
// work meanwhile.
func TestReloadIsAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, time.Hour, "profiles:\n"+deskProfile)
	before := w.live.Load()
	w.write(reloadHead + "profiles:\n  desk: {url: https://other.example.org/, signature: none}\n  shelf: {url: nothing}\n")
	if _, err := w.agent.reload(t.Context(), operation.ReloadRequest{User: "ada", By: operation.ReloadBySignal}); err == nil {
		t.Fatal("a config with an error was taken")
	}
	if w.live.Load() != before || w.last().OK {
		t.Errorf("after a refused reload: %+v", w.last())
	}
	code, out, messages := w.command("status")
	if code != exitFindings || !strings.Contains(out, "the config could not be reloaded, and the one before is in force: "+w.file+":6:") ||
		!strings.Contains(out, "reload    ") || strings.Contains(out, "shelf.example.org") {
		t.Errorf("status: exit %d\n%s%s", code, out, messages)
	}
	w.write(reloadHead + "profiles:\n" + deskProfile)
	if _, err := w.agent.reload(t.Context(), operation.ReloadRequest{User: "ada", By: operation.ReloadBySignal}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(w.audit.path)
	if err != nil || strings.Count(string(raw), `"user":"ada","command":"reload","key":"config","new":"nothing changed"`) != 1 {
		t.Errorf("audit log: %s, %v", raw, err)
	}
}

// TestReloadRefusesToForget holds a profile with a backlog, also when the agent is told by the file
// alone.
func TestReloadRefusesToForget(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, settleDelay, "profiles:\n"+deskProfile)
	event := &delivery.Event{ID: "e1", Type: "record.inserted", Entry: "public.loans", Key: []byte("{}"), Data: []byte("{}"), OrderKey: "k"}
	w.append("0/10", event)
	w.write(reloadHead + "profiles:\n  shelf: {url: https://shelf.example.org/, signature: none}\n")
	w.await("the file to be noticed", func() bool { return w.last().By == operation.ReloadByFile })
	if last := w.last(); last.OK || !strings.Contains(last.Error, "no longer has desk") {
		t.Fatalf("reload %+v", last)
	}
	code, _, messages := w.command("reload")
	if code != exitFailed || !strings.Contains(messages, "hint: say what becomes of them: rowhook reload -c "+w.file+" --removed desk=drain") {
		t.Errorf("exit %d: %s", code, messages)
	}
	if code, out, messages := w.command("reload", "--removed", "desk=drop"); code != 0 || out != "reloaded: added shelf; removed desk\n" {
		t.Fatalf("exit %d: %s%s", code, out, messages)
	}
	w.await("the profile to be forgotten", func() bool {
		known, err := w.spool.Profiles()
		return err == nil && len(known) == 1 && known[0].Code == "shelf"
	})
	if err := w.log.Flush(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(w.config().Log.Deliveries)
	if err != nil || !strings.Contains(string(raw), `"profile":"desk","outcome":"dropped","event":"e1"`) {
		t.Errorf("delivery log: %s, %v", raw, err)
	}
}

// append stores events as a stream would.
func (w *reloadWorld) append(end capture.Position, events ...*delivery.Event) {
	w.t.Helper()
	batch := w.spool.NewBatch()
	for _, ev := range events {
		to, _ := w.engine.Router().Match(ev, nil, nil, nil)
		batch.Add(ev, to)
	}
	batch.Commit(string(end))
	if err := w.spool.Apply(batch); err != nil {
		w.t.Fatal(err)
	}
}

// TestReloadOfMountedFiles has a config and a secret change as Kubernetes changes them: by another
// directory behind one symbolic link.
func TestReloadOfMountedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount := func(name, conf, secret string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name, "config.yaml"), conf)
		writeFile(t, filepath.Join(dir, name, "secret"), secret)
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	conf := reloadHead + fmt.Sprintf("state: %s\nlog: {deliveries: %s}\n", t.TempDir(), filepath.Join(t.TempDir(), "log")) +
		"profiles:\n  desk: {url: https://desk.example.org/, secret_file: secret}\n"
	mount("..one", conf, "0123456789012345678901234567\n")
	for _, file := range []string{"config.yaml", "secret"} {
		if err := os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	w := startReloadWorld(t, filepath.Join(dir, "config.yaml"), settleDelay)
	mount("..two", conf, "another01234567890123456789\n")
	w.await("the secret to change", func() bool { return fmt.Sprint(w.last().Changed) == "[desk]" })
	if err := os.RemoveAll(filepath.Join(dir, "..one")); err != nil {
		t.Fatal(err)
	}
	mount("..three", conf+"  shelf: {url: https://shelf.example.org/, signature: none}\n", "another01234567890123456789\n")
	w.await("the config to change", func() bool { return fmt.Sprint(w.last().Added) == "[shelf]" })
}
