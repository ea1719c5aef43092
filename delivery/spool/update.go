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

// update is an Update on its way into a batch.
type update struct {
	s        *Spool
	p        *profile
	w        *pebble.Batch
	finished tally // what comes off the backlog
	stale    bool  // the oldest event may have ended
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
	u := update{s: s, p: p, w: w, finished: tally{change.DoneEvents, change.DoneBytes}, oldest: p.oldest}
	progress, err := u.fill(&change)
	if err == nil {
		s.restsOnLines()
		err = s.commit(w, nil)
	}
	if err != nil {
		return fmt.Errorf("update profile %s: %w", p.code, err)
	}
	p.progress, p.oldest = progress, u.oldest
	if u.stale || !p.oldest.live && progress.over(p.oldest.seq) {
		p.oldest = oldest{}
	}
	return nil
}

// fill writes the update's keys and returns the progress that it leads to.
func (u *update) fill(change *delivery.Update) (progressRecord, error) {
	for _, seq := range change.Remove {
		if err := u.remove(seq); err != nil {
			return progressRecord{}, err
		}
	}
	for i := range change.Put {
		if err := u.put(&change.Put[i]); err != nil {
			return progressRecord{}, err
		}
	}
	if change.State != nil {
		if err := u.w.Set(profileKey(u.p.id, kindState), change.State, nil); err != nil {
			return progressRecord{}, err
		}
	}
	progress := u.p.progress
	if change.Progress != nil {
		progress.Cursor = change.Progress.Cursor
		progress.Done = slices.Clone(change.Progress.Done)
	}
	if change.Progress == nil && u.finished == (tally{}) {
		return progress, nil
	}
	progress.finished.add(u.finished.events, u.finished.bytes)
	return progress, u.w.Set(profileKey(u.p.id, kindProgress), progress.encode(nil), nil)
}

// remove takes a delivery away that is over.
func (u *update) remove(seq delivery.Seq) error {
	old, ok, err := u.s.delivery(u.p.id, seq)
	if err != nil || !ok {
		return err
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
	old, had, err := u.s.delivery(u.p.id, d.Seq)
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
		when, err = u.s.eventTime(u.p.id, d.Seq)
		if errors.Is(err, ErrGone) {
			// Removed with history, between a replay's look at it and now.
			u.finished.add(int64(d.Events()), int64(d.Bytes))
			return nil
		}
		if err != nil {
			return err
		}
	}
	u.note(d, when)
	return u.write(d, &old, when)
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
