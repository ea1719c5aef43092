package engine

import (
	"time"

	"rowhook/delivery"
)

// pullForward is how many retries are brought forward when an endpoint answers again.
const pullForward = 256

// leftAlone takes note of the endpoint's decision that it waits: workers give back what they have
// not begun.
func (d *dispatcher) leftAlone(waits bool, now time.Time) {
	if waits {
		d.crew.halt()
		d.commits.keep(now)
	}
}

// answered tells the endpoint of a reply that shows that it is there, and has the retries brought
// forward when that ends an outage.
func (d *dispatcher) answered(r *delivery.Reply, now time.Time) {
	if d.endpoint.answered(r, now) {
		d.loader.pull = true
		d.commits.keep(now)
	}
}

// answeredBy is answered for replies that are no success.
func (d *dispatcher) answeredBy(r *delivery.Reply, now time.Time) {
	if r.Status != 0 {
		d.answered(r, now)
	}
}

// seekProbe brings a retry forward when the breaker lets one request pass and nothing else is there
// to be sent.
func (ld *loader) seekProbe(now time.Time, underWay int) error {
	e := ld.endpoint
	due := !ld.queue.ledger.nextDue.IsZero() && !ld.queue.ledger.nextDue.After(now)
	if !e.mayProbe(now, underWay) || due || e.listed() || ld.queue.lanes.queued() > 0 || ld.queue.ledger.counts[delivery.Retrying] == 0 {
		return nil
	}
	return ld.makeDue(now, 1)
}

// bringForward makes retries due that wait although the endpoint has recovered.
func (ld *loader) bringForward(now time.Time) error {
	ld.pull = false
	if ld.endpoint.listed() || ld.queue.ledger.counts[delivery.Retrying] == 0 {
		return nil
	}
	return ld.makeDue(now, pullForward)
}

// makeDue rewrites the due time of retries that are not due, the next ones first.
func (ld *loader) makeDue(now time.Time, limit int) error {
	if committed, err := ld.commits.commit(); err != nil || !committed {
		return err
	}
	records, err := ld.store.Due(ld.store.id, now.Add(farFuture), ld.records[:0], limit+len(ld.queue.ledger.stored))
	if err != nil {
		return err
	}
	ld.records = records[:0]
	defer clear(records)
	for i := range records {
		r := &records[i]
		if !r.Due.After(now) || ld.queue.ledger.stored[r.Seq] != nil {
			continue
		}
		ld.queue.ledger.hasten(r, now, now)
	}
	_, err = ld.commits.commit()
	return err
}
