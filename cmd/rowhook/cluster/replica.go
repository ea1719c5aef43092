package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

const (
	// partBytes is about how long a part of a batch is, where the servers take so much.
	partBytes = 256 << 10
	// remembered is how many digests of messages are compared with what other machines have.
	remembered = 1024
)

// Self is what a machine says of itself.
type Self struct {
	Config  string // digest of its config
	Address string // for operators
	// Scratch is a directory on the spool's file system, in which copies are made.
	Scratch string
	// BeforeProgress, if not nil, is called before progress is published. It syncs the delivery log,
	// whose lines the progress rests on.
	BeforeProgress func()
}

// Actor is told what this machine has to do. Calls about one seat come one after the other, but for
// those that end it.
type Actor interface {
	// BeginCapture: this machine captures from now on. Its spool has all that was captured before.
	BeginCapture(term uint64)
	// EndCapture ends that, and returns when source and pipeline have stopped.
	EndCapture()
	// Own: this machine delivers the profile's events from now on.
	Own(profile string, epoch uint64)
	// Release ends that in order and returns when nothing is in flight.
	Release(profile string)
	// Disown ends it at once; it may come while Release waits.
	Disown(profile string)
	// Retired: the profile was forgotten, on all machines.
	Retired(profile string)
}

// Replica is a spool that applies the cluster's stream. What is read is the spool's own. What changes
// it goes through the stream and is there when the call returns.
type Replica struct {
	*spool.Spool
	stream   *Stream
	self     Self
	machine  string
	roles    Roles
	lease    time.Duration
	logger   *slog.Logger
	until    atomic.Pointer[leaseEnd]
	lanes    [laneCount]chan uint64 // the last number; whoever has taken it may publish
	progress chan *progressUpdate
	done     chan struct{} // closed when Run returns
	// checkpoint copies the spool into a directory.
	checkpoint func(ctx context.Context, sp *spool.Spool, dir string) error

	mu       sync.Mutex
	core     *core
	tenure   *tenure
	previous uint64 // incarnation of the process before on this state directory
	joined   bool
	began    string // lineage of the cluster that the spool began; empty for none
	profiles []string
	leaving  bool
	giving   map[string]bool // seats that are being given back
	waits    map[waitKey]*wait
	changed  chan struct{}                 // closed when something changes that somebody may wait for
	codes    map[delivery.ProfileID]string // also of profiles that were retired
	noted    uint64                        // the last turn that this machine has taken
	parted   time.Time                     // since when this machine has not taken the last turn; zero when it has
	fence    atomic.Pointer[fence]
	recent   [remembered]stamp
	came     time.Time // when a renewal of this machine came back last
	applied  map[string]uint64
	// changedSelf says that the other machines are to be told at once what this one says of itself.
	changedSelf bool
	term        context.Context // ends with the capture; nil while this machine does not capture
	told        StreamView
	short       bool // a part that core has taken waits for room, and is not in the spool
	limits      limits
	running     context.Context // Run's
	failed      error
	fail        context.CancelCauseFunc // ends Run
	actor       Actor
	all         sync.WaitGroup // of Run
	answer      func(op string, request []byte) ([]byte, error)
}

type waitKey struct {
	lane lane
	n    uint64
}

// wait is for an envelope to come back.
type wait struct {
	back   chan struct{}
	effect effect
}

// leaseEnd is when a lease ends by both clocks: that of the monotonic one stands still where a whole
// machine is suspended.
type leaseEnd struct{ monotonic, wall time.Time }

// NewReplica makes a replica of an open spool, which belongs to it from now on.
func NewReplica(s *Stream, sp *spool.Spool, self Self) (*Replica, error) {
	roles, err := s.config.roles()
	if err != nil {
		return nil, err
	}
	r := &Replica{
		Spool: sp, stream: s, self: self, machine: s.config.machine(), roles: roles, lease: s.config.Lease, logger: s.logger,
		progress: make(chan *progressUpdate), done: make(chan struct{}), giving: map[string]bool{}, waits: map[waitKey]*wait{},
		changed: make(chan struct{}), codes: map[delivery.ProfileID]string{}, applied: map[string]uint64{},
		checkpoint: checkpoint, limits: limits{growth: leastGrowth, kept: keptTime, look: lookInterval},
	}
	for l := range r.lanes {
		r.lanes[l] = make(chan uint64, 1)
		r.lanes[l] <- 0
	}
	profiles, err := sp.Profiles()
	if err != nil {
		return nil, err
	}
	for _, p := range profiles {
		r.codes[p.ID] = p.Code
	}
	values := make(map[string][]byte, 5)
	for _, key := range []string{valueLog, valueRest, valueTable, valueSelf, valueFloor} {
		if values[key], err = sp.Meta(key); err != nil {
			return nil, err
		}
	}
	if r.core, err = loadCore(values[valueLog], values[valueRest], values[valueTable], values[valueFloor]); err != nil {
		return nil, err
	}
	r.core.state.waits = sp.Waits
	mine, err := decodeSelf(values[valueSelf])
	if err != nil {
		return nil, err
	}
	if mine.machine == r.machine {
		r.previous = mine.incarnation
	}
	incarnation := rand.Uint64() | 1 // never 0
	r.tenure = newTenure(r.machine, incarnation, r.lease)
	r.tenure.see(r.core.state, time.Now())
	r.noted = r.core.state.lastTurn().seq // the engine begins with what the spool has
	r.began = mine.lineage
	return r, nil
}

// Lineage is the cluster's identity, the same on all machines; empty before the first message is
// applied.
func (r *Replica) Lineage() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.state.lineage
}

// about is what this machine says of itself.
func (r *Replica) about() about {
	return about{Roles: r.roles, Lease: r.lease, Config: r.self.Config, Address: r.self.Address, Version: r.stream.options.Version}
}

// notify wakes who waits for a change. Called with mu held.
func (r *Replica) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// breaks ends Run with an error. Called with mu held.
func (r *Replica) breaks(err error) {
	if r.failed == nil {
		r.failed = err
		if r.fail != nil {
			r.fail(err)
		}
	}
}

// follow applies the stream until ctx ends.
func (r *Replica) follow(ctx context.Context) error {
	r.mu.Lock()
	next := r.core.next
	r.mu.Unlock()
	return r.stream.read(ctx, next, func(seq uint64, raw []byte) error { return r.take(ctx, seq, raw) })
}

// take applies one message.
func (r *Replica) take(ctx context.Context, seq uint64, raw []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	do, err := r.core.take(seq, raw)
	if err != nil {
		return err
	}
	if err := r.apply(ctx, &do); err != nil {
		return fmt.Errorf("apply message %d of the cluster's stream: %w", seq, err)
	}
	if seq != r.core.state.seq {
		return nil // read again
	}
	now := time.Now()
	r.tenure.hear(r.core.state, &do.effect, now)
	r.recent[seq%remembered] = stamp{seq, r.core.state.digest}
	if e := &do.from; e.machine == r.machine && e.incarnation == r.tenure.incarnation {
		r.own(&do.effect, now)
	}
	if err := r.others(&do.effect); err != nil {
		return err
	}
	if do.table || do.refused == nil && do.message != nil {
		r.notify()
	}
	return nil
}

// own is what a message of this process means to it. Called with mu held.
func (r *Replica) own(f *effect, now time.Time) {
	if w := r.waits[waitKey{f.from.lane, f.from.n}]; w != nil && !errors.Is(f.refused, errRepeated) {
		w.effect = *f
		close(w.back)
		delete(r.waits, waitKey{f.from.lane, f.from.n})
	}
	if f.refused != nil {
		return
	}
	switch f.message.(type) {
	case join:
		r.joined = true
	case renew:
	default:
		return
	}
	r.came = now
	until := r.tenure.until
	r.until.Store(&leaseEnd{monotonic: until, wall: until.Round(0)})
}

// others looks at what messages say of other machines, and of this one. Called with mu held.
func (r *Replica) others(f *effect) error {
	if f.refused != nil {
		return nil
	}
	if msg, ok := f.message.(renew); ok {
		r.applied[f.from.machine] = msg.applied
		if had := r.recent[msg.applied%remembered]; had.seq == msg.applied && had.seq != 0 && had.digest != msg.digest {
			return otherStream(fmt.Sprintf("machine %s has applied another message %d than this one", f.from.machine, msg.applied))
		}
	}
	if !r.joined {
		return nil
	}
	switch m := r.core.state.members[r.machine]; {
	case m == nil && !r.leaving:
		return fmt.Errorf("machine %s was taken off the cluster's list, since it was not heard of for %s", r.machine, forgetAfter)
	case m != nil && m.incarnation != r.tenure.incarnation:
		return &capture.OperatorError{
			Err:    fmt.Errorf("another process speaks for the machine %s now", r.machine),
			Remedy: "give each machine a name of its own in cluster.machine; then start rowhook again",
		}
	}
	return nil
}

// apply does to the spool what a message says. Called with mu held.
func (r *Replica) apply(ctx context.Context, do *action) error {
	if do.abort {
		if err := r.Spool.Abort(); err != nil {
			return err
		}
	}
	if do.skip || do.refused != nil || do.message == nil {
		return nil
	}
	if msg, ok := do.message.(part); ok {
		return r.applyPart(ctx, msg)
	}
	if do.turned {
		r.turn()
	}
	values := []spool.Value{{Key: valueRest, Value: r.core.state.encodeRest()}}
	if do.table {
		values = append(values, spool.Value{Key: valueTable, Value: r.core.state.encodeTable()})
	}
	switch msg := do.message.(type) {
	case progress:
		updates := make([]spool.ProfileUpdate, 0, len(msg.items))
		for i, item := range msg.items {
			if !do.items[i] {
				continue
			}
			update, err := spool.DecodeUpdate(item.update)
			if err != nil {
				return err
			}
			updates = append(updates, spool.ProfileUpdate{Code: item.code, Update: update})
		}
		return r.UpdateAll(updates, values...)
	case meta:
		return r.UpdateAll(nil, append(values, spool.Value{Key: msg.key, Value: msg.value})...)
	case unpark:
		return r.RemoveParkedStamped(msg.seqs, values...)
	case forgetKept:
		return r.ForgetKeptStamped(msg.lower, msg.upper, values...)
	case retire:
		if err := r.Spool.Retire(msg.code); err != nil {
			return err
		}
		// Nobody is to own it any more, unless a config has it again: see Profiles.
		r.profiles = slices.DeleteFunc(slices.Clone(r.profiles), func(code string) bool { return code == msg.code })
		// Not here: the actor may be waiting for this replica.
		r.all.Go(func() { r.actor.Retired(msg.code) })
	}
	return r.UpdateAll(nil, values...)
}

// applyPart applies a piece of the source's stream. While the disk is full it waits: nothing that
// comes behind is applied meanwhile, this machine's renewals neither, so that others take over what
// it has.
func (r *Replica) applyPart(ctx context.Context, msg part) error {
	b, err := r.DecodePart(msg.batch)
	if err != nil {
		return err
	}
	if msg.commits {
		b.Stamp(valueLog, r.core.log.encode())
	}
	for {
		err = r.Spool.Apply(b)
		var full *spool.NoRoomError
		if !errors.As(err, &full) {
			return err
		}
		r.short = true
		r.mu.Unlock()
		err = r.WaitRoom(ctx)
		r.mu.Lock()
		r.short = false
		if err != nil {
			return err
		}
	}
}

// say publishes a message and returns what it led to here.
func (r *Replica) say(ctx context.Context, l lane, m message) (effect, error) {
	var n uint64
	select {
	case n = <-r.lanes[l]:
	case <-ctx.Done():
		return effect{}, context.Cause(ctx)
	case <-r.done:
		return effect{}, errEnded
	}
	defer func() { r.lanes[l] <- n }()
	body := encodeMessage(m)
	for first := true; ; first = false {
		e := envelope{machine: r.machine, incarnation: r.tenure.incarnation, lane: l, goesOn: !first, body: body}
		if most := r.stream.maxBody(); len(body) > most {
			e.body, e.more = body[:most], true
		}
		body = body[len(e.body):]
		n++
		e.n = n
		f, err := r.send(ctx, &e, m)
		if err != nil || !e.more || f.refused != nil {
			return f, errors.Join(err, f.refused)
		}
	}
}

var errEnded = errors.New("the replica has ended")

// send publishes an envelope until it has come back.
func (r *Replica) send(ctx context.Context, e *envelope, m message) (effect, error) {
	key := waitKey{e.lane, e.n}
	w := &wait{back: make(chan struct{})}
	raw := e.bytes()
	r.mu.Lock()
	if r.running == nil {
		r.mu.Unlock()
		return effect{}, errEnded
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.running, func() { cancel(errEnded) })()
	r.waits[key] = w
	before := r.core.next - 1
	switch m.(type) {
	case join, renew:
		r.tenure.send(e.n, time.Now())
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waits, key)
	}()
	id := fmt.Sprintf("%s/%x/%d/%d", e.machine, e.incarnation, e.lane, e.n)
	err := r.stream.publish(ctx, id, raw, w.back, func(ack *jetstream.PubAck) {
		if !ack.Duplicate && ack.Sequence <= before {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.breaks(otherStream(fmt.Sprintf("a new message has the place %d, and this machine has applied those up to %d", ack.Sequence, before)))
		}
	})
	if err != nil {
		return effect{}, err
	}
	return w.effect, nil
}

// owned returns the epoch in which this process has a seat; 0 when it has not.
func (r *Replica) owned(seat string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ownedNow(seat)
}

// ownedNow is owned with mu held.
func (r *Replica) ownedNow(seat string) uint64 {
	return r.core.state.owned(seat, r.machine, r.tenure.incarnation)
}

// changes returns a channel that is closed at the next change.
func (r *Replica) changes() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// Lease returns until when requests may be started; the zero time when none may.
func (r *Replica) Lease() time.Time {
	until := r.until.Load()
	if until == nil || !time.Now().Round(0).Before(until.wall) {
		return time.Time{}
	}
	return until.monotonic
}
