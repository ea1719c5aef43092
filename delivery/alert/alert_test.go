package alert

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var at = time.Date(2026, 1, 2, 0, 4, 5, 0, time.UTC)

func profile(on, text string) delivery.ProfileConfig {
	p := format.Products().Defaults("native")
	p.Code, p.Name = "desk", "Circulation desk"
	p.Contacts = []string{"ada@example.org", "ben@example.org"}
	p.Alert.On, p.Alert.Text, p.Alert.Every = on, text, 15*time.Minute
	return p
}

func failure() delivery.Failure {
	return delivery.Failure{
		Profile: "desk", Time: at, Outcome: delivery.OutcomeRetrying, Event: "evt_1", Type: "loan.returned", Op: "update",
		Code: "APP_0200", Title: "貸出管理", URL: "http://example.com/api/data", Attempt: 1, Attempts: 4,
		Status: 404, Reason: "status_4xx", Response: "no such\npage", Next: at.Add(time.Hour),
	}
}

func mailer(config Config, p delivery.ProfileConfig) *Mailer {
	return New(config, []delivery.ProfileConfig{p}, Options{
		Logger: slog.New(slog.DiscardHandler), Products: format.Products(), Source: func() string { return "library" }, Environment: func() string { return "production" },
		States: func() ([]delivery.ProfileStatus, error) { return nil, nil },
	})
}

// TestMails holds every mail to its golden, as a real server took it.
func TestMails(t *testing.T) {
	t.Parallel()
	given := failure()
	given.Outcome, given.Next, given.Attempt = delivery.OutcomeDead, time.Time{}, 4
	unbounded := failure()
	unbounded.Attempts, unbounded.Status, unbounded.Reason, unbounded.Error, unbounded.Response = 0, 0, "timeout", "no reply within 5s", ""
	refused := failure()
	refused.Status, refused.Reason, refused.Error, refused.Op = 0, "refused", "127.0.0.1:80: connection refused", "insert"
	renamed, renamedEvent := "LOAN", "LOAN_CLAIMED_RETURNED"
	named := failure()
	named.As = map[string]*string{"action": &renamed, "event": &renamedEvent}
	deleted := given
	deleted.Op = "delete"
	long := failure()
	long.Response = strings.Repeat("あ", 300)
	sick := delivery.ProfileStatus{
		Profile: "desk", State: "waiting", Reason: "status_5xx", LastReason: "status_5xx", LastStatus: 503, Since: at, NextAttempt: at.Add(time.Minute),
		BacklogEvents: 1200, Oldest: at.Add(-time.Minute), Dead: 2,
	}
	gone := delivery.ProfileStatus{Profile: "desk", State: "inactive", Reason: "status_4xx", LastReason: "status_4xx", LastStatus: 410, Since: at, BacklogEvents: 1, Oldest: at}
	pending := delivery.ProfileStatus{Profile: "desk", State: "pending", Reason: "challenge", Problem: "the reply does not contain the challenge's text", Since: at, NextAttempt: at.Add(time.Minute)}
	well := delivery.ProfileStatus{Profile: "desk", State: "active", BacklogEvents: 1180, Oldest: at.Add(-time.Hour)}
	fails := func(f delivery.Failure, left int64) func(*Mailer, *watched) (string, string) {
		return func(m *Mailer, w *watched) (string, string) {
			w.left, w.since = left, at.Add(-time.Hour)
			return m.failureMail(w, &f)
		}
	}
	for _, tt := range []struct {
		name, text string
		make       func(*Mailer, *watched) (subject, text string)
	}{
		{"plain-attempt", "plain", fails(failure(), 0)},
		{"plain-final", "plain", fails(given, 3)},
		{"plain-timeout", "plain", fails(unbounded, 0)},
		{"alma-attempt", "alma", fails(failure(), 0)},
		{"alma-final", "alma", fails(given, 3)},
		{"alma-refused", "alma", fails(refused, 0)},
		{"alma-named", "alma", fails(named, 0)},
		{"alma-long-answer", "alma", fails(long, 0)},
		{"rakuraku-update", "rakuraku", fails(given, 0)},
		{"rakuraku-delete", "rakuraku", fails(deleted, 3)},
		{"rakuraku-timeout", "rakuraku", fails(unbounded, 0)},
		{"rakuraku-insert-refused", "rakuraku", fails(refused, 0)},
		{"state-waiting", "plain", func(m *Mailer, w *watched) (string, string) { return m.stateMail(w, &sick) }},
		{"state-inactive", "plain", func(m *Mailer, w *watched) (string, string) { return m.stateMail(w, &gone) }},
		{"state-pending", "plain", func(m *Mailer, w *watched) (string, string) { return m.stateMail(w, &pending) }},
		{"state-recovered", "plain", func(m *Mailer, w *watched) (string, string) { return m.recoveryMail(w, &well) }},
		{"state-dead-letters", "plain", func(m *Mailer, w *watched) (string, string) {
			w.letters = 2
			return m.lettersMail(w, &sick)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t, false)
			p := profile("attempt", tt.text)
			p.Alert.ManageURL = "https://db.example.org/manage"
			m := mailer(server.config(t), p)
			w := m.profiles["desk"]
			subject, text := tt.make(m, w)
			m.post(w, subject, text)
			if err := m.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := server.mails()
			if len(got) != 2 || got[0].to != "ada@example.org" || got[1].to != "ben@example.org" || got[0].text != got[1].text || !server.secure {
				t.Fatalf("got %+v", got)
			}
			h := got[0].header
			if got[0].from != "rowhook@example.org" || h.Get("From") != "<rowhook@example.org>" || h.Get("To") != "<ada@example.org>" ||
				h.Get("Auto-Submitted") != "auto-generated" || h.Get("Content-Type") != "text/plain; charset=UTF-8" || h.Get("Date") == "" || h.Get("Message-Id") == "" {
				t.Errorf("header %v", h)
			}
			golden(t, tt.name, "Subject: "+got[0].subject+"\n\n"+got[0].text)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestRakurakuBytes holds the mail to the product's, byte for byte.
func TestRakurakuBytes(t *testing.T) {
	t.Parallel()
	p := profile("final", "rakuraku")
	p.Alert.ManageURL = "https://db.example.org/rkwaWebhookManager"
	m := mailer(Config{}, p)
	f := failure()
	f.Op = "insert"
	subject, text := m.failureMail(m.profiles["desk"], &f)
	want := `<< このメールは rowhook が自動発信しています >>

Webhook送信でエラーが発生しました。
送信に失敗したWebhookは、Webhook管理画面 から確認してください。
https://db.example.org/rkwaWebhookManager?rkwa_appcode=APP_0200

送信日時:2026/1/2 9:04:05
送信先URL:http://example.com/api/data
レスポンスステータス:404
種別:データ登録
アプリコード:APP_0200
アプリ名:貸出管理
`
	if subject != "[rowhook] Webhook送信エラー 貸出管理" || text != want {
		t.Errorf("subject %q, text\n%s", subject, text)
	}
}

// queued is the subjects of what waits for the server, one of each mail.
func queued(m *Mailer) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var subjects []string
	for _, item := range m.queue {
		if item.to == "ada@example.org" {
			subjects = append(subjects, strings.TrimPrefix(item.subject, "[rowhook] desk: "))
		}
	}
	m.queue = nil
	return subjects
}

func TestOnAndEvery(t *testing.T) {
	t.Parallel()
	dead := failure()
	dead.Outcome, dead.Attempt, dead.Next = delivery.OutcomeDead, 4, time.Time{}
	for _, tt := range []struct {
		on    string
		every time.Duration
		want  []string
		left  int64
	}{
		{"attempt", 15 * time.Minute, []string{"delivery failed, attempt 1 of 4", "delivery given up after attempt 4 of 4"}, 1},
		{"attempt", 0, []string{"delivery failed, attempt 1 of 4", "delivery failed, attempt 1 of 4", "delivery given up after attempt 4 of 4"}, 0},
		{"final", 15 * time.Minute, []string{"delivery given up after attempt 4 of 4"}, 0},
		{"state", 15 * time.Minute, nil, 0},
	} {
		t.Run(fmt.Sprint(tt.on, tt.every), func(t *testing.T) {
			t.Parallel()
			p := profile(tt.on, "plain")
			p.Alert.Every = tt.every
			m := mailer(Config{}, p)
			first, second, third := failure(), failure(), dead
			second.Time = at.Add(14 * time.Minute)
			third.Time = at.Add(16 * time.Minute)
			for _, f := range []delivery.Failure{first, second, third} {
				m.failed(f)
			}
			if s := m.Status(); s.Suppressed != tt.left {
				t.Errorf("suppressed %d, want %d", s.Suppressed, tt.left)
			}
			if tt.left > 0 {
				m.mu.Lock()
				if text := m.queue[len(m.queue)-1].text; !strings.Contains(text, "1 more failure since 2026-01-02T00:18:05Z was not mailed (alert.every: 15m).\n") {
					t.Errorf("text\n%s", text)
				}
				m.mu.Unlock()
			}
			if got := queued(m); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("mails %q", got)
			}
		})
	}
}

// states is what a mailer is told of its profile.
type states struct {
	mu  sync.Mutex
	now delivery.ProfileStatus
}

func (s *states) set(now delivery.ProfileStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

func (s *states) read() ([]delivery.ProfileStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return []delivery.ProfileStatus{s.now}, nil
}

func TestStatesAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := mailer(Config{SMTP: SMTPConfig{Host: "mail.example.org"}}, profile("state", "plain"))
		s := &states{}
		m.options.States = s.read
		looks := func(state delivery.ProfileStatus, d time.Duration) []string {
			state.Profile = "desk"
			s.set(state)
			for range d / sampleInterval {
				time.Sleep(sampleInterval)
				m.look()
			}
			return queued(m)
		}
		active := delivery.ProfileStatus{State: "active"}
		waiting := func() delivery.ProfileStatus {
			return delivery.ProfileStatus{State: "waiting", Reason: "timeout", LastReason: "timeout", Since: time.Now()}
		}
		expect := func(what string, got []string, want ...string) {
			t.Helper()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		expect("well", looks(active, time.Minute))
		expect("a moment's trouble", looks(waiting(), 8*time.Second))
		expect("well again", looks(active, time.Minute))
		expect("trouble", looks(waiting(), time.Hour), "deliveries wait: timeout")
		expect("the end of it", looks(active, time.Minute), "deliveries go on")
		gone := delivery.ProfileStatus{State: "inactive", Reason: "status_4xx", LastReason: "status_4xx", LastStatus: 410, Since: time.Now(), Attention: true}
		expect("gone", looks(gone, time.Hour), "inactive: status 410")
		expect("the end of it", looks(active, time.Minute), "deliveries go on")
		paused := delivery.ProfileStatus{State: "inactive", Reason: "operator", Since: time.Now(), Attention: true}
		expect("paused by a person", looks(paused, time.Hour))
		letters := active
		letters.Dead = 3
		expect("dead letters", looks(letters, time.Minute), "given up: 3 events")
		letters.Dead = 5
		expect("more of them at once", looks(letters, time.Minute))
		expect("told after every", looks(letters, time.Hour), "given up: 2 events")
		letters.Dead = 0
		expect("retried", looks(letters, time.Hour))
		expect("a flap", append(looks(waiting(), time.Minute), looks(active, time.Minute)...), "deliveries wait: timeout", "deliveries go on")
		expect("another within every", append(looks(waiting(), time.Minute), looks(active, time.Minute)...))
		throttled := delivery.ProfileStatus{State: "waiting", Reason: "status_4xx", LastReason: "status_4xx", LastStatus: 429, Since: time.Now()}
		expect("throttled", looks(throttled, 4*time.Minute))
	})
}

func TestFailuresNeverWait(t *testing.T) {
	t.Parallel()
	m := mailer(Config{SMTP: SMTPConfig{Host: "mail.example.org"}}, profile("attempt", "plain"))
	for range 2 * maxFailures {
		m.Failed(failure())
	}
	if s := m.Status(); s.Dropped != maxFailures {
		t.Errorf("dropped %d", s.Dropped)
	}
	w := m.profiles["desk"]
	for range 2 * maxMails {
		m.post(w, "subject", "text")
	}
	if s := m.Status(); s.Waiting != maxMails || s.Dropped != maxFailures+3*maxMails {
		t.Errorf("status %+v", s)
	}
}

// A server that is down is tried again and told of; what waited is sent.
func TestServerDown(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, false)
	m := mailer(server.config(t), profile("attempt", "plain"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.config.SMTP.Port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close() // nobody listens there
	m.failed(failure())
	if err := m.flush(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Fatalf("flush: %v", err)
	} else {
		m.unsent(err, time.Minute)
	}
	if s := m.Status(); s.Waiting != 2 || s.Error == "" || s.Since.IsZero() || s.NextTry.IsZero() || strings.Contains(s.Error, password) {
		t.Errorf("status %+v", s)
	}
	m.config = server.config(t)
	if err := m.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Status(); s.Waiting != 0 || s.Error != "" || s.Sent != 2 || len(server.mails()) != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestOneRefusedContactKeepsNobodyElseFromTheirs(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, false)
	server.refuse["ada@example.org"] = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	m := mailer(server.config(t), profile("attempt", "plain"))
	m.failed(failure())
	if err := m.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := server.mails(); len(got) != 1 || got[0].to != "ben@example.org" {
		t.Errorf("got %+v", got)
	}
	if s := m.Status(); s.Sent != 1 || s.Refused != 1 || s.Waiting != 0 {
		t.Errorf("status %+v", s)
	}
	server.mu.Lock()
	server.refuse["ada@example.org"] = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "later"}
	server.mu.Unlock()
	later := failure()
	later.Time = at.Add(time.Hour)
	m.failed(later)
	if err := m.flush(t.Context()); err == nil {
		t.Error("what is to be tried later was taken for done")
	}
	if s := m.Status(); s.Waiting != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"unknown authority": func(c *Config) { c.SMTP.CAFile = "" },
		"another's certificate": func(c *Config) {
			c.SMTP.CAFile = newMailServer(t, false).caFile
		},
		"no STARTTLS":    func(c *Config) { c.SMTP.Port = newMailServer(t, true).config(t).SMTP.Port },
		"wrong password": func(c *Config) { c.SMTP.Password = "wrong" },
		"no CA file":     func(c *Config) { c.SMTP.CAFile = "testdata/none.pem" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t, false)
			config := server.config(t)
			change(&config)
			m := mailer(config, profile("attempt", "plain"))
			m.failed(failure())
			if err := m.flush(t.Context()); err == nil || len(server.mails()) != 0 {
				t.Errorf("sent %d, %v", len(server.mails()), err)
			} else if strings.Contains(err.Error(), password) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestWithoutTLSWhereItIsMeant(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, true)
	config := server.config(t)
	config.SMTP.TLS, config.SMTP.Username, config.SMTP.Password = "none", "", ""
	m := mailer(config, profile("attempt", "plain"))
	m.failed(failure())
	if err := m.flush(t.Context()); err != nil || len(server.mails()) != 2 {
		t.Errorf("sent %d, %v", len(server.mails()), err)
	}
}

// Run sends what it is told of, and at its end what is left.
func TestRun(t *testing.T) {
	t.Parallel()
	server := newMailServer(t, false)
	p := profile("attempt", "plain")
	p.Alert.Every = 0
	m := mailer(server.config(t), p)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	m.Failed(failure())
	deadline := time.Now().Add(30 * time.Second)
	for len(server.mails()) < 2 && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	m.Failed(failure())
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := server.mails(); len(got) != 4 {
		t.Errorf("%d mails", len(got))
	}
	m.Failed(delivery.Failure{Profile: "nobody's"})
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		change func(*SMTPConfig)
		want   string
	}{
		{func(*SMTPConfig) {}, ""},
		{func(s *SMTPConfig) { *s = SMTPConfig{TLS: "starttls"} }, ""},
		{func(s *SMTPConfig) { s.Host = "" }, "alerts.smtp.host: missing"},
		{func(s *SMTPConfig) { s.From = "" }, "alerts.smtp.from: mails need a sender"},
		{func(s *SMTPConfig) { s.Port = 70000 }, "alerts.smtp.port: 70000 is no port"},
		{func(s *SMTPConfig) { s.Password = "" }, "alerts.smtp.username: a login needs a password"},
		{func(s *SMTPConfig) { s.TLS = "none" }, "alerts.smtp.tls: a password would be sent in the clear"},
	} {
		c := Config{SMTP: SMTPConfig{Host: "mail.example.org", TLS: "starttls", From: "rowhook@example.org", Username: "a", Password: "b"}}
		tt.change(&c.SMTP)
		err := c.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
		var at interface{ ConfigPath() []string }
		if err != nil && (!errors.As(err, &at) || len(at.ConfigPath()) != 3) {
			t.Errorf("%v leads nowhere", err)
		}
	}
	for tls, port := range map[string]int{"starttls": 587, "implicit": 465, "none": 25} {
		if got := (&SMTPConfig{TLS: tls}).port(); got != port {
			t.Errorf("%s: port %d", tls, got)
		}
	}
}
