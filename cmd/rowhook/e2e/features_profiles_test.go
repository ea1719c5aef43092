package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// administered are profiles whose life is looked at, besides a receiver of everything.
const administered = everything + `
  guarded:
    name: Guarded listener
    description: asked for by Mr Oe
    url: https://guarded.example.org/hook
    secret: ${ALMA_SECRET}
    format: alma
    concurrency: 1
    subscriptions: [{events: [bib.*]}]

  switching:
    url: https://switching.example.org/hook
    secret: ${ALMA_SECRET}
    format: alma
    alma: {null_members: explicit}
    message_type: json
    retry: {schedule: [200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms, 200ms]}
    subscriptions: [{events: [item.*, loan.*]}]

  sometimes:
    url: https://sometimes.example.org/hook
    signature: none
    when_inactive: skip
    subscriptions: [{events: [session.*]}]

  chat-hook:
    url: https://slack.example.org/services/T0/B0/xyz
    format: slack
    subscriptions: [{events: [borrowing.*]}]

  text-hook:
    url: https://text.example.org/hook
    format: template
    signature: none
    template: '{"text":{{json .desc}},"id":{{json .key.request_id}}}'
    subscriptions: [{events: [borrowing.*]}]

  patrons:
    url: https://patrons.example.org/hook
    signature: none
    subscriptions: [{events: [letter.on_hold_shelf]}]
`

// TestFeatureProfiles: the life of profiles, by the config and by commands, each step seen by a row
// change that a receiver is told of or is not.
func TestFeatureProfiles(t *testing.T) {
	t.Parallel()
	onLibraries(t, false, withProfiles(administered), testFeatureProfiles)
}

func testFeatureProfiles(t *testing.T, l *library) {
	l.presets()
	l.listening("guarded", false)
	a := &administration{watcher: &watcher{library: l, profile: "everything"}, whole: l.config}
	begin, end := strings.Index(l.config, "\nprofiles:\n"), strings.Index(l.config, "\n# --- what is written down")
	l.config = l.config[:begin] + "\nprofiles: {}\n" + l.config[end:]
	l.save()
	l.open()
	for _, step := range []struct {
		name string
		test func(*testing.T)
	}{
		{"A-14 active only with a profile", a.withoutProfiles},
		{"A-02 A-22 A-28 the one who may", a.activate},
		{"A-20 A-21 A-23 A-25 B-14 E-01 what is refused", a.refused},
		{"A-30 JSON and XML, E-10 null members", a.switched},
		{"A-34 A-35 one truth", a.letters},
		{"A-16 A-36 the letters' table", a.letterTypes},
		{"B-10 enabled", a.enabled},
		{"B-12 a chat's channel", a.chat},
		{"A-47 B-11 the list", a.list},
		{"R-06 requests in a time", a.rate},
	} {
		if !t.Run(step.name, func(t *testing.T) { l.tb = t; step.test(t) }) {
			return // the next begins where this one ends
		}
	}
}

type administration struct {
	*watcher
	whole string // the config with all profiles, which the agent begins without
	sent  []sentLetter
}

// withoutProfiles reads the stream with a config that has none: nothing is sent, then or later, of
// what was changed before there was a profile.
func (a *administration) withoutProfiles(t *testing.T) {
	a.exec(aBib)
	point, err := a.db.end(t.Context())
	capturetest.Must(t, err)
	eventually(t, patience, "the stream is read on", func() bool {
		settled, err := a.db.settled(t.Context(), point)
		return err == nil && settled
	})
	a.config = a.whole
	a.save()
	a.reload()
	if got := types(t, a.events(`update catalog.bibs set title = 'first'`)); got != "bib.updated" {
		t.Errorf("with a profile: %q", got)
	}
}

// activate has another user of the machine try in vain what the agent's own user may.
func (a *administration) activate(t *testing.T) {
	state := func() string { return a.profileState("guarded") }
	eventually(t, patience, "the profile waits for its listener", func() bool { return strings.HasPrefix(state(), "pending ") && len(a.got("guarded", nil)) > 0 })
	a.events(`update catalog.bibs set title = 'unheard'`)
	for name, mode := range map[string]os.FileMode{"state": 0o700, "state/rowhook.sock": 0o600, "state/audit.jsonl": 0o600, "config.yaml": 0o600} {
		info, err := os.Stat(a.path(name))
		capturetest.Must(t, err)
		if info.Mode().Perm()&^mode != 0 {
			t.Errorf("%s is open to others: %v", name, info.Mode())
		}
	}
	a.stranger(t)
	if r := a.rowhook("profile", "activate", "guarded"); r.code != 1 || !strings.Contains(r.stderr, "does not contain the challenge's text") {
		t.Errorf("a listener that does not agree: %+v", r)
	}
	a.listening("guarded", true)
	if r := a.rowhook("profile", "activate", "guarded"); r.code != 0 {
		t.Fatalf("activate: %+v", r)
	}
	a.events(`update catalog.bibs set title = 'heard'`)
	if got := a.await("guarded", 1, "the record", posted("")); got[0].at(t, "bib", "title") != "heard" || !signedForAlma(got[0]) {
		t.Errorf("the first message: %s", got[0].body)
	}
	user, err := exec.Command("id", "-un").Output()
	capturetest.Must(t, err)
	var by []struct{ User, Command, Profile, Old, New string }
	capturetest.Must(t, json.Unmarshal([]byte(a.rowhook("profile", "list", "--history", "--json").stdout), &by))
	who := strings.TrimSpace(string(user))
	if !slices.ContainsFunc(by, func(l struct{ User, Command, Profile, Old, New string }) bool {
		return l.User == who && strings.HasPrefix(l.Command, "profile activate") && l.Profile == "guarded" && l.New == "active"
	}) {
		t.Errorf("the history does not say that %s activated the profile: %+v", who, by)
	}
}

// stranger tries as another user of the machine. Only root can be somebody else; for others the
// files' modes tell.
func (a *administration) stranger(t *testing.T) {
	if os.Getuid() != 0 {
		return
	}
	capturetest.Must(t, os.Chmod(a.dir, 0o755))
	defer os.Chmod(a.dir, 0o700)
	tool := a.path("rowhook") // the other one's way to it must be open
	capturetest.Must(t, os.Link(binary, tool))
	attempt := func(words ...string) {
		t.Helper()
		cmd := exec.Command(tool, "profile", "activate", "guarded", "-c", a.path("config.yaml"))
		cmd.Dir, cmd.Env = "/", a.env
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("another user may activate a profile: %s", out)
		}
		for _, word := range words {
			if !strings.Contains(string(out), word) {
				t.Errorf("another user is told %q (%v), without %q", out, err, word)
			}
		}
	}
	asked := len(a.got("guarded", nil))
	attempt("config.yaml", "permission denied")
	capturetest.Must(t, os.Chmod(a.path("config.yaml"), 0o644))
	defer os.Chmod(a.path("config.yaml"), 0o600)
	attempt("permission denied")
	if n := len(a.got("guarded", nil)); n > asked+1 { // the agent itself asks now and then
		t.Errorf("the listener was asked %d times meanwhile", n-asked)
	}
}

// profileState is how a profile stands, and how many events wait for it.
func (a *administration) profileState(code string) string {
	if p := a.listed(code); p != nil {
		return fmt.Sprint(p.State, " ", p.Backlog)
	}
	return "unlisted"
}

// refused changes the config so that it is wrong: check says where, reload refuses it, and the
// agent goes on by the one before.
func (a *administration) refused(t *testing.T) {
	good := a.config
	url := "url: " + a.receive.URL + "/guarded/hook"
	for i, tt := range []struct{ old, fresh, at, says string }{
		{"  guarded:\n", "  guarded listener:\n", "  guarded listener:", "profiles.guarded listener: a profile's code takes letters, digits, _ and - only"},
		{"  guarded:\n", "  everything:\n", "", "profiles"}, // a code is one profile's
		{"    " + url + "\n", "", "  guarded:", "profiles.guarded.url: a profile needs a URL"},
		{url, "url: http://guarded.example.org/hook\n    allow_networks: []", "url: http://guarded.example.org", "http:// is only for networks in allow_networks"},
		{url, "url: " + a.receive.URL + "/guarded/astray\n    timeuot: 1s", "timeuot", `did you mean "timeout"`},
		{url, "url: " + a.receive.URL + "/guarded/astray\n    message_type: html", "html", "profiles.guarded.message_type"},
		{url, url + "\n    identification_key: OE-1", "OE-1", "an identification key has other characters"},
	} {
		a.config = good
		a.edit(tt.old, tt.fresh)
		where := "config.yaml:"
		if tt.at != "" {
			where = fmt.Sprintf("config.yaml:%d:", strings.Count(a.config[:strings.Index(a.config, tt.at)], "\n")+1)
		}
		for _, command := range []string{"check", "reload"} {
			if r := a.rowhook(command); r.code != 2 || !strings.Contains(r.stderr, where) || !strings.Contains(r.stderr, tt.says) {
				t.Errorf("%s of %q: exit %d, want %s and %q in\n%s", command, tt.fresh, r.code, where, tt.says, r.stderr)
			}
		}
		title := fmt.Sprintf("refused %d", i)
		a.events(`update catalog.bibs set title = '` + title + `'`)
		if got := a.await("guarded", 1, title, posted(title)); got[0].path != "hook" {
			t.Errorf("%q: the message went to %s", tt.fresh, got[0].path)
		}
	}
	a.config = good
	a.edit("  guarded:\n", "  guarded listener:\n")
	a.edit("identification_key: PLANKEY", "identification_key: PLAN-KEY")
	a.edit(url, "timeuot: 1s")
	r := a.rowhook("check")
	if said := strings.Count(r.stderr, "rowhook: "); r.code != 2 || said < 3 {
		t.Errorf("check tells %d of three mistakes at once:\n%s", said, r.stderr)
	}
	a.config = good
	a.edit("    secret: ${ALMA_SECRET}\n    format: alma\n    concurrency: 1\n    subscriptions: [{events: [bib.*]}]", "    format: alma\n    concurrency: 1\n    subscriptions: [{events: [bib.*]}]")
	if r := a.rowhook("check"); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "guarded") || !strings.Contains(r.stdout+r.stderr, "secret") {
		t.Errorf("check of a profile without a secret: %+v", r)
	}
	// Mended, and moved: the listener at the new URL is asked first.
	a.config = good
	a.edit(url, "url: "+a.receive.URL+"/guarded/mended")
	a.reload()
	eventually(t, patience, "the listener agrees at its new URL", func() bool {
		return a.profileState("guarded") == "active 0" && len(a.got("guarded", func(r *request) bool { return strings.HasPrefix(r.path, "mended?challenge=") })) == 1
	})
	a.events(`update catalog.bibs set title = 'mended'`)
	if got := a.await("guarded", 1, "the record", posted(`"title":"mended"`)); got[0].path != "mended" {
		t.Errorf("the message went to %s", got[0].path)
	}
	if n := len(a.got("guarded", func(r *request) bool { return r.path == "astray" })); n != 0 {
		t.Errorf("%d requests went where a config sends them that was refused", n)
	}
}

// switched turns a listener from JSON to XML while a message of the old kind is retried: that one
// stays as it was.
func (a *administration) switched(t *testing.T) {
	eventually(t, patience, "the listener is active", func() bool { return a.profileState("switching") == "active 0" })
	var open bool
	a.answers(func(r *request) int {
		a.mu.Lock()
		defer a.mu.Unlock()
		if r.profile == "switching" && !open {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	defer a.answers(nil)
	a.events(anItem)
	eventually(t, patience, "a first attempt", func() bool { return len(a.got("switching", posted("ITEM_CREATED"))) > 0 })
	a.edit("message_type: json\n    retry: {schedule: [200ms", "message_type: xml\n    retry: {schedule: [200ms")
	a.reload()
	a.mu.Lock()
	open = true
	a.mu.Unlock()
	a.events(aMember, fmt.Sprintf(aLoan, 1))
	loan := a.await("switching", 1, "the loan", posted("LOAN_CREATED"))[0]
	if !bytes.HasPrefix(loan.body, []byte(`<?xml version="1.0"`)) || loan.header.Get("Content-Type") != "application/xml;charset=UTF-8" || !signedForAlma(loan) {
		t.Errorf("after the switch: %s", loan.body)
	}
	eventually(t, patience, "the item is delivered", func() bool { return a.profileState("switching") == "active 0" })
	items := a.got("switching", posted("ITEM_CREATED"))
	for _, r := range items {
		if !bytes.Equal(r.body, items[0].body) || r.header.Get("Content-Type") != "application/json;charset=UTF-8" || !signedForAlma(r) {
			t.Errorf("a retry after the switch: %s", r.body)
		}
	}
	// Old listeners read members that are null; newer samples have none.
	if body := string(items[0].body); !strings.Contains(body, `"holding":null,"portfolio":null,"representation":null`) {
		t.Errorf("explicit nulls: %s", body)
	}
	if body := string(a.await("alma", 1, "the item", posted("ITEM_CREATED"))[0].body); strings.Contains(body, `:null,"portfolio"`) || strings.Contains(body, `"holding":`) {
		t.Errorf("nulls are left out: %s", body)
	}
}

// subscribers are the profiles that get an event, by `check --events`.
func (a *administration) subscribers(event string) []string {
	a.tb.Helper()
	var list []struct {
		Type     string
		Profiles []string
	}
	r := a.rowhook("check", "--events", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		a.tb.Fatalf("check --events: %v: %+v", err, r)
	}
	var profiles []string
	for _, e := range list {
		if e.Type == event {
			profiles = append(profiles, e.Profiles...)
		}
	}
	slices.Sort(profiles)
	return profiles
}

// letter sends a letter of a kind, which the profiles with these codes must be told of, and nobody
// else.
func (a *administration) letter(kind, to string, codes ...string) {
	a.tb.Helper()
	a.events(`insert into app.letters (letter, primary_id, status) values ('` + kind + `', '` + to + `', 'sent')`)
	for _, code := range codes {
		a.await(letterReceivers[code], 1, "the letter to "+to, posted(`"`+to+`"`))
	}
	a.sent = append(a.sent, sentLetter{to, codes})
}

// sentLetter is a letter and who had to be told of it.
type sentLetter struct {
	to    string
	codes []string
}

// told holds all letters so far to those who were told of them.
func (a *administration) told(t *testing.T) {
	t.Helper()
	for _, letter := range a.sent {
		var got []string
		for code, receiver := range letterReceivers {
			if len(a.got(receiver, posted(`"`+letter.to+`"`))) > 0 {
				got = append(got, code)
			}
		}
		slices.Sort(got)
		slices.Sort(letter.codes)
		if !slices.Equal(got, letter.codes) {
			t.Errorf("the letter to %s went to %q, and should to %q", letter.to, got, letter.codes)
		}
	}
}

// letterReceivers are the profiles that may be told of letters, and their receivers.
var letterReceivers = map[string]string{"everything": "everything", "patrons": "patrons", "alma-listener": "alma"}

var letterEvents = map[string]string{
	"FulCancelRequestLetter": "letter.request_canceled", "FulUserBorrowingActivityLetter": "letter.borrowing_activity",
	"FulItemChangeDueDateLetter": "letter.due_date_changed", "FulPlaceOnHoldShelfLetter": "letter.on_hold_shelf",
}

// letters holds what check tells of who gets a letter to who got it, before and after a letter is
// switched on. A mistake elsewhere in the same file keeps all as it was.
func (a *administration) letters(t *testing.T) {
	agree := func(round string, want map[string]string) {
		t.Helper()
		for kind, profiles := range want {
			if told := strings.Join(a.subscribers(letterEvents[kind]), " "); told != profiles {
				t.Errorf("check says that %s goes to %q, and should to %q", kind, told, profiles)
			}
			a.letter(kind, round+kind[3:9], strings.Fields(profiles)...)
		}
	}
	const always = "alma-listener everything"
	agree("1", map[string]string{
		"FulCancelRequestLetter": always, "FulPlaceOnHoldShelfLetter": always + " patrons",
		"FulItemChangeDueDateLetter": "everything", "FulUserBorrowingActivityLetter": "everything",
	})
	challenges := func(r *request) bool { return r.method == http.MethodGet }
	asked := len(a.got("alma", challenges))
	a.edit("events: [letter.request_canceled, letter.on_hold_shelf]", "events: [letter.request_canceled, letter.due_date_changed]")
	whole := a.config
	a.edit("    when_inactive: skip\n", "    when_inactive: skp\n")
	if r := a.rowhook("reload"); r.code != 2 || !strings.Contains(r.stderr, "skp") {
		t.Fatalf("reload: %+v", r)
	}
	a.letter("FulItemChangeDueDateLetter", "refused-on", "everything")
	a.letter("FulPlaceOnHoldShelfLetter", "refused-off", "everything", "alma-listener", "patrons")
	a.config = whole
	a.save()
	a.reload()
	agree("2", map[string]string{
		"FulCancelRequestLetter": always, "FulPlaceOnHoldShelfLetter": "everything patrons",
		"FulItemChangeDueDateLetter": always, "FulUserBorrowingActivityLetter": "everything",
	})
	a.told(t)
	if n := len(a.got("alma", challenges)); n != asked {
		t.Errorf("the listener was asked again when a letter was switched on")
	}
}

// letterTypes switches letters in the application's own table, channel by channel, with no word to
// rowhook.
func (a *administration) letterTypes(t *testing.T) {
	a.exec(`insert into app.letter_types (letter, channel, enabled) values ('FulCancelRequestLetter', 'WEBHOOK', 'no'), ('FulCancelRequestLetter', 'EMAIL', 'yes'),
		('ExportInvtLetter', 'SUBMISSION', 'no'), ('FulPlaceOnHoldShelfLetter', 'WEBHOOK', 'yes'), ('FulPlaceOnHoldShelfLetter', 'SMS', 'yes')`)
	written := func() string {
		return types(t, a.events(`insert into app.letters (letter, channel, enabled) select letter, channel, enabled from app.letter_types`,
			`update app.letters set status = 'sent', sent_at = now() where status = 'pending'`))
	}
	turn := func(letter, channel, enabled string) {
		a.exec(fmt.Sprintf(`update app.letter_types set enabled = '%s', updated_by = 'oe', updated_at = now() where letter = '%s' and channel = '%s'`, enabled, letter, channel))
	}
	steps := []string{written()}
	turn("FulCancelRequestLetter", "WEBHOOK", "yes")
	turn("FulPlaceOnHoldShelfLetter", "WEBHOOK", "no")
	turn("FulCancelRequestLetter", "EMAIL", "no") // another channel's business
	turn("ExportInvtLetter", "SUBMISSION", "yes")
	steps = append(steps, written())
	turn("FulCancelRequestLetter", "WEBHOOK", "no")
	steps = append(steps, written())
	if want := []string{"letter.on_hold_shelf", "letter.request_canceled", ""}; !slices.Equal(steps, want) {
		t.Errorf("letters sent %q, want %q", steps, want)
	}
}

// enabled switches a profile off and on: what happened meanwhile is not sent later.
func (a *administration) enabled(t *testing.T) {
	login := func(id string) {
		a.events(`insert into app.sessions (session_id, user_id, user_name) values ('` + id + `', 'oe', 'Oe')`)
	}
	login("on")
	a.await("sometimes", 1, "the login", posted(`"session_id":"on"`))
	a.edit("    when_inactive: skip\n", "    when_inactive: skip\n    active: false\n")
	a.reload()
	login("off")
	a.edit("    active: false\n    subscriptions: [{events: [session.*]}]", "    subscriptions: [{events: [session.*]}]")
	a.reload()
	login("again")
	a.await("sometimes", 1, "the login", posted(`"session_id":"again"`))
	if n := len(a.got("sometimes", posted(""))); n != 2 {
		t.Errorf("a profile that was off meanwhile got %d requests, want 2", n)
	}
}

// chat posts to a channel's incoming webhook, and in words of one's own.
func (a *administration) chat(t *testing.T) {
	a.events(`insert into sharing.requests (request_id, direction, status) values ('rs-1', 'BORROWING', 'SENT')`)
	post := a.await("slack", 1, "the post", nil)[0]
	if text, _ := post.at(t, "text").(string); post.path != "services/T0/B0/xyz" || len(post.json(t)) != 1 || !strings.Contains(text, "rs-1") ||
		post.header.Get("Content-Type") != "application/json" || post.header.Get("webhook-signature") != "" {
		t.Errorf("%s %v %s", post.path, post.header, post.body)
	}
	if own := a.await("text", 1, "the post", nil)[0]; string(own.body) != `{"text":"Borrowing created","id":"rs-1"}` {
		t.Errorf("%s", own.body)
	}
}

// list holds the list of profiles to what was delivered.
func (a *administration) list(t *testing.T) {
	a.listening("guarded", false)
	a.edit("/guarded/mended", "/guarded/elsewhere")
	a.edit("    when_inactive: skip\n", "    when_inactive: skip\n    active: false\n")
	a.reload()
	if r := a.rowhook("profile", "pause", "patrons"); r.code != 0 {
		t.Fatalf("pause: %+v", r)
	}
	a.events(`update catalog.bibs set title = 'unheard again'`)
	a.letter("FulPlaceOnHoldShelfLetter", "paused", "everything")
	var got []listed
	eventually(t, patience, "the list says what waits", func() bool {
		got = a.profiles()
		return a.profileState("patrons") == "inactive 1"
	})
	receivers := map[string]string{"alma-listener": "alma"}
	for code, want := range map[string]string{
		"everything": "active native json", "alma-listener": "active alma json", "switching": "active alma xml", "guarded": "pending alma json",
		"sometimes": "inactive native json", "patrons": "inactive native json", "chat-hook": "active slack json",
	} {
		at := slices.IndexFunc(got, func(p listed) bool { return p.Profile == code })
		if at < 0 {
			t.Errorf("%s is not listed", code)
			continue
		}
		p := got[at]
		if state := p.State + " " + p.Format + " " + p.MessageType; state != want || "http://"+p.Host != a.receive.URL || len(p.Subscriptions) == 0 && code != "everything" {
			t.Errorf("%s is listed as %+v, want %s", code, p, want)
		}
		receiver := code
		if r := receivers[code]; r != "" {
			receiver = r
		}
		if came := a.got(receiver, posted("")); len(came) > 0 && p.LastSuccess.Before(came[0].came.Add(-time.Second)) {
			t.Errorf("%s is said to have got its last at %s", code, p.LastSuccess)
		}
	}
	const memo = "asked for by Mr Oe"
	table := a.rowhook("profile", "list").stdout
	at := slices.IndexFunc(got, func(p listed) bool { return p.Profile == "guarded" })
	if got[at].Name != "Guarded listener" || got[at].Description != memo || !strings.Contains(table, "Guarded listener") {
		t.Errorf("the list %+v\n%s", got[at], table)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		if strings.Contains(string(r.body), memo) || strings.Contains(r.path, memo) || strings.Contains(fmt.Sprint(r.header), memo) {
			t.Errorf("the memo went to %s: %s", r.profile, r.body)
		}
	}
}

// rate holds all profiles together to a number of requests in a time; what exceeds it waits, and
// nothing is dropped.
func (a *administration) rate(t *testing.T) {
	const n, every = 12, 50 * time.Millisecond
	a.edit("\nrate: \"\" ", "\nrate: 20/1s ")
	a.agent.term()
	a.start() // the rate is the agent's own
	begin := time.Now()
	var rows []string
	for i := range n {
		rows = append(rows, fmt.Sprintf(`('rate-%d', 'BORROWING', 'SENT')`, i))
	}
	a.exec(`insert into sharing.requests (request_id, direction, status) values ` + strings.Join(rows, ", "))
	var last time.Time
	for _, receiver := range []string{"everything", "alma", "slack", "text"} {
		for _, r := range a.await(receiver, n, "all at that rate", posted("rate-")) {
			if r.came.After(last) {
				last = r.came
			}
		}
	}
	if took, least := last.Sub(begin), (4*n-2)*every; took < least {
		t.Errorf("%d requests of four profiles took %s, at 20 a second they take %s", 4*n, took, least)
	}
}
