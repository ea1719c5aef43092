package console

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/cmd/rowhook/catalogue"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
)

// double stands for an agent: it answers operations with what a test gives it, by way of JSON as a
// real one does, and writes down what it is asked.
type double struct {
	mu      sync.Mutex
	answers map[string]any
	asked   []asked
}

type asked struct {
	operation string
	request   string
}

// Call implements [Agent].
func (d *double) Call(_ context.Context, operation string, request, answer any) error {
	raw, err := json.Marshal(request)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.asked = append(d.asked, asked{operation, string(raw)})
	given, known := d.answers[operation]
	d.mu.Unlock()
	if !known {
		return fmt.Errorf("the double has no answer for %s", operation)
	}
	if err, bad := given.(error); bad {
		return err
	}
	if raw, err = json.Marshal(given); err != nil {
		return err
	}
	return json.Unmarshal(raw, answer)
}

// requests are those of one operation so far.
func (d *double) requests(operation string) (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.asked {
		if a.operation == operation {
			list = append(list, a.request)
		}
	}
	return list
}

func (d *double) answer(operation string, given any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers[operation] = given
}

// evil is a text that is markup, a template, and turns the direction of what follows.
const evil = "<b>\"'{{.}}\u202e\x07"

// newDouble has an agent with a profile in trouble, a dead letter, a parked change and a log, all of
// which say evil things wherever they can.
func newDouble() *double {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	status := operation.StatusReport{Time: at, Attention: []string{"profile desk: `rowhook status` " + evil}}
	status.Source.Name, status.Source.State, status.Source.Error = "library"+evil, "streaming", evil
	status.Reload = &operation.ReloadStatus{Time: at, OK: true, By: operation.ReloadByStart, Restart: []string{"log.level"}}
	status.Parked.Count = 1
	status.Backfills = []operation.Backfill{{ID: "1", Profile: "desk", Where: []string{evil}, Rate: 5, User: evil, Failed: 1, State: operation.BackfillRunning, Entries: []string{evil}, Table: evil, Rows: 5, Total: 10, SecondsLeft: 3, Waiting: evil, Error: evil, Remedy: evil}}
	profile := delivery.ProfileStatus{Profile: "desk", Name: evil, State: "inactive", Reason: "status_5xx", Problem: evil, Breaker: "open", Dead: 2, BacklogEvents: 123,
		LastFailure: at, LastReason: evil, Outcomes: map[delivery.Outcome]int64{"delivered": 5}}
	status.Profiles = []delivery.ProfileStatus{profile}
	rec := delivery.LogRecord{Time: at, Profile: "desk", Outcome: "retrying", Event: "evt_1", Type: "loan.created", Table: evil,
		Key: []byte(`{"id":` + quoted(evil) + `}`), Attempt: 2, Method: "POST", URL: "http://desk/" + evil, Status: 503, Reason: "status_5xx",
		Error: evil, Flags: []string{evil}, Body: []byte(`{"x":` + quoted(evil) + `}`), Response: []byte(evil), Bytes: 9}
	line := deliverylog.AppendLine(nil, &rec, 4000)
	item := engine.Item{Profile: "desk", State: "dead", ID: "evt_1", Type: "loan.created", Key: []byte(`{"id":` + quoted(evil) + `}`), Reason: "status_4xx", Status: 422, Error: evil, Since: at}
	return &double{answers: map[string]any{
		"status":        status,
		"profile/list":  []operation.ProfileListing{{ProfileStatus: profile, Description: evil, Format: "native", Subscriptions: []string{evil}}},
		"profile/pause": operation.StateAnswer{State: "inactive"}, "profile/resume": operation.StateAnswer{State: "active"},
		"profile/test":     operation.EndpointAnswer{OK: false, Asked: true, Status: 500, Response: evil, Error: evil},
		"profile/activate": operation.EndpointAnswer{OK: true, Asked: true, Status: 200, State: "active"},
		"queue/retry-all":  []engine.Hastened{{Profile: "desk", Retries: 3}},
		"queue/list":       engine.Items{Items: []engine.Item{{Profile: "desk", State: "retrying", ID: "evt_1", Attempts: 2}}},
		"queue/retry-now":  operation.None{}, "queue/skip": operation.None{},
		"failed/list": engine.Items{Items: []engine.Item{item}}, "failed/show": []engine.Letter{{Item: item, Body: "{}"}},
		"failed/retry": engine.Changed{Count: 1}, "failed/discard": engine.Changed{Count: 1},
		"parked/list":  operation.ParkedList{Items: []operation.ParkedItem{{Seq: 7, Table: evil, Reason: "undecidable", Error: evil, Position: "0/1", Time: at}}, Last: 9},
		"parked/retry": engine.Changed{Count: 1}, "parked/discard": engine.Changed{Count: 1},
		"backfill/list": status.Backfills, "backfill/plan": operation.BackfillPlan{Parts: []operation.BackfillPart{{Entry: evil, Table: evil, Rows: 60}}, Profiles: []string{"desk", evil}},
		"backfill":       operation.Backfill{ID: "2", State: operation.BackfillDone, Entries: []string{"loans"}, Rows: 1, Events: 1},
		"backfill/pause": operation.Backfill{ID: "1"}, "backfill/resume": operation.Backfill{ID: "1"}, "backfill/cancel": operation.Backfill{ID: "1"},
		"body":   operation.BodyAnswer{Found: true, Body: []byte(evil)},
		"reload": operation.ReloadStatus{OK: true},
		OpLog:    LogPage{Lines: []json.RawMessage{line}, Next: &deliverylog.Place{File: 7, Offset: 9}},
		OpEvents: catalogue.Catalogue{Problem: evil, Events: []catalogue.Event{{Type: "loan.created", Entry: "loans", Title: evil, Table: evil, Ops: []string{"insert", "read"}, Key: map[string]string{"id": "loan_id"},
			Rules:   []catalogue.Rule{{Ops: []string{"insert"}, Where: []string{evil}, If: evil, Set: "a", Cleared: "b", Changed: []string{"c"}, Becomes: []string{"d = e"}}},
			Payload: []catalogue.Member{{Name: evil, JSON: "string", Type: "text", Key: true}}, Profiles: []string{"desk"},
			Examples: []catalogue.Example{{Profile: "desk", Format: "native", Body: evil}}}}},
		OpConfig:      ConfigInForce{File: "config.yaml", Text: evil},
		OpConfigCheck: ConfigFindings{Errors: []ConfigProblem{{Text: evil, Remedy: evil}}},
		OpAudit:       AuditPage{Lines: []operation.AuditLine{{Time: at, User: evil, Command: "profile pause", Profile: "desk", Key: evil, Old: evil, New: evil, Reason: evil}}, Next: 5},
		"explain":     explanation(at),
		OpHistory:     Series{Hour: []Point{{At: at, Events: 5, Lag: 1 << 20}, {At: at.Add(time.Minute), Failures: 2, Backlog: 9}}},
	}}
}

// explanation is what became of changes, of every kind.
func explanation(at time.Time) operation.Explanation {
	text := evil
	value := operation.ExplainedValue{Column: evil, Value: &text, Masked: true, Cut: true}
	key := json.RawMessage(`{"id":` + quoted(evil) + `}`)
	rules := []operation.ExplainedRule{
		{Rule: "loan.created", Standing: operation.StandingHolds}, {Rule: "loan.ended", Standing: operation.StandingFails, Text: "where " + evil},
		{Rule: "loan.lost", Standing: operation.StandingUndecided, Text: evil}, {Rule: "loan.gone", Standing: operation.StandingOtherOp, Ops: []string{"delete"}},
		{Rule: evil, Standing: operation.StandingNotAsked},
	}
	profiles := []operation.ExplainedProfile{
		{Profile: "desk", Match: "yes", State: "dead", Earlier: 3, Attempts: []operation.ExplainedAttempt{{Time: at, Outcome: "dead", Attempt: 2, Status: 422, Reason: "status_4xx", Error: evil}}},
		{Profile: "branch", Match: "no", Why: "where", Value: &value}, {Profile: "other", Match: "no", Why: "type"}, {Profile: "gone", Match: "yes"}, {Profile: "blind", Match: "undecided", Why: "where", Value: &value},
	}
	return operation.Explanation{
		More: true, Unclean: []time.Time{at}, Unkeyed: 1, Undecided: 2, LeftOut: []operation.ExplainedLack{{Entry: "loans", From: at, To: at.Add(time.Second), Eventless: 7}, {From: at, To: at, Events: 1}},
		History: operation.ExplainedHistory{Changes: at, Events: at, Deliveries: at, Partly: true},
		Changes: []operation.ExplainedChange{
			{Time: at, Op: "insert", Entry: "circulation.loans", Table: evil, Key: key, Transaction: evil, Position: evil, Actor: &delivery.Actor{ID: evil, Name: evil}, Operation: evil,
				From: "account", Rules: rules, Events: []operation.ExplainedEvent{{ID: "evt_1", Type: "loan.created", Profiles: profiles}}},
			{Time: at, Op: "update", Entry: "circulation.loans", Key: key, Moved: true, From: "account", About: &operation.ExplainedRule{Standing: operation.StandingFails, Text: evil}, Rules: rules},
			{Time: at, Op: "update", From: "spool", Parked: &operation.ExplainedParked{Number: 7, Reason: "undecidable", Error: evil}},
			{Time: at, Op: "update", From: "account", About: &operation.ExplainedRule{Standing: operation.StandingUndecided, Text: evil},
				Events: []operation.ExplainedEvent{{ID: "evt_2", Type: "loan.made", Unsearched: true, Profiles: []operation.ExplainedProfile{{Profile: "desk", Match: "yes"}}}}},
			{From: "log", Parked: &operation.ExplainedParked{Reason: "unmapped"}},
			{Time: at, Op: "insert", From: "account", Folded: &operation.ExplainedFolded{Count: 3, Text: evil}, Parked: &operation.ExplainedParked{Number: 8, Reason: "undecidable", Changes: 3}, Lookups: []operation.ExplainedLookup{
				{Name: "member", Standing: operation.LookupFound, Text: evil}, {Name: "item", Standing: operation.LookupNone, Text: "item"}, {Name: "holding", Standing: operation.LookupUnknown, Text: "holding"}},
				Parts: []operation.ExplainedList{{Standing: operation.ListWhole, Text: evil}, {Standing: operation.ListCut, Text: "fines"}, {Standing: operation.ListUnknown, Text: "tags"}}},
			{Time: at, Op: "delete", From: "account", Folded: &operation.ExplainedFolded{Count: 2, Nothing: true, Text: evil}},
		},
		Perhaps: []operation.ExplainedChange{{Time: at, Table: evil, Position: evil, From: "spool", Parked: &operation.ExplainedParked{Number: 9, Reason: "undecoded", Error: evil}}},
	}
}

func quoted(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}

const viewerToken, adminToken = "viewer-0123456789abcdef", "admin-0123456789abcdef"

// bench is a console behind a real server, and a clock.
type bench struct {
	t      *testing.T
	agent  *double
	web    *Console
	server *httptest.Server
	mu     sync.Mutex
	now    time.Time
	tokens map[string]bool // token to whether it is an admin's
}

func setup(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, agent: newDouble(), now: time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC), tokens: map[string]bool{viewerToken: false, adminToken: true}}
	b.web = New(b.agent, Options{
		Logger: slog.New(slog.DiscardHandler), Now: b.clock, Hosts: func() []string { return []string{"rowhook.example.org"} },
		Holder: func(token string) (string, bool, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			admin, ok := b.tokens[token]
			return map[bool]string{true: "ada", false: "bo"}[admin], admin, ok
		},
	})
	b.server = httptest.NewServer(b.web)
	t.Cleanup(func() { b.server.Close(); b.web.Stop() })
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) move(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// visitor is somebody with a browser's cookies, and without its JavaScript.
type visitor struct {
	*bench
	http *http.Client
}

func (b *bench) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return &visitor{b, &http.Client{Jar: jar}}
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
	path   string // where it led to
}

func (v *visitor) send(r *http.Request) reply {
	v.t.Helper()
	resp, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(raw), resp.Request.URL.Path}
}

func (v *visitor) get(path string) reply {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.server.URL+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.send(r)
}

func (v *visitor) post(path string, fields url.Values) reply {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.server.URL+path, strings.NewReader(fields.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.send(r)
}

// login begins a session and returns the token of its forms.
func (v *visitor) login(token string) (csrf string) {
	v.t.Helper()
	if got := v.post("/console/login", url.Values{"token": {token}}); got.status != 200 || got.path != "/console/" {
		v.t.Fatalf("login: %d at %s", got.status, got.path)
	}
	found := regexp.MustCompile(`name="csrf" value="([A-Z0-9]{26})"`).FindStringSubmatch(v.get("/console/profiles/desk").body)
	if found == nil {
		v.t.Fatal("no page has a token for its forms")
	}
	return found[1]
}

// allPages are the pages for looking.
var allPages = []string{
	"/console/", "/console/profiles", "/console/profiles/desk", "/console/deliveries", "/console/deliveries?at=7-9", "/console/deliveries/desk/evt_1",
	"/console/failed", "/console/events", "/console/events/loan.created", "/console/config", "/console/audit", "/console/audit?before=5",
	"/console/backfills",
	"/console/explain?entry=%3Cb%3E", "/console/explain/evt_1",
}

// allActs are the forms that change something, confirmed, with the operation that they are.
var allActs = map[string]struct {
	fields    url.Values
	operation string
}{
	"/console/profiles/desk/pause":         {nil, "profile/pause"},
	"/console/profiles/desk/resume":        {nil, "profile/resume"},
	"/console/profiles/desk/resume-now":    {url.Values{"confirmed": {"yes"}}, "profile/resume"},
	"/console/profiles/desk/activate":      {nil, "profile/activate"},
	"/console/profiles/desk/test":          {nil, "profile/test"},
	"/console/profiles/desk/retry":         {nil, "queue/retry-all"},
	"/console/deliveries/desk/evt_1/retry": {nil, "queue/retry-now"},
	"/console/deliveries/desk/evt_1/skip":  {url.Values{"confirmed": {"yes"}}, "queue/skip"},
	"/console/deliveries/desk/evt_1/row":   {nil, "backfill"},
	"/console/backfills/start":             {url.Values{"entry": {"loans"}, "where": {"branch=MAIN"}, "rate": {"500/s"}, "confirmed": {"yes"}}, "backfill"},
	"/console/backfills/row":               {url.Values{"entry": {"loans"}, "key": {"loan_id=7"}}, "backfill"},
	"/console/backfills/1/pause":           {nil, "backfill/pause"},
	"/console/backfills/1/resume":          {nil, "backfill/resume"},
	"/console/backfills/1/cancel":          {url.Values{"confirmed": {"yes"}}, "backfill/cancel"},
	"/console/failed/act":                  {url.Values{"act": {"retry-marked"}, "item": {"desk/evt_1"}}, "failed/retry"},
	"/console/failed/act?discard":          {url.Values{"act": {"discard-all"}, "confirmed": {"yes"}}, "failed/discard"},
	"/console/failed/source":               {url.Values{"act": {"retry-marked"}, "seq": {"7"}}, "parked/retry"},
	"/console/failed/source?discard":       {url.Values{"act": {"discard-all"}, "confirmed": {"yes"}, "upto": {"9"}}, "parked/discard"},
	"/console/config/check":                {url.Values{"config": {"source: {}"}}, OpConfigCheck},
	"/console/config/reload":               {nil, "reload"},
}

// TestPages shows every page in both languages, whole and with every hostile text as text.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, lang := range languages {
		b := setup(t)
		v := b.visitor()
		v.login(adminToken)
		v.get("/console/language/" + lang + "?back=/")
		for _, path := range allPages {
			got := v.get(path)
			if got.status != 200 || !strings.HasSuffix(strings.TrimSpace(got.body), "</html>") || !strings.Contains(got.body, `<html lang="`+lang+`">`) {
				t.Errorf("%s in %s: %d\n%s", path, lang, got.status, got.body)
			}
			for _, raw := range []string{"<b>\"", "\u202e", "\x07", "{{.}}<", "ZgotmplZ", "%!"} {
				if strings.Contains(got.body, raw) {
					t.Errorf("%s in %s has %q", path, lang, raw)
				}
			}
			if !strings.Contains(got.body, "&lt;b&gt;") && !strings.HasPrefix(path, "/console/deliveries?") {
				t.Errorf("%s does not show what it should", path)
			}
		}
	}
}

// TestHeaders holds every answer to its protection, whoever asks.
func TestHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in, out := b.visitor(), b.visitor()
	in.login(viewerToken)
	for _, v := range []*visitor{in, out} {
		for _, path := range append(slices.Clone(allPages), "/console/login", "/console/static/console.css", "/console/static/none", "/console/nothing",
			"/console/deliveries/desk/evt_1/body", "/console/profiles/nobody", "/console/tasks/none", "/console/live/none", "/console/language/xx") {
			got := v.get(path)
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
				"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
			} {
				if !strings.HasPrefix(got.header.Get(name), want) {
					t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
				}
			}
			policy := got.header.Get("Content-Security-Policy")
			if !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: policy %s", path, policy)
			}
			if cached := got.header.Get("Cache-Control"); cached != "no-store" && !strings.Contains(path, "/static/") {
				t.Errorf("%s may be kept: %s", path, cached)
			}
		}
	}
}

// TestNothingWithoutASession: no page shows and no form does anything without a login.
func TestNothingWithoutASession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	for _, path := range allPages {
		if got := v.get(path); got.path != "/console/login" || strings.Contains(got.body, "library") {
			t.Errorf("%s: %d at %s", path, got.status, got.path)
		}
	}
	for path, act := range allActs {
		if got := v.post(path, act.fields); got.status != 403 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := v.get("/console/live/overview"); got.status != 403 {
		t.Errorf("live: %d", got.status)
	}
	if len(b.agent.asked) > 0 {
		t.Errorf("the agent was asked for %v", b.agent.asked)
	}
}

// TestActs holds who may do what: a viewer nothing, an admin with the form's own token everything,
// each under the token's name.
func TestActs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	viewer, admin := b.visitor(), b.visitor()
	viewers, admins := viewer.login(viewerToken), admin.login(adminToken)
	for path, act := range allActs {
		with := func(csrf string) url.Values {
			fields := maps.Clone(act.fields)
			if fields == nil {
				fields = url.Values{}
			}
			if csrf != "" {
				fields.Set("csrf", csrf)
			}
			return fields
		}
		before := len(b.agent.requests(act.operation))
		for what, try := range map[string]func() reply{
			"a viewer":                      func() reply { return viewer.post(path, with(viewers)) },
			"an admin without its token":    func() reply { return admin.post(path, with("")) },
			"an admin with another's token": func() reply { return admin.post(path, with(viewers)) },
			"GET": func() reply {
				got := admin.get(path)
				if got.status == 405 || got.status == 404 {
					got.status = 403
				}
				return got
			},
		} {
			if got := try(); got.status != 403 {
				t.Errorf("%s as %s: %d", path, what, got.status)
			}
		}
		if n := len(b.agent.requests(act.operation)); n != before {
			t.Errorf("%s: %s was asked for all the same", path, act.operation)
		}
		if got := admin.post(path, with(admins)); got.status != 200 {
			t.Errorf("%s as an admin: %d %s", path, got.status, got.body)
		}
		requests := b.agent.requests(act.operation)
		if len(requests) != before+1 {
			t.Errorf("%s: %s was asked %d times", path, act.operation, len(requests)-before)
			continue
		}
		if act.operation != OpConfigCheck && !strings.Contains(requests[len(requests)-1], `"user":"token ada"`) {
			t.Errorf("%s: the request does not say who asks: %s", path, requests[len(requests)-1])
		}
	}
}

// TestConfirmations: what is destructive, or about many, asks first, says how many and which, and
// does nothing by itself.
func TestConfirmations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	for _, test := range []struct {
		path      string
		fields    url.Values
		says      []string
		operation string
	}{
		{"/console/failed/act", url.Values{"act": {"discard-marked"}, "item": {"desk/evt_1", "desk/evt_2"}}, []string{"Discard dead letters: 2", "desk  evt_2"}, "failed/discard"},
		{"/console/failed/act", url.Values{"act": {"discard-all"}}, []string{"Discard dead letters: 1", "desk  evt_1"}, "failed/discard"},
		{"/console/failed/act", url.Values{"act": {"retry-all"}}, []string{"Retry dead letters: 1"}, "failed/retry"},
		{"/console/failed/source", url.Values{"act": {"discard-marked"}, "seq": {"7"}}, []string{"Discard parked changes: 1", "#7  &lt;b&gt;"}, "parked/discard"},
		{"/console/failed/source", url.Values{"act": {"retry-all"}}, []string{"Retry parked changes: 1", "#7  &lt;b&gt;", `name="upto" value="9"`}, "parked/retry"},
		{"/console/failed/source", url.Values{"act": {"discard-all"}, "confirmed": {"yes"}}, []string{`name="upto" value="9"`}, "parked/discard"},
		{"/console/backfills/start", url.Values{"entry": {"loans", "items"}, "where": {"branch= MAIN \r\nshelf=null"}, "rate": {"10/s"}},
			[]string{"Send the existing rows of loans items", "about 60 rows", "desk, &lt;b&gt;", "value=\"branch= MAIN \nshelf=null\"", `value="10/s"`}, "backfill"},
		{"/console/backfills/1/cancel", nil, []string{"Cancel 1", "rows so far: 5", "sent stays sent"}, "backfill/cancel"},
		{"/console/deliveries/desk/evt_1/skip", nil, []string{"evt_1", "becomes a dead letter of desk"}, "queue/skip"},
		{"/console/profiles/desk/resume-now", nil, []string{"Resume desk without what was held", "Events that are held: 123"}, "profile/resume"},
	} {
		fields := url.Values{"csrf": {csrf}}
		maps.Copy(fields, test.fields)
		got := v.post(test.path, fields)
		for _, want := range append(test.says, `name="confirmed" value="yes"`, csrf) {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s %v does not say %q:\n%s", test.path, test.fields, want, got.body)
			}
		}
		if n := len(b.agent.requests(test.operation)); n > 0 {
			t.Errorf("%s %v was done unasked", test.path, test.fields)
		}
	}
	for _, nothing := range []url.Values{{"act": {"retry-marked"}}, {"act": {"discard-marked"}, "item": {"desk"}}, {"act": {"retry-none"}}} {
		nothing.Set("csrf", csrf)
		if got := v.post("/console/failed/act", nothing); got.status != 422 || !strings.Contains(got.body, "Nothing was chosen") {
			t.Errorf("%v: %d", nothing, got.status)
		}
	}
}

// TestBackfills: what forms ask for reaches the agent as the command would say it, what cannot be
// read is refused, and a row's own page knows the row.
func TestBackfills(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	post := func(path string, fields url.Values) reply {
		fields.Set("csrf", csrf)
		return v.post(path, fields)
	}
	b.agent.answer("backfill/list", []operation.Backfill{{ID: "2", State: operation.BackfillDone, Entries: []string{"loans"}, Rows: 1, Events: 1}})
	got := post("/console/backfills/start", url.Values{"entry": {"loans", "items"}, "profile": {"desk"}, "where": {"branch=a=b \r\n\r\nshelf=null"}, "rate": {" 10/1m "}, "confirmed": {"yes"}})
	if got.path != "/console/backfills" || !strings.Contains(got.body, "Backfill 2 of loans begins.") {
		t.Errorf("at %s: %s", got.path, got.body)
	}
	got = post("/console/backfills/row", url.Values{"entry": {"loans"}, "key": {"loan_id=7\nbranch= "}})
	if got.path != "/console/backfills" || !strings.Contains(got.body, "Events that came of it: 1") {
		t.Errorf("at %s: %s", got.path, got.body)
	}
	if page := v.get("/console/deliveries/desk/evt_1"); !strings.Contains(page.body, `action="/console/deliveries/desk/evt_1/row"`) {
		t.Errorf("the page of a delivery cannot send its row: %s", page.body)
	}
	if got = post("/console/deliveries/desk/evt_1/row", url.Values{}); got.path != "/console/deliveries/desk/evt_1" {
		t.Errorf("at %s: %s", got.path, got.body)
	}
	want := []string{
		`{"user":"token ada","entries":["loans","items"],"profile":"desk","where":[{"column":"branch","value":"a=b "},{"column":"shelf","null":true}],"rate":0.16666666666666666}`,
		`{"user":"token ada","entries":["loans"],"key":{"branch":" ","loan_id":"7"}}`,
		`{"user":"token ada","entries":["loans"],"profile":"desk","key":{"loan_id":` + quoted(evil) + `}}`,
	}
	if asked := b.agent.requests("backfill"); !slices.Equal(asked, want) {
		t.Errorf("asked for\n%s, want\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
	for _, test := range []struct {
		path   string
		fields url.Values
		says   string
	}{
		{"/console/backfills/start", url.Values{}, "Nothing was chosen."},
		{"/console/backfills/start", url.Values{"entry": {"loans"}, "where": {"branch"}}, "condition 1 is no COLUMN=VALUE"},
		{"/console/backfills/start", url.Values{"entry": {"loans"}, "rate": {"fast"}}, "is not a rate"},
		{"/console/backfills/row", url.Values{"entry": {"loans"}}, "the row&#39;s key is missing"},
		{"/console/backfills/row", url.Values{"entry": {"loans"}, "key": {"a=1\na=2"}}, "given twice"},
		{"/console/backfills/1/stop", url.Values{}, "There is no such page."},
	} {
		if got := post(test.path, test.fields); got.status != 422 && got.status != 404 || !strings.Contains(got.body, test.says) {
			t.Errorf("%s %v: %d, and does not say %q: %s", test.path, test.fields, got.status, test.says, got.body)
		}
	}
	// The type is none whose entry is read, and so nothing offers it.
	b.agent.answer(OpEvents, catalogue.Catalogue{Events: []catalogue.Event{{Type: "loan.created", Entry: "loans", Ops: []string{"insert"}, Key: map[string]string{"id": "id"}, Profiles: []string{"desk"}}}})
	b.move(time.Minute)
	if page := v.get("/console/deliveries/desk/evt_1"); strings.Contains(page.body, "/row\"") {
		t.Error("the page of a delivery offers to send a row that nobody would get")
	}
	if got := post("/console/deliveries/desk/evt_1/row", url.Values{}); got.status != 422 || !strings.Contains(got.body, "Nothing tells how the row") {
		t.Errorf("%d: %s", got.status, got.body)
	}
	if page := v.get("/console/backfills"); !strings.Contains(page.body, "No entry makes an event of a row") {
		t.Errorf("without an entry: %s", page.body)
	}
}

// TestHost refuses names that are not ours, which a page elsewhere may make lead here.
func TestHost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	for host, want := range map[string]int{
		"evil.example.org": 421, "evil.example.org:8642": 421, "localhost.evil.example.org": 421, "rowhook.example.org": 200, "ROWHOOK.example.org:8642": 200,
		"localhost:1": 200, "10.1.2.3:8642": 200, "[::1]:8642": 200,
	} {
		for _, path := range []string{"/console/login", "/console/static/console.js"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			if got := v.send(r); got.status != want {
				t.Errorf("%s of %s: %d, want %d", path, host, got.status, want)
			}
		}
	}
}

// TestOtherSites: a form of another site is refused, cookie or not.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	for name, value := range map[string]string{"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+"/console/profiles/desk/pause", strings.NewReader("csrf="+csrf))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(name, value)
		if got := v.send(r); got.status != 403 || len(b.agent.requests("profile/pause")) > 0 {
			t.Errorf("with %s %s: %d", name, value, got.status)
		}
	}
}

// TestSessions: a session's cookie is closed to scripts and other sites, and a session ends with its
// time, its token, and on request.
func TestSessions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	got := v.post("/console/login", url.Values{"token": {" " + adminToken + "\n"}, "back": {"//evil.example.org"}})
	cookie := got.header.Get("Set-Cookie")
	if got.status != 303 || got.header.Get("Location") != "/console/" || !strings.Contains(cookie, "HttpOnly; SameSite=Strict") || strings.Contains(cookie, "Secure") || strings.Contains(cookie, adminToken) {
		t.Errorf("login: %d to %s with %s", got.status, got.header.Get("Location"), cookie)
	}
	if got := v.get("/console/"); got.status != 200 {
		t.Errorf("with a session: %d", got.status)
	}
	for what, end := range map[string]func(*visitor, string){
		"idle":            func(*visitor, string) { b.move(sessionIdle + time.Second) },
		"its life":        func(w *visitor, _ string) { stay(w, sessionLife) },
		"a token no more": func(*visitor, string) { b.mu.Lock(); delete(b.tokens, adminToken); b.mu.Unlock() },
		"logout":          func(w *visitor, csrf string) { w.post("/console/logout", url.Values{"csrf": {csrf}}) },
	} {
		b.mu.Lock()
		b.tokens[adminToken] = true
		b.mu.Unlock()
		w := b.visitor()
		csrf := w.login(adminToken)
		end(w, csrf)
		if got := w.get("/console/"); got.path != "/console/login" {
			t.Errorf("after %s: %s", what, got.path)
		}
		if got := w.post("/console/profiles/desk/pause", url.Values{"csrf": {csrf}}); got.status != 403 {
			t.Errorf("an act after %s: %d", what, got.status)
		}
	}
	// Becoming a viewer takes effect at once.
	b.mu.Lock()
	b.tokens[adminToken] = true
	b.mu.Unlock()
	w := b.visitor()
	csrf := w.login(adminToken)
	b.mu.Lock()
	b.tokens[adminToken] = false
	b.mu.Unlock()
	if got := w.post("/console/profiles/desk/pause", url.Values{"csrf": {csrf}}); got.status != 403 {
		t.Errorf("an act of a token that is a viewer's now: %d", got.status)
	}
}

// stay looks now and then, so that a session is not idle.
func stay(v *visitor, d time.Duration) {
	for range int(d/time.Hour) + 1 {
		v.move(time.Hour)
		v.get("/console/")
	}
}

// TestSecureCookie: behind TLS the cookie never goes without.
func TestSecureCookie(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for proto, secure := range map[string]bool{"https": true, "http": false, "": false} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/console/login", strings.NewReader("token="+adminToken))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Forwarded-Proto", proto)
		w := httptest.NewRecorder()
		b.web.ServeHTTP(w, r)
		if got := strings.Contains(w.Header().Get("Set-Cookie"), "; Secure"); got != secure || w.Code != 303 {
			t.Errorf("over %q: %d, secure is %t", proto, w.Code, got)
		}
	}
}

// TestGuessing: wrong tokens are answered a few times, from one address, a right one always gets in,
// and sessions and addresses are bounded.
func TestGuessing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	try := func(from, token string) int {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/console/login", strings.NewReader("token="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = from + ":1234"
		w := httptest.NewRecorder()
		b.web.ServeHTTP(w, r)
		if w.Code == 429 && w.Header().Get("Retry-After") == "" {
			t.Error("nothing says when to try again")
		}
		return w.Code
	}
	for range loginBurst {
		if code := try("192.0.2.1", "wrong"); code != 403 {
			t.Errorf("a wrong token: %d", code)
		}
	}
	if code := try("192.0.2.1", "wrong"); code != 429 {
		t.Errorf("one wrong token too many: %d", code)
	}
	if code := try("192.0.2.1", adminToken); code != 303 {
		t.Errorf("the right token after wrong ones of somebody behind the same address: %d", code)
	}
	if code := try("192.0.2.2", adminToken); code != 303 {
		t.Errorf("from elsewhere: %d", code)
	}
	for range 3 * loginBurst {
		if code := try("192.0.2.3", adminToken); code != 303 {
			t.Errorf("right tokens cost nothing: %d", code)
		}
	}
	for i := range loginBurst {
		try(fmt.Sprintf("[2001:db8::%d]", i), "wrong")
	}
	if code := try("[2001:db8::ffff]", "wrong"); code != 429 {
		t.Errorf("from the same network: %d", code)
	}
	b.move(loginPace + time.Second)
	if code := try("192.0.2.1", "wrong"); code != 403 {
		t.Errorf("after a while: %d", code)
	}
	for i := range 2 * maxAddresses {
		try(fmt.Sprintf("10.%d.%d.1", i/256, i%256), "wrong")
	}
	if n := len(b.web.attempts.full); n > maxAddresses+1 {
		t.Errorf("%d addresses are remembered", n)
	}
	if n := len(b.web.sessions.all); n > maxOfToken {
		t.Errorf("one token has %d sessions", n)
	}
	for i := range 2 * maxSessions {
		b.web.sessions.begin(fmt.Sprint(i))
	}
	if n := len(b.web.sessions.all); n != maxSessions {
		t.Errorf("%d sessions", n)
	}
}

// TestSearchesStayOutOfURLs: what is searched for is in the session, and only there.
func TestSearchesStayOutOfURLs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(viewerToken)
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, op := range map[string]string{"/console/deliveries": OpLog, "/console/failed": "failed/list"} {
		got := v.post(path, url.Values{"csrf": {csrf}, "profile": {"desk"}, "type": {"loan.*"}, "key": {"4711"}, "payload": {"key.id=4711"}, "since": {"2h"}})
		to := got.header.Get("Location")
		if got.status != 303 || !regexp.MustCompile(`^`+path+`\?q=[a-z0-9]{10}$`).MatchString(to) {
			t.Fatalf("%s: %d to %s", path, got.status, to)
		}
		page := v.get(to)
		requests := b.agent.requests(op)
		if last := requests[len(requests)-1]; !strings.Contains(last, "4711") || !strings.Contains(last, `"since":"2026-11-22T00:00:00Z"`) || page.status != 200 {
			t.Errorf("%s: %d, asked %s", to, page.status, last)
		}
		if !strings.Contains(page.body, "4711") {
			t.Errorf("%s does not show what was searched for", to)
		}
		other := b.visitor()
		other.login(viewerToken)
		if got := other.get(to); got.path != path || strings.Contains(got.body, "4711") {
			t.Errorf("another session sees the search %s at %s", to, got.path)
		}
		bad := v.post(path, url.Values{"csrf": {csrf}, "since": {"yesterday"}}).header.Get("Location")
		if got := v.get(bad); got.status != 422 || !strings.Contains(got.body, "is no time") {
			t.Errorf("a time that is none: %d", got.status)
		}
	}
	for _, bad := range []url.Values{{"status": {"abc"}}, {"payload": {"=x"}}, {"outcome": {"lost"}}} {
		bad.Set("csrf", csrf)
		if got := v.get(v.post("/console/deliveries", bad).header.Get("Location")); got.status != 422 {
			t.Errorf("%v: %d", bad, got.status)
		}
	}
	if got := v.get("/console/deliveries?at=x"); got.status != 404 {
		t.Errorf("a place that is none: %d", got.status)
	}
}

// TestExplain: a row is asked about by a form, and no URL has its key; an event by a link, from which
// the way leads to its row; what cannot be asked is said.
func TestExplain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(viewerToken)
	if page := v.get("/console/deliveries/desk/evt_1").body; !strings.Contains(page, `href="/console/explain/evt_1"`) {
		t.Error("a delivery does not lead to its change")
	}
	catalogued := b.agent.answers[OpEvents].(catalogue.Catalogue)
	catalogued.Events[0].Entry = "circulation.loans"
	b.agent.answer(OpEvents, catalogued)
	if page := v.get("/console/events/loan.created").body; !strings.Contains(page, `href="/console/explain?entry=circulation.loans"`) {
		t.Error("an event does not lead to its rows")
	}
	if page := v.get("/console/explain?entry=circulation.loans").body; !strings.Contains(page, `value="circulation.loans"`) || len(b.agent.requests("explain")) > 0 {
		t.Error("the entry is not filled in, or was asked for by itself")
	}
	of := v.get("/console/explain/evt_1").body
	if !strings.Contains(of, `<input type="hidden" name="key" value="id=&lt;b&gt;`) {
		t.Errorf("an event's change does not lead to its row:\n%s", of)
	}
	for _, text := range []string{"parked as number 7", "holds", "does not hold:", "cannot be decided:", "is for other operations:", "was not asked", "does not get it", "3 earlier lines", "it did not subscribe to this event then", "Whether the row is one of this entry", "was not looked for among", "Nothing is known of it any more", "another key before", "made no event", "too many changes at once", "could not be written", "Before "} {
		if !strings.Contains(of, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	to := v.post("/console/explain", url.Values{"csrf": {csrf}, "entry": {"circulation.loans"}, "key": {"loan_id= 4711\r\nbranch=a=b \r\n"}, "since": {"2h"}}).header.Get("Location")
	if !regexp.MustCompile(`^/console/explain\?q=[a-z0-9]{10}$`).MatchString(to) {
		t.Fatalf("sent to %s", to)
	}
	page := v.get(to)
	asked := b.agent.requests("explain")
	const want = `{"entry":"circulation.loans","key":[{"name":"loan_id","value":" 4711"},{"name":"branch","value":"a=b "}],"since":"2026-11-22T00:00:00Z","most":200,"within":4000000000}`
	if last := asked[len(asked)-1]; page.status != 200 || last != want {
		t.Errorf("%d, asked %s", page.status, last)
	}
	other := b.visitor()
	other.login(viewerToken)
	if got := other.get(to); got.path != "/console/explain" || strings.Contains(got.body, "4711") {
		t.Errorf("another session sees the search at %s", got.path)
	}
	for _, bad := range []url.Values{{"key": {"loan_id"}}, {"key": {"a=1"}, "since": {"yesterday"}}} {
		bad.Set("csrf", csrf)
		bad.Set("entry", "circulation.loans")
		if got := v.get(v.post("/console/explain", bad).header.Get("Location")); got.status != 422 {
			t.Errorf("%v: %d", bad, got.status)
		}
	}
	b.agent.answer("explain", errors.New("nothing is known of an entry"))
	if got := v.get(to); got.status != 422 || !strings.Contains(got.body, "nothing is known of an entry") || !strings.Contains(got.body, "4711") {
		t.Errorf("what the agent refuses: %d", got.status)
	}
}

// TestOldDelivery: a delivery that was found far back in the log is looked for there.
func TestOldDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	v.login(viewerToken)
	found := b.agent.answers[OpLog].(LogPage)
	found.Reached = time.Date(2026, 11, 22, 1, 30, 0, 0, time.UTC)
	b.agent.answer(OpLog, found)
	page := v.get("/console/deliveries").body
	link := regexp.MustCompile(`/console/deliveries/desk/evt_1\?t=(\d+)`).FindStringSubmatch(page)
	if link == nil || link[1] != fmt.Sprint(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC).Unix()) {
		t.Fatalf("the link does not say when: %v", link)
	}
	if got := v.get(link[0]); strings.Count(got.body, "<li><svg") != 2 { // here and there
		t.Errorf("%d\n%s", got.status, got.body)
	}
	requests := b.agent.requests(OpLog)
	if last := requests[len(requests)-1]; !strings.Contains(last, `"until":"2026-11-22T`) {
		t.Errorf("asked %s", last)
	}
}

// TestAll goes for what was searched for, until the moment of the question.
func TestAllThatFit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	stop := v.http.CheckRedirect
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	q := strings.TrimPrefix(v.post("/console/failed", url.Values{"csrf": {csrf}, "reason": {"status_4xx"}}).header.Get("Location"), "/console/failed?q=")
	v.http.CheckRedirect = stop
	page := v.post("/console/failed/act", url.Values{"csrf": {csrf}, "q": {q}, "act": {"discard-all"}}).body
	asked := regexp.MustCompile(`name="asked" value="(\d+)"`).FindStringSubmatch(page)
	if asked == nil {
		t.Fatalf("the question does not say when it was asked:\n%s", page)
	}
	b.move(time.Minute)
	v.post("/console/failed/act", url.Values{"csrf": {csrf}, "q": {q}, "act": {"discard-all"}, "asked": {asked[1]}, "confirmed": {"yes"}})
	want := `{"user":"token ada","filter":{"reason":"status_4xx","until":"2026-11-22T02:00:00Z"}}`
	if got := b.agent.requests("failed/discard"); len(got) != 1 || got[0] != want {
		t.Errorf("asked %v, want %s", got, want)
	}
}

// TestAllParked goes for what was parked when the question was asked.
func TestAllParked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	v.post("/console/failed/source", url.Values{"csrf": {csrf}, "act": {"discard-all"}, "confirmed": {"yes"}, "upto": {"9"}})
	want := `{"user":"token ada","all":true,"up_to":9}`
	if got := b.agent.requests("parked/discard"); len(got) != 1 || got[0] != want {
		t.Errorf("asked %v, want %s", got, want)
	}
}

// TestRelativeTimes count from the question: what died since is not part of the answer.
func TestRelativeTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	for until, want := range map[string]string{"30m": `"until":"2026-11-22T01:30:00Z"`, "2026-11-22T05:00:00Z": `"until":"2026-11-22T02:00:00Z"`} {
		q := b.web.sessions.remember(only(b.web.sessions), failedTerms{Since: "1h", Until: until})
		asked := fmt.Sprint(time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC).UnixNano())
		b.move(time.Hour)
		v.post("/console/failed/act", url.Values{"csrf": {csrf}, "q": {q}, "act": {"discard-all"}, "asked": {asked}, "confirmed": {"yes"}})
		got := b.agent.requests("failed/discard")
		if last := got[len(got)-1]; !strings.Contains(last, want) || !strings.Contains(last, `"since":"2026-11-22T01:00:00Z"`) {
			t.Errorf("until %s asks %s, want %s", until, last, want)
		}
	}
}

// only is the one session that there is.
func only(s *sessions) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		return one
	}
	return nil
}

// TestGlance: however many look while the database is slow, it is asked once, for as long as it
// takes, whoever leaves.
func TestGlance(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow := &slowStatus{Agent: b.agent, bench: b, began: make(chan struct{}, 100), release: make(chan struct{})}
	b.web.agent = slow
	ctx, leave := context.WithCancel(t.Context())
	answers := make(chan error, 10)
	look := func(ctx context.Context) {
		_, err := b.web.status(ctx)
		answers <- err
	}
	go look(ctx)
	<-slow.began
	for range 9 {
		go look(t.Context())
	}
	leave()
	if b.web.glance.source() != "" {
		t.Error("there is a name before anything answered")
	}
	close(slow.release)
	for range 10 {
		if err := <-answers; err != nil {
			t.Errorf("somebody left, and others are told: %v", err)
		}
	}
	if n := len(b.agent.requests("status")); n != 1 {
		t.Errorf("the agent was asked %d times", n)
	}
}

// slowStatus takes longer than an answer is kept, on the bench's clock.
type slowStatus struct {
	Agent
	bench          *bench
	began, release chan struct{}
}

func (s *slowStatus) Call(ctx context.Context, operation string, request, answer any) error {
	s.began <- struct{}{}
	<-s.release
	s.bench.move(5 * glanceFor)
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Agent.Call(ctx, operation, request, answer)
}

// TestForms are as large as they have to be, and what is too large is said to be.
func TestForms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	long := func(n int) string { return strings.Repeat("x", n) }
	for what, test := range map[string]struct {
		path   string
		fields url.Values
		want   int
	}{
		"a login":           {"/console/login", url.Values{"token": {long(maxLogin)}}, 413},
		"another form":      {"/console/profiles/desk/pause", url.Values{"reason": {long(maxForm)}, "csrf": {csrf}}, 413},
		"a config":          {"/console/config/check", url.Values{"config": {long(maxForm)}, "csrf": {csrf}}, 200},
		"too long a config": {"/console/config/check", url.Values{"config": {long(maxPaste)}, "csrf": {csrf}}, 413},
	} {
		if got := v.post(test.path, test.fields); got.status != test.want || test.want == 413 && !strings.Contains(got.body, "The form is too large") {
			t.Errorf("%s: %d", what, got.status)
		}
	}
	var body strings.Builder
	form := multipart.NewWriter(&body)
	pasted := "mapping: {日本: {}}\n" + long(maxForm)
	for name, value := range map[string]string{"csrf": csrf, "config": pasted} {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	form.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+"/console/config/check", strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	got := v.send(r)
	checked := b.agent.requests(OpConfigCheck)
	if last := checked[len(checked)-1]; got.status != 200 || !strings.Contains(last, "日本") || len(checked) != 2 {
		t.Errorf("in parts: %d, %d checked", got.status, len(checked))
	}
	for range 3 * maxFlashes {
		b.web.sessions.say(only(b.web.sessions), flash{Text: "x"})
	}
	if n := len(b.web.sessions.said(only(b.web.sessions))); n != maxFlashes {
		t.Errorf("%d things wait to be said", n)
	}
}

// TestSpoolSearches are made one at a time, for a while only, and for no more than is shown.
func TestSpoolSearches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	v.login(viewerToken)
	endless := endlessSearch{b.agent, make(chan int, 100), new(atomic.Int32)}
	b.web.agent = endless
	statuses := make(chan int, 2)
	for range 2 {
		go func() { statuses <- v.get("/console/deliveries/desk/evt_1").status }()
	}
	for range 2 {
		if status := <-statuses; status != 200 {
			t.Errorf("a delivery whose body is not found in time: %d", status)
		}
	}
	for range len(endless.at) {
		if n := <-endless.at; n > 1 {
			t.Errorf("%d search the spool at once", n)
		}
	}
	if got := b.agent.requests("body"); len(got) == 0 || !strings.Contains(got[0], `"most":`) {
		t.Errorf("asked %v", got)
	}
	if got := v.get("/console/deliveries/desk/evt_1/body"); got.status != 503 || !strings.Contains(got.body, "in time") {
		t.Errorf("the whole body: %d", got.status)
	}
}

// endlessSearch looks for bodies until it may no longer.
type endlessSearch struct {
	Agent
	at chan int
	n  *atomic.Int32
}

func (e endlessSearch) Call(ctx context.Context, operation string, request, answer any) error {
	if operation != "body" {
		return e.Agent.Call(ctx, operation, request, answer)
	}
	n := int(e.n.Add(1))
	defer e.n.Add(-1)
	if err := e.Agent.Call(ctx, operation, request, answer); err != nil {
		return err
	}
	select {
	case e.at <- n:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestErrors: what the agent refuses is shown with its remedy.
func TestErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	b.agent.answer("queue/retry-now", &pageError{Text: "the delivery is being sent", Remedy: "look at `rowhook log`"})
	got := v.post("/console/deliveries/desk/evt_1/retry", url.Values{"csrf": {csrf}})
	if got.status != 422 || !strings.Contains(got.body, "the delivery is being sent") || !strings.Contains(got.body, "<code>rowhook log</code>") {
		t.Errorf("%d %s", got.status, got.body)
	}
	b.agent.answer("failed/retry", errors.New("the spool is closed"))
	got = v.post("/console/failed/act", url.Values{"csrf": {csrf}, "act": {"retry-marked"}, "item": {"desk/evt_1"}})
	if !strings.Contains(got.body, "the spool is closed") {
		t.Errorf("%d %s", got.status, got.body)
	}
	b.agent.answer("status", errors.New("no status"))
	b.move(time.Minute)
	if got := v.get("/console/"); got.status != 422 || !strings.Contains(got.body, "no status") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// TestLive sends a page's live part when it changes, and ends with the session.
func TestLive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	v.login(viewerToken)
	for _, page := range []string{"overview", "profiles", "backfills"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+"/console/live/"+page, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := v.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 4096)
		n, err := io.ReadAtLeast(resp.Body, first, 100)
		if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" || !strings.HasPrefix(string(first[:n]), "data: ") {
			t.Errorf("%s: %v, %q", page, err, first[:n])
		}
		if lines := bufio.NewScanner(io.MultiReader(bytes.NewReader(first[:n]), resp.Body)); !scanTo(lines, "event: beat") || !scanTo(lines, "data: .") {
			t.Errorf("%s: nothing says that the page is up to date", page)
		}
		if strings.ContainsAny(string(first[:n]), "\u202e\x07") {
			t.Errorf("%s has what nobody sees", page)
		}
		b.mu.Lock()
		delete(b.tokens, viewerToken)
		b.mu.Unlock()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Errorf("%s does not end with the token: %v", page, err)
		}
		resp.Body.Close()
		cancel()
		b.mu.Lock()
		b.tokens[viewerToken] = false
		b.mu.Unlock()
		v.login(viewerToken)
	}
	if b.web.watchers.n != 0 {
		t.Errorf("%d are still counted", b.web.watchers.n)
	}
}

// scanTo goes on to a line.
func scanTo(lines *bufio.Scanner, want string) bool {
	for lines.Scan() {
		if lines.Text() == want {
			return true
		}
	}
	return false
}

// TestRefusalsAreNoted in the agent's own log, with who and what, and without the form.
func TestRefusalsAreNoted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var log bytes.Buffer
	b.web.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	viewer, admin := b.visitor(), b.visitor()
	viewers, admins := viewer.login(viewerToken), admin.login(adminToken)
	b.agent.answer("profile/pause", errors.New("the spool is closed"))
	viewer.post("/console/profiles/desk/pause", url.Values{"csrf": {viewers}})
	admin.post("/console/profiles/desk/pause", url.Values{"csrf": {viewers}})
	admin.post("/console/profiles/desk/pause", url.Values{"csrf": {admins}})
	b.server.Close()
	for _, want := range []string{
		"viewer's token was to change something\" token=bo path=/console/profiles/desk/pause",
		"another session was sent to the console\" token=ada path=/console/profiles/desk/pause",
		"failed\" token=ada path=/console/profiles/desk/pause err=\"the spool is closed\"",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), viewers) || strings.Contains(log.String(), adminToken) {
		t.Errorf("the log has secrets: %s", log.String())
	}
}

// TestProgress: a task that takes long shows how far it is, and its end.
func TestProgress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	release := make(chan struct{})
	b.web.agent = slowAgent{b.agent, release}
	got := v.post("/console/failed/act", url.Values{"csrf": {csrf}, "act": {"retry-marked"}, "item": {"desk/evt_1"}})
	if !strings.HasPrefix(got.path, "/console/tasks/") || !strings.Contains(got.body, "Under way since") || !strings.Contains(got.body, "<progress") {
		t.Fatalf("at %s: %s", got.path, got.body)
	}
	close(release)
	b.web.tasks.running.Wait()
	if after := v.get(got.path); !strings.Contains(after.body, "It is done.") {
		t.Errorf("afterwards: %s", after.body)
	}
}

// TestTasksEnd: not too many tasks run at once, and those that run end when the agent stops.
func TestTasksEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	v := b.visitor()
	csrf := v.login(adminToken)
	b.web.agent = slowAgent{b.agent, make(chan struct{})} // which nobody releases
	act := url.Values{"csrf": {csrf}, "act": {"retry-marked"}, "item": {"desk/evt_1", "desk/evt_2"}}
	var pages []string
	for range maxRunning {
		pages = append(pages, v.post("/console/failed/act", act).path)
	}
	if got := v.post("/console/failed/act", act); got.status != 503 || !strings.Contains(got.body, "Too many long acts") {
		t.Errorf("one more: %d %s", got.status, got.body)
	}
	b.web.Stop()
	for _, path := range pages {
		if got := v.get(path); !strings.Contains(got.body, "It ended early.") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	if n := len(b.agent.requests("failed/retry")); n != 0 {
		t.Errorf("%d went on", n)
	}
	if got := v.post("/console/failed/act", act); got.status != 503 {
		t.Errorf("a task begins after the stop: %d", got.status)
	}
}

// TestLogSearches: two search the log at once, and whoever comes then waits.
func TestLogSearches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	busy := &busyLog{Agent: b.agent, release: make(chan struct{})}
	b.web.agent = busy
	var all sync.WaitGroup
	for range 5 {
		v := b.visitor()
		v.login(viewerToken)
		all.Go(func() {
			if got := v.get("/console/deliveries"); got.status != 200 {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	for range 5 {
		busy.release <- struct{}{}
	}
	all.Wait()
	if most := busy.most.Load(); most < 1 || most > 2 {
		t.Errorf("%d searched at once", most)
	}
}

// busyLog counts who searches the log at once.
type busyLog struct {
	Agent
	release   chan struct{}
	now, most atomic.Int64
}

func (l *busyLog) Call(ctx context.Context, operation string, request, answer any) error {
	if operation == OpLog {
		n := l.now.Add(1)
		for most := l.most.Load(); n > most && !l.most.CompareAndSwap(most, n); most = l.most.Load() {
		}
		<-l.release
		l.now.Add(-1)
	}
	return l.Agent.Call(ctx, operation, request, answer)
}

// TestLinks: a link from elsewhere, with which no cookie comes, has the browser ask again; and the
// login page knows whom it has in already.
func TestLinks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stranger := b.visitor()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/console/profiles/desk?x=<b>", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	got := stranger.send(r)
	if got.status != 200 || got.path != "/console/profiles/desk" || !strings.Contains(got.body, `<meta http-equiv="refresh" content="0">`) ||
		!strings.Contains(got.body, `href="/console/profiles/desk?x=%3cb%3e"`) || strings.Contains(got.body, "Circulation") {
		t.Errorf("%d at %s: %s", got.status, got.path, got.body)
	}
	v := b.visitor()
	if page := v.get("/console/login?back=/failed"); strings.Contains(page.body, "You are logged in") {
		t.Error("a stranger is told to be logged in")
	}
	v.login(adminToken)
	if page := v.get("/console/login?back=/failed"); !strings.Contains(page.body, "You are logged in as ada.") || !strings.Contains(page.body, `href="/console/failed"`) {
		t.Errorf("the login page: %s", page.body)
	}
	b.mu.Lock()
	delete(b.tokens, adminToken)
	b.mu.Unlock()
	if page := v.get("/console/login"); strings.Contains(page.body, "You are logged in") {
		t.Error("somebody whose token is gone is told to be logged in")
	}
}

// slowAgent takes until it is released to retry.
type slowAgent struct {
	Agent
	release chan struct{}
}

func (s slowAgent) Call(ctx context.Context, operation string, request, answer any) error {
	if operation == "failed/retry" {
		select {
		case <-s.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Agent.Call(ctx, operation, request, answer)
}

// TestAtRest: a console that nobody has looked at has begun nothing, and holds next to nothing.
func TestAtRest(t *testing.T) { // not parallel: it looks at what the whole process has
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before, routines := heap(), runtime.NumGoroutine()
	c, h := New(newDouble(), Options{}), NewHistory()
	for i := range 3 * 24 * 60 {
		h.Add(Sample{At: time.Unix(int64(60*i), 0), Events: int64(i)})
	}
	if grown := heap() - before; grown > 256<<10 {
		t.Errorf("a console at rest takes %d bytes", grown)
	}
	if n := runtime.NumGoroutine(); n > routines {
		t.Errorf("a console at rest runs %d goroutines", n-routines)
	}
	if c.pages.sets != nil || len(h.Series().Day) != dayPoints {
		t.Error("templates were parsed for nobody")
	}
	runtime.KeepAlive(c)
}

// TestLanguages takes the browser's, or what was chosen, and leads nowhere else.
func TestLanguages(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "en", "ja": "ja", "ja-JP,en;q=0.5": "ja", "de,en;q=0.8,ja;q=0.9": "ja", "fr": "en", "en-GB, ja;q=0.9": "en", "ja;q=0": "en", "ja;q=x": "en", ";;,": "en",
	} {
		if got := accepted(header); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
	b := setup(t)
	v := b.visitor()
	if got := v.get("/console/language/ja?back=/login"); got.path != "/console/login" || !strings.Contains(got.body, "ログイン") {
		t.Errorf("at %s: %s", got.path, got.body)
	}
	for _, back := range []string{"//evil.example.org", "https://evil.example.org", `/\evil.example.org`, "x", "/a\r\nSet-Cookie: x"} {
		if got := local(back); got != "/" {
			t.Errorf("%q leads to %q", back, got)
		}
	}
}

// FuzzAccepted reads any header.
func FuzzAccepted(f *testing.F) {
	f.Add("ja-JP,en;q=0.5")
	f.Add(";q=,,")
	f.Fuzz(func(t *testing.T, header string) {
		if got := accepted(header); !slices.Contains(languages, got) {
			t.Errorf("%q: %s", header, got)
		}
	})
}

// FuzzMoment reads any time.
func FuzzMoment(f *testing.F) {
	for _, text := range []string{"2h", "2026-11-22", "2026-11-22 10:00", "-1h", "x"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		at, err := moment(text, now)
		if err != nil && !at.IsZero() {
			t.Errorf("%q: %v with %v", text, at, err)
		}
	})
}

// TestVisible shows what nobody sees, and leaves all else alone.
func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain ünï 日本\n\t": "plain ünï 日本\n\t", "a\u202eb": `a\u202eb`, "\u2066\u200b\ufeff\u061c": `\u2066\u200b\ufeff\u061c`, "\x00\x1b[31m\x7f\u0085": `\u0000\u001b[31m\u007f\u0085`,
	} {
		if got := string(visible([]byte(text))); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestHistory keeps an hour by minutes and a day by quarters, and no more.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := NewHistory()
	if s := h.Series(); len(s.Hour) != 0 || len(s.Day) != 0 {
		t.Errorf("at first: %+v", s)
	}
	at := time.Date(2026, 11, 22, 0, 0, 30, 0, time.UTC)
	for i := range 3 * 24 * 60 {
		h.Add(Sample{At: at.Add(time.Duration(i) * time.Minute), Events: int64(10 * i), Failures: int64(i), Lag: int64(i), Backlog: 3})
	}
	s := h.Series()
	if len(s.Hour) != hourPoints || len(s.Day) != dayPoints {
		t.Fatalf("%d and %d points", len(s.Hour), len(s.Day))
	}
	for i, p := range s.Hour {
		if p.Events != 10 || p.Failures != 1 || p.Backlog != 3 || i > 0 && p.At.Sub(s.Hour[i-1].At) != time.Minute {
			t.Errorf("minute %d: %+v", i, p)
		}
	}
	for i, p := range s.Day[:dayPoints-1] {
		if p.Events != 150 || p.Failures != 15 || i > 0 && p.At.Sub(s.Day[i-1].At) != 15*time.Minute {
			t.Errorf("quarter %d: %+v", i, p)
		}
	}
	h.Add(Sample{At: at.Add(4 * 24 * time.Hour)}) // an agent that counts from 0 again
	if last := h.Series().Hour[hourPoints-1]; last.Events != 0 || last.Failures != 0 {
		t.Errorf("after counters began again: %+v", last)
	}
}
