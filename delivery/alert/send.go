package alert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wneessen/go-mail"
)

// Waits for a mail server that does not take mails, and what one try may take.
const (
	firstWait   = 5 * time.Second
	longestWait = 5 * time.Minute
	sendTimeout = 30 * time.Second
)

// send sends what is queued until ctx ends and wake is closed.
func (m *Mailer) send(ctx context.Context, wake <-chan struct{}) {
	failures := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		open := true
		select {
		case _, open = <-wake:
		case <-timer.C:
		}
		if !open {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastChance)
			_ = m.flush(last) // what is left is lost with the agent; the delivery log has it all
			cancel()
			return
		}
		if failures > 0 && time.Now().Before(m.Status().NextTry) {
			continue
		}
		if err := m.flush(ctx); err != nil && ctx.Err() == nil {
			failures++
			wait := min(firstWait<<min(failures-1, 10), longestWait)
			m.unsent(err, wait)
			timer.Reset(wait)
			continue
		}
		failures = 0
	}
}

// unsent takes note that the server does not take mails.
func (m *Mailer) unsent(err error, wait time.Duration) {
	now := time.Now()
	m.mu.Lock()
	news := m.stats.Error == ""
	if news {
		m.stats.Since = now
	}
	m.stats.Error, m.stats.NextTry = err.Error(), now.Add(wait)
	waiting := len(m.queue)
	m.mu.Unlock()
	if news {
		m.options.Logger.Warn("mail cannot be sent, and is tried again", "err", err, "waiting", waiting)
	}
}

// flush sends what is queued. An error means that the server takes nothing at present; a mail that
// it refuses for good is left out.
func (m *Mailer) flush(ctx context.Context) error {
	if m.next() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	client, err := m.client()
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return fmt.Errorf("reach the mail server %s: %w", m.smtp().Host, err)
	}
	defer client.Close()
	for item := m.next(); item != nil; item = m.next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		msg, err := m.message(item)
		if err == nil {
			err = client.Send(msg)
		}
		var refused *mail.SendError
		if err != nil && (!errors.As(err, &refused) || refused.IsTemp() || refused.ErrorCode() == 0) {
			return fmt.Errorf("send mail to %s: %w", item.to, err)
		}
		m.done(item, err)
	}
	m.mu.Lock()
	recovered := m.stats.Error != ""
	m.stats.Error, m.stats.Since, m.stats.NextTry = "", time.Time{}, time.Time{}
	m.mu.Unlock()
	if recovered {
		m.options.Logger.Info("mail is sent again")
	}
	return nil
}

// next returns the mail that is to go next; nil when there is none.
func (m *Mailer) next() *mailItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil
	}
	item := m.queue[0]
	return &item
}

// done takes the first mail out of the queue; err is why it was refused for good.
func (m *Mailer) done(item *mailItem, err error) {
	m.mu.Lock()
	m.queue = m.queue[1:]
	if err == nil {
		m.stats.Sent++
	} else {
		m.stats.Refused++
	}
	m.mu.Unlock()
	if err != nil {
		m.options.Logger.Warn("the mail server refuses a mail", "to", item.to, "err", err)
	}
}

// client makes a connection's settings. Certificates are verified unless the config has no TLS at
// all.
func (m *Mailer) client() (*mail.Client, error) {
	s := m.smtp()
	settings := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read alerts.smtp.ca_file: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("alerts.smtp.ca_file %s holds no certificate", s.CAFile)
		}
	}
	options := []mail.Option{mail.WithTimeout(sendTimeout), mail.WithTLSConfig(settings)}
	switch s.TLS {
	case "implicit":
		options = append(options, mail.WithSSL())
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	options = append(options, mail.WithPort(s.port()))
	if s.Username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(s.Username), mail.WithPassword(s.Password))
	}
	client, err := mail.NewClient(s.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("prepare the mail server's connection: %w", err)
	}
	return client, nil
}

// message makes the mail as it is sent.
func (m *Mailer) message(item *mailItem) (*mail.Msg, error) {
	msg := mail.NewMsg()
	if err := errors.Join(msg.From(m.smtp().From), msg.To(item.to)); err != nil {
		return nil, err
	}
	msg.Subject(item.subject)
	msg.SetDateWithValue(item.made)
	msg.SetMessageID()
	msg.SetUserAgent("rowhook")
	// Nobody's absence note is to come back, and no list is to take it for a person's.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(mail.TypeTextPlain, item.text)
	return msg, nil
}
