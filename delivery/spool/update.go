package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

// over reports whether the progress counts the event as over (or as a delivery below the cursor).
func (p *progressRecord) over(seq delivery.Seq) bool {
	if seq < p.Cursor {
		return true
	}
	_, found := slices.BinarySearch(p.Done, seq)
	return found
}

// live reports whether a delivery in this state still counts as backlog.
func live(state delivery.State) bool { return state != delivery.Dead }

func deliveryKind(state delivery.State) byte {
	if live(state) {
		return kindLive
	}
	return kindDead
}

// update is a profile's changes on their way into a write.
type update struct {
	s        *Spool
	p        *profile
	w        *pebble.Batch
	view     pebble.Reader  // the store, with what the write has of the profile already
	progress progressRecord // as the changes so far leave it
	finished tally          // what comes off the backlog by the change at hand
	stale    bool           // the oldest event may have ended
	oldest   oldest
}

// Update implements [delivery.Store]. A sequence number may stand in Put or in Remove once.
func (s *Spool) Update(id delivery.ProfileID, change delivery.Update) error {
	p, err := s.profile(id)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(change.Put) > 0 {
		// Events must not leave the log between our look at them and the record that keeps them.
		s.retention.removing.RLock()
		defer s.retention.removing.RUnlock()
	}
	w := s.db.NewBatch()
	defer w.Close()
	u := newUpdate(s, p, w, s.db)
	err = u.fill(&change)
	if err == nil {
		s.restsOnLines()
		err = s.commit(w, nil)
	}
	if err != nil {
		return fmt.Errorf("update profile %s: %w", p.code, err)
	}
	u.settle()
	return nil
}

// newUpdate begins changes of a profile, whose lock is held until they are settled.
func newUpdate(s *Spool, p *profile, w *pebble.Batch, view pebble.Reader) update {
	return update{s: s, p: p, w: w, view: view, progress: p.progress, oldest: p.oldest}
}

// settle makes the changes, which are in the store, those of the profile.
func (u *update) settle() {
	p := u.p
	p.progress, p.oldest = u.progress, u.oldest
	if u.stale || !p.oldest.live && p.progress.over(p.oldest.seq) {
		p.oldest = oldest{}
	}
}

// fill writes a change's keys.
func (u *update) fill(change *delivery.Update) error {
	u.finished = tally{change.DoneEvents, change.DoneBytes}
	for _, seq := range change.Remove {
		if err := u.remove(seq); err != nil {
			return err
		}
	}
	for i := range change.Put {
		if err := u.put(&change.Put[i]); err != nil {
			return err
		}
	}
	if change.State != nil {
		if err := u.w.Set(profileKey(u.p.id, kindState), change.State, nil); err != nil {
			return err
		}
	}
	if change.Progress != nil {
		u.progress.Progress = delivery.Progress{Cursor: change.Progress.Cursor, Done: slices.Clone(change.Progress.Done)}
	}
	if change.Progress == nil && u.finished == (tally{}) {
		return nil
	}
	u.progress.finished.add(u.finished.events, u.finished.bytes)
	return u.w.Set(profileKey(u.p.id, kindProgress), u.progress.encode(nil), nil)
}

// remove takes a delivery away that is over.
func (u *update) remove(seq delivery.Seq) error {
	old, ok, err := u.s.deliveryIn(u.view, u.p.id, seq)
	if err != nil {
		return err
	}
	if !ok {
		return u.pass(seq, tally{})
	}
	if err := u.unindex(&old, nil); err != nil {
		return err
	}
	u.stale = u.stale || u.oldest.seq == seq
	return u.forget(&old)
}

// forget deletes a delivery's body and the copy of its event.
func (u *update) forget(old *storedDelivery) error {
	if err := u.w.Delete(profileKey(u.p.id, deliveryKind(old.State), uint64(old.Seq)), nil); err != nil {
		return err
	}
	if old.body {
		if err := u.w.Delete(profileKey(u.p.id, kindBody, uint64(old.Seq)), nil); err != nil {
			return err
		}
	}
	if old.Seq >= u.s.retention.floor() {
		return nil
	}
	if old.Members == nil {
		return u.forgetCopy(old.Seq, old.Bytes)
	}
	return u.s.scanCopies(u.p.id, &old.Delivery, old.Seq, func(e delivery.Entry) (bool, error) {
		return true, u.forgetCopy(e.Seq, e.Bytes)
	})
}

// forgetCopy deletes the copy of an event that takes so many bytes.
func (u *update) forgetCopy(seq delivery.Seq, bytes int) error {
	if bytes >= delivery.LargePayload {
		if err := u.forgetPieces(seq); err != nil {
			return err
		}
	}
	return u.w.Delete(profileKey(u.p.id, kindEvent, uint64(seq)), nil)
}

// put writes a delivery in place of what was there.
func (u *update) put(d *delivery.Delivery) error {
	old, had, err := u.s.deliveryIn(u.view, u.p.id, d.Seq)
	if err != nil {
		return err
	}
	when := old.when
	if had {
		if err := u.unindex(&old, d); err != nil {
			return err
		}
		if deliveryKind(old.State) != deliveryKind(d.State) {
			if err := u.w.Delete(profileKey(u.p.id, deliveryKind(old.State), uint64(d.Seq)), nil); err != nil {
				return err
			}
		}
	} else {
		when, err = u.s.eventTime(u.view, u.p.id, d.Seq)
		if errors.Is(err, ErrGone) {
			// Removed with history, between a replay's look at it and now; or here, and not where the
			// change was made.
			var passed tally
			if live(d.State) {
				passed = tally{int64(d.Events()), int64(d.Bytes)}
			}
			return u.pass(d.Seq, passed)
		}
		if err != nil {
			return err
		}
	}
	u.note(d, when)
	return u.write(d, &old, when)
}

// pass passes over a delivery that is not here: what it counts in the backlog now is taken off at
// once. Whoever made the change may have the delivery and count its end, too, so that what was taken
// off is remembered until then.
func (u *update) pass(seq delivery.Seq, now tally) error {
	key := profileKey(u.p.id, kindMissed, uint64(seq))
	value, err := u.s.getIn(u.view, key)
	if err != nil {
		return err
	}
	var before tally
	if value != nil {
		if before, err = decodeMissed(value); err != nil {
			return err
		}
	}
	u.finished.add(now.events-before.events, now.bytes-before.bytes)
	switch {
	case now != tally{}:
		return u.w.Set(key, encodeMissed(now), nil)
	case value != nil:
		return u.w.Delete(key, nil)
	}
	return nil
}

// note keeps what is known of the oldest and the next due delivery. Lower bounds may be lowered
// before the batch is applied.
func (u *update) note(d *delivery.Delivery, when time.Time) {
	if !live(d.State) {
		u.stale = u.stale || u.oldest.seq == d.Seq
		return
	}
	u.p.liveFrom = min(u.p.liveFrom, d.Seq)
	if d.State == delivery.Retrying {
		u.p.dueFrom = min(u.p.dueFrom, sortableTime(d.Due))
	}
	if u.oldest.valid && d.Seq <= u.oldest.seq {
		u.oldest = oldest{valid: true, live: true, seq: d.Seq, time: when}
	}
}

func (u *update) write(d *delivery.Delivery, old *storedDelivery, when time.Time) error {
	id, seq := u.p.id, uint64(d.Seq)
	if err := u.w.Set(profileKey(id, deliveryKind(d.State), seq), encodeDelivery(nil, d, when), nil); err != nil {
		return err
	}
	if d.Body != nil {
		if err := u.w.Set(profileKey(id, kindBody, seq), d.Body, nil); err != nil {
			return err
		}
	} else if old.body {
		if err := u.w.Delete(profileKey(id, kindBody, seq), nil); err != nil {
			return err
		}
	}
	if !live(d.State) {
		return nil
	}
	if !sameLanes(d, &old.Delivery) {
		var few [2]uint64
		for _, lane := range d.Lanes(&few) {
			if err := u.w.Set(profileKey(id, kindLane, lane, seq), nil, nil); err != nil {
				return err
			}
		}
	}
	if d.State == delivery.Retrying {
		return u.w.Set(profileKey(id, kindDue, sortableTime(d.Due), seq), nil, nil)
	}
	return nil
}

// unindex deletes the keys under which a delivery is found by lane and due time. Those by lane stay
// where the delivery that replaces it has the same: a group has many.
func (u *update) unindex(old *storedDelivery, by *delivery.Delivery) error {
	if !live(old.State) {
		return nil
	}
	id, seq := u.p.id, uint64(old.Seq)
	if by == nil || !sameLanes(by, &old.Delivery) {
		var few [2]uint64
		for _, lane := range old.Lanes(&few) {
			if err := u.w.Delete(profileKey(id, kindLane, lane, seq), nil); err != nil {
				return err
			}
		}
	}
	if old.State == delivery.Retrying {
		return u.w.Delete(profileKey(id, kindDue, sortableTime(old.Due), seq), nil)
	}
	return nil
}

// sameLanes reports whether a delivery is indexed under the lanes of the one that it replaces.
func sameLanes(d, old *delivery.Delivery) bool {
	var a, b [2]uint64
	return old.State != 0 && live(old.State) && live(d.State) && slices.Equal(d.Lanes(&a), old.Lanes(&b))
}
