package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"rowhook/cmd/rowhook/catalogue"
	"rowhook/cmd/rowhook/operation"
)

// backfillTerms are what the forms of backfills ask for, as they were written.
type backfillTerms struct {
	Entries             []string
	Profile, Where, Key string
	Rate                string
}

// backfillsData is the page of backfills.
type backfillsData struct {
	List    []operation.Backfill // the newest first
	Entries []backfillEntry
}

// backfillEntry is an entry whose rows can be read.
type backfillEntry struct {
	Name, Table string
	Profiles    []string
}

func (v *visit) backfillList() ([]operation.Backfill, error) {
	var list []operation.Backfill
	err := v.call("backfill/list", operation.None{}, &list)
	slices.Reverse(list)
	return list, err
}

// backfills lists them, and has the forms to begin one.
func (v *visit) backfills() error {
	list, err := v.backfillList()
	if err != nil {
		return err
	}
	data := &backfillsData{List: list}
	if v.admin {
		all, err := v.catalogue()
		if err != nil {
			return err
		}
		for i := range all.Events {
			data.add(&all.Events[i])
		}
	}
	return v.ok(page{Title: v.t("Backfills"), Nav: "backfills", Template: "backfills.live", Live: "backfills", Below: "backfills.forms", Data: data})
}

// add notes that an event's entry can be read.
func (d *backfillsData) add(e *catalogue.Event) {
	if !e.Reads() {
		return
	}
	at := slices.IndexFunc(d.Entries, func(known backfillEntry) bool { return known.Name == e.Entry })
	if at < 0 {
		d.Entries = append(d.Entries, backfillEntry{Name: e.Entry, Table: e.Table})
		at = len(d.Entries) - 1
	}
	for _, code := range e.Profiles {
		if !slices.Contains(d.Entries[at].Profiles, code) {
			d.Entries[at].Profiles = append(d.Entries[at].Profiles, code)
		}
	}
}

// Profiles are those that get any entry's rows.
func (d *backfillsData) Profiles() (codes []string) {
	for _, e := range d.Entries {
		codes = append(codes, e.Profiles...)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// backfillAsked reads the forms' fields.
func (v *visit) backfillAsked() (request operation.BackfillRequest, terms backfillTerms, err error) {
	terms = backfillTerms{Entries: v.r.Form["entry"]}
	field := func(name string) string { return plainLines(v.r.PostFormValue(name)) }
	terms.Profile, terms.Where, terms.Key, terms.Rate = field("profile"), field("where"), field("key"), strings.TrimSpace(field("rate"))
	request = operation.BackfillRequest{User: v.user(), Entries: terms.Entries, Profile: terms.Profile}
	if len(terms.Entries) == 0 {
		return request, terms, v.errChoose()
	}
	if request.Where, err = operation.ParseReadConditions(linesOf(terms.Where)); err == nil {
		request.Rate, err = operation.ParseReadRate(terms.Rate)
	}
	return request, terms, err
}

// plainLines ends lines as everybody but browsers does.
func plainLines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// linesOf are the lines of a field that say something. A value's own spaces stay.
func linesOf(text string) (lines []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// backfillStart begins a backfill, after a page that says of what, how much and for whom.
func (v *visit) backfillStart() error {
	request, terms, err := v.backfillAsked()
	if err != nil {
		return err
	}
	if v.r.PostFormValue("confirmed") == "" {
		return v.confirmBackfill(&request, &terms)
	}
	var b operation.Backfill
	if err := v.call("backfill", request, &b); err != nil {
		return err
	}
	v.glance.forget()
	v.say("ok", v.t("Backfill %s of %s begins.", b.ID, b.What()))
	return v.redirect("/backfills")
}

func (v *visit) confirmBackfill(request *operation.BackfillRequest, terms *backfillTerms) error {
	var plan operation.BackfillPlan
	if err := v.call("backfill/plan", request, &plan); err != nil {
		return err
	}
	about := confirmation{
		Title: v.t("Send the existing rows of %s", strings.Join(terms.Entries, " ")), Nav: "backfills", Act: prefix + "/backfills/start", Do: v.t("Send them"), Back: "/backfills",
		Text:   v.t("Each row becomes an event for: %s", strings.Join(plan.Profiles, ", ")),
		Fields: url.Values{"entry": terms.Entries, "profile": {terms.Profile}, "where": {terms.Where}, "rate": {terms.Rate}},
	}
	for _, p := range plan.Parts {
		line := p.Table
		if p.Rows >= 0 {
			line += "  " + v.t("about %s rows", writeNumber(p.Rows))
		}
		about.Which = append(about.Which, line)
	}
	if len(about.Which) > shownChosen {
		about.Which, about.More = about.Which[:shownChosen], true
	}
	return v.confirm(about)
}

// backfillRow sends one row as an event, and tells what came of it.
func (v *visit) backfillRow() error {
	request, terms, err := v.backfillAsked()
	if err != nil {
		return err
	}
	if request.Key, err = operation.ParseReadKey(linesOf(terms.Key)); err != nil {
		return err
	}
	return v.trigger(request, "/backfills")
}

// trigger sends one row and goes back to a page with what came of it.
func (v *visit) trigger(request operation.BackfillRequest, back string) error {
	var b operation.Backfill
	if err := v.call("backfill", request, &b); err != nil {
		return err
	}
	if err := v.await(&b); err != nil {
		return err
	}
	v.glance.forget()
	switch {
	case b.State == operation.BackfillDone && b.Failed > 0:
		v.say("warn", v.t("The row was read, and could not be mapped: the deliveries have a line that says why."))
	case b.State == operation.BackfillDone && b.Events == 0:
		v.say("warn", v.t("The row was read, and no event came of it: it is gone, or no rule holds."))
	case b.State == operation.BackfillDone:
		v.say("ok", v.t("The row was read. Events that came of it: %d", b.Events))
	case b.State == operation.BackfillFailed:
		v.say("bad", b.Error, b.Remedy)
	default:
		v.say("ok", v.t("The row is read as %s.", b.ID), b.Waiting)
	}
	return v.redirect(back)
}

const (
	// backfillPoll is how often a row that is read is looked after, and rowPatience for how long.
	backfillPoll = 50 * time.Millisecond
	rowPatience  = 5 * time.Second
)

// await waits for a backfill's end, and not for long.
func (v *visit) await(b *operation.Backfill) error {
	ctx, cancel := context.WithTimeout(v.r.Context(), rowPatience)
	defer cancel()
	tick := time.NewTicker(backfillPoll)
	defer tick.Stop()
	for b.State == operation.BackfillRunning {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		list, err := v.backfillList()
		if err != nil {
			return err
		}
		for i := range list {
			if list[i].ID == b.ID {
				*b = list[i]
			}
		}
	}
	return nil
}

// backfillAct pauses a backfill, has it go on, or ends it.
func (v *visit) backfillAct() error {
	id, act := v.r.PathValue("id"), v.r.PathValue("act")
	done := map[string]string{
		"pause":  v.t("%s is paused. It can go on later where it was.", id),
		"resume": v.t("%s goes on.", id),
		"cancel": v.t("%s was cancelled.", id),
	}
	if done[act] == "" {
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	if act == "cancel" && v.r.PostFormValue("confirmed") == "" {
		list, err := v.backfillList()
		if err != nil {
			return err
		}
		about := confirmation{
			Title: v.t("Cancel %s", id), Nav: "backfills", Act: v.r.URL.Path, Do: v.t("Cancel it for good"), Back: "/backfills",
			Text: v.t("What it has sent stays sent. It cannot go on afterwards: another one would begin anew, with other event ids."),
		}
		for i := range list {
			if list[i].ID == id {
				about.Which = []string{id + "  " + list[i].What() + "  " + v.t("rows so far: %s", writeNumber(list[i].Rows))}
			}
		}
		return v.confirm(about)
	}
	var b operation.Backfill
	if err := v.call("backfill/"+act, operation.BackfillChange{User: v.user(), ID: id}, &b); err != nil {
		return err
	}
	v.glance.forget()
	v.say("ok", done[act])
	return v.redirect("/backfills")
}

// kept is the catalogue of a moment ago, for pages that are not about it: they neither ask the
// database each time nor wait for it.
type kept struct {
	mu  sync.Mutex
	at  time.Time
	all catalogue.Catalogue
}

const (
	keptFor      = 30 * time.Second
	keptPatience = time.Second
)

func (k *kept) of(v *visit) catalogue.Catalogue {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := v.now(); k.at.IsZero() || now.Sub(k.at) > keptFor || now.Before(k.at) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(v.r.Context()), keptPatience)
		defer cancel()
		var all catalogue.Catalogue
		if v.agent.Call(ctx, OpEvents, operation.None{}, &all) != nil {
			all = catalogue.Catalogue{} // a button less
		}
		k.at, k.all = now, all
	}
	return k.all
}

// forget has the next look ask again.
func (k *kept) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
}

// rowOf finds out how the row of a delivery is read again: the entry that makes events of rows for
// the profile, and the row's key by its columns. ok is false where nothing tells.
func (v *visit) rowOf(line *logLine) (request operation.BackfillRequest, ok bool) {
	if line == nil || line.Type == "" || len(line.Key) == 0 {
		return request, false
	}
	all := v.kept.of(v)
	for i := range all.Events {
		made := &all.Events[i]
		if made.Type != line.Type || made.Key == nil {
			continue
		}
		for j := range all.Events {
			read := &all.Events[j]
			if read.Entry != made.Entry || !read.Reads() || !slices.Contains(read.Profiles, line.Profile) {
				continue
			}
			if key, ok := keyColumns(line.Key, made.Key); ok {
				return operation.BackfillRequest{User: v.user(), Entries: []string{made.Entry}, Profile: line.Profile, Key: key}, true
			}
		}
	}
	return request, false
}

// keyColumns reads an event's key as values of the table's columns.
func keyColumns(key []byte, columns map[string]string) (map[string]string, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(key, &members) != nil || len(members) != len(columns) {
		return nil, false
	}
	values := map[string]string{}
	for name, raw := range members {
		column, known := columns[name]
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		if !known || raw[0] == '{' || raw[0] == '[' || string(raw) == "null" {
			return nil, false
		}
		values[column] = text
	}
	return values, true
}
