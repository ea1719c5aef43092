package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// TestConsoleActs does what the console's buttons do, from a row's change to a receiver, on each kind
// of database. How the pages look is TestConsole's matter.
func TestConsoleActs(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testConsoleActs)
}

// TestConsoleAtRest: while nobody looks, the console costs less than 2 MiB.
func TestConsoleAtRest(t *testing.T) {
	t.Parallel()
	begin := func(top string) (*world, *agent) {
		w := newWorld(t, capturetest.Options{})
		capturetest.Must(t, os.WriteFile(w.path("admin"), []byte(adminToken+"\n"), 0o600))
		w.conf.top = top
		return w, w.begin()
	}
	without, plain := begin("")
	with, console := begin("admin: {listen: '127.0.0.1:0', console: true, tokens: [{name: ada, file: ./admin, role: admin}]}\n")
	for _, w := range []*world{without, with} {
		w.exec("insert into proof.rows select id, 1, 'x' from generate_series(1, 500) id")
		w.confirmed(patience)
	}
	const most = 2 << 20
	eventually(t, patience, "the console costs nothing", func() bool { return console.memory("VmRSS") < plain.memory("VmRSS")+most })
	elapse(t, 2*time.Second, "the console costs nothing", func() bool { return console.memory("VmRSS") < plain.memory("VmRSS")+most })
}

// buttons presses the console's buttons without a browser.
type buttons struct {
	t    *testing.T
	base string
	http *http.Client
	csrf string
}

// send asks for a page and follows where it leads.
func (b *buttons) send(method, path string, fields url.Values) string {
	b.t.Helper()
	if method == http.MethodPost && b.csrf != "" {
		fields.Set("csrf", b.csrf)
	}
	r, err := http.NewRequestWithContext(within(b.t, time.Minute), method, b.base+"/console"+path, strings.NewReader(fields.Encode()))
	capturetest.Must(b.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := b.http.Do(r)
	capturetest.Must(b.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	capturetest.Must(b.t, err)
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s %v: %d: %.3000s", method, path, fields, resp.StatusCode, body)
	}
	return string(body)
}

// press sends a form; the page that comes of it says a text.
func (b *buttons) press(path, says string, fields url.Values) {
	b.t.Helper()
	if page := b.send(http.MethodPost, path, fields); !strings.Contains(page, says) {
		b.t.Fatalf("%s does not say %q: %.3000s", path, says, page)
	}
}

func testConsoleActs(t *testing.T, w *world) {
	hooks := newHooks(t)
	capturetest.Must(t, os.WriteFile(w.path("admin"), []byte(adminToken+"\n"), 0o600))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	address := listener.Addr().String()
	listener.Close()
	w.conf.top = fmt.Sprintf("admin:\n  listen: %s\n  console: true\n  tokens: [{name: ada, file: ./admin, role: admin}]\n", address)
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  body: 4000\n"
	w.conf.profiles = fmt.Sprintf("  desk:\n    url: %s/desk\n    secret: %s\n    allow_networks: [loopback]\n    timeout: 5s\n    retry: {initial: 10m}\n", hooks.server.URL, secret)
	mapping := "  proof.rows:\n    events:\n      row.added: {op: insert}\n      row.there: {op: read}\n      row.odd: {op: insert, where: {note: odd}, if: \"int(new.note) > 5\"}\n"
	w.conf.mapping = mapping
	w.begin()
	insert := func(id int, note string) {
		t.Helper()
		w.exec(fmt.Sprintf("insert into proof.rows values (%d, 1, '%s')", id, note))
	}
	row := func(id int) string { return fmt.Sprintf(`"key":{"id":%d}`, id) }
	got := func(id int) { t.Helper(); hooks.got(t, "desk", row(id)) }
	waits := func(state string) {
		t.Helper()
		eventually(t, patience, "a delivery is "+state, func() bool { return strings.Contains(w.rowhook("queue", "list").stdout, state) })
	}
	jar, err := cookiejar.New(nil)
	capturetest.Must(t, err)
	b := &buttons{t: t, base: "http://" + address, http: &http.Client{Jar: jar}}
	b.send(http.MethodPost, "/login", url.Values{"token": {adminToken}})
	b.csrf = regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(b.send(http.MethodGet, "/profiles/desk", nil))[1]
	yes := func(fields url.Values) url.Values { fields.Set("confirmed", "yes"); return fields }

	// Profiles: pause, resume with and without what was held, test.
	b.press("/profiles/desk/pause", "desk is paused", url.Values{})
	insert(1, "held")
	waits("held")
	b.press("/profiles/desk/resume", "desk is active again", url.Values{})
	got(1)
	b.press("/profiles/desk/pause", "desk is paused", url.Values{})
	insert(2, "skipped")
	waits("held")
	b.press("/profiles/desk/resume-now", "desk is active again", yes(url.Values{}))
	b.press("/profiles/desk/test", "desk answered 204", url.Values{})
	hooks.got(t, "desk", `"type":"rowhook.test"`)

	// Deliveries: found by payload, tried now, given up; all that waits; a dead letter is retried.
	find := func(id int) (path string) {
		t.Helper()
		link := regexp.MustCompile(`href="/console(/deliveries/desk/[^"?]+)`)
		eventually(t, patience, "the console finds the delivery", func() bool {
			found := link.FindStringSubmatch(b.send(http.MethodPost, "/deliveries", url.Values{"payload": {fmt.Sprintf("key.id=%d", id)}}))
			if found != nil {
				path = found[1]
			}
			return found != nil
		})
		return path
	}
	hooks.set("desk", refuse(503, "closed"))
	insert(3, "retried")
	waits("retrying")
	at := find(3)
	hooks.set("desk", nil)
	b.press(at+"/retry", "The delivery is tried now.", url.Values{})
	got(3)
	hooks.set("desk", refuse(503, "closed"))
	insert(4, "given up")
	waits("retrying")
	b.press(find(4)+"/skip", "The delivery is a dead letter now.", yes(url.Values{}))
	hooks.set("desk", nil)
	b.press("/failed/act", "Retried dead letters: 1", yes(url.Values{"act": {"retry-all"}}))
	b.press("/profiles/desk/retry", "", url.Values{}) // its endpoint is still left alone
	got(4)
	hooks.set("desk", refuse(422, "no"))
	insert(5, "discarded")
	eventually(t, patience, "a dead letter", func() bool {
		w.rowhook("queue", "retry-now", "--profile", "desk")
		return strings.Contains(w.rowhook("failed", "list").stdout, "row.added")
	})
	hooks.set("desk", nil)
	b.press("/failed/act", "Discarded dead letters: 1", yes(url.Values{"act": {"discard-all"}}))

	// Parked changes: one is retried once the mapping is mended.
	insert(6, "odd")
	eventually(t, patience, "a change is parked", func() bool {
		return strings.Contains(w.rowhook("failed", "list", "--source", "--json").stdout, `"seq"`)
	})
	w.conf.mapping = strings.Replace(mapping, "int(new.note) > 5", "true", 1)
	w.write()
	b.press("/config/reload", "The config was reloaded.", url.Values{})
	seq := regexp.MustCompile(`name="seq" value="(\d+)"`).FindStringSubmatch(b.send(http.MethodGet, "/failed", nil))
	if seq == nil {
		t.Fatal("the page of what failed has no parked change")
	}
	b.press("/failed/source", "Retried parked changes: 1", url.Values{"act": {"retry-marked"}, "seq": {seq[1]}})
	hooks.got(t, "desk", `"type":"row.odd"`)

	// Existing rows: a backfill, one row, and the row of a delivery as it is now.
	b.press("/backfills/start", "Each row becomes an event for: desk", url.Values{"entry": {"proof.rows"}})
	b.press("/backfills/start", "of proof.rows begins.", yes(url.Values{"entry": {"proof.rows"}}))
	eventually(t, patience, "all rows are read", func() bool { return hooks.count("desk", `"type":"row.there"`) == 6 })
	b.press("/backfills/row", "Events that came of it: 1", url.Values{"entry": {"proof.rows"}, "key": {"id=2"}})
	w.exec("update proof.rows set note = 'as it is now' where id = 3")
	b.press(find(3)+"/row", "Events that came of it: 1", url.Values{})
	hooks.got(t, "desk", "as it is now")
	slow := yes(url.Values{"entry": {"proof.rows"}, "rate": {"1/m"}})
	b.press("/backfills/start", "of proof.rows begins.", slow)
	id := regexp.MustCompile(`/console/backfills/(b\d+)/cancel`).FindStringSubmatch(b.send(http.MethodGet, "/backfills", nil))
	if id == nil {
		t.Fatal("the page of backfills has none that runs")
	}
	b.press("/backfills/"+id[1]+"/pause", "is paused", url.Values{})
	b.press("/backfills/"+id[1]+"/resume", "goes on.", url.Values{})
	b.press("/backfills/"+id[1]+"/cancel", "was cancelled.", yes(url.Values{}))

	// A pasted config is held against this database; nothing needs a hand in the end.
	raw, err := os.ReadFile(w.path("config.yaml"))
	capturetest.Must(t, err)
	b.press("/config/check", "has no column", url.Values{"config": {strings.Replace(string(raw), "{note: odd}", "{colour: red}", 1)}})
	if page := b.send(http.MethodGet, "/", nil); !strings.Contains(page, "Nothing needs a hand.") {
		t.Errorf("in the end: %.3000s", page)
	}
}
