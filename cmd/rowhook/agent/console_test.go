package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/catalogue"
	"rowhook/cmd/rowhook/console"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// newConsoleWorld is an agent whose console is on, as its config says.
func newConsoleWorld(t *testing.T, on bool) *adminWorld {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "admin"), adminToken+"\n")
	file := filepath.Join(dir, "config.yaml")
	writeFile(t, file, reloadHead+fmt.Sprintf("admin: {listen: \"127.0.0.1:0\", console: %t, tokens: [{name: ada, file: admin, role: admin}]}\nprofiles:\n", on)+deskProfile)
	w := &adminWorld{reloadWorld: openReloadWorld(t, file)}
	pages := newAdminServer(w.Agent)
	w.server = httptest.NewServer(pages)
	t.Cleanup(func() { w.server.Close(); pages.console.Stop() })
	return w
}

// call asks what the console asks.
func (w *adminWorld) call(t *testing.T, name string, request, answer any) error {
	t.Helper()
	return operationCalls(w.consoleOperations()).Call(t.Context(), name, request, answer)
}

// TestConsoleIsOptIn: it is served where the config says so, beside the pages that are always there.
func TestConsoleIsOptIn(t *testing.T) {
	t.Parallel()
	for on, want := range map[bool]map[string]int{
		true:  {"/": 200, "/console/": 200, "/console": 200, "/console/static/console.css": 200, "/healthz": 200, "/metrics": 200, "/status": 200, "/consoles": 404},
		false: {"/": 404, "/console/": 404, "/console/login": 404, "/healthz": 200, "/metrics": 200},
	} {
		w := newConsoleWorld(t, on)
		for path, status := range want {
			if code, body := w.ask("GET", path, "", ""); code != status {
				t.Errorf("console %t: %s is %d, want %d: %.200s", on, path, code, status, body)
			}
		}
		if on {
			if code, body := w.ask("GET", "/", "", ""); code != 200 || !strings.Contains(body, `name="token"`) || strings.Contains(body, "library") {
				t.Errorf("without a login: %d %.300s", code, body)
			}
			if code, _ := w.ask("GET", "/console/login", "", "evil.example.org"); code != http.StatusMisdirectedRequest {
				t.Errorf("by another name: %d", code)
			}
		}
	}
}

// TestConsoleReadsTheLog: pages of the delivery log have what `rowhook log` finds.
func TestConsoleReadsTheLog(t *testing.T) {
	t.Parallel()
	w := newConsoleWorld(t, true)
	var page console.LogPage
	for i := range 5 {
		w.log.Append(&delivery.LogRecord{Time: time.Now(), Profile: "desk", Outcome: delivery.OutcomeDelivered, Event: fmt.Sprint("evt_", i), Type: "loan.created",
			Status: 200 + i, Body: []byte(fmt.Sprintf(`{"key":{"loan_id":%d}}`, i)), URL: "https://desk.example.org/"})
	}
	must(t, w.log.Flush())
	events := func() string {
		var all []string
		for _, line := range page.Lines {
			_, rest, _ := strings.Cut(string(line), `"event":"evt_`)
			all = append(all, rest[:1])
		}
		return strings.Join(all, "")
	}
	for want, q := range map[string]console.LogQuery{
		"43210": {Most: 10}, "43": {Most: 2}, "2": {Most: 10, Payload: []string{"key.loan_id=2"}}, "1": {Most: 10, Status: []string{"201"}},
		"3": {Most: 10, Event: "evt_3"}, "": {Most: 10, Profile: "nobody"},
	} {
		page = console.LogPage{}
		must(t, w.call(t, console.OpLog, q, &page))
		if got := events(); got != want {
			t.Errorf("%+v finds %q, want %q", q, got, want)
		}
		if q.Most == 2 {
			q.From, page = *page.Next, console.LogPage{}
			must(t, w.call(t, console.OpLog, q, &page))
			if got := events(); got != "21" {
				t.Errorf("the next page has %q", got)
			}
		}
	}
	if err := w.call(t, console.OpLog, console.LogQuery{Most: 1, Status: []string{"x"}}, &page); err == nil {
		t.Error("a status that is none was taken")
	}
	must(t, os.Remove(w.config().Log.Deliveries))
	must(t, w.call(t, console.OpLog, console.LogQuery{Most: 1}, &page))
	if !page.None {
		t.Error("that there is no log is not said")
	}
}

// TestAuditPages read the audit log from its end, past lines that are torn, for all or one profile.
func TestAuditPages(t *testing.T) {
	t.Parallel()
	a := newAuditLog(t.TempDir())
	if page, err := a.page(console.AuditQuery{Most: 5}); err != nil || len(page.Lines) != 0 || page.Next != 0 {
		t.Errorf("without a log: %+v, %v", page, err)
	}
	var want []string
	for i := range 700 {
		line := operation.AuditLine{User: "ada", Command: "profile pause", Profile: []string{"desk", "shelf"}[i%2], Key: fmt.Sprint(i), Reason: strings.Repeat("x", 300)}
		must(t, a.append(line))
		want = append(want, line.Key)
		if i == 350 {
			raw, err := os.ReadFile(a.path)
			must(t, err)
			must(t, os.WriteFile(a.path, append(raw, "{\"torn\n"...), 0o600))
		}
	}
	slices.Reverse(want)
	for _, most := range []int{1, 7, 1000} {
		for _, profile := range []string{"", "desk"} {
			var got []string
			for before := int64(0); ; {
				page, err := a.page(console.AuditQuery{Profile: profile, Before: before, Most: most})
				must(t, err)
				for _, line := range page.Lines {
					got = append(got, line.Key)
				}
				if before = page.Next; before == 0 {
					break
				}
			}
			wanted := want
			if profile != "" {
				wanted = slices.DeleteFunc(slices.Clone(want), func(key string) bool { return strings.ContainsAny(key[len(key)-1:], "13579") })
			}
			if !slices.Equal(got, wanted) {
				t.Errorf("pages of %d of %q have %d lines, want %d", most, profile, len(got), len(wanted))
			}
		}
	}
}

// TestConfigCheck says what is wrong with a pasted config, and looks at no file but ours.
func TestConfigCheck(t *testing.T) {
	t.Parallel()
	w := newConsoleWorld(t, true)
	secret := filepath.Join(t.TempDir(), "secret")
	writeFile(t, secret, "short")
	for text, want := range map[string]string{
		"nonsense": "expected a map", "source: {type: postgres}\n": "source.url: missing",
		reloadHead + "profiles:\n  desk: {url: https://desk.example.org/, secret_file: " + secret + "}\n":                                  "",
		reloadHead + "admin: {listen: \"127.0.0.1:0\", tokens: [{name: a, file: " + secret + ", role: admin}]}\nprofiles:\n" + deskProfile: "",
		reloadHead + "profiles:\n  desk: {url: \"https://${HOME}.example.org/\", signature: none}\n":                                       "",
	} {
		var found console.ConfigFindings
		must(t, w.call(t, console.OpConfigCheck, console.ConfigText{Text: text}, &found))
		got := fmt.Sprint(found)
		if want != "" && !strings.Contains(got, want) || want == "" && len(found.Errors) > 0 {
			t.Errorf("%s\nis said to be %s, want %q", text, got, want)
		}
		if home, _ := os.LookupEnv("HOME"); strings.Contains(got, "fewer than") || home != "" && strings.Contains(got, home+".") {
			t.Errorf("%s\ntells what it should not: %s", text, got)
		}
		if want == "" && !strings.Contains(got, "127.0.0.1:1") {
			t.Errorf("%s\nthat the database does not answer is not said: %s", text, got)
		}
	}
}

// TestConsoleWithoutADatabase tells what it can.
func TestConsoleWithoutADatabase(t *testing.T) {
	t.Parallel()
	w := newConsoleWorld(t, true)
	var all catalogue.Catalogue
	must(t, w.call(t, console.OpEvents, operation.None{}, &all))
	if len(all.Events) != 4 || all.Problem == "" || all.Events[0].Profiles[0] != "desk" {
		t.Errorf("%+v", all)
	}
	var conf console.ConfigInForce
	must(t, w.call(t, console.OpConfig, operation.None{}, &conf))
	if conf.File != w.file || strings.Contains(conf.Text, "s3cretword") || !strings.Contains(conf.Text, "public.loans") {
		t.Errorf("%+v", conf)
	}
	if err := operationCalls(nil).Call(t.Context(), "unheard-of", operation.None{}, &all); err == nil {
		t.Error("an unknown operation was answered")
	}
}

// TestHistoryIsNotedForTheConsole, once a minute, and for nobody else.
func TestHistoryIsNotedForTheConsole(t *testing.T) {
	t.Parallel()
	for on, points := range map[bool]int{true: 2, false: 0} {
		w := newConsoleWorld(t, on)
		at := time.Now().Truncate(time.Minute)
		for i := range 9 { // every quarter of a minute
			w.noteHistory(&capture.Status{LagBytes: int64(i)}, at.Add(time.Duration(i)*15*time.Second))
		}
		var series console.Series
		must(t, w.call(t, console.OpHistory, operation.None{}, &series))
		if len(series.Hour) != points {
			t.Errorf("console %t: %d points: %+v", on, len(series.Hour), series.Hour)
		}
	}
}

// TestServeAdminEndsLivePages: pages that update themselves do not keep an agent from stopping.
func TestServeAdminEndsLivePages(t *testing.T) {
	t.Parallel()
	w := newConsoleWorld(t, true)
	listener, err := listenAdmin(w.config())
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.serveAdmin(ctx, listener) }()
	base := "http://" + listener.Addr().String()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	login, err := client.PostForm(base+"/console/login", map[string][]string{"token": {adminToken}})
	must(t, err)
	login.Body.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/console/live/overview", nil)
	must(t, err)
	r.AddCookie(login.Cookies()[0])
	live, err := client.Do(r)
	must(t, err)
	defer live.Body.Close()
	if live.StatusCode != http.StatusOK {
		t.Fatalf("live: %d", live.StatusCode)
	}
	stop()
	select {
	case err := <-served:
		must(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("a page that updates itself keeps the agent from stopping")
	}
}

// TestConsolesSideBySide have cookies of their own, and one that is turned off ends its open pages.
func TestConsolesSideBySide(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range 2 {
		w := newConsoleWorld(t, true)
		login, err := client.PostForm(w.server.URL+"/console/login", map[string][]string{"token": {adminToken}})
		must(t, err)
		login.Body.Close()
		cookie := login.Cookies()[0]
		names[cookie.Name] = true
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/console/live/overview", nil)
		must(t, err)
		r.AddCookie(cookie)
		live, err := client.Do(r)
		must(t, err)
		defer live.Body.Close()
		raw, err := os.ReadFile(w.file)
		must(t, err)
		writeFile(t, w.file, strings.Replace(string(raw), "console: true", "console: false", 1))
		_, err = w.reload(t.Context(), operation.ReloadRequest{By: operation.ReloadByCommand})
		must(t, err)
		if _, err := io.Copy(io.Discard, live.Body); err != nil || live.StatusCode != http.StatusOK {
			t.Errorf("the open page: %d, %v", live.StatusCode, err)
		}
	}
	if len(names) != 2 {
		t.Errorf("two agents have the cookies %v", names)
	}
}
