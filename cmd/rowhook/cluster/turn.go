package cluster

import (
	"context"
	"time"

	"rowhook/delivery"
)

// Where the config changes what events are made of, or in which order they go, all machines must see
// the change at one place of the log. That place is a message of the capture's, a turn: it stands
// between two transactions, and what comes behind it was made by its config. A machine's engine reads
// no further than a turn which the machine has not taken.

// fence is how far the log may be read.
type fence struct {
	end    delivery.Seq
	lifted chan struct{} // closed when it is not there any more
}

// Turn is a change of the config by which events are made.
type Turn struct {
	Seq    uint64 // of its message
	Config string // digest
	Note   []byte // what the one who made it has to say to those who take it
	// Firsts are the first events of this turn and of those before, ascending and distinct.
	Firsts []delivery.Seq
}

// Turn says that events are made by a config from here on. It is called between two transactions, by
// the machine that captures, and returns when that holds on this machine: what is captured next comes
// behind it. Other machines get the note. It returns [ErrTermOver] when this machine does not capture
// any more.
func (r *Replica) Turn(config string, note []byte) (Turn, error) {
	f, err := r.recorded(func(epoch uint64) message { return turn{epoch: epoch, config: config, note: note} })
	if err != nil {
		return Turn{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turnAt(f.seq), nil
}

// LastTurn returns the last turn, and whether this machine has taken it; a zero one before there is
// any.
func (r *Replica) LastTurn() (t Turn, taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.core.state.lastTurn()
	return r.turnAt(last.seq), r.noted >= last.seq && r.self.Config == last.config
}

// Taken returns the turns that this machine has taken, as the last of them.
func (r *Replica) Taken() Turn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turnAt(r.noted)
}

// turnAt is the last turn up to a message; called with mu held.
func (r *Replica) turnAt(seq uint64) (t Turn) {
	for _, one := range r.core.state.turns {
		if one.seq > seq {
			break
		}
		t.Seq, t.Config, t.Note = one.seq, one.config, nil
		if n := len(t.Firsts); n == 0 || t.Firsts[n-1] < one.from {
			t.Firsts = append(t.Firsts, one.from)
		}
	}
	if t.Seq == r.core.state.lastTurn().seq {
		t.Note = r.core.state.note
	}
	return t
}

// AwaitTurn waits until there is a turn that this machine has not taken, and returns the last one.
func (r *Replica) AwaitTurn(ctx context.Context) (t Turn, err error) {
	err = r.await(ctx, func() bool {
		last := r.core.state.lastTurn()
		if last.seq <= r.noted && last.config == r.self.Config || last.seq == 0 {
			return false
		}
		t = r.turnAt(last.seq)
		return true
	})
	return t, err
}

// AwaitTurnAt waits until a turn is applied here, and returns the last one.
func (r *Replica) AwaitTurnAt(ctx context.Context, seq uint64) (t Turn, err error) {
	err = r.await(ctx, func() bool {
		t = r.turnAt(r.core.state.lastTurn().seq)
		return t.Seq >= seq
	})
	return t, err
}

// Took says that this machine has a config, and that its engine orders events by the turns up to that
// one: it may read on.
func (r *Replica) Took(config string, seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.self.Config, r.noted = config, max(r.noted, seq)
	r.changedSelf = true // it renews at once
	r.enclose()
	r.notify()
}

// turn notes where the turn is that is being applied; called with mu held.
func (r *Replica) turn() {
	turns := r.core.state.turns
	turns[len(turns)-1].from = r.Spool.End() + 1
	if r.fence.Load() == nil { // one that stands is further down
		r.enclose()
	}
}

// enclose has the log be read up to the first turn that was not taken; called with mu held.
func (r *Replica) enclose() {
	before := r.fence.Load()
	for _, t := range r.core.state.turns {
		if t.seq <= r.noted {
			continue
		}
		if before == nil || before.end != t.from-1 {
			r.fence.Store(&fence{end: t.from - 1, lifted: make(chan struct{})})
			break
		}
		return
	}
	if before != nil {
		if r.fence.Load() == before {
			r.fence.Store(nil)
		}
		close(before.lifted)
	}
}

// Read implements [delivery.Store].
func (r *Replica) Read(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, most, bytes int) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	entries, next, end, err = r.Spool.Read(id, from, dst, most, bytes)
	// It is looked at behind the read: what was read beyond it was appended when it was there.
	f := r.fence.Load()
	if f == nil || next <= f.end+1 {
		return entries, next, end, err
	}
	n := len(entries)
	for n > len(dst) && entries[n-1].Seq > f.end {
		n--
	}
	clear(entries[n:])
	return entries[:n], max(from, f.end+1), true, err
}

// Appended implements [delivery.Store].
func (r *Replica) Appended(seq delivery.Seq) <-chan struct{} {
	if f := r.fence.Load(); f != nil && seq > f.end {
		return f.lifted
	}
	return r.Spool.Appended(seq)
}

// givesUpAfter is how long a machine that does not take a turn keeps the profiles that it delivers,
// where another machine can have them. Nothing behind the turn is delivered meanwhile.
const givesUpAfter = 10 * time.Second

// surplus are the profiles that another machine should have; called with mu held.
func (r *Replica) surplus(now time.Time) []string {
	s, t := r.core.state, r.tenure
	switch {
	case s.members[r.machine] == nil || s.lastTurn().seq == 0 || t.upToDate(s, r.noted):
		r.parted = time.Time{}
	case r.parted.IsZero():
		r.parted = now
	case now.Sub(r.parted) >= givesUpAfter && t.led(s, RoleDeliver, now):
		return t.surplus(s, nil, now)
	}
	return t.surplus(s, r.profiles, now)
}
