package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
)

// logTerms are what the form of the deliveries asks for, as it was written.
type logTerms struct {
	Profile, Event, Type, Status, Outcome, URL, Payload, Since, Until string
}

// query reads the terms.
func (t *logTerms) query(now time.Time) (LogQuery, error) {
	q := LogQuery{Profile: t.Profile, Event: t.Event, Type: t.Type, Outcome: delivery.Outcome(t.Outcome), URL: t.URL}
	var errs []error
	if t.Status != "" {
		q.Status = strings.FieldsFunc(t.Status, func(r rune) bool { return r == ',' || r == ' ' })
		_, err := delivery.ParseStatuses(q.Status...)
		errs = append(errs, err)
	}
	for line := range strings.Lines(t.Payload) {
		if line = strings.TrimSpace(line); line != "" {
			q.Payload = append(q.Payload, line)
			if path, _, ok := strings.Cut(line, "="); !ok || path == "" {
				errs = append(errs, fmt.Errorf("%q: expected PATH=VALUE, such as key.loan_id=1000", line))
			}
		}
	}
	if t.Outcome != "" && !slices.Contains(outcomes(), t.Outcome) {
		errs = append(errs, fmt.Errorf("there is no outcome %q", t.Outcome))
	}
	var err error
	q.Since, err = moment(t.Since, now)
	errs = append(errs, err)
	q.Until, err = moment(t.Until, now)
	return q, errors.Join(append(errs, err)...)
}

// moment reads a time, or how long ago it was; empty is the zero time.
func moment(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	ago, _, ok := config.ParseDuration(text)
	if !ok || ago < 0 {
		return time.Time{}, fmt.Errorf("%q is no time: expected 2026-11-22 10:00, 2026-11-22T10:00:00Z, or how long ago, such as 2h or 7d", text)
	}
	return now.Add(-ago), nil
}

// logLine is a line of the log as pages show it.
type logLine struct {
	deliverylog.ParsedRecord
}

// What says what a line is about: an event's key, of how many events a group is, or how many
// attempts were collapsed.
func (l logLine) What() string {
	switch {
	case l.Count == 0:
		return compactKey(l.Key)
	case l.Unit == "":
		return fmt.Sprintf("%d ×", l.Count)
	}
	return fmt.Sprintf("%s × %d", l.Unit, l.Count)
}

// deliveriesData is a page of the log.
type deliveriesData struct {
	Terms     logTerms
	Query     string // the id of what was searched for
	Problem   string
	Lines     []logLine
	Next      string // where the next page begins
	Reached   time.Time
	Undecided int
	None      bool
	Profiles  []string
	Outcomes  []string
	First     bool
}

// pageLines is how many lines of the log a page has.
const pageLines = 50

// deliveries shows a page of the log.
func (v *visit) deliveries() error {
	data := deliveriesData{Outcomes: outcomes(), Query: v.r.URL.Query().Get("q")}
	if data.Query != "" {
		terms, _ := v.sessions.remembered(v.session, data.Query)
		stored, ok := terms.(logTerms)
		if !ok {
			v.say("warn", v.t("That search is over. Search again."))
			return v.redirect("/deliveries")
		}
		data.Terms = stored
	}
	if s, err := v.status(v.r.Context()); err == nil {
		for i := range s.Profiles {
			data.Profiles = append(data.Profiles, s.Profiles[i].Profile)
		}
	}
	query, err := data.Terms.query(v.now())
	if err != nil {
		data.Problem = err.Error()
		v.show(http.StatusUnprocessableEntity, page{Title: v.t("Deliveries"), Nav: "deliveries", Template: "deliveries", Data: data})
		return nil
	}
	from := v.r.URL.Query().Get("at")
	data.First = from == ""
	if from != "" {
		if _, err := fmt.Sscanf(from, "%d-%d", &query.From.File, &query.From.Offset); err != nil {
			return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
		}
	}
	found, err := v.searchLog(query, pageLines)
	if err != nil {
		return err
	}
	data.Lines, data.Reached, data.Undecided, data.None = found.lines, found.Reached, found.Undecided, found.None
	if found.Next != nil {
		data.Next = fmt.Sprintf("%d-%d", found.Next.File, found.Next.Offset)
	}
	return v.ok(page{Title: v.t("Deliveries"), Nav: "deliveries", Template: "deliveries", Data: data})
}

// searchPatience is how long a page waits for its turn to search the log.
const searchPatience = 20 * time.Second

// foundLines is a page of the log, read.
type foundLines struct {
	LogPage
	lines []logLine
}

func (v *visit) searchLog(q LogQuery, most int) (foundLines, error) {
	var found foundLines
	leave, err := v.logSearches.take(v.r.Context(), searchPatience)
	if errors.Is(err, context.DeadlineExceeded) {
		return found, &pageError{Status: http.StatusServiceUnavailable, Text: v.t("Others search the delivery log at this moment."), Remedy: v.t("Try again in a few seconds.")}
	}
	if err != nil {
		return found, err
	}
	defer leave()
	q.Most = most
	if err := v.call(OpLog, q, &found.LogPage); err != nil {
		return found, err
	}
	for _, raw := range found.Lines {
		rec, err := deliverylog.ParseLine(raw)
		if err != nil {
			return found, err
		}
		found.lines = append(found.lines, logLine{rec})
	}
	return found, nil
}

// searchDeliveries keeps what is searched for in the session, so that no URL has it.
func (v *visit) searchDeliveries() error {
	f := func(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
	terms := logTerms{
		Profile: f("profile"), Event: f("event"), Type: f("type"), Status: f("status"), Outcome: f("outcome"),
		URL: f("url"), Payload: f("payload"), Since: f("since"), Until: f("until"),
	}
	if terms == (logTerms{}) {
		return v.redirect("/deliveries")
	}
	return v.redirect("/deliveries?q=" + v.sessions.remember(v.session, terms))
}

// deliveryData is one event, or group, on its way to one profile.
type deliveryData struct {
	Profile, Event string
	Lines          []logLine // the oldest first
	Last           *logLine  // the newest, of what it is
	Body           string
	Whole          bool // of Body
	Kept           bool // by the spool: there is a link to the whole
	Waiting        *engine.Item
	Letter         *engine.Letter
	Status         *delivery.ProfileStatus
	Row            bool // its row can be sent as it is now
	More           bool // the log was not read to its end
	Reached        time.Time
}

// eventLines is how many lines of one delivery are shown.
const eventLines = 200

// deliveryData gathers what is known.
func (v *visit) deliveryData(code, event string) (*deliveryData, error) {
	data := &deliveryData{Profile: code, Event: event}
	found, err := v.searchLog(LogQuery{Profile: code, Event: event}, eventLines)
	if err != nil {
		return nil, err
	}
	if found.Next != nil {
		if err := v.around(&found, code, event); err != nil {
			return nil, err
		}
	}
	for _, line := range found.lines {
		if line.Profile == code && (line.Event == event || line.Unit != "") { // globs of codes select others too
			data.Lines = append(data.Lines, line)
		}
	}
	data.More, data.Reached = found.Next != nil, found.Reached
	for i := range data.Lines { // the newest first, as yet
		if l := &data.Lines[i]; l.Type != "" || l.Unit != "" {
			last := *l
			data.Last = &last
			break
		}
	}
	for i := range data.Lines {
		if l := &data.Lines[i]; len(l.Body) > 0 {
			data.Body, data.Whole = string(l.Body), !l.BodyTruncated
			break
		}
	}
	slices.Reverse(data.Lines)
	return data, v.deliveryState(data)
}

// around adds lines of the time at which the delivery was found, where the search from the log's end
// did not come that far: the link says when it was.
func (v *visit) around(found *foundLines, code, event string) error {
	at, err := strconv.ParseInt(v.r.URL.Query().Get("t"), 10, 64)
	if err != nil || found.Reached.IsZero() || !time.Unix(at, 0).Before(found.Reached) {
		return nil
	}
	then, err := v.searchLog(LogQuery{Profile: code, Event: event, Until: time.Unix(at+1, 0)}, eventLines)
	if err != nil {
		return err
	}
	for _, line := range then.lines {
		if line.Time.Before(found.Reached) {
			found.lines = append(found.lines, line)
		}
	}
	return nil
}

// deliveryState adds where it stands now.
func (v *visit) deliveryState(data *deliveryData) error {
	var waiting engine.Items
	if err := v.call("queue/list", operation.FilterRequest{Filter: engine.Filter{Profile: data.Profile, ID: data.Event, Limit: 1}}, &waiting); err != nil {
		return err
	}
	if len(waiting.Items) > 0 {
		data.Waiting = &waiting.Items[0]
	}
	var letters []engine.Letter
	if err := v.call("failed/show", operation.DeliveryRequest{Event: data.Event}, &letters); err == nil { // there need be none
		for i := range letters {
			if letters[i].Profile == data.Profile {
				data.Letter = &letters[i]
			}
		}
	}
	s, err := v.status(v.r.Context())
	if err != nil {
		return err
	}
	for i := range s.Profiles {
		if s.Profiles[i].Profile == data.Profile {
			data.Status = &s.Profiles[i]
		}
	}
	if len(data.Lines) == 0 && data.Waiting == nil && data.Letter == nil && !data.More {
		return &pageError{Status: http.StatusNotFound, Text: v.t("Nothing is known of this delivery."),
			Remedy: v.t("The delivery log may have been rotated away, or the event went to another profile.")}
	}
	if data.Body == "" && data.Letter != nil {
		data.Body, data.Whole = data.Letter.Body, true
	}
	whole, err := v.bodyOf(data, 4*shownBody+1) // as many bytes as its characters may have
	data.Kept = err == nil && whole.Found
	if data.Body == "" && data.Kept {
		data.Body, data.Whole = string(whole.Body), !whole.Cut
	}
	if text := cut(data.Body, shownBody); len(text) < len(data.Body) {
		data.Body, data.Whole = strings.TrimSuffix(text, "…"), false
	}
	return nil
}

// spoolBudget is how long one page waits for its turn to search the spool, and how long it searches.
const spoolBudget = 2 * time.Second

// bodyOf asks the spool for so many bytes of the body, or 0 for all. The spool has no index by id, so
// one page at a time searches it, and not for long.
func (v *visit) bodyOf(data *deliveryData, most int) (operation.BodyAnswer, error) {
	request := operation.BodyRequest{Profile: data.Profile, Event: data.Event, Most: most}
	if l := data.Last; l != nil {
		request.Event, request.Unit, request.Count, request.First, request.Last = l.Event, l.Unit, l.Count, l.First, l.Last
	}
	var answer operation.BodyAnswer
	leave, err := v.searches.take(v.r.Context(), spoolBudget)
	if err != nil {
		return answer, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(v.r.Context(), spoolBudget)
	defer cancel()
	err = v.agent.Call(ctx, "body", request, &answer)
	return answer, err
}

// delivery shows one.
func (v *visit) delivery() error {
	data, err := v.deliveryData(v.r.PathValue("profile"), v.r.PathValue("event"))
	if err != nil {
		return err
	}
	if v.admin {
		_, data.Row = v.rowOf(data.Last)
	}
	return v.ok(page{Title: v.t("One delivery"), Nav: "deliveries", Template: "delivery", Data: data})
}

// wholeBody shows the whole body as text.
func (v *visit) wholeBody() error {
	data, err := v.deliveryData(v.r.PathValue("profile"), v.r.PathValue("event"))
	if err != nil {
		return err
	}
	whole, err := v.bodyOf(data, 0)
	if errors.Is(err, context.DeadlineExceeded) {
		return &pageError{Status: http.StatusServiceUnavailable, Text: v.t("The spool could not be searched for this body in time."),
			Remedy: v.t("Try again later. The commands search without this limit.")}
	}
	if err != nil {
		return err
	}
	if !whole.Found {
		return &pageError{Status: http.StatusNotFound, Text: v.t("The spool has this body no more."),
			Remedy: v.t("spool.history decides how long delivered events are kept.")}
	}
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	_, _ = v.w.Write(whole.Body)
	return nil
}

// deliveryAct tries a delivery now, or gives it up.
func (v *visit) deliveryAct() error {
	code, event := v.r.PathValue("profile"), v.r.PathValue("event")
	back := "/deliveries/" + url.PathEscape(code) + "/" + url.PathEscape(event)
	request := operation.DeliveryRequest{User: v.user(), Profile: code, Event: event}
	var err error
	switch v.r.PathValue("act") {
	case "retry":
		if err = v.call("queue/retry-now", request, &operation.None{}); err == nil {
			v.say("ok", v.t("The delivery is tried now."))
		}
	case "row":
		return v.sendRow(code, event, back)
	case "skip":
		if v.r.PostFormValue("confirmed") == "" {
			return v.confirm(confirmation{
				Title: v.t("Give one delivery up"), Nav: "deliveries", Act: v.r.URL.Path, Do: v.t("Give it up"), Back: back,
				Text:  v.t("One delivery becomes a dead letter of %s. Later events of its key go on. It can be retried from the dead letters.", code),
				Which: []string{event},
			})
		}
		if err = v.call("queue/skip", request, &operation.None{}); err == nil {
			v.say("ok", v.t("The delivery is a dead letter now."))
		}
	default:
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	if err != nil {
		return err
	}
	v.glance.forget()
	return v.redirect(back)
}

// sendRow sends the row of a delivery as it is now.
func (v *visit) sendRow(code, event, back string) error {
	data, err := v.deliveryData(code, event)
	if err != nil {
		return err
	}
	request, ok := v.rowOf(data.Last)
	if !ok {
		return &pageError{Status: http.StatusUnprocessableEntity, Text: v.t("Nothing tells how the row of this event is read."),
			Remedy: v.t("Its entry needs a rule for op: read that the profile subscribes to, and the table's key in its payload.")}
	}
	return v.trigger(request, back)
}
