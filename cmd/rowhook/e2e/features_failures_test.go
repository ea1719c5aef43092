package e2e_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// failingHooks are a RakuRaku webhook with administrators, one that is slow, and a listener for
// Alma that is.
const failingHooks = everything + `
  plans-hook:
    url: https://planning.example.org/api/data
    format: rakuraku
    contacts: [ada@example.org, ben@example.org]
    alert: {every: 10s, text: rakuraku, manage_url: https://db.example.org/rkwaWebhookManager}
    retry: {schedule: [10ms, 10ms]}
    concurrency: 1
    subscriptions: [{tables: [app.plans], operations: {not: ['*.webapi']}}]

  hasty-hook:
    url: https://hasty.example.org/api/data
    format: rakuraku
    timeout: 300ms
    contacts: [cyd@example.org]
    alert: {text: rakuraku}
    retry: {schedule: [10ms]}
    subscriptions: [{tables: [app.approvals]}]

  slow-listener:
    url: https://slow.example.org/hook
    secret: ${ALMA_SECRET}
    format: alma
    subscriptions: [{events: [bib.*]}]
`

// TestFeatureFailures: who is told of webhooks that fail, in which words and how often, and what
// becomes of those.
func TestFeatureFailures(t *testing.T) {
	t.Parallel()
	box := newPostbox(t)
	host, port, err := net.SplitHostPort(box.addr)
	capturetest.Must(t, err)
	changes := withProfiles(failingHooks)
	changes["\n    host: \"\" "] = "\n    port: " + port + "\n    from: rowhook@example.org\n    host: " + host + " "
	changes["\n    tls: starttls "] = "\n    tls: none "
	l := newLibrary(t, changes)
	l.presets()
	f := &failures{watcher: &watcher{library: l.open(), profile: "everything"}, box: box}
	t.Run("B-63 B-64 B-65 mails to administrators", func(t *testing.T) { l.tb = t; f.mails(t) })
	t.Run("R-04 mails of the same webhook", func(t *testing.T) { l.tb = t; f.suppressed(t) })
	t.Run("B-66 the failed ones", func(t *testing.T) { l.tb = t; f.mended(t) })
	t.Run("E-01 R-01 time that an answer may take", func(t *testing.T) { l.tb = t; f.slow(t) })
}

type failures struct {
	*watcher
	box *postbox
}

// outcomes are the outcomes of a profile's requests so far, by the delivery log.
func (f *failures) outcomes(profile string) (lines []failureLine) {
	f.tb.Helper()
	r := f.rowhook("log", "--json", "--profile", profile)
	for text := range strings.Lines(r.stdout) {
		var line failureLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			f.tb.Fatalf("log: %v: %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

type failureLine struct {
	Time            time.Time
	Next            time.Time `json:"next_attempt"`
	Outcome, Reason string
	Duration        float64 `json:"duration_ms"`
}

// dead waits until so many deliveries of a profile are given up.
func (f *failures) dead(profile string, n int) {
	f.tb.Helper()
	eventually(f.tb, patience, fmt.Sprintf("%d deliveries to %s are given up", n, profile), func() bool {
		return len(slices.DeleteFunc(f.outcomes(profile), func(l failureLine) bool { return l.Outcome != "dead" })) == n
	})
}

func plan(id int) string {
	return fmt.Sprintf(`insert into app.plans (plan_id, title, department) values (%d, 'secret plan %d', 'OTHER')`, id, id)
}

// mails has a receiver answer 204, which is no success here: when all tries are made every
// administrator is told.
func (f *failures) mails(t *testing.T) {
	f.answers(func(r *request) int {
		if r.profile == "planning" {
			return http.StatusNoContent
		}
		return http.StatusOK
	})
	f.events(plan(1))
	f.dead("plans-hook", 1)
	if tries := f.got("planning", nil); len(tries) != 3 {
		t.Errorf("%d tries, want 3: the first and one for each wait of the schedule", len(tries))
	}
	text := regexp.MustCompile(`^\[rowhook\] Webhook送信エラー Purchase plans\n(ada|ben)@example\.org\n<< このメールは rowhook が自動発信しています >>

Webhook送信でエラーが発生しました。
送信に失敗したWebhookは、Webhook管理画面 から確認してください。
https://db\.example\.org/rkwaWebhookManager\?rkwa_appcode=APP_0100

送信日時:(\d{4}/[1-9]\d?/[1-9]\d? (?:0|[1-9]\d?):\d\d:\d\d)
送信先URL:` + regexp.QuoteMeta(f.receive.URL) + `/planning/api/data
レスポンスステータス:204
種別:データ登録
アプリコード:APP_0100
アプリ名:Purchase plans
$`)
	eventually(t, patience, "both administrators are told", func() bool { return len(f.box.find("example.org\n<<")) == 2 })
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	capturetest.Must(t, err)
	var to []string
	for _, mail := range f.box.find("example.org\n<<") {
		mail = strings.ReplaceAll(mail, "\r\n", "\n")
		fields := text.FindStringSubmatch(mail)
		if fields == nil {
			t.Fatalf("the mail is\n%s\nand should fit\n%s", mail, text)
		}
		to = append(to, fields[1])
		last := f.got("planning", nil)[2].came
		if at, err := time.ParseInLocation("2006/1/2 15:04:05", fields[2], tokyo); err != nil || at.Sub(last).Abs() > time.Minute {
			t.Errorf("sent at %s (%v), which was at %s", fields[2], err, last)
		}
		if strings.Contains(mail, "secret plan") {
			t.Errorf("the mail tells the row:\n%s", mail)
		}
	}
	slices.Sort(to)
	if !slices.Equal(to, []string{"ada", "ben"}) {
		t.Errorf("told were %q", to)
	}
}

// suppressed fails more of the same webhook: within the interval nobody is told, and the next mail
// counts them.
func (f *failures) suppressed(t *testing.T) {
	f.events(plan(2), plan(3))
	f.dead("plans-hook", 3)
	elapse(t, 10*time.Second, "the interval has not passed, and no mail comes", func() bool { return len(f.box.find("ada@example.org\n<<")) == 1 })
	f.events(plan(4))
	f.dead("plans-hook", 4)
	eventually(t, patience, "the next failure is told, with those before it", func() bool {
		return len(f.box.find("ada@example.org\n<<", "通知を省略したエラー:2\r\n")) == 1
	})
	if n := len(f.box.find("ada@example.org\n<<")); n != 2 {
		t.Errorf("%d mails for four failures, want 2", n)
	}
}

// mended lists the failed ones, shows one, sends it again once its receiver is well, and drops
// another.
func (f *failures) mended(t *testing.T) {
	list := f.failed()
	if len(list) != 4 || list[0].Type != "plan.inserted" {
		t.Fatalf("failed list: %+v", list)
	}
	first := f.got("planning", nil)[0]
	if shown := f.rowhook("failed", "show", list[0].ID); !strings.Contains(shown.stdout, "204") || !strings.Contains(shown.stdout, "secret plan 1") {
		t.Errorf("failed show: %+v", shown)
	}
	f.answers(nil)
	before := len(f.got("planning", nil))
	if r := f.rowhook("failed", "discard", list[1].ID); r.code != 0 {
		t.Errorf("failed discard: %+v", r)
	}
	if r := f.rowhook("failed", "retry", "--profile", "plans-hook", "--all"); r.code != 0 {
		t.Errorf("failed retry: %+v", r)
	}
	eventually(t, patience, "the others are sent again", func() bool { return len(f.got("planning", nil)) == before+3 })
	f.events(plan(5))
	f.await("planning", 1, "the next plan", posted("secret plan 5"))
	again := f.got("planning", nil)[before:]
	if len(again) != 4 || string(again[0].body) != string(first.body) || slices.ContainsFunc(again, posted("secret plan 2")) {
		t.Errorf("sent again were %d requests, the first %s", len(again), again[0].body)
	}
	eventually(t, patience, "none are left", func() bool { return len(f.failed()) == 0 })
}

// failed are the dead letters of the webhook with administrators.
func (f *failures) failed() []struct{ ID, Type string } {
	f.tb.Helper()
	var list struct{ Items []struct{ ID, Type string } }
	r := f.rowhook("failed", "list", "--json", "--profile", "plans-hook")
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil {
		f.tb.Fatalf("failed list: %v: %+v", err, r)
	}
	return list.Items
}

// slow has receivers that do not answer: after its profile's time, five seconds for Alma's, a
// request has failed.
func (f *failures) slow(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	f.answers(func(r *request) int {
		if r.profile == "slow" || r.profile == "hasty" {
			<-hold
		}
		return http.StatusOK
	})
	defer f.answers(nil)
	f.events(aBib, `insert into app.approvals (plan_id, step, status, user_id, user_name) values (1, 'apply', 'done', 'oe', 'Oe')`)
	for profile, want := range map[string]struct {
		limit float64 // milliseconds
		next  time.Duration
	}{"slow-listener": {5000, time.Hour}, "hasty-hook": {300, 10 * time.Millisecond}} {
		var lines []failureLine
		eventually(t, patience, profile+" has taken too long", func() bool { lines = f.outcomes(profile); return len(lines) > 0 })
		l := lines[0]
		if l.Reason != "timeout" || l.Outcome != "retrying" || l.Duration < want.limit || l.Duration > want.limit+5000 ||
			l.Next.Sub(l.Time) < want.next || l.Next.Sub(l.Time) > want.next+5*time.Second {
			t.Errorf("%s: %+v", profile, l)
		}
	}
	eventually(t, patience, "the mail says so in words", func() bool {
		return len(f.box.find("cyd@example.org", "レスポンスステータス:タイムアウト\r\n")) == 1
	})
}
