package agent

import (
	"context"
	"fmt"
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
	"rowhook/delivery/engine"
)

// reloadWorld is a running agent whose database does not answer.
type reloadWorld struct {
	*Agent
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
	w.quietPeriod = settle
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
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
	conf, err := config.Load(w.file, func(string) (string, bool) { return "", false }, "")
	if err != nil {
		t.Fatal(err)
	}
	if w.Agent, err = New(conf, Start{}, testOptions()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
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

// ask has an operation done as a command does.
func ask[Resp any](w *reloadWorld, name string, req any) (answer Resp, err error) {
	w.t.Helper()
	running, err := ReachRunning(w.config().State)
	if err != nil {
		w.t.Fatal(err)
	}
	defer running.Close()
	err = running.Call(w.t.Context(), name, req, &answer)
	return answer, err
}

// reloadByHand is what `rowhook reload` has done.
func (w *reloadWorld) reloadByHand(removed map[string]engine.Removal) (string, error) {
	status, err := ask[operation.ReloadStatus](w, "reload", operation.ReloadRequest{User: "ada", By: operation.ReloadByCommand, Removed: removed})
	return status.Words(), err
}

// attention is what status says that needs a hand.
func (w *reloadWorld) attention() string {
	report, err := ask[operation.StatusReport](w, "status", operation.None{})
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(report.Attention, "\n")
}

const deskProfile = "  desk: {url: https://desk.example.org/, signature: none}\n"

// TestPendingRestart: what takes effect with a restart only is told until it has, whoever saw the
// change first, and no longer when it is taken back.
func TestPendingRestart(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, defaultQuietPeriod, "admin: {listen: \"127.0.0.1:0\"}\nprofiles:\n"+deskProfile)
	changed := reloadHead + "admin: {listen: \"127.0.0.1:0\"}\nspool: {max_size: 5GiB}\nprofiles:\n"
	w.write(changed + deskProfile)
	w.await("the file to be noticed", func() bool { return w.last().By == operation.ReloadByFile })
	if words, err := w.reloadByHand(nil); err != nil || words != "nothing changed; needs a restart: spool.max_size" {
		t.Errorf("reload: %q, %v", words, err)
	}
	w.write(changed + "  desk: {url: nothing}\n")
	w.await("the error to be noticed", func() bool { return !w.last().OK })
	const attention = "the config has changes that take effect with a restart, which repeats nothing: spool.max_size"
	last := w.last()
	if got := w.attention(); !strings.Contains(got, attention) || !strings.HasSuffix(last.Words(), "; needs a restart: spool.max_size") {
		t.Errorf("status says\n%s\nof %s", got, last.Words())
	}
	metric := "# HELP rowhook_config_restart_needed Keys of the config that have changed and take effect with a restart.\n" +
		"# TYPE rowhook_config_restart_needed gauge\nrowhook_config_restart_needed 1\n"
	if err := testutil.GatherAndCompare(newRegistry(w.Agent), strings.NewReader(metric), "rowhook_config_restart_needed"); err != nil {
		t.Error(err)
	}
	w.write(reloadHead + "admin: {listen: \"127.0.0.1:0\"}\nprofiles:\n" + deskProfile)
	w.await("the change to be taken back", func() bool { return w.last().OK })
	if words, err := w.reloadByHand(nil); err != nil || words != "nothing changed" {
		t.Errorf("reload: %q, %v", words, err)
	}
}

// TestReloadIsAllOrNothing has a config whose error comes last change nothing, and has commands
// work meanwhile.
func TestReloadIsAllOrNothing(t *testing.T) {
	t.Parallel()
	w := newReloadWorld(t, time.Hour, "profiles:\n"+deskProfile)
	before := w.live.Load()
	w.write(reloadHead + "profiles:\n  desk: {url: https://other.example.org/, signature: none}\n  shelf: {url: nothing}\n")
	if _, err := w.Agent.reload(t.Context(), operation.ReloadRequest{User: "ada", By: operation.ReloadBySignal}); err == nil {
		t.Fatal("a config with an error was taken")
	}
	if w.live.Load() != before || w.last().OK {
		t.Errorf("after a refused reload: %+v", w.last())
	}
	if got := w.attention(); !strings.Contains(got, "the config could not be reloaded, and the one before is in force: "+w.file+":6:") || strings.Contains(got, "shelf.example.org") {
		t.Errorf("status says\n%s", got)
	}
	w.write(reloadHead + "profiles:\n" + deskProfile)
	if _, err := w.Agent.reload(t.Context(), operation.ReloadRequest{User: "ada", By: operation.ReloadBySignal}); err != nil {
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
	w := newReloadWorld(t, defaultQuietPeriod, "profiles:\n"+deskProfile)
	event := &delivery.Event{Making: &delivery.Making{Type: "record.inserted", Entry: "public.loans"}, Commit: &delivery.Commit{}, ID: "e1", Key: []byte("{}"), Data: []byte("{}"), OrderKey: "k"}
	w.append("0/10", event)
	w.write(reloadHead + "profiles:\n  shelf: {url: https://shelf.example.org/, signature: none}\n")
	w.await("the file to be noticed", func() bool { return w.last().By == operation.ReloadByFile })
	if last := w.last(); last.OK || !strings.Contains(last.Error, "no longer has desk") {
		t.Fatalf("reload %+v", last)
	}
	if _, err := w.reloadByHand(nil); err == nil || !strings.Contains(capture.Remedy(err), "say what becomes of them: rowhook reload --removed desk=drain") {
		t.Errorf("reload: %v, %s", err, capture.Remedy(err))
	}
	if words, err := w.reloadByHand(map[string]engine.Removal{"desk": engine.Drop}); err != nil || words != "added shelf; removed desk" {
		t.Fatalf("reload: %q, %v", words, err)
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
	w := startReloadWorld(t, filepath.Join(dir, "config.yaml"), defaultQuietPeriod)
	mount("..two", conf, "another01234567890123456789\n")
	w.await("the secret to change", func() bool { return fmt.Sprint(w.last().Changed) == "[desk]" })
	if err := os.RemoveAll(filepath.Join(dir, "..one")); err != nil {
		t.Fatal(err)
	}
	mount("..three", conf+"  shelf: {url: https://shelf.example.org/, signature: none}\n", "another01234567890123456789\n")
	w.await("the config to change", func() bool { return fmt.Sprint(w.last().Added) == "[shelf]" })
}
