package engine

import (
	"maps"
	"strings"
	"time"

	"rowhook/delivery"
)

// When the config changes what is in order with what (order, unit, or the mapping's ordering keys),
// events from before and after cannot be told to belong together. So there is a barrier in the log:
// what lies above it begins when everything below is over, and until then the former order and unit
// are in force. Barriers are stored with the profile's state before anything is appended above
// them.

// ordering is the part of a profile's state that tells what its events are ordered by.
type ordering struct {
	// Order and Unit are the profile's, and Keys what the ordering keys of each table are made of
	// (see ProfileConfig.Ordering): as above the last barrier.
	Order string            `json:"order,omitempty"`
	Unit  string            `json:"unit,omitempty"`
	Keys  map[string]string `json:"keys,omitempty"`
	// Barriers are ascending.
	Barriers []barrier `json:"barriers,omitempty"`
	// Turned is the first event of the last turn that this is as of, where machines share profiles.
	Turned delivery.Seq `json:"turned,omitempty"`
}

// barrier is a place in the log: events up to At are over before others begin. Order and Unit hold
// below it.
type barrier struct {
	At    delivery.Seq `json:"at"`
	Order string       `json:"order"`
	Unit  string       `json:"unit"`
}

// follow takes over the order that a profile asks for, behind a barrier at end when it is another
// than before. It reports whether anything differs.
func (o *ordering) follow(p *Profile, end delivery.Seq) bool {
	c := &p.config
	keys, clash := mergeKeys(o.Keys, c.Ordering)
	same := o.Order == c.Order && o.Unit == c.Unit
	if same && !clash && maps.Equal(keys, o.Keys) {
		return false
	}
	if o.Order != "" && (!same || clash) && end > 0 {
		if n := len(o.Barriers); n == 0 || o.Barriers[n-1].At < end {
			o.Barriers = append(o.Barriers, barrier{At: end, Order: o.Order, Unit: o.Unit})
		}
	}
	o.Order, o.Unit, o.Keys = c.Order, c.Unit, keys
	return true
}

// followTurns is follow where machines share profiles: the log has more already. turns are the first
// events that came to be made by another config, and next is where the log is read on. Of configs between
// the one that this is as of and the last nothing is known: their turns are barriers whatever they say.
// It reports whether anything differs.
func (o *ordering) followTurns(p *Profile, turns []delivery.Seq, next delivery.Seq) bool {
	c := &p.config
	keys, clash := mergeKeys(o.Keys, c.Ordering)
	unknown, same := o.Order == "", o.Order == c.Order && o.Unit == c.Unit
	unseen := turns
	for len(unseen) > 0 && unseen[0] <= o.Turned {
		unseen = unseen[1:]
	}
	if len(unseen) == 0 && same && !clash && maps.Equal(keys, o.Keys) {
		return false
	}
	below := barrier{Order: o.Order, Unit: o.Unit}
	if unknown {
		below = barrier{Order: c.Order, Unit: c.Unit}
	}
	at := unseen
	switch differs := !unknown && (!same || clash); {
	case !differs && len(unseen) < 2:
		at = nil
	case len(unseen) == 0:
		at = turns[max(len(turns)-1, 0):]
	}
	for _, first := range at {
		if n := len(o.Barriers); first >= max(next, 2) && (n == 0 || o.Barriers[n-1].At < first-1) {
			below.At = first - 1
			o.Barriers = append(o.Barriers, below)
		}
		below.Order, below.Unit = c.Order, c.Unit
	}
	o.Order, o.Unit, o.Keys = c.Order, c.Unit, keys
	if len(turns) > 0 {
		o.Turned = turns[len(turns)-1]
	}
	return true
}

// mergeKeys adds to what the ordering keys of tables were made of what they are made of now, and
// reports whether any of them is another. Tables that are no longer mapped stay known: their events
// may still wait.
func mergeKeys(before, now map[string]string) (merged map[string]string, clash bool) {
	merged = make(map[string]string, len(now))
	maps.Copy(merged, before)
	for table, keys := range now {
		if was, known := ofTable(before, table); known && was != keys {
			clash = true
		}
		merged[table] = keys
	}
	return merged, clash
}

// ofTable looks a table up, which may have been mapped with its whole schema.
func ofTable(keys map[string]string, table string) (string, bool) {
	if text, known := keys[table]; known {
		return text, true
	}
	schema, _, _ := strings.Cut(table, ".")
	text, known := keys[schema+".*"]
	return text, known
}

// inForce returns the profile that a config gives, with order and unit as they hold below the first
// barrier.
func (o *ordering) inForce(configured *Profile) *Profile {
	if len(o.Barriers) == 0 {
		return configured
	}
	first := &o.Barriers[0]
	if first.Order == configured.config.Order && first.Unit == configured.config.Unit {
		return configured
	}
	p := *configured
	p.config.Order, p.config.Unit = first.Order, first.Unit
	return &p
}

// barred reports whether a log that is to be read on at a place has been read up to a barrier that
// stands.
func (o *ordering) barred(next delivery.Seq) bool {
	return len(o.Barriers) > 0 && next > o.Barriers[0].At
}

// cut leaves out what was read beyond the first barrier.
func (o *ordering) cut(entries []delivery.Entry, next delivery.Seq, end bool) ([]delivery.Entry, delivery.Seq, bool) {
	if len(o.Barriers) == 0 || next <= o.Barriers[0].At+1 {
		return entries, next, end
	}
	at := o.Barriers[0].At
	for len(entries) > 0 && entries[len(entries)-1].Seq > at {
		entries = entries[:len(entries)-1]
	}
	return entries, at + 1, false
}

// barred reports whether nothing is read for a barrier.
func (in *intake) barred() bool { return in.ordering.barred(in.reader.next) }

// passBarriers takes away the barriers below which everything is over.
func (in *intake) passBarriers(now time.Time) error {
	if !in.barred() || in.live() {
		return nil
	}
	for in.barred() {
		in.ordering.Barriers = in.ordering.Barriers[1:]
	}
	in.terms.use(in.ordering.inForce(in.terms.configured))
	in.commits.keep(now)
	return nil
}

// live reports whether anything that was read is not over.
func (in *intake) live() bool {
	return in.queue.ledger.window.n > 0 || in.reader.forming.any() || in.queue.ledger.waiting() > 0
}
