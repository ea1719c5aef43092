// Package alert tells people by mail of deliveries that fail.
//
// What holds here:
//
//   - It never slows delivery down. Failures go through a queue of bounded size. What does not fit
//     is dropped, counted and reported. So are mails while the mail server is down.
//   - No row data: a mail names events, endpoints and results. An endpoint's reply is quoted in
//     Alma's text only, which has always done so, and not when it repeats something of the event.
//   - Mails about failures are throttled per profile. Those left out are counted in the next. Who
//     was told that a profile is bad is told when it is well again.
//   - Each contact gets a separate mail, so that an address that is refused does not affect the
//     others.
//
// Failures are pushed by whoever sees them; how profiles stand is read at intervals, so that mails say
// what `rowhook status` says. A profile that is bad for a moment only is not worth a mail.
package alert

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"rowhook/delivery"
)

const (
	// maxFailures is how many failures may wait to be looked at.
	maxFailures = 1024
	// maxMails is how many mails may wait for the server.
	maxMails = 256
	// sampleInterval is how often the profiles' states are looked at. A state is told of when two
	// looks in a row agree.
	sampleInterval = 2 * time.Second
	// lastChance is how long mails may still be sent after the end.
	lastChance = 5 * time.Second
)

// Options are what a [Mailer] works with.
type Options struct {
	Logger *slog.Logger // required
	// Products have the mails of alert.text beside plain.
	Products delivery.Products
	// Source tells the source's name, Environment what the environment is, production or sandbox.
	Source, Environment func() string
	// States tells how the profiles stand.
	States func() ([]delivery.ProfileStatus, error)
}

// Mailer makes mails of failures and sends them while [Mailer.Run] runs.
type Mailer struct {
	options  Options
	sample   time.Duration
	failures chan delivery.Failure
	profiles map[string]*watched // those with contacts; the goroutine of Run owns it
	coming   chan settings       // of a reload

	mu      sync.Mutex
	config  Config
	queue   []mailItem
	stats   Status
	dropped int64 // not said yet
}

// settings is what a reload brings.
type settings struct {
	config   Config
	profiles []delivery.ProfileConfig
}

// watched is what the mailer knows of one profile. Run's goroutine owns it.
type watched struct {
	config  delivery.ProfileConfig
	mailed  time.Time // the last mail about a failure
	left    int64     // failures that no mail was sent about since
	since   time.Time // of the first of these
	dead    int64     // dead letters at the last look; -1 before the first
	bad     string    // what was told last: empty for nothing wrong
	looks   string    // what the last look saw
	letters int64     // dead letters not told of yet
}

// Status is where the mails stand, for status output.
type Status struct {
	Sent       int64     `json:"sent"`
	Waiting    int       `json:"waiting"`
	Dropped    int64     `json:"dropped,omitempty"`    // failures and mails that there was no room for
	Refused    int64     `json:"refused,omitempty"`    // mails that the server does not take
	Suppressed int64     `json:"suppressed,omitempty"` // failures left out for alert.every
	Error      string    `json:"error,omitempty"`      // why the last try failed; empty when it did not
	Since      time.Time `json:"since,omitzero"`       // of the error
	NextTry    time.Time `json:"next_try,omitzero"`
}

// mailItem is a mail to one contact.
type mailItem struct {
	to      string
	subject string
	text    string
	made    time.Time
}

// New makes a mailer. Profiles without contacts are of no interest; while the config names no mail
// server, nothing is done.
func New(config Config, profiles []delivery.ProfileConfig, options Options) *Mailer {
	m := &Mailer{options: options, sample: sampleInterval, failures: make(chan delivery.Failure, maxFailures), coming: make(chan settings, 1)}
	m.use(settings{config, profiles})
	return m
}

// Use takes the settings of a reload. What was told before stays known.
func (m *Mailer) Use(config Config, profiles []delivery.ProfileConfig) {
	for {
		select {
		case m.coming <- settings{config, profiles}:
			return
		case <-m.coming: // it was not looked at before this one
		}
	}
}

func (m *Mailer) use(s settings) {
	m.mu.Lock()
	m.config = s.config
	m.mu.Unlock()
	profiles := make(map[string]*watched, len(s.profiles))
	for _, p := range s.profiles {
		w := m.profiles[p.Code]
		if w == nil {
			w = &watched{dead: -1}
		}
		w.config = p
		if len(p.Contacts) > 0 {
			profiles[p.Code] = w
		}
	}
	m.profiles = profiles
}

// smtp returns how the mail server is reached.
func (m *Mailer) smtp() SMTPConfig {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config.SMTP
}

// Failed takes note of a failure. It returns at once.
func (m *Mailer) Failed(f delivery.Failure) {
	if m.smtp().Host == "" {
		return
	}
	select {
	case m.failures <- f:
	default:
		m.mu.Lock()
		m.dropped++
		m.stats.Dropped++
		m.mu.Unlock()
	}
}

// Status returns where the mails stand.
func (m *Mailer) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stats
	s.Waiting = len(m.queue)
	return s
}

// Run makes and sends mails until ctx ends; then it makes one last try with what waits.
func (m *Mailer) Run(ctx context.Context) error {
	var sending sync.WaitGroup
	wake := make(chan struct{}, 1)
	sending.Go(func() { m.send(ctx, wake) })
	defer sending.Wait()
	defer close(wake)
	ticker := time.NewTicker(m.sample)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			for {
				select {
				case f := <-m.failures:
					m.failed(f)
					continue
				default:
				}
				return nil
			}
		case s := <-m.coming:
			m.use(s)
		case f := <-m.failures:
			m.failed(f)
		case <-ticker.C:
			m.look()
			m.sayDropped()
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// failed decides whether a failure is worth a mail.
func (m *Mailer) failed(f delivery.Failure) {
	w := m.profiles[f.Profile]
	switch {
	case w == nil:
		return
	case w.config.Alert.On == "attempt":
	case w.config.Alert.On == "final" && f.Outcome == delivery.OutcomeDead:
	default:
		return
	}
	if !w.due(f.Time) {
		m.suppress(w, 1, f.Time)
		return
	}
	subject, text := m.failureMail(w, &f)
	w.sent(f.Time)
	m.post(w, subject, text)
}

// due reports whether a mail about a failure may be sent.
func (w *watched) due(now time.Time) bool {
	return w.mailed.IsZero() || w.config.Alert.Every == 0 || now.Sub(w.mailed) >= w.config.Alert.Every
}

// sent takes note of a mail, which told how many were left out.
func (w *watched) sent(now time.Time) {
	w.mailed, w.left, w.since = now, 0, time.Time{}
}

func (m *Mailer) suppress(w *watched, n int64, at time.Time) {
	if w.left == 0 {
		w.since = at
	}
	w.left += n
	m.mu.Lock()
	m.stats.Suppressed += n
	m.mu.Unlock()
}

// post queues a mail to each contact.
func (m *Mailer) post(w *watched, subject, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, to := range w.config.Contacts {
		if len(m.queue) >= maxMails {
			m.stats.Dropped++
			m.dropped++
			continue
		}
		m.queue = append(m.queue, mailItem{to: to, subject: subject, text: text, made: now})
	}
}

// sayDropped says how much there was no room for.
func (m *Mailer) sayDropped() {
	m.mu.Lock()
	n := m.dropped
	m.dropped = 0
	m.mu.Unlock()
	if n > 0 {
		m.options.Logger.Warn("mails about failures are dropped: there are more than the mail server takes", "count", n,
			"remedy", "alert.every has several failures told in one mail")
	}
}

// look compares how the profiles stand with what was told last.
func (m *Mailer) look() {
	if !m.wanted() {
		return
	}
	states, err := m.options.States()
	if err != nil {
		m.options.Logger.Debug("profiles not looked at for mails", "err", err)
		return
	}
	now := time.Now()
	for i := range states {
		if w := m.profiles[states[i].Profile]; w != nil && w.config.Alert.On == "state" {
			m.stands(w, &states[i], now)
		}
	}
}

// wanted reports whether any profile's state is to be told of.
func (m *Mailer) wanted() bool {
	if m.smtp().Host == "" {
		return false
	}
	for _, w := range m.profiles {
		if w.config.Alert.On == "state" {
			return true
		}
	}
	return false
}

// stands decides whether the state of a profile is worth a mail.
func (m *Mailer) stands(w *watched, s *delivery.ProfileStatus, now time.Time) {
	bad := badness(s, now)
	steady := bad == w.looks
	w.looks = bad
	if w.dead >= 0 && s.Dead > w.dead {
		w.letters += s.Dead - w.dead
	}
	w.dead = s.Dead
	if !steady {
		return
	}
	switch {
	case bad != "" && bad != w.bad && w.due(now):
		subject, text := m.stateMail(w, s)
		w.bad = bad
		w.letters = 0
		w.sent(now)
		m.post(w, subject, text)
	case bad == "" && w.bad != "":
		subject, text := m.recoveryMail(w, s)
		w.bad = ""
		m.post(w, subject, text)
	case w.letters > 0 && w.due(now):
		subject, text := m.lettersMail(w, s)
		w.letters = 0
		w.sent(now)
		m.post(w, subject, text)
	}
}

// badness names what is wrong with a profile; empty when nothing is, when a person wants it so, or
// when it may be over at once.
func badness(s *delivery.ProfileStatus, now time.Time) string {
	switch {
	case s.State == "active", s.Reason == delivery.ReasonOperator, s.Reason == delivery.ReasonConfig, s.Reason == delivery.ReasonSandbox,
		s.State == "pending" && s.Problem == "":
		return ""
	case s.State == "waiting":
		patience := waitPatience
		if s.LastStatus == http429 && !s.Attention {
			patience = throttlePatience
		}
		if now.Sub(s.Since) < patience {
			return ""
		}
	}
	return fmt.Sprint(s.State, " ", s.Attention)
}

// How long deliveries wait before that is worth a mail; an endpoint that asks for less is no
// trouble for longer.
const (
	waitPatience     = 10 * time.Second
	throttlePatience = 5 * time.Minute
	http429          = 429
)
