package cluster

import (
	"context"
	"errors"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// capturing returns the epoch in which this machine captures, and the context of its term.
func (r *Replica) capturing() (context.Context, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	epoch := r.ownedNow(captureSeat)
	if epoch == 0 || r.term == nil {
		return nil, 0, ErrTermOver
	}
	return r.term, epoch, nil
}

// record publishes a message of the capture and waits until it is applied here.
func (r *Replica) record(of func(epoch uint64) message) error {
	_, err := r.recorded(of)
	return err
}

func (r *Replica) recorded(of func(epoch uint64) message) (effect, error) {
	ctx, epoch, err := r.capturing()
	if err != nil {
		return effect{}, err
	}
	f, err := r.say(ctx, laneCapture, of(epoch))
	if errors.Is(err, errStranger) || errors.Is(err, ErrTermOver) {
		err = ErrTermOver
	}
	return f, err
}

// Apply writes a batch of the source's stream. It returns ErrTermOver when this machine does not
// capture any more.
func (r *Replica) Apply(b *spool.Batch) error {
	return b.Encode(r.code, min(partBytes, r.stream.maxBody()-envelopeRoom), func(bytes []byte, commits bool) error {
		return r.record(func(epoch uint64) message { return part{epoch: epoch, commits: commits, batch: bytes} })
	})
}

// Abort drops what was applied since the last commit.
func (r *Replica) Abort() error {
	r.mu.Lock()
	open := r.core.state.open != 0
	r.mu.Unlock()
	if !open {
		return nil
	}
	return r.record(func(epoch uint64) message { return abort{epoch} })
}

// RemoveParked removes dead letters of the source.
func (r *Replica) RemoveParked(seqs ...delivery.Seq) error {
	return r.record(func(epoch uint64) message { return unpark{epoch, seqs} })
}

// SetMeta sets one of the agent's own values on all machines and returns once it is fsynced here.
func (r *Replica) SetMeta(key string, value []byte) error {
	if err := r.record(func(epoch uint64) message { return meta{epoch, key, value} }); err != nil {
		return err
	}
	return r.Flush(context.Background())
}

// ForgetKept forgets kept rows from lower to before upper.
func (r *Replica) ForgetKept(lower, upper []byte) error {
	return r.record(func(epoch uint64) message { return forgetKept{epoch, lower, upper} })
}

// code returns the code of a profile's number in this spool, also of one that was retired; empty for a
// number that was never given.
func (r *Replica) code(id delivery.ProfileID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.codes[id]
}

// Register returns the number of the profile with that code.
func (r *Replica) Register(code string) (delivery.ProfileID, error) {
	id, err := r.Spool.Register(code)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.codes[id] = code
	}
	return id, err
}

// openPatience is how long a profile that is to be forgotten waits for the end of a transaction.
const openPatience = 10 * time.Second

// Retire forgets the profile with that code, on all machines. It returns [delivery.ErrNotOwner] where
// another machine owns it, or the config came to be another one meanwhile, which may have the
// profile, and [delivery.ErrWaiting] where an event has come for it.
func (r *Replica) Retire(code string) error {
	ctx, cancel := context.WithTimeout(context.Background(), openPatience)
	defer cancel()
	for {
		r.mu.Lock()
		msg := retire{code: code}
		owner := ""
		if t := r.core.state.seats[code]; t != nil {
			msg.epoch, owner = t.epoch, t.owner
		}
		mine := owner == "" || r.ownedNow(code) != 0
		r.mu.Unlock()
		if !mine {
			return delivery.ErrNotOwner
		}
		_, err := r.say(context.Background(), laneMembership, msg)
		switch {
		case errors.Is(err, errClaimed), errors.Is(err, errStranger):
			return delivery.ErrNotOwner
		case !errors.Is(err, errOpen):
			return err
		case r.await(ctx, func() bool { return r.core.state.open == 0 }) != nil:
			return delivery.ErrWaiting
		}
	}
}

// progressUpdate is an update on its way.
type progressUpdate struct {
	item progressItem
	done chan error // takes one
}

// Update applies one atomic change of the profile's state. It returns [delivery.ErrNotOwner] when
// this machine does not own the profile in the update's epoch any more.
func (r *Replica) Update(id delivery.ProfileID, u delivery.Update) error {
	return r.update(r.code(id), u.Epoch, &u)
}

// SaveState keeps the engine's own few bytes of a profile.
func (r *Replica) SaveState(id delivery.ProfileID, state []byte) error {
	code := r.code(id)
	return r.update(code, r.owned(code), &delivery.Update{State: state})
}

func (r *Replica) update(code string, epoch uint64, u *delivery.Update) error {
	p := &progressUpdate{item: progressItem{code: code, epoch: epoch, update: spool.EncodeUpdate(nil, u)}, done: make(chan error, 1)}
	queue := r.progress
	for {
		changed := r.changes()
		if code == captureSeat || epoch == 0 || r.owned(code) != epoch {
			select {
			case err := <-p.done: // it was applied before
				return err
			default:
				return delivery.ErrNotOwner
			}
		}
		select {
		case queue <- p:
			queue = nil
		case err := <-p.done:
			return err
		case <-changed:
		case <-r.done:
			return errEnded
		}
	}
}

// publishProgress publishes updates, those of several profiles at once: while one message is under
// way the next is collected.
func (r *Replica) publishProgress(ctx context.Context) error {
	for {
		var collected []*progressUpdate
		size := 0
		select {
		case p := <-r.progress:
			collected, size = append(collected, p), len(p.item.update)
		case <-ctx.Done():
			return nil
		}
		for more := true; more && size < r.stream.maxBody()/2; {
			select {
			case p := <-r.progress:
				collected, size = append(collected, p), size+len(p.item.update)
			default:
				more = false
			}
		}
		r.sendProgress(ctx, collected)
	}
}

func (r *Replica) sendProgress(ctx context.Context, collected []*progressUpdate) {
	if r.self.BeforeProgress != nil {
		r.self.BeforeProgress()
	}
	items := make([]progressItem, len(collected))
	for i, p := range collected {
		items[i] = p.item
	}
	f, err := r.say(ctx, laneProgress, progress{items})
	for i, p := range collected {
		switch {
		case len(f.items) > i && f.items[i]:
			p.done <- nil
		case len(f.items) > i || errors.Is(err, errStranger):
			p.done <- delivery.ErrNotOwner
		default:
			p.done <- err
		}
	}
}
