package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// failedTerms are what the form of the dead letters asks for, as it was written.
type failedTerms struct {
	Profile, Type, Key, Reason, Since, Until string
}

func (t *failedTerms) filter(now time.Time) (engine.Filter, error) {
	f := engine.Filter{Profile: t.Profile, Type: t.Type, Key: t.Key, Reason: t.Reason}
	var sinceErr, untilErr error
	f.Since, sinceErr = moment(t.Since, now)
	f.Until, untilErr = moment(t.Until, now)
	return f, errors.Join(sinceErr, untilErr)
}

// failedData is the page of what failed.
type failedData struct {
	Terms    failedTerms
	Query    string
	Problem  string
	Groups   []letterGroup
	Letters  []engine.Item
	More     bool
	Total    int64 // dead letters of all profiles
	Profiles []string
	Parked   operation.ParkedList
	Tables   []tableGroup
	ParkedN  int64
}

// letterGroup is the dead letters of one profile and reason, as far as they were looked at.
type letterGroup struct {
	Profile, Reason string
	Status          int
	Count           int
}

// tableGroup is the parked changes of one table.
type tableGroup struct {
	Table, Reason string
	Count         int
}

const (
	// groupedLetters is how many dead letters are looked at to group them, shownLetters how many are
	// listed.
	groupedLetters = 1000
	shownLetters   = 100
	// shownChosen is how many of what an act is about a question names.
	shownChosen = 20
)

// letterID names a dead letter in a form.
func letterID(item *engine.Item) string { return url.PathEscape(item.Profile) + "/" + item.ID }

// ID names the dead letter in a form.
func (failedData) ID(item engine.Item) string { return letterID(&item) }

// What is an event's key, or of how many events a group is.
func (failedData) What(item engine.Item) string {
	if item.Count == 0 {
		return compactKey(item.Key)
	}
	return fmt.Sprintf("%s × %d", item.Unit, item.Count)
}

// failedTermsOf returns the terms that a request has under q.
func (v *visit) failedTermsOf(q string) (failedTerms, bool) {
	if q == "" {
		return failedTerms{}, true
	}
	stored, _ := v.sessions.remembered(v.session, q)
	terms, ok := stored.(failedTerms)
	return terms, ok
}

// failed shows dead letters of profiles and of the source.
func (v *visit) failed() error {
	data := failedData{Query: v.r.URL.Query().Get("q")}
	var ok bool
	if data.Terms, ok = v.failedTermsOf(data.Query); !ok {
		v.say("warn", v.t("That search is over. Search again."))
		return v.redirect("/failed")
	}
	s, err := v.status(v.r.Context())
	if err != nil {
		return err
	}
	for i := range s.Profiles {
		data.Profiles = append(data.Profiles, s.Profiles[i].Profile)
	}
	data.Total, data.ParkedN = s.dead(""), s.Parked.Count
	filter, err := data.Terms.filter(v.now())
	if err != nil {
		data.Problem = err.Error()
		v.show(http.StatusUnprocessableEntity, page{Title: v.t("Failed"), Nav: "failed", Template: "failed", Data: data})
		return nil
	}
	filter.Limit = groupedLetters
	var letters engine.Items
	if err := v.call("failed/list", operation.FilterRequest{Filter: filter}, &letters); err != nil {
		return err
	}
	data.group(letters)
	if err := v.call("parked/list", operation.ParkedRequest{Limit: groupedLetters}, &data.Parked); err != nil {
		return err
	}
	data.groupParked()
	return v.ok(page{Title: v.t("Failed"), Nav: "failed", Template: "failed", Data: data})
}

func (d *failedData) group(letters engine.Items) {
	for i := range letters.Items {
		item := &letters.Items[i]
		at := slices.IndexFunc(d.Groups, func(g letterGroup) bool {
			return g.Profile == item.Profile && g.Reason == item.Reason && g.Status == item.Status
		})
		if at < 0 {
			d.Groups = append(d.Groups, letterGroup{Profile: item.Profile, Reason: item.Reason, Status: item.Status})
			at = len(d.Groups) - 1
		}
		d.Groups[at].Count++
	}
	slices.SortStableFunc(d.Groups, func(a, b letterGroup) int { return cmp.Compare(b.Count, a.Count) })
	d.Letters, d.More = letters.Items, letters.More
	if len(d.Letters) > shownLetters {
		d.Letters = d.Letters[:shownLetters]
	}
}

func (d *failedData) groupParked() {
	for _, p := range d.Parked.Items {
		at := slices.IndexFunc(d.Tables, func(g tableGroup) bool { return g.Table == p.Table && g.Reason == p.Reason })
		if at < 0 {
			d.Tables = append(d.Tables, tableGroup{Table: p.Table, Reason: p.Reason})
			at = len(d.Tables) - 1
		}
		d.Tables[at].Count++
	}
	if len(d.Parked.Items) > shownLetters {
		d.Parked.Items, d.Parked.More = d.Parked.Items[:shownLetters], true
	}
}

// searchFailed keeps what is searched for in the session, so that no URL has it.
func (v *visit) searchFailed() error {
	f := func(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
	terms := failedTerms{Profile: f("profile"), Type: f("type"), Key: f("key"), Reason: f("reason"), Since: f("since"), Until: f("until")}
	if terms == (failedTerms{}) {
		return v.redirect("/failed")
	}
	return v.redirect("/failed?q=" + v.sessions.remember(v.session, terms))
}

// errChoose asks for a choice.
func (v *visit) errChoose() error {
	return &pageError{Status: http.StatusUnprocessableEntity, Text: v.t("Nothing was chosen."), Remedy: v.t("Go back and mark what it is about.")}
}

// failedAct retries or discards dead letters: those that are marked, or all that were searched for.
func (v *visit) failedAct() error {
	act, scope := splitAct(v.r.PostFormValue("act"))
	if act != "retry" && act != "discard" {
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	q := v.r.PostFormValue("q")
	back := "/failed"
	if q != "" {
		back += "?q=" + url.QueryEscape(q)
	}
	var filters []engine.Filter
	var which []string
	count, more := int64(0), false
	of := ""
	asked := askedAt(v.r.PostFormValue("asked"), v.now())
	switch scope {
	case "marked":
		for _, id := range v.r.Form["item"] {
			code, event, _ := strings.Cut(id, "/")
			code, err := url.PathUnescape(code)
			if err != nil || event == "" {
				continue
			}
			filters = append(filters, engine.Filter{Profile: code, ID: event})
			which = append(which, code+"  "+event)
		}
		count = int64(len(filters))
	case "all":
		terms, ok := v.failedTermsOf(q)
		if !ok {
			v.say("warn", v.t("That search is over. Search again."))
			return v.redirect("/failed")
		}
		filter, err := terms.filter(asked) // how long ago is counted from the question, too
		if err != nil {
			return err
		}
		of = terms.Profile
		// What dies after the question was asked is not part of the answer.
		if filter.Until.IsZero() || filter.Until.After(asked) {
			filter.Until = asked
		}
		filters = []engine.Filter{filter}
		if which, count, more, err = v.chosen(filter); err != nil {
			return err
		}
	}
	if count == 0 {
		return v.errChoose()
	}
	if v.r.PostFormValue("confirmed") == "" && (act == "discard" || scope == "all") {
		return v.confirmFailed(act, scope, q, back, asked, which, count, more)
	}
	title := v.t("Retried dead letters")
	if act == "discard" {
		title = v.t("Discarded dead letters")
	}
	dead := int64(0)
	if s, err := v.status(v.r.Context()); err == nil {
		dead = s.dead(of)
	}
	user := v.user()
	return v.perform(&task{title: title, dead: dead, of: of}, back, func(ctx context.Context, add func(engine.Changed)) error {
		for _, filter := range filters {
			if err := ctx.Err(); err != nil {
				return err
			}
			var changed engine.Changed
			err := v.agent.Call(ctx, "failed/"+act, operation.FilterRequest{User: user, Filter: filter}, &changed)
			add(changed)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func splitAct(value string) (act, scope string) {
	act, scope, _ = strings.Cut(value, "-")
	return act, scope
}

// askedAt is when the confirmation was asked for; now before it was.
func askedAt(text string, now time.Time) time.Time {
	if nano, err := strconv.ParseInt(text, 10, 64); err == nil && time.Unix(0, nano).Before(now) {
		return time.Unix(0, nano)
	}
	return now
}

// chosen tells how many dead letters a filter selects, and the first of them.
func (v *visit) chosen(filter engine.Filter) (which []string, count int64, more bool, err error) {
	filter.Limit = groupedLetters
	var letters engine.Items
	if err := v.call("failed/list", operation.FilterRequest{Filter: filter}, &letters); err != nil {
		return nil, 0, false, err
	}
	for i := range letters.Items {
		which = append(which, letters.Items[i].Profile+"  "+letters.Items[i].ID)
	}
	count = int64(len(letters.Items))
	plain := engine.Filter{Profile: filter.Profile, Until: filter.Until, Limit: filter.Limit}
	if letters.More && filter == plain {
		if s, err := v.status(v.r.Context()); err == nil {
			return which, s.dead(filter.Profile), false, nil
		}
	}
	return which, count, letters.More, nil
}

// confirmFailed asks whether it is meant.
func (v *visit) confirmFailed(act, scope, q, back string, asked time.Time, which []string, count int64, more bool) error {
	number := writeNumber(count)
	if more {
		number = v.t("more than %s", number)
	}
	fields := url.Values{"act": {act + "-" + scope}, "q": {q}, "asked": {fmt.Sprint(asked.UnixNano())}}
	if scope == "marked" {
		fields["item"] = v.r.Form["item"]
	}
	about := confirmation{Nav: "failed", Act: prefix + "/failed/act", Fields: fields, Back: back}
	if act == "discard" {
		about.Title, about.Do = v.t("Discard dead letters: %s", number), v.t("Discard them for good")
		about.Text = v.t("They are taken away for good, each with a line in the delivery log. They cannot be retried afterwards.")
	} else {
		about.Title, about.Do = v.t("Retry dead letters: %s", number), v.t("Retry them")
		about.Text = v.t("They are delivered again, in the order of their keys.")
	}
	about.Which, about.More = which, more
	if len(which) > shownChosen {
		about.Which, about.More = which[:shownChosen], true
	}
	return v.confirm(about)
}

// chosenParked are the first of the parked changes that a request selects, and the highest number
// that there is.
func (v *visit) chosenParked(request operation.ParkedRequest) (which []string, more bool, last delivery.Seq, err error) {
	request.Limit = shownChosen
	var list operation.ParkedList
	if err := v.call("parked/list", request, &list); err != nil {
		return nil, false, 0, err
	}
	for i := range list.Items {
		item := &list.Items[i]
		which = append(which, fmt.Sprintf("#%d  %s  %s", item.Seq, item.Table, v.pages.words(v.lang).word(item.Reason)))
	}
	return which, list.More, list.Last, nil
}

// parkedAct retries or discards parked changes: those that are marked, those of a table, or all.
func (v *visit) parkedAct() error {
	act, scope := splitAct(v.r.PostFormValue("act"))
	if act != "retry" && act != "discard" {
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	request := operation.ParkedRequest{User: v.user()}
	count := int64(0)
	switch scope {
	case "marked":
		for _, text := range v.r.Form["seq"] {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				request.Seqs = append(request.Seqs, delivery.Seq(n))
			}
		}
		count = int64(len(request.Seqs))
	case "all":
		// What is parked after the question was asked is not part of the answer.
		upTo, _ := strconv.ParseUint(v.r.PostFormValue("upto"), 10, 64)
		request.All, request.UpTo = true, delivery.Seq(upTo)
		v.glance.forget()
		s, err := v.status(v.r.Context())
		if err != nil {
			return err
		}
		count = s.Parked.Count
	}
	if count == 0 {
		return v.errChoose()
	}
	unbounded := request.All && request.UpTo == 0
	if unbounded || v.r.PostFormValue("confirmed") == "" && (act == "discard" || scope == "all") {
		which, more, last, err := v.chosenParked(request)
		if err != nil {
			return err
		}
		about := confirmation{
			Nav: "failed", Act: prefix + "/failed/source", Back: "/failed", Which: which, More: more,
			Fields: url.Values{"act": {act + "-" + scope}, "seq": v.r.Form["seq"], "upto": {fmt.Sprint(last)}},
			Title:  v.t("Retry parked changes: %s", writeNumber(count)), Do: v.t("Retry them"),
			Text: v.t("They are decoded and mapped again, in their order. What fails again stays parked."),
		}
		if act == "discard" {
			about.Title, about.Do = v.t("Discard parked changes: %s", writeNumber(count)), v.t("Discard them for good")
			about.Text = v.t("The changes are lost for all receivers, each with a line in the delivery log.")
		}
		return v.confirm(about)
	}
	title := v.t("Retried parked changes")
	if act == "discard" {
		title = v.t("Discarded parked changes")
	}
	return v.perform(&task{title: title}, "/failed", func(ctx context.Context, add func(engine.Changed)) error {
		var changed engine.Changed
		err := v.agent.Call(ctx, "parked/"+act, request, &changed)
		add(changed)
		return err
	})
}
