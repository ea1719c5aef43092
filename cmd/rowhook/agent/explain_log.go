package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"slices"
	"time"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
)

// groupLines bounds the lines about groups that are looked into, and groupBudget how long.
const (
	groupLines  = 10_000
	groupBudget = 5 * time.Second
)

// logReader takes lines of the delivery log, the newest first.
type logReader struct {
	*explainer
	ids    map[string]bool // of the events that are known
	key    [][]byte        // what a line about the row holds, as it is written there
	groups []delivery.LogRecord
}

// readLog takes what the delivery log says of the events.
func (x *explainer) readLog() error {
	r := &logReader{explainer: x, ids: map[string]bool{}}
	for id := range x.events {
		r.ids[id] = true
	}
	if x.row != nil && !x.masks() { // a masked key is not written as it is asked for
		for i := range x.row.parts {
			value := delivery.AppendJSONString(nil, x.row.parts[i].Value)
			r.key = append(r.key, value[1:len(value)-1])
		}
	}
	if x.request.Event != "" {
		r.ids[x.request.Event] = true
	}
	ctx, done := x.within()
	defer done()
	page, err := deliverylog.ReadPage(ctx, deliverylog.Query{Path: x.config.Log.Deliveries, Since: x.request.Since, Look: r.look},
		deliverylog.Place{}, math.MaxInt, r.take)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	x.told.History.Deliveries = page.Reached
	x.told.History.Partly = x.told.History.Partly || page.Next != nil && ctx.Err() != nil
	if err := r.readGroups(ctx); err != nil && !x.partly(err) {
		return err
	}
	for _, c := range x.list {
		for i := range c.Events {
			for k := range c.Events[i].Profiles {
				slices.Reverse(c.Events[i].Profiles[k].Attempts)
			}
		}
	}
	return nil
}

var (
	eventMember = []byte(`,"event":"`)
	countMember = []byte(`,"count":`)
	unitMember  = []byte(`,"unit":"`)
	keyMember   = []byte(`,"key":{`)
)

// look refuses lines that cannot be about the events.
func (r *logReader) look(line []byte) bool {
	at := bytes.Index(line, eventMember)
	if at < 0 {
		return false
	}
	id := line[at+len(eventMember):]
	if end := bytes.IndexByte(id, '"'); end >= 0 && r.ids[string(id[:end])] {
		return true
	}
	if bytes.Contains(line, countMember) && bytes.Contains(line, unitMember) {
		return true
	}
	if r.row == nil || !bytes.Contains(line, keyMember) {
		return false
	}
	for _, value := range r.key {
		if !bytes.Contains(line, value) {
			return false
		}
	}
	return true
}

// masks reports whether any entry masks a column.
func (x *explainer) masks() bool {
	for i := range x.config.Mapping {
		if len(x.config.Mapping[i].Columns.Mask) > 0 {
			return true
		}
	}
	return false
}

// take takes one line.
func (r *logReader) take(_ []byte, rec deliverylog.ParsedRecord) error {
	switch {
	case rec.Count > 0 && rec.Unit != "":
		r.takeGroup(&rec)
	case r.ids[rec.Event]:
		r.attempt(rec.Event, rec.Type, &rec.LogRecord)
	case r.row != nil && rec.Event != "":
		if entry, ok := r.row.entryOf(rec.Table, rec.Type); ok && r.row.has(entry, rec.Key) {
			r.attempt(rec.Event, rec.Type, &rec.LogRecord)
		}
	}
	return nil
}

// attempt adds a line to an event's way to a profile. An event that nobody knows any more has a
// change of its own.
func (r *logReader) attempt(id, typ string, rec *delivery.LogRecord) {
	c := r.events[id]
	if c == nil {
		c = r.add(operation.ExplainedChange{
			Time: rec.Time.UTC(), Position: rec.Position, Ordinal: -len(r.list) - 1, Table: rec.Table, Key: slices.Clone(rec.Key), From: "log",
		})
		c.Ordinal = 0
		r.ids[id] = true
	}
	if c.From == "log" {
		c.Time = rec.Time.UTC() // the first line's in the end
	}
	if c.Key == nil && rec.Count == 0 {
		c.Key = slices.Clone(rec.Key)
	}
	p := profileOf(r.event(c, id, typ), rec.Profile)
	if p.State == "" && len(p.Attempts) == 0 { // the newest line says how it ended
		p.State = string(rec.Outcome)
	}
	if len(p.Attempts) == explainAttempts {
		p.Earlier++
		return
	}
	told := operation.ExplainedAttempt{
		Time: rec.Time.UTC(), Outcome: rec.Outcome, Attempt: rec.Attempt, Round: rec.Round, Count: rec.Count, Status: rec.Status,
		DurationMS: float64(rec.Duration) / float64(time.Millisecond), Reason: rec.Reason, Error: rec.Error, NextAttempt: rec.NextAttempt,
	}
	if rec.Count > 0 {
		told.Group = rec.Event
	}
	p.Attempts = append(p.Attempts, told)
}

// takeGroup takes a line about a group: its body may name the events, else the spool is asked
// later.
func (r *logReader) takeGroup(rec *deliverylog.ParsedRecord) {
	if whole := !rec.BodyTruncated && len(rec.Body) > 0; whole {
		if members, ok := membersIn(rec.Body); ok {
			for _, id := range members {
				if r.ids[id] {
					r.attempt(id, r.typeOf(id), &rec.LogRecord)
				}
			}
			return
		}
	}
	if len(r.groups) == groupLines {
		r.told.Undecided++
		return
	}
	kept := rec.LogRecord
	kept.Body, kept.Response, kept.Key = nil, nil, nil
	r.groups = append(r.groups, kept)
}

// typeOf is the type of an event that is known.
func (r *logReader) typeOf(id string) string {
	if c := r.events[id]; c != nil {
		for i := range c.Events {
			if c.Events[i].ID == id {
				return c.Events[i].Type
			}
		}
	}
	return ""
}

// membersIn lists the events that a body names as native's do.
func membersIn(body []byte) (ids []string, ok bool) {
	var group struct {
		Events []struct {
			ID string `json:"id"`
		} `json:"events"`
	}
	if json.Unmarshal(body, &group) != nil || len(group.Events) == 0 {
		return nil, false
	}
	for i := range group.Events {
		if group.Events[i].ID == "" {
			return nil, false
		}
		ids = append(ids, group.Events[i].ID)
	}
	return ids, true
}

// readGroups asks the spool which groups carried the events. A group lies between its first event
// and its last, so that most need not be asked about.
func (r *logReader) readGroups(ctx context.Context) error {
	if len(r.groups) == 0 || len(r.ids) == 0 {
		return nil
	}
	places := map[string]delivery.Seq{}
	for i := range r.groups {
		places[r.groups[i].First], places[r.groups[i].Last] = 0, 0
	}
	var sought []delivery.Seq
	err := r.eachEvent(ctx, func(e *delivery.Entry) {
		if _, bound := places[e.Event.ID]; bound {
			places[e.Event.ID] = e.Seq
		}
		if r.ids[e.Event.ID] {
			sought = append(sought, e.Seq)
		}
	})
	if err != nil {
		return err
	}
	known := map[string][]string{} // the members that are sought, by group
	began := time.Now()
	for i := range r.groups {
		rec := &r.groups[i]
		first, last := places[rec.First], places[rec.Last]
		switch members, asked := known[rec.Profile+" "+rec.Event]; {
		case asked:
			r.attempts(members, rec)
		case first == 0 || last == 0: // the spool has it no more
			r.bounds(rec)
		case !slices.ContainsFunc(sought, func(seq delivery.Seq) bool { return first <= seq && seq <= last }):
		case time.Since(began) > groupBudget:
			r.told.Undecided++
		default:
			if members, err = r.membersOf(ctx, rec); err != nil {
				return err
			}
			known[rec.Profile+" "+rec.Event] = members
			r.attempts(members, rec)
		}
	}
	return nil
}

// bounds takes a group of which only the first and the last event are known.
func (r *logReader) bounds(rec *delivery.LogRecord) {
	if r.ids[rec.First] || r.ids[rec.Last] {
		r.attempts(slices.Compact([]string{rec.First, rec.Last}), rec)
		return
	}
	if c := r.list; len(c) > 0 && !slices.ContainsFunc(c, func(c *operation.ExplainedChange) bool { return !c.Time.After(rec.Time) }) {
		return // it was sent before any of the changes
	}
	r.told.Undecided++
}

func (r *logReader) attempts(members []string, rec *delivery.LogRecord) {
	for _, id := range members {
		if r.ids[id] {
			r.attempt(id, r.typeOf(id), rec)
		}
	}
}

// membersOf lists the events of a group that are sought.
func (r *logReader) membersOf(ctx context.Context, rec *delivery.LogRecord) (ids []string, err error) {
	group, err := r.engine.GroupOf(ctx, rec)
	if err != nil || group == nil {
		if err == nil {
			r.bounds(rec)
		}
		return nil, err
	}
	for ev, err := range group.Events {
		if err != nil {
			return nil, err
		}
		if r.ids[ev.ID] {
			ids = append(ids, ev.ID)
		}
	}
	return ids, nil
}
