package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// library is what docs/features.md is proven on: the library's database, an agent with its
// config.yaml in which only addresses and secrets are this machine's, and the receivers of all its
// profiles. Each test makes a real row change and looks at the requests that come of it.
type library struct {
	tb      testing.TB
	db      server
	owner   string // the URL of the database's owner
	folder  string // of its schema and config
	dir     string
	config  string // its text, to be changed before start
	env     []string
	agent   *agent
	receive *httptest.Server

	mu       sync.Mutex
	requests []*request
	answer   func(*request) (status int) // nil: 200; a challenge is always answered,
	deaf     map[string]bool             // but by these profiles' receivers
	held     sync.Once                   // to the contract, at the test's end
}

// request is what a receiver got.
type request struct {
	came    time.Time
	profile string // the host's first name in the example: desk, alma, ...
	method  string
	path    string // with the query
	header  http.Header
	body    []byte
}

// json is the body as JSON.
func (r *request) json(tb testing.TB) map[string]any {
	tb.Helper()
	var body map[string]any
	if err := json.Unmarshal(r.body, &body); err != nil {
		tb.Fatalf("%v: %s", err, r.body)
	}
	return body
}

// at follows a path of members and returns what is there, nil where there is nothing.
func (r *request) at(tb testing.TB, path ...string) any {
	tb.Helper()
	var v any = r.json(tb)
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// librarySecret signs for every profile of the library.
const librarySecret = "rowhook-test-secret"

// newLibrary makes the library on PostgreSQL without starting the agent. What is to be changed in
// the example's text is told as old and new; each must be there.
func newLibrary(tb testing.TB, changes map[string]string) *library {
	tb.Helper()
	return newLibraryOn(tb, "postgres", changes)
}

// newLibraryOn is [newLibrary] on a kind of database.
func newLibraryOn(tb testing.TB, database string, changes map[string]string) *library {
	tb.Helper()
	l := newLibraryIn(tb, "../../../testdata/library")
	all := map[string]string{
		"    allow_networks: []": "   ",
		"\ndefaults:\n":          "\ndefaults:\n  allow_networks: [loopback]\n",
		"level: info":            "level: debug",
	}
	maps.Copy(all, l.onDatabase(database))
	maps.Copy(all, changes)
	return l.adapt(all)
}

// newLibraryIn is a library of a folder's schema and config, without its database.
func newLibraryIn(tb testing.TB, folder string) *library {
	tb.Helper()
	l := &library{tb: tb, dir: newTempDir(tb), folder: folder}
	l.receive = httptest.NewServer(l)
	tb.Cleanup(l.receive.Close)
	text, err := os.ReadFile(filepath.Join(folder, "config.yaml"))
	capturetest.Must(tb, err)
	l.config = string(text)
	return l
}

// adapt changes the config's text to this machine, and saves it.
func (l *library) adapt(all map[string]string) *library {
	l.tb.Helper()
	for old, fresh := range all {
		if !strings.Contains(l.config, old) {
			l.tb.Fatalf("the example has no %q", old)
		}
		l.config = strings.ReplaceAll(l.config, old, fresh)
	}
	// https://desk.example.org/webhooks becomes http://127.0.0.1:PORT/desk/webhooks.
	for _, host := range receivers(l.config) {
		l.config = strings.ReplaceAll(l.config, "url: https://"+host+".example.org/", "url: "+l.receive.URL+"/"+host+"/")
	}
	l.env = []string{"DESK_SECRET=" + librarySecret, "ALMA_SECRET=" + librarySecret}
	l.save()
	return l
}

// save writes the config.
func (l *library) save() {
	l.tb.Helper()
	capturetest.Must(l.tb, os.WriteFile(l.path("config.yaml"), []byte(l.config), 0o600))
}

// receivers are the first names of the hosts that profiles have in the example.
func receivers(config string) []string {
	var hosts []string
	for _, part := range strings.Split(config, "    url: https://")[1:] {
		host, _, _ := strings.Cut(part, ".example.org/")
		hosts = append(hosts, host)
	}
	return hosts
}

func (l *library) path(name string) string { return filepath.Join(l.dir, name) }

// open sets the database up and starts the agent, which streams when it returns.
func (l *library) open() *library {
	l.tb.Helper()
	if r := l.rowhook("setup", "--apply", "--as", l.owner); r.code != 0 {
		l.tb.Fatalf("setup: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	return l.start()
}

// start starts the agent.
func (l *library) start() *library {
	l.tb.Helper()
	cmd := exec.Command(binary, "run", "-c", l.path("config.yaml"))
	cmd.Dir, cmd.Env = l.dir, append(os.Environ(), l.env...)
	l.agent = launch(l.tb, cmd)
	eventually(l.tb, patience, "the agent streams", func() bool {
		if !l.agent.running() {
			l.tb.Fatalf("the agent ended with exit code %d", l.agent.code)
		}
		n, err := l.db.readers(context.Background(), nil)
		return err == nil && n == 1
	})
	l.held.Do(func() {
		tb := l.tb // parts of the test have one of their own
		tb.Cleanup(func() { l.tb = tb; l.holdToContract() })
	})
	return l
}

// edit changes the config's text; what is to be changed must be there.
func (l *library) edit(old, fresh string) {
	l.tb.Helper()
	if !strings.Contains(l.config, old) {
		l.tb.Fatalf("the config has no %q", old)
	}
	l.config = strings.Replace(l.config, old, fresh, 1)
	l.save()
}

// reload has the agent take the config as it is now.
func (l *library) reload() {
	l.tb.Helper()
	if r := l.rowhook("reload"); r.code != 0 {
		l.tb.Fatalf("reload: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// listening says that a profile's receiver answers challenges, or does not.
func (l *library) listening(profile string, listens bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf == nil {
		l.deaf = map[string]bool{}
	}
	l.deaf[profile] = !listens
}

// rowhook runs a command on the library's config.
func (l *library) rowhook(args ...string) result {
	l.tb.Helper()
	return command(l.tb, l.env, append(args, "-c", l.path("config.yaml"))...)
}

// ServeHTTP implements [http.Handler]: it is every receiver of the example, and echoes challenges.
func (l *library) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	profile, path, _ := strings.Cut(strings.TrimPrefix(r.URL.RequestURI(), "/"), "/")
	got := &request{came: time.Now(), profile: profile, method: r.Method, path: path, header: r.Header.Clone(), body: body}
	l.mu.Lock()
	l.requests = append(l.requests, got)
	answer, deaf := l.answer, l.deaf[profile]
	l.mu.Unlock()
	if challenge := r.URL.Query().Get("challenge"); r.Method == http.MethodGet && challenge != "" {
		if deaf {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"challenge": challenge})
		return
	}
	if answer != nil {
		w.WriteHeader(answer(got))
	}
}

// answers says how requests are answered from now on; nil is 200.
func (l *library) answers(answer func(*request) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

// got returns the requests of a profile that a condition holds for, in the order of arrival.
func (l *library) got(profile string, is func(*request) bool) []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*request
	for _, r := range l.requests {
		if r.profile == profile && (is == nil || is(r)) {
			found = append(found, r)
		}
	}
	return found
}

// await waits for so many requests of a profile and returns them.
func (l *library) await(profile string, n int, what string, is func(*request) bool) []*request {
	l.tb.Helper()
	var found []*request
	eventually(l.tb, patience, profile+" gets "+what, func() bool {
		found = l.got(profile, is)
		return len(found) >= n
	})
	if len(found) > n {
		l.tb.Fatalf("%s got %s %d times, not %d: %s", profile, what, len(found), n, found[n].body)
	}
	return found
}

// listed is what `profile list` tells of a profile.
type listed struct {
	Profile, Name, Description, State, Reason, Format, Host string
	MessageType                                             string    `json:"message_type"`
	LastSuccess                                             time.Time `json:"last_success"`
	Backlog                                                 int       `json:"backlog_events"`
	Subscriptions                                           []string
}

// profiles is what `profile list` tells.
func (l *library) profiles() []listed {
	l.tb.Helper()
	var list []listed
	r := l.rowhook("profile", "list", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		l.tb.Fatalf("profile list: %v: %+v", err, r)
	}
	return list
}

// listed is what `profile list` tells of one profile; nil when it is not listed.
func (l *library) listed(code string) *listed {
	l.tb.Helper()
	list := l.profiles()
	at := slices.IndexFunc(list, func(p listed) bool { return p.Profile == code })
	if at < 0 {
		return nil
	}
	return &list[at]
}

// delivered waits until nothing waits for a profile's receiver any more.
func (l *library) delivered(profile string) {
	l.tb.Helper()
	eventually(l.tb, patience, profile+" gets what waits for it", func() bool {
		p := l.listed(profile)
		return p != nil && p.Backlog == 0
	})
}

// posted is a condition: a POST whose body has the text.
func posted(text string) func(*request) bool {
	return func(r *request) bool { return r.method == http.MethodPost && bytes.Contains(r.body, []byte(text)) }
}
