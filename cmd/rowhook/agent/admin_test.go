package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
)

// adminWorld is an agent with tokens, and a server before its admin pages.
type adminWorld struct {
	*reloadWorld // does not run
	server       *httptest.Server
}

const viewerToken, adminToken = "viewer-0123456789", "admin-0123456789"

func newAdminWorld(t *testing.T) *adminWorld {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "viewer"), viewerToken+"\n")
	writeFile(t, filepath.Join(dir, "admin"), adminToken+"\n")
	file := filepath.Join(dir, "config.yaml")
	writeFile(t, file, reloadHead+"admin: {listen: \"127.0.0.1:0\", hosts: Monitor.example.org, tokens: [{name: bo, file: viewer, role: viewer}, {name: ada, file: admin, role: admin}]}\n"+
		"profiles:\n"+deskProfile)
	w := &adminWorld{reloadWorld: openReloadWorld(t, file)}
	w.server = httptest.NewServer(newAdminServer(w.Agent))
	t.Cleanup(w.server.Close)
	return w
}

func (w *adminWorld) ask(method, path, token, host string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		scheme := "Bearer "
		if method == "GET" {
			scheme = "bearer " // schemes know no case
		}
		r.Header.Set("Authorization", scheme+token)
	}
	if host != "" {
		r.Host = host
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdminAccess(t *testing.T) {
	t.Parallel()
	w := newAdminWorld(t)
	for _, test := range []struct {
		method, path, token, host string
		want                      int
	}{
		{"GET", "/healthz", "", "", 200},
		{"GET", "/metrics", "", "evil.example.org", 421}, // its name may be made to lead here
		{"GET", "/readyz", "", "localhost.evil.example.org:8642", 421},
		{"GET", "/metrics", viewerToken, "rowhook.example.org", 200},
		{"GET", "/metrics", "", "monitor.example.org:8642", 200},
		{"GET", "/metrics", "", "localhost:8642", 200},
		{"GET", "/healthz", "", "10.1.2.3", 200},
		{"GET", "/healthz", "", "[::1]:8642", 200},
		{"HEAD", "/healthz", "", "", 200},
		{"GET", "/status", "", "", 200},
		{"GET", "/status", "", "evil.example.org", 401},
		{"GET", "/status", "wrong-0123456789", "", 401},
		{"GET", "/status", viewerToken, "evil.example.org", 200},
		{"GET", "/nothing", viewerToken, "", 404},
		{"POST", "/metrics", viewerToken, "", 403},
		{"POST", "/reload", "", "", 401},
		{"POST", "/reload", viewerToken, "", 403},
		{"POST", "/reload", adminToken, "", 200},
		{"DELETE", "/status", adminToken, "", 404},
	} {
		if code, body := w.ask(test.method, test.path, test.token, test.host); code != test.want {
			t.Errorf("%s %s as %q: %d %s, want %d", test.method, test.path, test.token, code, body, test.want)
		} else if strings.Contains(body, adminToken) || strings.Contains(body, viewerToken) {
			t.Errorf("%s %s shows a token: %s", test.method, test.path, body)
		}
	}
	remote := &adminServer{agent: w.Agent, local: false}
	recorder := httptest.NewRecorder()
	remote.ServeHTTP(recorder, httptest.NewRequest("GET", "/status", nil))
	if recorder.Code != 401 || recorder.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("on an address that others reach: %d", recorder.Code)
	}
	raw, err := os.ReadFile(w.audit.path)
	if err != nil || !strings.Contains(string(raw), `"user":"token ada","command":"reload"`) {
		t.Errorf("audit log: %s, %v", raw, err)
	}
}

func TestAdminConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "short"), "short\n")
	writeFile(t, filepath.Join(dir, "good"), adminToken)
	for conf, want := range map[string]string{
		`{listen: "0.0.0.0:8642"}`: "admin.listen: others than this machine can reach this address, and there is no token",
		`{listen: "0.0.0.0:8642", tokens: [{name: a, file: good, role: admin}]}`: "",
		`{listen: "localhost:8642"}`:                      "",
		`{listen: "[::1]:8642"}`:                          "",
		`{listen: "8642"}`:                                "admin.listen: expected an address and a port",
		`{listen: "127.0.0.1:x"}`:                         "admin.listen: expected an address and a port",
		`{tokens: [{name: a, file: short, role: admin}]}`: "admin.tokens.0.file: the token has fewer than 16 characters",
		`{tokens: [{name: a, file: none, role: admin}]}`:  "admin.tokens.0.file: cannot read the file: no such file or directory",
		`{tokens: [{name: a, file: good, role: admin}, {name: a, file: good, role: viewer}]}`:      "admin.tokens.1.name: a token needs a name of its own",
		`{console: true, tokens: [{name: a, file: good, role: admin}]}`:                            "admin.console: the console needs an address to listen on",
		`{console: true, listen: "127.0.0.1:8642"}`:                                                "admin.console: the console needs a token",
		`{console: true, listen: "127.0.0.1:8642", tokens: [{name: a, file: good, role: viewer}]}`: "",
		`{tokens: [{name: a, file: good, role: admin}, {name: b, file: good, role: viewer}]}`:      "admin.tokens.1.file: it holds the same token as that of a",
		`{tokens: [{name: a, file: good}]}`:                                                        "admin.tokens.0.role: missing",
		`{tokens: [{name: a, file: good, role: owner}]}`:                                           "admin.tokens.0.role: expected admin or viewer",
	} {
		file := filepath.Join(dir, "config.yaml")
		writeFile(t, file, reloadHead+"admin: "+conf+"\nprofiles:\n"+deskProfile)
		_, err := config.Load(file, func(string) (string, bool) { return "", false }, "")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", conf, err, want)
		}
	}
}

// TestReadiness clears readiness for what keeps changes from going through, and for nothing else.
func TestReadiness(t *testing.T) {
	t.Parallel()
	w := newAdminWorld(t)
	code, body := w.ask("GET", "/readyz", "", "")
	if code != 503 || !strings.Contains(body, `{"status":"failing","reasons":[{"reason":"source","text":"the source is connecting since `) {
		t.Errorf("without a database: %d %s", code, body)
	}
	now := time.Now()
	set := func(change func()) operation.Health {
		w.mu.Lock()
		w.connection = connection{State: "streaming", Since: now}
		w.findings, w.sampled = nil, sourceSample{at: now, since: now}
		change()
		w.mu.Unlock()
		return w.readiness(now)
	}
	for want, change := range map[string]func(){
		"":         func() {},
		"identity": func() { w.connection.Diffs = []operation.Difference{{What: "lineage", Found: "a", Pinned: "b"}} },
		"stalled":  func() { w.sampled.since, w.sampled.stream = now.Add(-10*time.Minute), &capture.Status{LagBytes: 1} },
		"table": func() {
			w.findings = []capture.Finding{{Severity: capture.Error, Subject: "public.loans", Text: "not published"}}
		},
	} {
		got := ""
		for _, r := range set(change).Reasons {
			got += r.Reason
		}
		if got != want {
			t.Errorf("reasons %q, want %q", got, want)
		}
	}
	set(func() { w.findings = []capture.Finding{{Severity: capture.Warning}} })
	var h operation.Health
	addStoring(&h, time.Time{}, now)
	addStoring(&h, now.Add(-time.Minute), now)
	if len(h.Reasons) > 0 {
		t.Errorf("while storing takes a minute, or nothing is stored: %+v", h)
	}
	addStoring(&h, now.Add(-10*time.Minute), now)
	if len(h.Reasons) != 1 || h.Reasons[0].Reason != "stalled" {
		t.Errorf("while storing hangs: %+v", h)
	}
	w.spoolFailed.Store(true)
	if code, _ := w.ask("GET", "/healthz", "", ""); code != 503 {
		t.Errorf("/healthz with a failed spool: %d", code)
	}
	w.spoolFailed.Store(false)
}

// TestMetrics lints what is exposed, and holds the dashboard and the alert rules to it.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newAdminWorld(t)
	w.mu.Lock()
	w.sampled = sourceSample{stream: &capture.Status{LagBytes: 5, Slot: &capture.SlotStatus{RetainedBytes: 7}}}
	w.mu.Unlock()
	must(t, w.term.Load().pipe.Begin(&capture.Transaction{ID: "1", Identity: "1", Position: "0/1", Time: time.Now()}))
	must(t, w.term.Load().pipe.Commit("0/2"))
	registry := newRegistry(w.Agent)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exposed := map[string]bool{}
	for _, f := range families {
		exposed[f.GetName()] = true
		if f.GetType().String() == "HISTOGRAM" {
			exposed[f.GetName()+"_bucket"] = true
		}
	}
	used := map[string]bool{}
	for _, file := range []string{"docker/grafana-dashboard.json", "docker/prometheus-alerts.yaml", "docs/runbooks.md", "docs/failures.md"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(raw) {
			t.Errorf("%s is not JSON", file)
		}
		for _, name := range regexp.MustCompile(`\b(rowhook|process|go)_[a-z_0-9]+`).FindAllString(string(raw), -1) {
			used[name] = true
			if !exposed[name] {
				t.Errorf("%s asks for %s, which is not exposed", file, name)
			}
		}
	}
	if len(used) < 20 {
		t.Errorf("dashboard and rules use %d metrics", len(used))
	}
	_, body := w.ask("GET", "/metrics", "", "")
	for _, want := range []string{
		"rowhook_source_lag_bytes 5\n", "rowhook_source_retained_bytes 7\n", `rowhook_profile_state{profile="desk",state="waiting"} 1`, "rowhook_ready 0\n",
		`rowhook_deliveries_total{outcome="delivered",profile="desk",reason=""} 0`, `rowhook_delivery_latency_seconds_bucket{profile="desk",le="86400"} 0`,
		"rowhook_config_last_reload_successful 1\n", "rowhook_config_restart_needed 0\n", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	if secret := "s3cretword"; strings.Contains(body, secret) {
		t.Errorf("/metrics shows %s", secret)
	}
}

// BenchmarkScrape measures what a scrape of 20 profiles costs.
func BenchmarkScrape(b *testing.B) {
	var profiles strings.Builder
	for i := range 20 {
		fmt.Fprintf(&profiles, "  desk%d: {url: https://desk.example.org/, signature: none}\n", i)
	}
	file := filepath.Join(b.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(reloadHead+"profiles:\n"+profiles.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	conf, err := config.Load(file, func(string) (string, bool) { return "", false }, "")
	if err != nil {
		b.Fatal(err)
	}
	a, err := New(conf, Start{}, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	registry := newRegistry(a)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestServeAdmin serves until it is told to stop.
func TestServeAdmin(t *testing.T) {
	t.Parallel()
	w := newAdminWorld(t)
	listener, err := listenAdmin(w.config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.serveAdmin(ctx, listener) }()
	resp, err := http.Get("http://" + listener.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stop()
	if err := <-served; err != nil || resp.StatusCode != 200 {
		t.Errorf("served %d, %v", resp.StatusCode, err)
	}
	if err := w.serveAdmin(t.Context(), nil); err != nil {
		t.Errorf("without admin.listen: %v", err)
	}
}
