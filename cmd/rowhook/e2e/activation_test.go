package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"rowhook/capture/capturetest"
)

// asker is a receiver that wants to be asked: it answers challenges when it is told to, and keeps
// what it is sent.
type asker struct {
	*httptest.Server

	mu         sync.Mutex
	agrees     bool
	challenges []string // request URIs
	keys       []int64  // of the rows that came
	tests      int
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	a := &asker{}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *asker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Method == http.MethodGet {
		a.challenges = append(a.challenges, r.RequestURI)
		if a.agrees {
			_, _ = io.WriteString(w, r.URL.Query().Get("challenge"))
		}
		return
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil || r.Header.Get("webhook-signature") == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if p.Type == "rowhook.test" {
		a.tests++
		return
	}
	a.keys = append(a.keys, p.Key.ID)
}

func (a *asker) agree() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.agrees = true
}

// told returns how often it was asked, and which rows came.
func (a *asker) told() (challenges int, keys string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.challenges), fmt.Sprint(a.keys)
}

func (a *asker) wait(t *testing.T, keys string) {
	t.Helper()
	eventually(t, patience, "the rows "+keys+" arrive", func() bool {
		_, got := a.told()
		return got == keys
	})
}

// A profile lives from pending activation to active, again after its URL changed, through a pause,
// and is tested on the way; a rotated secret changes nothing.
func TestLifeOfAProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	first, second := newAsker(t), newAsker(t)
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n"
	profile := func(url, secret string) {
		w.conf.profiles = fmt.Sprintf("  main: {url: \"%s/hook?institution=X\", secret: %s, allow_networks: [loopback], challenge: query}\n", url, secret)
		w.write()
	}
	run := func(code int, args ...string) result {
		t.Helper()
		r := w.rowhook(args...)
		if r.code != code {
			t.Fatalf("%s: exit %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
		}
		return r
	}
	state := func() string {
		t.Helper()
		var list []struct{ State, Host string }
		if err := json.Unmarshal([]byte(run(0, "profile", "list", "--json").stdout), &list); err != nil || len(list) != 1 {
			t.Fatalf("list: %v, %v", list, err)
		}
		return list[0].State + " " + list[0].Host
	}
	host := func(a *asker) string { return strings.TrimPrefix(a.URL, "http://") }
	profile(first.URL, secret)
	a := w.begin()
	eventually(t, patience, "the agent asks by itself", func() bool { n, _ := first.told(); return n > 0 })
	w.insert(1)
	w.logged(1, "skipped", "challenge")
	if r := run(1, "profile", "activate", "main"); !strings.Contains(r.stdout, "main is pending") || !strings.Contains(r.stderr, "does not contain the challenge's text") {
		t.Errorf("activate: %s%s", r.stdout, r.stderr)
	}
	run(0, "profile", "test", "main") // whatever the state
	first.agree()
	eventually(t, patience, "the agent activates it", func() bool { return state() == "active "+host(first) })
	w.insert(2)
	first.wait(t, "[2]")
	a.term()
	asked, _ := first.told()

	a = w.begin() // it stays active
	w.insert(3)
	first.wait(t, "[2 3]")
	profile(second.URL, secret)
	run(0, "reload")
	eventually(t, patience, "another URL is pending", func() bool { return state() == "pending "+host(second) })
	w.insert(4, 5)
	w.logged(2, "held", "challenge")
	second.agree()
	run(0, "profile", "activate", "main")
	second.wait(t, "[4 5]")
	n, _ := second.told()
	profile(second.URL, "whsec_YW5vdGhlciBzZWNyZXQgb2YgZW5vdWdoIGxlbmd0aA==")
	run(0, "reload")
	w.insert(6)
	second.wait(t, "[4 5 6]")
	if again, _ := second.told(); again != n || state() != "active "+host(second) {
		t.Errorf("a rotated secret asks again: %d challenges, then %d; %s", n, again, state())
	}
	run(0, "profile", "pause", "main")
	w.insert(7)
	w.logged(1, "held", "operator")
	a.term()
	run(0, "profile", "resume", "main", "--from", "now") // without an agent
	run(0, "profile", "test", "main")
	a = w.begin()
	w.insert(8)
	second.wait(t, "[4 5 6 8]")
	a.term()

	if again, keys := first.told(); again != asked || keys != "[2 3]" || !strings.HasPrefix(first.challenges[0], "/hook?institution=X&challenge=") {
		t.Errorf("the first endpoint: %d challenges, then %d; rows %s; %s", asked, again, keys, first.challenges[0])
	}
	if first.tests != 1 || second.tests != 1 {
		t.Errorf("%d and %d test events", first.tests, second.tests)
	}
	history := run(0, "profile", "list", "--history").stdout
	for _, words := range []string{"profile activate", "profile pause", "profile resume --from now", "profile test", "run "} {
		if !strings.Contains(history, words) {
			t.Errorf("the history has no %q:\n%s", words, history)
		}
	}
}
