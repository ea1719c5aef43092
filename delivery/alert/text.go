package alert

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

// failureMail is the mail about one attempt, in the profile's words.
func (m *Mailer) failureMail(w *watched, f *delivery.Failure) (subject, text string) {
	write := m.options.Products.Mail(w.config.Alert.Text)
	if write == nil {
		return m.plainMail(w, f)
	}
	return write(delivery.FailureMail{
		Profile: &w.config, Failure: f, Environment: m.options.Environment(), Left: w.left, Since: w.since,
	})
}

// letter is a mail's text, made of lines.
type letter struct{ strings.Builder }

func (l *letter) line(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

// field is a line with a name, its value in a column.
func (l *letter) field(name, value string) {
	if value != "" {
		l.line("%-13s %s", name+":", value)
	}
}

// head begins a mail with whom it is about.
func (m *Mailer) head(l *letter, w *watched) {
	l.field("Profile", named(w.config.Code, w.config.Name))
	l.field("Source", named(m.options.Source(), m.options.Environment()))
}

func named(code, name string) string {
	if name == "" {
		return code
	}
	return fmt.Sprintf("%s (%s)", code, name)
}

func (m *Mailer) plainMail(w *watched, f *delivery.Failure) (subject, text string) {
	var l letter
	attempt := strconv.Itoa(f.Attempt)
	if f.Attempts > 0 {
		attempt = fmt.Sprintf("%d of %d", f.Attempt, f.Attempts)
	}
	subject = fmt.Sprintf("[rowhook] %s: delivery failed, attempt %s", f.Profile, attempt)
	if f.Outcome == delivery.OutcomeDead {
		subject = fmt.Sprintf("[rowhook] %s: delivery given up after attempt %s", f.Profile, attempt)
	}
	m.head(&l, w)
	l.field("Event", f.Event+" "+f.Type)
	l.field("URL", f.URL)
	l.field("Time", utc(f.Time))
	l.field("Attempt", attempt)
	l.field("Result", f.Result())
	switch {
	case !f.Next.IsZero():
		l.field("Next attempt", utc(f.Next))
	case f.Outcome == delivery.OutcomeDead:
		l.field("Next attempt", "none: it is a dead letter until it is retried or discarded")
	}
	w.leftOut(&l)
	l.line("")
	l.line("rowhook log --event %s", f.Event)
	if f.Outcome == delivery.OutcomeDead {
		l.line("rowhook failed show %s", f.Event)
	}
	w.manage(&l)
	return subject, l.String()
}

// leftOut tells how many failures no mail was sent about.
func (w *watched) leftOut(l *letter) {
	if w.left > 0 {
		verb := map[bool]string{true: "was", false: "were"}[w.left == 1]
		l.line("%s since %s %s not mailed (alert.every: %s).", count(w.left, "more failure"), utc(w.since), verb, short(w.config.Alert.Every))
	}
}

func (w *watched) manage(l *letter) {
	if w.config.Alert.ManageURL != "" {
		l.line("%s", w.config.Alert.ManageURL)
	}
}

// count is a number of things.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// short is a duration as the config has it: 15m, not 15m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stateMail is the mail about a profile that turned bad.
func (m *Mailer) stateMail(w *watched, s *delivery.ProfileStatus) (subject, text string) {
	reason := stateReason(s)
	subject = fmt.Sprintf("[rowhook] %s: %s: %s", s.Profile, stateWord(s), reason)
	var l letter
	m.head(&l, w)
	l.field("State", fmt.Sprintf("%s: %s", stateWord(s), reason))
	if !s.Since.IsZero() {
		l.field("Since", utc(s.Since))
	}
	l.field("Problem", s.Problem)
	m.standing(&l, s)
	if !s.NextAttempt.IsZero() {
		l.field("Next attempt", utc(s.NextAttempt))
	}
	w.leftOut(&l)
	l.line("")
	switch s.State {
	case "pending":
		l.line("rowhook profile activate %s", s.Profile)
	case "inactive":
		l.line("rowhook profile resume %s", s.Profile)
	default:
		l.line("rowhook status")
	}
	w.manage(&l)
	return subject, l.String()
}

// stateWord is a state in words.
func stateWord(s *delivery.ProfileStatus) string {
	switch s.State {
	case "pending":
		return "pending activation"
	case "inactive":
		return "inactive"
	}
	return "deliveries wait"
}

// stateReason is the reason as status has it: the last reply's status where that was it.
func stateReason(s *delivery.ProfileStatus) string {
	if s.Reason == s.LastReason && s.LastStatus != 0 {
		return "status " + strconv.Itoa(s.LastStatus)
	}
	return s.Reason
}

// standing tells of what waits.
func (m *Mailer) standing(l *letter, s *delivery.ProfileStatus) {
	l.field("Backlog", count(s.BacklogEvents, "event"))
	if !s.Oldest.IsZero() {
		l.field("Oldest event", utc(s.Oldest))
	}
	if s.Dead > 0 {
		l.field("Dead letters", strconv.FormatInt(s.Dead, 10))
	}
}

// recoveryMail is the mail about a profile that is well again.
func (m *Mailer) recoveryMail(w *watched, s *delivery.ProfileStatus) (subject, text string) {
	subject = fmt.Sprintf("[rowhook] %s: deliveries go on", s.Profile)
	var l letter
	m.head(&l, w)
	l.field("State", s.State)
	m.standing(&l, s)
	w.leftOut(&l)
	w.left, w.since = 0, time.Time{}
	w.manage(&l)
	return subject, l.String()
}

// lettersMail is the mail about dead letters.
func (m *Mailer) lettersMail(w *watched, s *delivery.ProfileStatus) (subject, text string) {
	subject = fmt.Sprintf("[rowhook] %s: given up: %s", s.Profile, count(w.letters, "event"))
	var l letter
	m.head(&l, w)
	l.field("Given up", strconv.FormatInt(w.letters, 10))
	reason := s.LastReason
	if s.LastStatus != 0 {
		reason = "status " + strconv.Itoa(s.LastStatus)
	}
	l.field("Last failure", reason)
	m.standing(&l, s)
	l.line("")
	l.line("rowhook failed list --profile %s", s.Profile)
	w.manage(&l)
	return subject, l.String()
}
