package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"rowhook/capture/capturetest"
)

// postbox is a real mail server that keeps what it takes.
type postbox struct {
	addr string

	mu   sync.Mutex
	got  []string // subject, recipient and text
	busy bool     // takes nothing at present
}

func newPostbox(t *testing.T) *postbox {
	t.Helper()
	p := &postbox{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	p.addr = l.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &postSession{box: p}, nil }))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with the test
	}()
	t.Cleanup(func() {
		_ = l.Close()
		_ = server.Close()
		<-served
	})
	return p
}

type postSession struct {
	box *postbox
	to  string
}

func (s *postSession) Mail(string, *smtp.MailOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.busy {
		return &smtp.SMTPError{Code: 451, Message: "later"}
	}
	return nil
}

func (s *postSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *postSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	msg, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(msg.Body))
	if err != nil {
		return err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
	if err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.got = append(s.box.got, fmt.Sprintf("%s\n%s\n%s", subject, s.to, text))
	return nil
}

func (s *postSession) Reset()        {}
func (s *postSession) Logout() error { return nil }

// find returns the mails with all these words.
func (p *postbox) find(words ...string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, m := range p.got {
		fits := true
		for _, word := range words {
			fits = fits && strings.Contains(m, word)
		}
		if fits {
			found = append(found, m)
		}
	}
	return found
}

// Mails come of real failures: each attempt, each delivery given up, and a profile that turns bad
// and recovers; while the mail server takes nothing they wait, and status says so. None holds row
// data, and deliveries do not wait for any of it.
func TestMailOfFailures(t *testing.T) {
	t.Parallel()
	box := newPostbox(t)
	w := newWorld(t, capturetest.Options{})
	host, port, err := net.SplitHostPort(box.addr)
	capturetest.Must(t, err)
	w.conf.top = fmt.Sprintf("alerts:\n  smtp: {host: %s, port: %s, tls: none, from: rowhook@example.org}\n", host, port)
	profile := func(code, more string) string { return w.usualProfile(code) + "    " + more + "\n" }
	w.conf.profiles = profile("attempt", "contacts: [ada@example.org, ben@example.org]\n    alert: {on: attempt, text: alma, every: 0s}\n    retry: {schedule: [50ms, 50ms]}") +
		profile("final", "contacts: [cyd@example.org]\n    alert: {on: final, text: rakuraku, manage_url: https://db.example.org/manage}\n    replies: {404: dead}") +
		profile("state", "contacts: [dan@example.org]") + profile("well", "contacts: [eve@example.org]\n    alert: {on: attempt}")
	w.conf.profiles = strings.ReplaceAll(w.conf.profiles, "    retry: {initial: 50ms, max: 400ms}\n    timeout: 5s\n    contacts: [ada", "    timeout: 5s\n    contacts: [ada")
	w.hook.answer(func(a arrival) reply {
		switch a.profile {
		case "attempt":
			return reply{status: 500, body: func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, "no such row: "+a.note) }}
		case "final":
			return reply{status: 404}
		case "state":
			return reply{status: 502}
		}
		return reply{}
	})
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "well", 1, patience)
	eventually(t, patience, "each attempt is told to each contact", func() bool {
		for n := 1; n <= 3; n++ {
			for _, to := range []string{"ada", "ben"} {
				if len(box.find(fmt.Sprintf("[rowhook] Webhook failed: attempt (%d/3)\n%s@example.org\nProfile: attempt", n, to))) != 1 {
					return false
				}
			}
		}
		return true
	})
	if last := box.find("(3/3)")[0]; !strings.Contains(last, "Next attempt: given up") || !strings.Contains(last, "Status: 500\r\nAnswer: \r\n") {
		t.Errorf("the last mail, whose answer repeats the row:\n%s", last)
	}
	eventually(t, patience, "the one that is given up is told", func() bool {
		return len(box.find("cyd@example.org", "https://db.example.org/manage?rkwa_appcode=", "レスポンスステータス:404", "種別:データ登録")) == 1
	})
	w.insert(2, 3, 4, 5, 6, 7) // an event that fails alone says nothing of its endpoint
	eventually(t, patience, "the profile that turned bad is told", func() bool {
		return len(box.find("[rowhook] state: deliveries wait: status 502\ndan@example.org", "Backlog:      7 events", "Oldest event: ")) == 1
	})
	box.mu.Lock()
	box.busy = true
	box.mu.Unlock()
	w.hook.answer(nil)
	eventually(t, patience, "status says that mail waits", func() bool {
		r := w.rowhook("status")
		return strings.Contains(r.stdout, "mail cannot be sent since")
	})
	w.hook.wait(t, "state", 7, patience)
	box.mu.Lock()
	box.busy = false
	box.mu.Unlock()
	eventually(t, patience, "its recovery is told", func() bool {
		return len(box.find("[rowhook] state: deliveries go on\ndan@example.org", "Backlog:      0 events")) == 1
	})
	a.term()
	if n := len(box.find("eve@example.org")); n != 0 {
		t.Errorf("%d mails about a profile that is well", n)
	}
	note := w.value(`select note from proof.rows where id = 1`)
	if n := len(box.find(note)); note == "" || n != 0 {
		t.Errorf("%d mails hold row data (%q)", n, note)
	}
}
