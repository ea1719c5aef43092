package operation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

// ExplainRequest asks what became of a row's changes, or of the change that made an event.
type ExplainRequest struct {
	Entry string    `json:"entry,omitempty"` // or the table
	Key   []KeyPart `json:"key,omitempty"`
	Event string    `json:"event,omitempty"` // in place of entry and key
	Since time.Time `json:"since,omitzero"`
	Most  int       `json:"most,omitempty"` // changes, the newest; default 1000
	// Within bounds how long the spool and the delivery log are searched; 0 is no bound.
	Within time.Duration `json:"within,omitempty"`
}

// Explanation is what is known of a row's changes, in the order of commits.
type Explanation struct {
	Changes []ExplainedChange `json:"changes"`
	// Perhaps are changes that could not be decoded, or whose key is not known or not kept: they may be
	// of the row. The newest 20.
	Perhaps []ExplainedChange `json:"perhaps,omitempty"`
	// More says that there are older ones.
	More bool `json:"more,omitempty"`
	// History says since when there is something of each kind.
	History ExplainedHistory `json:"history"`
	// LeftOut are changes that were not written down; among them may be some of the row.
	LeftOut []ExplainedLack `json:"left_out,omitempty"`
	// Unclean are times at which an agent ended without writing down what it had seen within the
	// last second.
	Unclean []time.Time `json:"unclean,omitempty"`
	// Unkeyed counts changes of the entry whose row is not known, Undecided lines of the delivery
	// log about groups that may have carried an event of the row, Damaged pieces of the account that
	// cannot be read.
	Unkeyed   int `json:"unkeyed,omitempty"`
	Undecided int `json:"undecided,omitempty"`
	Damaged   int `json:"damaged,omitempty"`
	// ParkedUnkeyed counts changes that are parked, of which it is not known whether they are the row's.
	ParkedUnkeyed int `json:"parked_unkeyed,omitempty"`
	// Unsearched counts events that were not looked for among the deliveries that wait, in want of time.
	Unsearched int `json:"unsearched,omitempty"`
}

// ExplainedHistory says before which times nothing is kept. A zero time says that there is nothing.
type ExplainedHistory struct {
	// Off says that no account is kept.
	Off        bool      `json:"off,omitempty"`
	Changes    time.Time `json:"changes,omitzero"`    // also those without an event
	Events     time.Time `json:"events,omitzero"`     // the spool's
	Deliveries time.Time `json:"deliveries,omitzero"` // the delivery log's
	// Partly says that the search ended before its end, for its time was over: what is older than
	// these times was not looked at.
	Partly bool `json:"partly,omitempty"`
}

// ExplainedLack tells of changes that were not written down since there were too many at once, or,
// without an entry, since they could not be written.
type ExplainedLack struct {
	Entry     string    `json:"entry,omitempty"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Events    int64     `json:"events,omitempty"`    // of those that made events or were parked
	Eventless int64     `json:"eventless,omitempty"` // of those that did not
}

// ExplainedChange is one change, as one entry of the mapping saw it.
type ExplainedChange struct {
	Time        time.Time       `json:"time,omitzero"` // of the commit
	Transaction string          `json:"transaction,omitempty"`
	Position    string          `json:"position,omitempty"`
	Ordinal     int             `json:"ordinal"`
	Op          string          `json:"op,omitempty"`
	Entry       string          `json:"entry,omitempty"`
	Table       string          `json:"table,omitempty"`
	Key         json.RawMessage `json:"key,omitempty"`
	Moved       bool            `json:"moved,omitempty"` // it gave the row another key
	Actor       *delivery.Actor `json:"actor,omitempty"`
	Operation   string          `json:"operation,omitempty"`
	// From says what it is known by: account, spool or log. Only the account has verdicts.
	From string `json:"from"`
	// About is set when the row is not one of the entry's, or that cannot be decided.
	About *ExplainedRule `json:"about,omitempty"`
	// Folded is set when it stands for several changes of its row.
	Folded *ExplainedFolded `json:"folded,omitempty"`
	// Lookups are what it found in other tables.
	Lookups []ExplainedLookup `json:"lookups,omitempty"`
	// Parts are the lists of other tables' rows that its events have.
	Parts  []ExplainedList  `json:"parts,omitempty"`
	Rules  []ExplainedRule  `json:"rules,omitempty"`
	Parked *ExplainedParked `json:"parked,omitempty"`
	Events []ExplainedEvent `json:"events,omitempty"`
}

// The standings of a rule.
const (
	StandingHolds     = "holds"
	StandingFails     = "fails"
	StandingUndecided = "undecided"
	StandingOtherOp   = "other_op"
	StandingNotAsked  = "not_asked"
)

// ExplainedRule is how a rule stood to a change.
type ExplainedRule struct {
	Event    string           `json:"event,omitempty"`
	Rule     string           `json:"rule,omitempty"`
	Standing string           `json:"standing"`
	Ops      []string         `json:"ops,omitempty"`    // that it is for, where the change's is another
	Clause   string           `json:"clause,omitempty"` // that decided
	Columns  []string         `json:"columns,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	Old      bool             `json:"old,omitempty"` // it is the old value that decided
	Values   []ExplainedValue `json:"values,omitempty"`
	Text     string           `json:"text"` // all of it in words
}

// ExplainedValue is a value that decided. Masked columns have their hash.
type ExplainedValue struct {
	Column   string  `json:"column"`
	Value    *string `json:"value"` // null for NULL, and where the rest says why
	Unknown  bool    `json:"unknown,omitempty"`
	Masked   bool    `json:"masked,omitempty"`
	Withheld bool    `json:"withheld,omitempty"` // its column is excluded, or no row data is kept
	Cut      bool    `json:"cut,omitempty"`
}

// ExplainedFolded are changes that became one, at the place of the last.
type ExplainedFolded struct {
	Count   int  `json:"count"`
	Nothing bool `json:"nothing,omitempty"` // nothing was left of them: the row was made and deleted
	// Changes are the first ones and the last.
	Changes []ExplainedPart `json:"changes"`
	Text    string          `json:"text"`
}

// ExplainedPart is one of several changes that became one.
type ExplainedPart struct {
	Op      string `json:"op"`
	Ordinal int    `json:"ordinal"`
}

// The standings of a look-up.
const (
	LookupFound   = "found"
	LookupNone    = "none"     // there is no such row
	LookupNull    = "null_key" // its key is NULL
	LookupUnknown = "unknown"
)

// ExplainedLookup is what came of a look-up.
type ExplainedLookup struct {
	Name     string           `json:"name"`
	Table    string           `json:"table"`
	Standing string           `json:"standing"`
	Touched  bool             `json:"touched,omitempty"` // its row changed, which is what the change is
	By       []ExplainedValue `json:"by,omitempty"`      // that it was to be found by
	Values   []ExplainedValue `json:"values,omitempty"`  // of the columns that the entry uses
	Text     string           `json:"text"`              // all of it in words
}

// The standings of a list.
const (
	ListWhole   = "whole"
	ListCut     = "cut" // there are more rows than it may have
	ListUnknown = "unknown"
)

// ExplainedList is what came of a list of another table's rows.
type ExplainedList struct {
	Name     string           `json:"name"`
	Table    string           `json:"table"`
	Standing string           `json:"standing"`
	Rows     int              `json:"rows"`         // that events have
	By       []ExplainedValue `json:"by,omitempty"` // that they were to be found by
	Text     string           `json:"text"`         // all of it in words
}

// ExplainedParked is why a change was parked.
type ExplainedParked struct {
	Number  delivery.Seq `json:"number,omitempty"` // 0 when it is not parked any more
	Profile string       `json:"profile,omitempty"`
	Reason  string       `json:"reason"`
	Error   string       `json:"error,omitempty"`
	Changes int          `json:"changes,omitempty"` // of its row that are parked as one
}

// ExplainedEvent is an event that a change made.
type ExplainedEvent struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// Unsearched says that it was not looked for among the deliveries that wait.
	Unsearched bool               `json:"unsearched,omitempty"`
	Profiles   []ExplainedProfile `json:"profiles,omitempty"`
}

// ExplainedProfile is how an event went to a profile, or why it did not.
type ExplainedProfile struct {
	Profile string `json:"profile"`
	// Match is yes, no, undecided, or empty where nobody wrote it down.
	Match string `json:"match,omitempty"`
	// Why it does not match: type, operation or where; and the value that decided.
	Why   string          `json:"why,omitempty"`
	Value *ExplainedValue `json:"value,omitempty"`
	// State is where the delivery stands: an outcome that ended it, or what it waits for.
	State string `json:"state,omitempty"`
	// Attempts are lines of the delivery log, the oldest first; Earlier counts those before them.
	Attempts []ExplainedAttempt `json:"attempts,omitempty"`
	Earlier  int                `json:"earlier,omitempty"`
}

// ExplainedAttempt is a line of the delivery log.
type ExplainedAttempt struct {
	Time        time.Time        `json:"time"`
	Outcome     delivery.Outcome `json:"outcome"`
	Attempt     int              `json:"attempt,omitempty"`
	Round       int              `json:"round,omitempty"`
	Group       string           `json:"group,omitempty"` // that carried the event
	Count       int              `json:"count,omitempty"` // of its events
	Status      int              `json:"status,omitempty"`
	DurationMS  float64          `json:"duration_ms,omitempty"`
	Reason      string           `json:"reason,omitempty"`
	Error       string           `json:"error,omitempty"`
	NextAttempt time.Time        `json:"next_attempt,omitzero"`
}

// Put fills in the text.
func (f *ExplainedFolded) Put() {
	var parts []string
	for i, p := range f.Changes {
		if i > 0 && i == len(f.Changes)-1 && f.Count > len(f.Changes) {
			parts = append(parts, "…")
		}
		parts = append(parts, fmt.Sprintf("%s #%d", p.Op, p.Ordinal))
	}
	f.Text = strings.Join(parts, ", ")
}

// Put fills in the text.
func (l *ExplainedLookup) Put() {
	text := l.Name + ", of " + l.Table + foundBy(l.By)
	switch l.Standing {
	case LookupNone:
		text += ": no such row"
	case LookupNull:
		text += ": none, its key is NULL"
	case LookupUnknown:
		text += ": not known"
	default:
		if text += ": found"; len(l.Values) > 0 {
			text += ", " + valueWords(l.Values)
		}
	}
	if l.Touched {
		text += "; its change touched the row"
	}
	l.Text = text
}

// Put fills in the text.
func (l *ExplainedList) Put() {
	rows := fmt.Sprint(l.Rows, " rows")
	if l.Rows == 1 {
		rows = "1 row"
	}
	text := l.Name + ", of " + l.Table + foundBy(l.By)
	switch l.Standing {
	case ListUnknown:
		text += ": not known"
	case ListCut:
		text += ": the first " + rows + " of more"
	default:
		text += ": " + rows
	}
	l.Text = text
}

// foundBy tells what rows of another table were to be found by.
func foundBy(values []ExplainedValue) string {
	if len(values) == 0 {
		return ""
	}
	return " by " + valueWords(values)
}

func valueWords(values []ExplainedValue) string {
	parts := make([]string, len(values))
	for i := range values {
		parts[i] = values[i].Column + " " + values[i].Words()
	}
	return strings.Join(parts, ", ")
}

// Words is how a value reads in a sentence.
func (v *ExplainedValue) Words() string {
	switch {
	case v.Unknown:
		return "not known"
	case v.Withheld:
		return "a value that is not told"
	case v.Value == nil:
		return "NULL"
	}
	text := strconv.Quote(*v.Value)
	if v.Cut {
		text += "…"
	}
	if v.Masked {
		text += " (masked)"
	}
	return text
}

// words is the verdict in words.
func (r *ExplainedRule) words(op string) string {
	switch r.Standing {
	case StandingHolds:
		return "holds"
	case StandingOtherOp:
		return "is not for this operation: " + strings.Join(r.Ops, ", ")
	case StandingNotAsked:
		return "was not asked"
	}
	why := r.reasonWords(op)
	switch {
	case r.Clause == "":
		return why
	case why == "":
		return r.Clause
	}
	return r.Clause + ": " + why
}

// Put fills in the text.
func (r *ExplainedRule) Put(op string) { r.Text = r.words(op) }

// reasonWords says why a clause does not hold, or cannot be decided.
func (r *ExplainedRule) reasonWords(op string) string {
	column := strings.Join(r.Columns, ", ")
	is := func(verb string) string {
		if len(r.Values) == 0 {
			return fmt.Sprintf("%s %s another value", column, verb)
		}
		return fmt.Sprintf("%s %s %s", r.Values[0].Column, verb, r.Values[0].Words())
	}
	switch r.Reason {
	case "other_value", "is_set":
		return is("is")
	case "was_set":
		return is("was")
	case "is_null":
		return column + " is NULL"
	case "was_null":
		return column + " was NULL before"
	case "unchanged":
		if len(r.Columns) > 1 {
			return "none of them changed"
		}
		return column + " did not change"
	case "held_before":
		return "it held before the change, too"
	case "wrong_op":
		return "no " + op + " does that"
	case "false":
		text := "it is false"
		for i := range r.Values {
			text += []string{": ", ", "}[min(i, 1)] + r.Values[i].Column + " is " + r.Values[i].Words()
		}
		return text
	case "unknown":
		which := "value"
		if r.Old {
			which = "old value"
		}
		if len(r.Values) > 0 {
			return fmt.Sprintf("the stream did not carry the %s of %s", which, r.Values[0].Column)
		}
		return "the stream did not carry a value that it needs"
	case "untyped":
		return "the value's type is not known"
	case "fault":
		return "it cannot be computed"
	}
	return ""
}

// Words says why a profile does not get an event; empty where it does, or nobody wrote it down.
func (p *ExplainedProfile) Words() string {
	if p.Match != "no" && p.Match != "undecided" {
		return ""
	}
	switch p.Why {
	case "type":
		return "it did not subscribe to this event then"
	case "operation":
		return "no subscription takes its operation"
	}
	if p.Value == nil {
		return "its condition does not hold"
	}
	return "where " + p.Value.Column + ": it is " + p.Value.Words()
}

// shownNotes is how many notes of a kind stand for themselves.
const shownNotes = 3

// Notes says what is not known, in sentences.
func (e *Explanation) Notes() []string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	e.noteLack(note)
	if n := len(e.Unclean); n > shownNotes {
		note("%d times an agent ended without having written down what it had seen within its last second, the last time at %s.", n, FormatMoment(e.Unclean[n-1]))
	} else {
		for _, at := range e.Unclean {
			note("After %s an agent ended without having written down what it had seen within its last second.", FormatMoment(at))
		}
	}
	if e.Unkeyed > 0 {
		note("%d changes of this entry have no known key: some may be of this row.", e.Unkeyed)
	}
	if e.ParkedUnkeyed > 0 {
		note("%d changes of this entry or table are parked of which the row is not known, or is not kept: rowhook failed list --source.", e.ParkedUnkeyed)
	}
	if e.Undecided > 0 {
		note("%d lines of the delivery log are about groups whose events are not known any more: some may have carried these events.", e.Undecided)
	}
	if e.Unsearched > 0 {
		note("%d events were not looked for among the deliveries that wait, for the search's time was over.", e.Unsearched)
	}
	if e.Damaged > 0 {
		note("%d files of the account could not be read to their ends.", e.Damaged)
	}
	h := &e.History
	if h.Partly {
		note("The search ended before its end, for its time was over: there may be more. rowhook explain searches without this limit.")
	}
	switch {
	case h.Off:
		note("account.max_size is 0: of changes that make no event nothing is kept.")
	case h.Changes.IsZero():
		note("Of changes that made no event nothing is kept yet.")
	default:
		note("Before %s nothing is kept of changes that made no event.", FormatMoment(h.Changes))
	}
	if !h.Events.IsZero() {
		note("Before %s nothing is kept of events that were delivered.", FormatMoment(h.Events))
	}
	if !h.Deliveries.IsZero() {
		note("Before %s nothing is kept of attempts.", FormatMoment(h.Deliveries))
	}
	return notes
}

// noteLack says what was not written down, and when: what is not far apart is one time.
func (e *Explanation) noteLack(note func(string, ...any)) {
	for _, kind := range []struct {
		unwritten bool
		cause     string
	}{{false, "there were too many changes at once"}, {true, "changes could not be written, for the disk was full or slow"}} {
		times := lackTimes(e.LeftOut, kind.unwritten)
		if n := len(times); n > shownNotes {
			first := times[0]
			for _, l := range times[1:] {
				first.join(&l)
			}
			note("%d times between %s and %s %s: %d without an event and %d with events were not written down. Some may be of this row.",
				n, FormatMoment(first.From), FormatMoment(first.To), kind.cause, first.Eventless, first.Events)
			continue
		}
		for _, l := range times {
			note("Between %s and %s %s: %d without an event and %d with events were not written down. Some may be of this row.",
				FormatMoment(l.From), FormatMoment(l.To), kind.cause, l.Eventless, l.Events)
		}
	}
}

// lackApart is how far two times at which changes were left out are apart, at least.
const lackApart = time.Minute

// lackTimes joins what is of one time, in order.
func lackTimes(list []ExplainedLack, unwritten bool) (times []ExplainedLack) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b ExplainedLack) int { return a.From.Compare(b.From) })
	for _, l := range list {
		if (l.Entry == "") != unwritten {
			continue
		}
		if n := len(times); n > 0 && l.From.Sub(times[n-1].To) < lackApart {
			times[n-1].join(&l)
			continue
		}
		times = append(times, l)
	}
	return times
}

func (l *ExplainedLack) join(other *ExplainedLack) {
	if other.From.Before(l.From) {
		l.From = other.From
	}
	if other.To.After(l.To) {
		l.To = other.To
	}
	l.Events, l.Eventless = l.Events+other.Events, l.Eventless+other.Eventless
}
