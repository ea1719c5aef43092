package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"rowhook/delivery"
)

// profileState is what outlives a restart besides progress.
type profileState struct {
	consent
	untold
	// Told is below what the delivery log has lines of for having been held.
	Told    delivery.Seq `json:"told,omitempty"`
	Outage  *outage      `json:"outage,omitempty"`
	Replay  *replay      `json:"replay,omitempty"`
	Replays int          `json:"replays,omitempty"` // ever
	// Recording is where a large transaction begins whose records are being written; 0 when none
	// is.
	Recording delivery.Seq `json:"recording,omitempty"`
	ordering
}

// kept is what of a profile outlives a restart besides progress and records: parts of several
// owners, which are stored as one.
type kept struct {
	endpoint   *endpoint
	activation *activation
	gaps       *gaps
	inactive   *inactive
	replays    *replays
	queue      *queue
	ordering   *ordering
}

// bytes returns what is to be stored.
func (k *kept) bytes() ([]byte, error) {
	return json.Marshal(&profileState{
		consent: k.activation.consent, untold: k.gaps.untold, Told: k.inactive.stored, Outage: k.endpoint.outage,
		Replay: k.replays.under, Replays: k.replays.ever, Recording: k.queue.recording, ordering: *k.ordering,
	})
}

// restore gives the owners what was stored; nothing is as good as an empty one.
func (k *kept) restore(b []byte) error {
	var s profileState
	if len(b) > 0 {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	k.activation.consent, k.gaps.untold, k.endpoint.outage = s.consent, s.untold, s.Outage
	k.inactive.told, k.inactive.stored = s.Told, s.Told
	k.replays.under, k.replays.ever = s.Replay, s.Replays
	k.queue.recording, *k.ordering = s.Recording, s.ordering
	return nil
}

// loadState reads where the profile stands, and what waits on disk, once in a tenure.
func (d *dispatcher) loadState(t *tenure) error {
	if d.loaded == t {
		return nil
	}
	d.reset()
	d.commits.tenure, d.lines.epoch, d.crew.tenure = t, t.epoch, t
	b, err := d.store.LoadState(d.store.id)
	if err == nil {
		err = d.kept.restore(b) // before anything is committed, which stores it anew
	}
	if err != nil {
		return fmt.Errorf("read state of profile %s: %w", d.terms.profile.code, err)
	}
	d.takeAllotment()
	if d.engine.options.Shared && d.terms.coming != nil {
		d.terms.takeOver()
	}
	progress, err := d.store.Progress(d.store.id)
	if err != nil {
		return fmt.Errorf("read progress of profile %s: %w", d.terms.profile.code, err)
	}
	d.intake.reader.start(&progress)
	if d.engine.options.Shared && d.takeOrder(d.terms.configured) {
		d.commits.keep(time.Now())
	}
	d.terms.use(d.intake.ordering.inForce(d.terms.configured))
	d.setPace()
	if err := d.intake.unrecordStored(); err != nil {
		return err
	}
	var unread error
	err = d.store.Deliveries(d.store.id, 0, nil, func(r delivery.Delivery) bool {
		unread = d.loader.recall(&r, progress.Cursor)
		return unread == nil
	})
	if err = firstError(err, unread); err != nil {
		return fmt.Errorf("read waiting deliveries of profile %s: %w", d.terms.profile.code, err)
	}
	d.endpoint.wake(d.queue.ledger.counts[delivery.Retrying] > 0, time.Now())
	d.loaded = t
	return nil
}

// recall takes note of a record that is in the store at start.
func (ld *loader) recall(r *delivery.Delivery, cursor delivery.Seq) error {
	ld.queue.ledger.count(r, 1)
	if err := ld.recallMembers(r, cursor); err != nil {
		return err
	}
	if r.State == delivery.Dead {
		ld.holdAgain(r)
		return nil
	}
	ld.reader.knowRecord(r)
	if r.State == delivery.Retrying {
		now := time.Now()
		ld.queue.ledger.dueBy(now.Add(ld.waits(r, now)))
	}
	ld.queue.lanes.put(r)
	return nil
}

// recallMembers takes note of which events at or above the cursor a record carries. Those of a
// transaction's group are known by the first of them, as they are for progress.
func (ld *loader) recallMembers(r *delivery.Delivery, cursor delivery.Seq) error {
	switch m := r.Members; {
	case r.Last() < cursor:
		return nil
	case m == nil || m.Count == 1 && m.Parts == 0:
		ld.reader.know(r.Seq)
		return nil
	case m.Unit != delivery.UnitBatch:
		ld.reader.knowGroup(r.Seq)
		return nil
	}
	var entries []delivery.Entry
	for next, end := max(r.Seq, cursor), false; !end; {
		var err error
		if entries, next, end, err = ld.store.Events(ld.store.id, r, next, entries[:0], readChunk, ld.queue.memory.max); err != nil {
			return fmt.Errorf("read events of a waiting delivery: %w", err)
		}
		for i := range entries {
			ld.reader.know(entries[i].Seq)
		}
	}
	return nil
}

// reset empties what is in memory: another machine may change what the store has, until this one owns
// the profile again. The figures stay, since they are about what this engine did.
func (d *dispatcher) reset() {
	d.loaded = nil
	d.intake.reader.start(new(delivery.Progress))
	d.queue.reset()
	d.crew.handed = 0
	d.commits.reset()
	d.endpoint.outage, d.endpoint.breaker = nil, breaker{}
	d.intake.ordering, d.replays.under, d.replays.ever = ordering{}, nil, 0
	d.inactive.looked = looked{}
	d.activation.consent, d.activation.asking = consent{}, asking{}
	d.gaps.untold, d.gaps.carrier, d.commands.expiring = untold{}, nil, 0
	d.tickAt = time.Time{}
	d.loader.rehold, d.loader.pull, d.loader.dueLater, d.share.relieveAt = false, false, false, time.Time{}
}
