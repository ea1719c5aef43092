package alert

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

// failureMail is the mail about one attempt, in the profile's words.
func (m *Mailer) failureMail(w *watched, f *delivery.Failure) (subject, text string) {
	switch w.config.Alert.Text {
	case "alma":
		return m.almaMail(w, f)
	case "rakuraku":
		return m.rakurakuMail(w, f)
	}
	return m.plainMail(w, f)
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
	l.field("Result", result(f))
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

// result says in one line what came of an attempt.
func result(f *delivery.Failure) string {
	text := f.Reason
	if f.Status != 0 {
		text = "status " + strconv.Itoa(f.Status)
	}
	if f.Error != "" {
		text += ": " + f.Error
	}
	return text
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

// shownAnswer is how many characters of an answer are quoted.
const shownAnswer = 200

// almaMail is the mail of an Alma webhook profile: one line each, in this order.
func (m *Mailer) almaMail(w *watched, f *delivery.Failure) (subject, text string) {
	attempts := f.Attempts
	if attempts == 0 {
		attempts = f.Attempt
	}
	subject = fmt.Sprintf("[rowhook] Webhook failed: %s (%d/%d)", f.Profile, f.Attempt, attempts)
	var l letter
	l.line("Profile: %s %s", w.config.Code, w.config.Name)
	l.line("Environment: %s", m.options.Environment())
	l.line("Message: %s", f.Event)
	action, event := almaNames(f)
	l.line("Event: %s", strings.Join(nonEmpty(action, event), "/"))
	l.line("URL: %s", f.URL)
	l.line("Time: %s", utc(f.Time))
	l.line("Attempt: %d of %d", f.Attempt, attempts)
	if f.Status != 0 {
		l.line("Status: %d", f.Status)
	} else {
		l.line("Error: %s", result(f))
	}
	l.line("Answer: %s", cut(oneLine(f.Response), shownAnswer))
	if f.Next.IsZero() {
		l.line("Next attempt: given up")
	} else {
		l.line("Next attempt: %s", utc(f.Next))
	}
	if w.left > 0 {
		l.line("Not mailed since %s: %d", utc(w.since), w.left)
	}
	return subject, l.String()
}

// almaNames are the event's action and event code: loan.returned is LOAN and LOAN_RETURNED unless the mapping says otherwise.
func almaNames(f *delivery.Failure) (action, event string) {
	action, _, _ = strings.Cut(f.Type, ".")
	action = strings.ToUpper(action)
	event = strings.ToUpper(strings.ReplaceAll(f.Type, ".", "_"))
	for name, into := range map[string]*string{"action": &action, "event": &event} {
		if given, ok := f.As[name]; ok {
			*into = ""
			if given != nil {
				*into = *given
			}
		}
	}
	return action, event
}

func nonEmpty(texts ...string) []string {
	var kept []string
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return kept
}

// oneLine keeps an answer from looking like lines of the mail.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }), " ")
}

// cut shortens a text to a number of characters.
func cut(s string, characters int) string {
	for i := range s {
		if characters == 0 {
			return s[:i]
		}
		characters--
	}
	return s
}

// rakurakuMail is the mail of a RakuRaku WebDatabase webhook.
func (m *Mailer) rakurakuMail(w *watched, f *delivery.Failure) (subject, text string) {
	var l letter
	l.line("<< このメールは rowhook が自動発信しています >>")
	l.line("")
	l.line("Webhook送信でエラーが発生しました。")
	l.line("送信に失敗したWebhookは、Webhook管理画面 から確認してください。")
	if manage := w.config.Alert.ManageURL; manage != "" {
		mark := "?"
		if strings.Contains(manage, "?") {
			mark = "&"
		}
		l.line("%s%srkwa_appcode=%s", manage, mark, f.Code)
	}
	l.line("")
	at := f.Time.In(w.zone())
	l.line("送信日時:%d/%d/%d %d:%02d:%02d", at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second())
	l.line("送信先URL:%s", f.URL)
	l.line("レスポンスステータス:%s", rakurakuStatus(f))
	l.line("種別:%s", rakurakuKind(f))
	l.line("アプリコード:%s", f.Code)
	l.line("アプリ名:%s", f.Title)
	if w.left > 0 {
		l.line("通知を省略したエラー:%d", w.left)
	}
	return "[rowhook] Webhook送信エラー " + f.Title, l.String()
}

// zone is the time zone that the profile's bodies tell times in, too.
func (w *watched) zone() *time.Location {
	zone, err := time.LoadLocation(w.config.Rakuraku.Timezone)
	if err != nil {
		return time.UTC // a name that is no zone's, which the formats that have times of their own refuse
	}
	return zone
}

// rakurakuStatus is the status, or what there was instead.
func rakurakuStatus(f *delivery.Failure) string {
	switch {
	case f.Status != 0:
		return strconv.Itoa(f.Status)
	case f.Reason == delivery.ReasonTimeout:
		return "タイムアウト"
	}
	return "接続エラー"
}

func rakurakuKind(f *delivery.Failure) string {
	switch f.Op {
	case "insert", "read":
		return "データ登録"
	case "update":
		return "データ更新"
	case "delete", "truncate":
		return "データ削除"
	}
	return f.Type
}

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
