package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// The tokens of the console's tests.
const viewerToken, adminToken = "viewer-0123456789abcdef", "admin-0123456789abcdef"

// hostile is what nobody should ever put into a row, and somebody does: markup, scripts, characters
// that turn the direction of text, others that nobody sees.
const hostile = `"><script>window.pwned=1</script><img src=x onerror="window.pwned=1">` + "\u202egnp.exe\u2066\u200b\x07" + `{{.}}'` + "`"

// consoleWorld is an agent with a console, a library's loans and receivers that do as they are told.
type consoleWorld struct {
	*world
	agent *agent
	base  string // the console's address, such as http://127.0.0.1:8642
	hooks *hooks
}

// hooks are receivers, told apart by the URL's path.
type hooks struct {
	server *httptest.Server
	mu     sync.Mutex
	answer map[string]func(http.ResponseWriter) // by path; nil answers 204
	bodies map[string][]string                  // what was accepted
}

func newHooks(tb testing.TB) *hooks {
	h := &hooks{answer: map[string]func(http.ResponseWriter){}, bodies: map[string][]string{}}
	h.server = httptest.NewServer(h)
	tb.Cleanup(h.server.Close)
	return h
}

// ServeHTTP implements [http.Handler].
func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	path := strings.Trim(r.URL.Path, "/")
	h.mu.Lock()
	answer := h.answer[path]
	if answer == nil {
		h.bodies[path] = append(h.bodies[path], string(body))
	}
	h.mu.Unlock()
	if answer != nil {
		answer(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// set has a path answered in a way from now on; nil accepts.
func (h *hooks) set(path string, answer func(http.ResponseWriter)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer[path] = answer
}

// refuse answers with a status and a text.
func refuse(status int, text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// got waits until a path has accepted a body that contains a text.
func (h *hooks) got(tb testing.TB, path, text string) {
	tb.Helper()
	eventually(tb, patience, path+" gets "+text, func() bool { return h.has(path, text) })
}

func (h *hooks) has(path, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, body := range h.bodies[path] {
		if strings.Contains(body, text) {
			return true
		}
	}
	return false
}

// count is how many bodies that contain a text a path has accepted.
func (h *hooks) count(path, text string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, body := range h.bodies[path] {
		if strings.Contains(body, text) {
			n++
		}
	}
	return n
}

// consoleMapping has rules of each kind.
const consoleMapping = `  circulation.loans:
    title: Loans
    columns: {exclude: [internal_note]}
    events:
      loan.created: {op: insert}
      loan.returned: {op: update, set: returned_at}
      loan.lost: {becomes: {status: lost}, if: "row.user_id != 'nobody'"}
      loan.renewed: {op: update, changed: [due_at]}
      loan.present: {op: read}
      loan.odd: {op: insert, where: {user_id: odd}, if: "int(new.status) > 5"}
  catalog.items: {title: Items}
`

// newConsoleWorld starts an agent whose console is on.
func newConsoleWorld(tb testing.TB) *consoleWorld {
	tb.Helper()
	w := &consoleWorld{world: newWorld(tb, capturetest.Options{}), hooks: newHooks(tb)}
	w.exec(
		`create schema circulation`, `create schema catalog`,
		`create table circulation.loans (loan_id bigint primary key, user_id text not null, status text not null default 'open',
			due_at timestamptz not null default '2026-12-24 17:00+00', returned_at timestamptz, fee numeric(8,2) not null default 0, internal_note text)`,
		`alter table circulation.loans replica identity full`,
		`create table catalog.items (barcode text primary key, title text not null, shelf int)`,
		`grant usage on schema circulation, catalog to rowhook`,
		`grant select on all tables in schema circulation, catalog to rowhook`,
		`alter publication rowhook add table circulation.loans, catalog.items`,
	)
	capturetest.Must(tb, os.WriteFile(w.path("viewer"), []byte(viewerToken+"\n"), 0o600))
	capturetest.Must(tb, os.WriteFile(w.path("admin"), []byte(adminToken+"\n"), 0o600))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(tb, err)
	address := listener.Addr().String()
	listener.Close()
	w.base = "http://" + address
	w.conf.mapping = consoleMapping
	archive := `"Archive <b>of</b> \u202e{{.}}"`
	if os.Getenv(picturesVariable) != "" {
		archive = "Archive" // nobody is attacked in the docs
	}
	profile := func(code, more string) string {
		return fmt.Sprintf("  %s:\n    url: %s/%s\n    secret: %s\n    allow_networks: [loopback]\n    timeout: 5s\n%s", code, w.hooks.server.URL, code, secret, more)
	}
	w.conf.profiles = profile("desk", "    name: Circulation desk\n    description: The terminals at the front desk.\n    subscriptions: [{events: ['loan.*']}]\n    retry: {initial: 10m}\n") +
		profile("discovery", "    name: Discovery\n    format: cloudevents\n    subscriptions: [{events: ['record.*'], tables: [catalog.items]}]\n    retry: {schedule: [20ms]}\n") +
		profile("archive", "    name: "+archive+"\n    unit: transaction\n    retry: {schedule: [20ms]}\n")
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  body: 4000\n"
	w.conf.top = fmt.Sprintf("admin:\n  listen: %s\n  console: true\n  tokens: [{name: ada, file: ./admin, role: admin}, {name: bo, file: ./viewer, role: viewer}]\n", address)
	w.agent = w.begin()
	return w
}

// loan inserts a loan.
func (w *consoleWorld) loan(id int, user string) {
	w.tb.Helper()
	w.exec(fmt.Sprintf(`insert into circulation.loans (loan_id, user_id) values (%d, '%s')`, id, strings.ReplaceAll(user, "'", "''")))
}

// auditHas waits until the audit log has a line that contains all the texts.
func (w *consoleWorld) auditHas(texts ...string) {
	w.tb.Helper()
	eventually(w.tb, patience, "an audit line with "+strings.Join(texts, ", "), func() bool {
		raw, _ := os.ReadFile(filepath.Join(w.dir, "state", "audit.jsonl"))
		for line := range strings.Lines(string(raw)) {
			all := true
			for _, text := range texts {
				all = all && strings.Contains(line, text)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// within is a context that ends with the test, or before.
func within(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	tb.Cleanup(cancel)
	return ctx
}
