package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"rowhook/delivery"
)

// Filter selects deliveries. What is empty does not select.
type Filter struct {
	Profile string    `json:"profile,omitempty"` // code
	ID      string    `json:"id,omitempty"`      // of the event, or the group
	Type    string    `json:"type,omitempty"`    // glob; of a group any event's, as for the key
	Key     string    `json:"key,omitempty"`     // the key's JSON, or the values of its members, joined by commas
	State   string    `json:"state,omitempty"`   // as in Item
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since,omitzero"` // of the event's time; for dead letters of when they died
	Until   time.Time `json:"until,omitzero"`
	Limit   int       `json:"limit,omitempty"` // of a list; default 1000
}

const defaultLimit = 1000

// stateHeld is how a list calls what waits for its profile to become active, whatever is stored of
// it.
const stateHeld = "held"

// Item is a delivery that waits, or a dead letter. What waits in the log is shown event by event,
// whatever the profile's unit.
type Item struct {
	Profile  string          `json:"profile"`
	State    string          `json:"state"` // pending, in_flight, retrying, blocked, held, dead
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	Table    string          `json:"table,omitempty"`
	Key      json.RawMessage `json:"key,omitempty"`
	Position string          `json:"position,omitempty"`
	Time     time.Time       `json:"time"` // of the event
	Bytes    int             `json:"bytes"`

	// Of a group: what it is, how many events it has, and the ids of the first and the last.
	Unit  string `json:"unit,omitempty"`
	Count int    `json:"count,omitempty"`
	First string `json:"first,omitempty"`
	Last  string `json:"last,omitempty"`

	Round       int       `json:"round,omitempty"`
	Attempts    int       `json:"attempts,omitempty"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Since       time.Time `json:"since,omitzero"` // of the first attempt, or of having been given up
	Reason      string    `json:"reason,omitempty"`
	Status      int       `json:"status,omitempty"`
	Error       string    `json:"error,omitempty"`

	seq delivery.Seq
}

// Items is a list that may have been cut at the filter's limit.
type Items struct {
	Items []Item `json:"items"`
	More  bool   `json:"more,omitempty"`
}

// Letter is a dead letter with what was sent.
type Letter struct {
	Item
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body,omitempty"`
}

// operatorError is something that an operator asked for and cannot have.
type operatorError struct{ text, remedy string }

func (e *operatorError) Error() string { return e.text }

// RemedyText says what could be done instead.
func (e *operatorError) RemedyText() string { return e.remedy }

// update calls fn with the dispatcher's state at hand, whether it runs or not, and makes durable
// what it decided.
func (d *dispatcher) update(fn func(now time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attend(); err != nil {
		return err
	}
	now := time.Now()
	if err := fn(now); err != nil {
		return err
	}
	committed, err := d.commits.commit()
	if err == nil && !committed {
		err = fmt.Errorf("write delivery log: %w", d.engine.LogError())
	}
	d.wake.notify()
	return err
}

// view calls fn with the dispatcher's state at hand for what only reads, after what was decided
// has been made durable if it can be. A delivery log that cannot be written does not stand in
// its way: that is when people look.
func (d *dispatcher) view(fn func(now time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attend(); err != nil {
		return err
	}
	if _, err := d.commits.commit(); err != nil {
		return err
	}
	return fn(time.Now())
}

// choose returns the dispatchers that a profile's code names; all that are owned for an empty one.
func (e *Engine) choose(code string) ([]*dispatcher, error) {
	if code == "" {
		return e.owned(), nil
	}
	if d := e.find(code); d != nil {
		if d.tenure.Load() == nil {
			return nil, d.notOwner()
		}
		return []*dispatcher{d}, nil
	}
	return nil, &operatorError{fmt.Sprintf("there is no profile %q", code), "profiles are: " + strings.Join(e.Profiles(), ", ")}
}

// one is choose for what concerns a single profile.
func (e *Engine) one(code string) (*dispatcher, error) {
	if code == "" {
		return nil, &operatorError{"which profile?", "name one with --profile"}
	}
	chosen, err := e.choose(code)
	if err != nil {
		return nil, err
	}
	return chosen[0], nil
}

// Queue lists what waits to be delivered, profile by profile, the oldest first.
func (e *Engine) Queue(f Filter) (Items, error) {
	return e.list(f, func(d *dispatcher, l *listing) error {
		if err := l.observe(); err != nil {
			return err
		}
		if err := d.store.each([]delivery.State{delivery.Retrying, delivery.Blocked}, l.record); err != nil {
			return err
		}
		return l.log()
	})
}

// Failed lists dead letters, profile by profile, the oldest first.
func (e *Engine) Failed(f Filter) (Items, error) {
	return e.list(f, func(d *dispatcher, l *listing) error {
		return d.store.each([]delivery.State{delivery.Dead}, l.record)
	})
}

func (e *Engine) list(f Filter, collect func(*dispatcher, *listing) error) (Items, error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	chosen, err := e.choose(f.Profile)
	if err != nil {
		return Items{}, err
	}
	all := Items{Items: []Item{}}
	for _, d := range chosen {
		l := &listing{d: d, filter: f, limit: f.Limit - len(all.Items) + 1}
		if err := collect(d, l); passedOn(f.Profile, err) {
			continue
		} else if err != nil {
			return Items{}, err
		}
		slices.SortStableFunc(l.items, func(a, b Item) int { return int(int64(a.seq) - int64(b.seq)) })
		all.Items = append(all.Items, l.items...)
		if len(all.Items) > f.Limit {
			all.Items, all.More = all.Items[:f.Limit], true
			break
		}
	}
	return all, nil
}

// listing collects items of one profile from the store, without holding up its dispatcher.
type listing struct {
	d      *dispatcher
	filter Filter
	limit  int
	handed map[delivery.Seq]bool // what workers have
	held   bool                  // the profile is inactive
	items  []Item

	// visit is who is told in place of the filter and the list, within ctx; nil for nobody.
	visit func(state string, ev *delivery.Event, r *delivery.Delivery) error
	ctx   context.Context
}

// observe makes progress durable and notes what the store does not tell.
func (l *listing) observe() error {
	d := l.d
	return d.view(func(time.Time) error {
		l.held = !d.active()
		l.handed = d.queue.inFlight()
		return nil
	})
}

// state is how a delivery stands that the store has as stored: whatever it waited for,
// now it waits for its profile.
func (l *listing) state(seq delivery.Seq, stored string) string {
	switch {
	case l.handed[seq]:
		return "in_flight"
	case l.held && stored != delivery.Dead.String():
		return stateHeld
	}
	return stored
}

func (l *listing) record(r *delivery.Delivery) (more bool, err error) {
	item := Item{
		State: l.state(r.Seq, r.State.String()), Bytes: r.Bytes, Round: r.Round, Attempts: r.Attempts, NextAttempt: r.Due, Since: r.Since,
		Reason: r.Reason, Status: r.Status, Error: r.Error, seq: r.Seq,
	}
	if item.State == stateHeld {
		item.NextAttempt = time.Time{}
	}
	if l.filter.State != "" && l.filter.State != item.State || l.filter.Reason != "" && l.filter.Reason != r.Reason {
		return true, nil
	}
	ev, err := l.d.store.Event(l.d.store.id, r.Seq)
	if err != nil {
		return false, fmt.Errorf("read event of a waiting delivery: %w", err)
	}
	return l.add(&item, ev, r)
}

// log collects what has no record yet.
func (l *listing) log() error {
	if l.filter.Reason != "" || l.filter.State == delivery.Retrying.String() || l.filter.State == delivery.Blocked.String() {
		return nil
	}
	d := l.d
	progress, err := d.store.Progress(d.store.id)
	if err != nil {
		return fmt.Errorf("read progress: %w", err)
	}
	settled := make(map[delivery.Seq]bool, len(progress.Done))
	for _, seq := range progress.Done {
		settled[seq] = true
	}
	var groups []delivery.Delivery
	err = d.store.Deliveries(d.store.id, progress.Cursor, nil, func(r delivery.Delivery) bool {
		if settled[r.Seq] = true; r.Members != nil {
			groups = append(groups, r)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read waiting deliveries: %w", err)
	}
	heads := headsOf{unit: d.profileNow().config.Unit}
	carried := func(e *delivery.Entry) bool {
		if settled[heads.of(e)] {
			return true
		}
		return slices.ContainsFunc(groups, func(r delivery.Delivery) bool {
			return e.Seq >= r.Seq && e.Seq <= r.Members.Last && r.Members.Has(e.Event)
		})
	}
	var entries []delivery.Entry
	for next, end := progress.Cursor, false; !end; {
		entries, next, end, err = d.store.Read(d.store.id, next, entries[:0], readChunk, 1<<20)
		if err != nil {
			return fmt.Errorf("read spool at %d: %w", next, err)
		}
		for _, entry := range entries {
			if settled[entry.Seq] || carried(&entry) {
				continue
			}
			item := Item{State: l.state(entry.Seq, "pending"), Bytes: entry.Bytes, seq: entry.Seq}
			if l.filter.State != "" && l.filter.State != item.State {
				continue
			}
			if more, err := l.add(&item, entry.Event, &delivery.Delivery{Seq: entry.Seq}); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// add completes an item and keeps it if the filter lets it pass. It reports whether there is room
// for more.
func (l *listing) add(item *Item, ev *delivery.Event, r *delivery.Delivery) (more bool, err error) {
	if l.visit != nil {
		if err := l.ctx.Err(); err != nil {
			return false, err
		}
		return true, l.visit(item.State, ev, r)
	}
	if fits, err := l.d.store.fits(&l.filter, r, ev); err != nil || !fits {
		return err == nil, err
	}
	item.Profile = l.d.code
	item.ID, item.Type, item.Table, item.Position, item.Time = ev.ID, ev.Type, ev.Table, ev.Position, ev.Time
	item.Key = json.RawMessage(bytes.Clone(ev.Key))
	if len(item.Key) == 0 {
		item.Key = nil
	}
	if m := r.Members; m != nil {
		item.ID, item.Unit, item.Count, item.First, item.Last, item.Key = m.ID, m.Unit, m.Count, ev.ID, m.LastID, nil
		if m.Unit != delivery.UnitType {
			item.Type, item.Table = "", ""
		}
	}
	l.items = append(l.items, *item)
	return len(l.items) < l.limit, nil
}

// fits reports whether the filter selects a delivery, whose first event is ev. One event of a group
// is enough.
func (s *profileStore) fits(f *Filter, r *delivery.Delivery, ev *delivery.Event) (bool, error) {
	at := ev.Time
	if r.State == delivery.Dead {
		at = r.Since
	}
	if !f.Since.IsZero() && at.Before(f.Since) || !f.Until.IsZero() && !at.Before(f.Until) {
		return false, nil
	}
	whole := *f
	if r.Members != nil && f.ID == r.Members.ID {
		whole.ID = ""
	}
	if r.Members == nil || whole.matches(ev) {
		return whole.matches(ev), nil
	}
	for ev, err := range s.members(r) {
		if err != nil || whole.matches(ev) {
			return err == nil, err
		}
	}
	return false, nil
}

// matches is the part of the filter that looks at an event.
func (f *Filter) matches(ev *delivery.Event) bool {
	return (f.ID == "" || f.ID == ev.ID) &&
		(f.Type == "" || delivery.MatchGlob(f.Type, ev.Type)) &&
		(f.Key == "" || keyMatches(ev.Key, f.Key))
}

// keyMatches compares an event's key with what an operator wrote: its JSON, or its values.
func keyMatches(key []byte, want string) bool {
	if string(key) == want {
		return true
	}
	decoder := json.NewDecoder(bytes.NewReader(key))
	decoder.UseNumber()
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	var values []string
	for decoder.More() {
		if _, err := decoder.Token(); err != nil {
			return false
		}
		var value any
		if err := decoder.Decode(&value); err != nil {
			return false
		}
		values = append(values, fmt.Sprint(value))
	}
	return strings.Join(values, ",") == want
}
