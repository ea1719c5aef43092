package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"rowhook/capture/capturetest"
)

// TestConsole uses the console as people do, in a real browser, on a real agent and database: each
// page, and each act from a row's change to a receiver.
func TestConsole(t *testing.T) {
	t.Parallel()
	w := newConsoleWorld(t)
	for i := range 60 {
		w.loan(i+1, fmt.Sprintf("aa%06d", i))
	}
	w.hooks.got(t, "desk", `"loan_id":60`)
	t.Run("plain HTTP", func(t *testing.T) { w.as(t).testPlainHTTP() })
	t.Run("profile acts", func(t *testing.T) { w.as(t).testProfileActs() })
	t.Run("delivery acts", func(t *testing.T) { w.as(t).testDeliveryActs() })
	t.Run("dead letters", func(t *testing.T) { w.as(t).testDeadLetters() })
	t.Run("parked changes", func(t *testing.T) { w.as(t).testParked() })
	t.Run("backfills", func(t *testing.T) { w.as(t).testBackfills() })
	t.Run("config", func(t *testing.T) { w.as(t).testConfig() })
	t.Run("live", func(t *testing.T) { w.as(t).testLive() })
	t.Run("links", func(t *testing.T) { w.as(t).testLinks() })
	t.Run("keyboard", func(t *testing.T) { w.as(t).testKeyboard() })
	t.Run("without JavaScript", func(t *testing.T) { w.as(t).testWithoutJavaScript() })
	t.Run("hostile texts", func(t *testing.T) { w.as(t).testHostile() })
	t.Run("pages", func(t *testing.T) { w.as(t).testPages() })
}

// as is the world in a part of the test.
func (w *consoleWorld) as(t *testing.T) *consoleWorld {
	w.tb, w.agent.tb = t, t
	return w
}

// browse opens a browser with an admin's session.
func (w *consoleWorld) browse(language string) *browser {
	w.tb.Helper()
	b := newBrowser(w.tb, w.base, language)
	b.login(adminToken)
	return b
}

// testPlainHTTP holds the agent's door to what it should refuse, without a browser.
func (w *consoleWorld) testPlainHTTP() {
	t := w.tb
	jar, err := cookiejar.New(nil)
	capturetest.Must(t, err)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(method, path, host string, fields url.Values) (*http.Response, string) {
		r, err := http.NewRequestWithContext(within(t, time.Minute), method, w.base+path, strings.NewReader(fields.Encode()))
		capturetest.Must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if host != "" {
			r.Host = host
		}
		resp, err := client.Do(r)
		capturetest.Must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		capturetest.Must(t, err)
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s %s has the policy %q", method, path, policy)
		}
		return resp, string(body)
	}
	status := func(want int, method, path, host string, fields url.Values) {
		t.Helper()
		if resp, body := ask(method, path, host, fields); resp.StatusCode != want {
			t.Errorf("%s %s of %q: %d, want %d: %.300s", method, path, host, resp.StatusCode, want, body)
		}
	}
	status(303, "GET", "/console/", "", nil)
	status(403, "POST", "/console/profiles/desk/pause", "", nil)
	status(403, "POST", "/console/login", "", url.Values{"token": {"wrong"}})
	status(421, "GET", "/console/login", "evil.example.org", nil)
	status(303, "POST", "/console/login", "", url.Values{"token": {viewerToken}})
	status(421, "GET", "/console/", "evil.example.org", nil)
	_, page := ask("GET", "/console/profiles/desk", "", nil)
	csrf := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(page)
	if csrf == nil || strings.Contains(page, "<button class=\"main\">") {
		t.Fatalf("what a viewer sees:\n%s", page)
	}
	status(403, "POST", "/console/profiles/desk/pause", "", url.Values{"csrf": {csrf[1]}})
	status(303, "POST", "/console/logout", "", url.Values{"csrf": {csrf[1]}})
	status(303, "POST", "/console/login", "", url.Values{"token": {adminToken}})
	status(403, "POST", "/console/profiles/desk/pause", "", url.Values{"csrf": {csrf[1]}})
	status(403, "POST", "/console/profiles/desk/pause", "", nil)
	if raw, err := os.ReadFile(filepath.Join(w.dir, "state", "audit.jsonl")); err == nil && strings.Contains(string(raw), "profile pause") {
		t.Errorf("something was done all the same: %s", raw)
	}
}

// testProfileActs pauses a profile, has an event held, resumes it, tests and hurries it.
func (w *consoleWorld) testProfileActs() {
	t, b := w.tb, w.browse("en")
	b.open("/profiles/desk")
	b.press("Pause")
	b.says("desk is paused")
	w.loan(1000, "held")
	eventually(t, patience, "an event is held", func() bool { return strings.Contains(w.rowhook("queue", "list").stdout, "held") })
	if w.hooks.has("desk", `"loan_id":1000`) {
		t.Error("a paused profile got an event")
	}
	b.open("/profiles/desk")
	b.press("Resume")
	b.says("desk is active again.")
	w.hooks.got(t, "desk", `"loan_id":1000`)
	w.auditHas(`"user":"token ada"`, `"command":"profile pause"`, `"new":"inactive"`)
	w.auditHas(`"user":"token ada"`, `"command":"profile resume --from held"`, `"new":"active"`)

	b.press("Pause")
	b.says("desk is paused")
	w.loan(1001, "skipped")
	eventually(t, patience, "an event is held", func() bool { return strings.Contains(w.rowhook("queue", "list").stdout, "held") })
	b.press("Resume without what was held")
	b.says("are skipped")
	b.press("Resume and skip")
	b.says("desk is active again.")
	w.loan(1002, "next")
	w.hooks.got(t, "desk", `"loan_id":1002`)
	if w.hooks.has("desk", `"loan_id":1001`) {
		t.Error("an event that was skipped was delivered")
	}

	b.press("Send a test event")
	b.says("desk answered 204")
	w.hooks.got(t, "desk", `"type":"rowhook.test"`)
	w.auditHas(`"user":"token ada"`, `"command":"profile test"`, `"new":"delivered"`)
	w.hooks.set("desk", refuse(500, "no <i>thanks</i>"))
	b.press("Send a test event")
	b.says("which does not mean delivered")
	b.says("no <i>thanks</i>")

	w.loan(1003, "hurried")
	eventually(t, patience, "a retry waits", func() bool { return strings.Contains(w.rowhook("queue", "list").stdout, "retrying") })
	w.hooks.set("desk", nil)
	b.open("/profiles/desk")
	b.says("Next try")
	b.press("Retry all that waits now")
	b.says("desk: deliveries tried now: 1")
	w.auditHas(`"user":"token ada"`, `"command":"queue retry-now"`, `"profile":"desk"`)
	w.hooks.got(t, "desk", `"loan_id":1003`)
	b.open("/audit")
	b.says("token ada")
	b.says("profile resume --from now")
	b.calm("profile acts")
}

// testDeliveryActs finds one delivery by its payload, retries it, and gives another up.
func (w *consoleWorld) testDeliveryActs() {
	t, b := w.tb, w.browse("en")
	w.hooks.set("desk", refuse(503, "closed"))
	w.loan(2000, "tried again")
	w.loan(2001, "given up")
	eventually(t, patience, "both wait", func() bool {
		return strings.Count(w.rowhook("queue", "list", "--profile", "desk").stdout, "loan.created") == 2
	})

	find := func(id int) {
		t.Helper()
		eventually(t, patience, "the log has it", func() bool {
			return strings.Contains(w.rowhook("log", "--profile", "desk", "--payload", fmt.Sprintf("key.loan_id=%d", id)).stdout, "loan_id")
		})
		b.open("/deliveries")
		b.do(chromedp.SetValue(chromedp.CSS(`input[name=payload]`), fmt.Sprintf("key.loan_id=%d", id)),
			chromedp.SetValue(chromedp.CSS(`input[name=profile]`), "desk"))
		b.press("Search")
		b.says(fmt.Sprintf("loan_id=%d", id))
		if at := ask[string](b, `location.href`); strings.Contains(at, "loan_id") || strings.Contains(at, fmt.Sprint(id)) {
			t.Errorf("the search stands in the URL: %s", at)
		}
		if other := id + 1; strings.Contains(b.text(), fmt.Sprintf("loan_id=%d", other)) {
			t.Errorf("the search for %d finds %d", id, other)
		}
		b.press("loan.created")
		b.says("Time line")
	}
	find(2000)
	b.says("503")
	b.says(`"loan_id":2000`)
	w.hooks.set("desk", nil)
	b.press("Retry now")
	b.says("The delivery is tried now.")
	w.hooks.got(t, "desk", `"loan_id":2000`)
	w.auditHas(`"user":"token ada"`, `"command":"queue retry-now"`)
	b.press("The whole body as text")
	b.says(`"loan_id":2000`)
	if kind := ask[string](b, `document.contentType`); kind != "text/plain" {
		t.Errorf("a body is shown as %s", kind)
	}

	w.rowhook("queue", "retry-now", "--profile", "desk")
	w.hooks.got(t, "desk", `"loan_id":2001`)
	w.hooks.set("desk", refuse(503, "closed again"))
	w.loan(2003, "given up")
	eventually(t, patience, "it waits", func() bool {
		return strings.Contains(w.rowhook("queue", "list", "--profile", "desk").stdout, "retrying")
	})
	find(2003)
	b.press("Give it up")
	b.says("becomes a dead letter of desk")
	b.press("Give it up")
	b.says("The delivery is a dead letter now.")
	b.says("kept as a dead letter")
	w.auditHas(`"user":"token ada"`, `"command":"queue skip"`)
	w.hooks.set("desk", nil)
	b.press("Retry")
	b.says("Retried dead letters: 1")
	b.open("/profiles/desk") // whose endpoint is still left alone
	b.press("Retry all that waits now")
	w.hooks.got(t, "desk", `"loan_id":2003`)
	b.calm("delivery acts")
}

// testDeadLetters retries marked ones, and discards all after a page that says how many.
func (w *consoleWorld) testDeadLetters() {
	t, b := w.tb, w.browse("en")
	w.hooks.set("discovery", refuse(422, "no such shelf"))
	for i := range 5 {
		w.exec(fmt.Sprintf(`insert into catalog.items values ('b%d', 'Zen', %d)`, i, i))
	}
	letters := func(n int) {
		t.Helper()
		eventually(t, patience, fmt.Sprintf("%d dead letters", n), func() bool {
			return strings.Count(w.rowhook("failed", "list", "--profile", "discovery").stdout, "record.inserted") == n
		})
	}
	letters(5)
	w.hooks.set("discovery", nil)
	b.open("/failed")
	b.says("5 · discovery · status 4xx (422)")
	b.do(chromedp.Click(chromedp.CSS(`input[name=item]`)))
	b.press("Retry the marked")
	b.says("Retried dead letters: 1")
	letters(4)
	w.auditHas(`"user":"token ada"`, `"command":"failed retry"`, `"new":"1"`)

	b.do(chromedp.SetValue(chromedp.CSS(`input[name=key]`), "b3"))
	b.press("Search")
	b.press("Retry all that fit")
	b.says("Retry dead letters: 1")
	b.press("Retry them")
	letters(3)
	w.hooks.got(t, "discovery", `"barcode":"b3"`)

	b.open("/failed")
	b.press("Discard all")
	b.says("Discard dead letters: 3")
	b.accessible("the question")
	b.press("Back, change nothing")
	letters(3)
	b.press("Discard all")
	b.press("Discard them for good")
	b.says("There are no dead letters")
	letters(0)
	w.auditHas(`"user":"token ada"`, `"command":"failed discard"`, `"new":"3"`)
	b.calm("dead letters")
}

// testParked mends the mapping, reloads and retries a change that could not be mapped, and discards
// another.
func (w *consoleWorld) testParked() {
	t, b := w.tb, w.browse("en")
	w.loan(3000, "odd")
	w.loan(3001, "odd")
	eventually(t, patience, "two changes are parked", func() bool {
		return strings.Count(w.rowhook("failed", "list", "--source", "--json").stdout, `"seq"`) == 2
	})
	b.open("/failed")
	b.says("2 · circulation.loans")
	b.do(chromedp.Click(chromedp.CSS(`input[name=seq]`)))
	b.press("Discard the marked")
	b.says("Discard parked changes: 1")
	b.press("Discard them for good")
	b.says("Discarded parked changes: 1")

	w.conf.mapping = strings.Replace(consoleMapping, "int(new.status) > 5", "true", 1)
	w.write()
	b.open("/config")
	b.press("Reload now")
	b.says("The config was reloaded.")
	w.auditHas(`"user":"token ada"`, `"command":"reload"`)
	b.open("/failed")
	b.submits(chromedp.Click(chromedp.CSS(`button[value=retry-all]`)))
	b.press("Retry them")
	b.says("Nothing is parked")
	w.hooks.got(t, "desk", `"type":"loan.odd"`)
	w.auditHas(`"user":"token ada"`, `"command":"failed retry --source"`)
	b.calm("parked changes")
}

// testBackfills sends existing rows: a backfill is begun after a page that says how many, followed as
// it goes, paused, resumed and cancelled; one row is sent by its key, and from its delivery's page.
func (w *consoleWorld) testBackfills() {
	t, b := w.tb, w.browse("en")
	const rows = 40
	for i := range rows {
		w.loan(6000+i, "reader")
	}
	w.hooks.got(t, "desk", fmt.Sprintf(`"loan_id":%d`, 6000+rows-1))
	begin := func(profile, rate string) {
		t.Helper()
		b.open("/backfills")
		b.do(chromedp.Click(chromedp.CSS(`input[name=entry][value="circulation.loans"]`)),
			chromedp.SetValue(chromedp.CSS(`form[action$="/start"] textarea[name=where]`), "user_id=reader"),
			chromedp.SetValue(chromedp.CSS(`form[action$="/start"] select[name=profile]`), profile),
			chromedp.SetValue(chromedp.CSS(`input[name=rate]`), rate))
		b.press("Say how many")
	}
	begin("", "20/s")
	b.says("Send the existing rows of circulation.loans")
	b.says("Each row becomes an event for: archive, desk")
	b.accessible("the question before a backfill")
	if at := ask[string](b, `location.href`); strings.Contains(at, "reader") {
		t.Errorf("the conditions stand in the URL: %s", at)
	}
	b.press("Send them")
	b.says("of circulation.loans begins.")
	b.says("by conditions on user_id")
	ask[int](b, `window.same = 1`)
	b.says("rows/s")
	b.accessible("a backfill under way")
	b.press("Pause")
	b.says("is paused. It can go on later where it was.")
	if got := w.rowhook("backfill", "list").stdout; !strings.Contains(got, "paused") {
		t.Errorf("the command knows of no pause: %s", got)
	}
	b.press("Resume")
	b.says("goes on.")
	ask[int](b, `window.same = 1`)
	b.says(fmt.Sprintf("rows: %d", rows))
	b.says("done")
	if ask[int](b, `window.same`) != 1 {
		t.Error("the page was loaded again")
	}
	for _, id := range []int{6000, 6000 + rows - 1} {
		w.hooks.got(t, "desk", fmt.Sprintf(`"loan_id":%d,"user_id":"reader"`, id))
	}
	reads := func() int { return w.hooks.count("desk", `"type":"loan.present"`) }
	eventually(t, patience, "all are read", func() bool { return reads() == rows })
	if !w.hooks.has("archive", "loan.present") {
		t.Error("the other profile got none of them")
	}
	w.auditHas(`"user":"token ada"`, `"command":"backfill"`, `"new":"circulation.loans where user_id rate 20/s"`)
	w.auditHas(`"user":"token ada"`, `"command":"backfill pause"`)
	w.auditHas(`"user":"token ada"`, `"command":"backfill resume"`)

	begin("archive", "1/m")
	b.says("Each row becomes an event for: archive")
	b.press("Send them")
	b.says("only for archive")
	b.press("Cancel")
	b.says("What it has sent stays sent.")
	b.press("Cancel it for good")
	b.says("was cancelled.")
	w.auditHas(`"user":"token ada"`, `"command":"backfill cancel"`)
	if reads() != rows {
		t.Error("a profile that was not meant got events")
	}

	w.exec(`insert into catalog.items values ('one row', 'Zen', 1)`)
	w.hooks.got(t, "discovery", `"barcode":"one row"`)
	b.open("/backfills")
	b.do(chromedp.SetValue(chromedp.CSS(`select[name=entry]`), "catalog.items"), chromedp.SetValue(chromedp.CSS(`textarea[name=key]`), "barcode=one row"))
	b.press("Send the row")
	b.says("The row was read. Events that came of it: 1")
	w.hooks.got(t, "discovery", `"type":"record.read"`)
	w.auditHas(`"user":"token ada"`, `"command":"trigger"`)
	b.do(chromedp.SetValue(chromedp.CSS(`select[name=entry]`), "catalog.items"), chromedp.SetValue(chromedp.CSS(`textarea[name=key]`), "barcode=none"))
	b.press("Send the row")
	b.says("has no row with this key")

	w.exec(`update circulation.loans set fee = 12.5 where loan_id = 6007`)
	eventually(t, patience, "the log has it", func() bool {
		return strings.Contains(w.rowhook("log", "--profile", "desk", "--payload", "key.loan_id=6007").stdout, "loan_id")
	})
	b.open("/deliveries")
	b.do(chromedp.SetValue(chromedp.CSS(`input[name=payload]`), "key.loan_id=6007"), chromedp.SetValue(chromedp.CSS(`input[name=type]`), "loan.created"))
	b.press("Search")
	b.press("loan.created")
	b.press("Send the row as it is now")
	b.says("The row was read. Events that came of it: 1")
	w.hooks.got(t, "desk", `12.50`)
	b.calm("backfills")
}

// testConfig checks a pasted config against the database.
func (w *consoleWorld) testConfig() {
	t, b := w.tb, w.browse("en")
	raw, err := os.ReadFile(w.path("config.yaml"))
	capturetest.Must(t, err)
	b.open("/config")
	if text := b.text(); !strings.Contains(text, "circulation.loans") || strings.Contains(text, secret) {
		t.Errorf("the config in force:\n%s", text)
	}
	paste := func(text string) {
		t.Helper()
		b.open("/config")
		b.do(chromedp.SetValue(chromedp.CSS(`textarea[name=config]`), text))
		b.press("Check")
	}
	paste(string(raw))
	b.says("It is fine, and fits the database.")
	paste(strings.Replace(string(raw), "returned_at", "given_back", 1))
	b.says(`has no column "given_back"`)
	paste(strings.Replace(string(raw), "mapping:", "mappings:", 1))
	b.says("It would be refused.")
	b.accessible("a config that would be refused")
	b.calm("config")
}

// testLive has a page follow what happens without being loaded again.
func (w *consoleWorld) testLive() {
	b := w.browse("en")
	b.open("/")
	b.says("Updates itself")
	ask[int](b, `window.same = 1`)
	w.hooks.set("discovery", refuse(422, "no"))
	w.exec(`insert into catalog.items values ('live', 'Zen', 1)`)
	b.says("profile discovery has 1 dead letters")
	if ask[int](b, `window.same`) != 1 {
		w.tb.Error("the page was loaded again")
	}
	w.hooks.set("discovery", nil)
	w.rowhook("failed", "retry", "--profile", "discovery")
	b.says("Nothing needs a hand.")

	// An agent that hangs keeps its connections: only that no beat comes tells.
	capturetest.Must(w.tb, syscall.Kill(w.agent.pid, syscall.SIGSTOP))
	b.says("Not connected: these figures may be old")
	capturetest.Must(w.tb, syscall.Kill(w.agent.pid, syscall.SIGCONT))
	b.says("Updates itself")
	b.calm("live")

	// The page of a session that is over says so by itself, too.
	ask[int](b, `fetch("/console/logout", {method: "POST", body: new URLSearchParams({csrf: document.querySelector("[name=csrf]").value})}).then(() => 1)`)
	b.says("Not connected: these figures may be old")
}

// testLinks follows a link of another site, with which the session's cookie does not come.
func (w *consoleWorld) testLinks() {
	mail := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, `<!doctype html><title>Mail</title><a href="%s/console/profiles/desk">desk</a>`, w.base)
	}))
	defer mail.Close()
	b := w.browse("en")
	follow := func() {
		w.tb.Helper()
		b.do(chromedp.Navigate(strings.Replace(mail.URL, "127.0.0.1", "localhost", 1)))
		b.submits(chromedp.Click(chromedp.CSS("a")))
	}
	follow()
	b.says("The terminals at the front desk.")
	b.open("/login")
	b.says("You are logged in as ada.")
	b.accessible("the login page of somebody who is in")
	b.press("Go on")
	b.says("Nothing needs a hand.")
	b.submits(chromedp.Click(chromedp.Search(`//button[normalize-space()="Log out"]`)))
	follow()
	b.says("One of admin.tokens in the config.")
}

// testKeyboard does without a mouse: from the login to a confirmed act.
func (w *consoleWorld) testKeyboard() {
	t := w.tb
	w.hooks.set("discovery", refuse(422, "no"))
	w.exec(`insert into catalog.items values ('keys', 'Zen', 1)`)
	eventually(t, patience, "a dead letter", func() bool { return strings.Contains(w.rowhook("failed", "list").stdout, "record.inserted") })
	b := w.browse("en") // types the token and presses return
	focused := func() string {
		return ask[string](b, `(document.activeElement.textContent.trim() || document.activeElement.name || document.activeElement.tagName) + "|" + document.activeElement.type`)
	}
	// reach presses the tabulator until something has the focus, which must be seen.
	reach := func(what string) {
		t.Helper()
		for range 60 {
			b.do(chromedp.KeyEvent("\t"))
			if text, _, _ := strings.Cut(focused(), "|"); text == what {
				if ask[string](b, `getComputedStyle(document.activeElement).outlineStyle`) == "none" {
					t.Errorf("nobody sees that %s has the focus", what)
				}
				return
			}
		}
		t.Fatalf("the tabulator does not lead to %s", what)
	}
	reach("Failed")
	b.submits(chromedp.KeyEvent("\r"))
	reach("item")
	b.do(chromedp.KeyEvent(" "))
	reach("Discard the marked")
	b.submits(chromedp.KeyEvent("\r"))
	b.says("Discard dead letters: 1")
	reach("Discard them for good")
	b.submits(chromedp.KeyEvent("\r"))
	b.says("There are no dead letters")
	b.open("/")
	b.do(chromedp.KeyEvent("\t"))
	if got := focused(); !strings.HasPrefix(got, "Skip to the page") {
		t.Errorf("the first stop is %q", got)
	}
	w.hooks.set("discovery", nil)
	b.calm("keyboard")
}

// testWithoutJavaScript reads a page and does something on it.
func (w *consoleWorld) testWithoutJavaScript() {
	b := newBrowser(w.tb, w.base, "en")
	b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.login(adminToken)
	b.open("/")
	b.says("As of loading")
	b.says("Circulation desk")
	b.open("/profiles/desk")
	b.press("Send a test event")
	b.says("desk answered 204")
	b.open("/deliveries")
	b.press("Older")
	b.says("The newest")
}

// testHostile has markup and worse in rows, answers and names shown as text.
func (w *consoleWorld) testHostile() {
	t, b := w.tb, w.browse("en")
	long := strings.Repeat("very-long-text ", 2000)
	w.hooks.set("desk", refuse(503, hostile+long))
	w.exec(fmt.Sprintf(`insert into circulation.loans (loan_id, user_id, status) values (4000, '%s', '%s')`, strings.ReplaceAll(hostile, "'", "''"), strings.Repeat("x", 30000)))
	w.exec(fmt.Sprintf(`insert into catalog.items values ('%s', '%s', 1)`, strings.ReplaceAll(hostile, "'", "''"), long))
	eventually(t, patience, "it waits", func() bool {
		return strings.Contains(w.rowhook("queue", "list", "--profile", "desk").stdout, "retrying")
	})
	eventually(t, patience, "the log has it", func() bool {
		return strings.Contains(w.rowhook("log", "--profile", "discovery", "--json").stdout, "pwned")
	})
	b.open("/deliveries")
	b.says(`<script>window.pwned=1</script>`)
	b.says(`\u202egnp.exe\u2066\u200b\u0007`)
	b.do(chromedp.SetValue(chromedp.CSS(`input[name=payload]`), `data.loan_id=4000`), chromedp.SetValue(chromedp.CSS(`input[name=url]`), hostile))
	b.press("Search")
	b.says("No line fits.")
	b.open("/deliveries")
	b.do(chromedp.SetValue(chromedp.CSS(`input[name=profile]`), `desk`))
	b.press("Search")
	b.press("loan.created")
	b.do(chromedp.Click(chromedp.CSS(`details > summary`)))
	for _, width := range []int64{390, 1440} {
		b.size(width)
		b.fits("hostile texts")
	}
	b.says(`<script>window.pwned=1</script>`)
	b.says("Shown are the first 4,000 characters")
	b.accessible("hostile texts")
	b.calm("hostile texts")
	at := ask[string](b, `location.pathname`)
	b.open(strings.TrimPrefix(at, "/console") + "/body")
	if text := b.text(); len(text) < 30000 || !strings.Contains(text, `<script>`) {
		t.Errorf("the whole body has %d characters", len(text))
	}
	b.calm("a hostile body")
	w.hooks.set("desk", nil)
}

// picturesVariable is the directory that the pages' pictures are written to, for the docs.
const picturesVariable = "ROWHOOK_PICTURES"

// testPages looks at every page in both languages and schemes, narrow and wide.
func (w *consoleWorld) testPages() {
	t := w.tb
	w.hooks.set("discovery", refuse(422, "no such shelf"))
	w.hooks.set("desk", refuse(503, "closed for the night"))
	w.loan(5000, "waits")
	w.exec(`insert into catalog.items values ('p1', 'Zen', 1)`, `insert into catalog.items values ('p2', 'Art', 2)`)
	eventually(t, patience, "dead letters", func() bool { return strings.Count(w.rowhook("failed", "list").stdout, "record.inserted") == 2 })
	id := regexp.MustCompile(`evt_[a-z0-9]+`).FindString(w.rowhook("queue", "list", "--profile", "desk").stdout)
	pages := map[string]string{
		"overview": "/", "profiles": "/profiles", "profile": "/profiles/desk", "deliveries": "/deliveries", "delivery": "/deliveries/desk/" + id,
		"failed": "/failed", "events": "/events", "event": "/events/loan.returned", "backfills": "/backfills", "config": "/config", "audit": "/audit", "login": "/login", "none": "/profiles/nobody",
	}
	for _, language := range []string{"en", "ja"} {
		b := w.browse(language)
		for name, path := range pages {
			b.open(path)
			what := name + " in " + language
			if got := ask[string](b, `document.documentElement.lang`); got != language {
				t.Errorf("%s is in %s", what, got)
			}
			for _, width := range []int64{390, 1440} {
				b.size(width)
				b.fits(fmt.Sprintf("%s at %d px", what, width))
				b.scheme(width == 1440)
				b.accessible(fmt.Sprintf("%s at %d px", what, width))
			}
			b.calm(what)
		}
	}
	if dir := os.Getenv(picturesVariable); dir != "" {
		w.pictures(dir, pages)
	}
}

// pictures writes what docs/console.md shows. The plots get some minutes to show.
func (w *consoleWorld) pictures(dir string, pages map[string]string) {
	n := 0
	elapse(w.tb, 5*time.Minute, "the console's plots fill", func() bool {
		if n++; n%(10+40*(n/1500%3)) == 0 { // now and then more, now and then less
			w.loan(10000+n, fmt.Sprintf("aa%06d", n))
		}
		return true
	})
	for language, names := range map[string][]string{"en": {"overview", "deliveries", "delivery", "failed", "event", "profile"}, "ja": {"overview"}} {
		b := w.browse(language)
		for _, name := range names {
			b.open(pages[name])
			height := int64(820)
			if name == "overview" {
				height = 1180 // down to the plots
			}
			b.do(chromedp.EmulateViewport(1100, height))
			suffix := map[string]string{"en": "", "ja": "-ja"}[language]
			b.picture(filepath.Join(dir, name+suffix+".png"))
		}
		if language == "en" {
			b.scheme(true)
			b.open("/")
			b.do(chromedp.EmulateViewport(390, 844))
			b.picture(filepath.Join(dir, "phone.png"))
		}
	}
}
