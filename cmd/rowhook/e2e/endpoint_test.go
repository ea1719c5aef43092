package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// badEndpoint is a receiver with a fault, and what the delivery log must tell of its first event.
type badEndpoint struct {
	name    string
	profile string // further config of the profile
	url     string // empty is the receiver's
	answer  func(tries int) reply
	// want is the log's lines in order, each "outcome reason"; a star is any reason.
	want []string
}

// Each way in which an endpoint can be bad has its own treatment, its own reason in the
// log, and no effect on the others.
func TestBadEndpoints(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	const refusing = "127.0.0.1:1"                           // not a port that something else may be given
	strange := httptest.NewTLSServer(http.NotFoundHandler()) // nobody signed its certificate
	t.Cleanup(strange.Close)

	always := func(r reply) func(int) reply { return func(int) reply { return r } }
	once := func(r reply) func(int) reply {
		return func(tries int) reply {
			if tries > 1 {
				r = reply{}
			}
			return r
		}
	}
	endpoints := []badEndpoint{
		{name: "good", answer: always(reply{}), want: []string{"delivered"}},
		{name: "s500", answer: once(reply{status: 500}), want: []string{"retrying status_5xx", "delivered"}},
		{name: "s400", answer: always(reply{status: 400}), want: []string{"retrying status_4xx", "retrying status_4xx", "dead *"}},
		{name: "s404", answer: once(reply{status: 404}), want: []string{"retrying status_4xx", "delivered"}},
		{name: "s401", answer: once(reply{status: 401}), want: []string{"retrying status_4xx", "delivered"}},
		{name: "s429", answer: once(reply{status: 429, header: map[string]string{"Retry-After": "1"}}), want: []string{"retrying status_4xx", "delivered"}},
		{name: "s503", answer: once(reply{status: 503, header: map[string]string{"Retry-After": "1"}}), want: []string{"retrying status_5xx", "delivered"}},
		{name: "redirect", answer: always(reply{status: 302, header: map[string]string{"Location": w.hook.url("trap")}}), want: []string{"retrying status_3xx", "retrying status_3xx"}},
		{name: "reset", answer: once(reply{reset: true}), want: []string{"retrying reset", "delivered"}},
		{name: "slow", profile: "timeout: 300ms", answer: once(reply{wait: time.Hour}), want: []string{"retrying timeout", "delivered"}},
		{name: "endless", answer: always(reply{status: 200, body: endless}), want: []string{"delivered"}},
		{name: "refused", url: "http://" + refusing + "/", want: []string{"retrying refused", "retrying refused"}},
		{name: "untrusted", url: strange.URL, want: []string{"retrying tls", "retrying tls"}},
		{name: "notls", url: "https://" + w.hook.addr + "/notls", want: []string{"retrying tls", "retrying tls"}},
		{name: "guarded", url: "https://" + w.hook.addr + "/guarded", profile: "allow_networks: []", answer: always(reply{}), want: []string{"retrying guard"}},
		{name: "large", profile: "max_body: 64B", answer: always(reply{}), want: []string{"dead oversize"}},
		{name: "lost", url: "https://no-such-host.invalid/", want: []string{"retrying *", "retrying *"}},
	}
	tries := map[string]int{}
	answers := map[string]func(int) reply{}
	var profiles strings.Builder
	for _, e := range endpoints {
		if e.url == "" {
			e.url = w.hook.url(e.name)
		}
		answers[e.name] = e.answer
		lines := []string{"url: " + e.url, "secret: " + secret, "allow_networks: [loopback]", "timeout: 2s", "retry: {initial: 50ms, max: 200ms}"}
		if e.profile != "" {
			key, _, _ := strings.Cut(e.profile, ":")
			for i := range lines {
				if strings.HasPrefix(lines[i], key+":") {
					lines[i] = ""
				}
			}
			lines = append(lines, e.profile)
		}
		fmt.Fprintf(&profiles, "  %s:\n", e.name)
		for _, line := range lines {
			if line != "" {
				fmt.Fprintf(&profiles, "    %s\n", line)
			}
		}
	}
	var mu sync.Mutex
	tried := func(profile string, more int) int {
		mu.Lock()
		defer mu.Unlock()
		tries[profile] += more
		return tries[profile]
	}
	w.hook.answer(func(a arrival) reply { return answers[a.profile](tried(a.profile, 1)) })
	w.conf.profiles = profiles.String()

	a := w.begin()
	w.insert(1)
	for _, e := range endpoints {
		eventually(t, patience, fmt.Sprintf("%s: %v", e.name, e.want), func() bool { return len(w.told(e.name)) >= len(e.want) })
		got := w.told(e.name)
		for i, want := range e.want {
			outcome, any := strings.CutSuffix(want, " *")
			if got[i] != want && !(any && strings.HasPrefix(got[i], outcome)) {
				t.Errorf("%s: the log tells %q, want %q", e.name, got, e.want)
				break
			}
		}
	}
	if n := tried("s400", 0); n != 3 {
		t.Errorf("400 was tried %d times, want 3", n)
	}
	if n := len(w.hook.all("trap")) + len(w.hook.all("guarded")) + len(w.hook.all("large")); n != 0 {
		t.Errorf("%d requests went where none may go", n)
	}
	if _, code := w.status(); code != 3 {
		t.Errorf("status ends with %d while endpoints are bad, want 3", code)
	}
	a.term()
	w.hook.sound(t)
}

// endless writes a body until nobody reads it any more.
func endless(rw http.ResponseWriter) {
	chunk := make([]byte, 16<<10)
	for {
		if _, err := rw.Write(chunk); err != nil {
			return
		}
	}
}

// told is what the delivery log has of a profile, each line as "outcome reason".
func (w *world) told(profile string) []string {
	w.tb.Helper()
	var told []string
	for _, line := range w.readLog() {
		if line.Profile == profile {
			told = append(told, strings.TrimSpace(line.Outcome+" "+line.Reason))
		}
	}
	return told
}

// times is how often the delivery log tells something of a profile, as told has it.
func (w *world) times(profile, what string) int {
	w.tb.Helper()
	return len(slices.DeleteFunc(w.told(profile), func(line string) bool { return line != what }))
}

// A 410 makes the profile inactive: nothing more is sent, and status says so.
func TestGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.conf.profiles = w.usualProfile("main") + w.usualProfile("gone")
	w.hook.answer(func(a arrival) reply {
		if a.profile == "gone" {
			return reply{status: 410}
		}
		return reply{}
	})
	a := w.begin()
	w.insert(1)
	eventually(t, patience, "the 410 is in the log", func() bool { return len(w.told("gone")) > 0 })
	w.insert(2, 3, 4)
	w.hook.wait(t, "main", 4, patience)
	if n := len(w.hook.all("gone")); n != 1 {
		t.Errorf("%d requests to an endpoint that is gone, want 1", n)
	}
	if r := w.rowhook("status"); r.code != 3 || !strings.Contains(r.stdout, "inactive") {
		t.Errorf("status ends with %d and says\n%s", r.code, r.stdout)
	}
	w.hook.answer(nil)
	if r := w.rowhook("profile", "resume", "gone", "--from", "held"); r.code != 0 {
		t.Fatalf("profile resume ends with %d: %s", r.code, r.stderr)
	}
	w.hook.wait(t, "gone", 4, patience)
	a.term()
	w.hook.sound(t)
}
