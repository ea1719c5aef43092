package engine

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/delivery"
)

// signal wakes the one who waits for it. Those who give it never wait; several are as good as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// crew is a profile's workers, and what passes between them and their dispatcher: jobs that are
// handed out, and results. It decides nothing about either.
type crew struct {
	profile *Profile // in force; it changes only while nothing is with a worker
	store   *profileStore
	log     Recorder
	logger  *slog.Logger
	whole   chan struct{} // the engine's
	wake    signal        // the dispatcher's
	tenure  *tenure       // in which requests are made
	lease   func() time.Time
	may     func() bool // mayStart where there is a lease; else nil

	// The dispatcher's side.
	handout chan *job // nil while the crew is not at work
	handed  int       // jobs with workers, or on the way there and back
	started int       // workers
	group   sync.WaitGroup

	// What workers share.
	halted    atomic.Bool // hand out is over for now: workers give back what they have not begun
	calm      atomic.Bool // nothing waits for results, which need not be looked at at once
	resultsMu sync.Mutex
	results   []*job
	taken     []*job

	warnedOfSize atomic.Bool // see noteSize
}

func (c *crew) follow(p *Profile) { c.profile = p }

// open makes the crew ready for work.
func (c *crew) open() {
	c.renew()
	c.halted.Store(false)
}

// renew has workers come anew with the next jobs. Idle ones end.
func (c *crew) renew() {
	if c.handout != nil {
		close(c.handout)
	}
	c.handout, c.started = make(chan *job, 2*c.profile.config.Concurrency), 0
}

// isOpen reports whether the crew is at work.
func (c *crew) isOpen() bool { return c.handout != nil }

// close waits for the workers to end. All jobs are back.
func (c *crew) close() {
	close(c.handout)
	c.handout = nil
	c.group.Wait()
	c.started = 0
}

// give hands a job out. There is a worker more while there may be and jobs want one.
func (c *crew) give(j *job, sends context.Context) {
	j.state = jobHanded
	c.handed++
	if c.handed > c.started && c.started < c.profile.config.Concurrency {
		c.started++
		handout := c.handout
		c.group.Go(func() { c.work(sends, handout) })
	}
	c.handout <- j
}

// halt has workers give back what they have not begun.
func (c *crew) halt() { c.halted.Store(true) }

// soothe tells the workers whether nothing waits for what they bring.
func (c *crew) soothe(calm bool) {
	c.calm.Store(calm)
	if calm {
		return
	}
	// A worker that saw calm weather before has left its result without a word.
	c.resultsMu.Lock()
	waits := len(c.results) > 0
	c.resultsMu.Unlock()
	if waits {
		c.wake.notify()
	}
}

// work makes the attempts that are handed out until the dispatcher closes the channel.
func (c *crew) work(ctx context.Context, handout <-chan *job) {
	w := &worker{crew: c}
	for {
		var j *job
		var ok bool
		select {
		case j, ok = <-handout:
		default:
			// Nothing to do: now the dispatcher must look at the results, if anything waits for
			// them.
			if !c.calm.Load() || c.halted.Load() {
				c.wake.notify()
			}
			j, ok = <-handout
		}
		if !ok {
			return
		}
		if j.sent = !c.halted.Load(); j.sent {
			w.attempt(ctx, j)
			c.slowDown(j)
		}
		c.giveBack(j)
	}
}

// slowDown keeps the other workers from going on at an endpoint that wants to be left alone, and
// has the dispatcher look at a failure at once.
func (c *crew) slowDown(j *job) {
	if !j.sent { // it was not to start any more
		c.halt()
		c.wake.notify()
		return
	}
	switch j.reply.Class {
	case delivery.ClassOK:
		return
	case delivery.ClassThrottle, delivery.ClassAuth, delivery.ClassProfile, delivery.ClassGone:
		c.halt()
	}
	c.wake.notify()
}

// giveBack returns a job to the dispatcher, which looks at results when a worker runs dry and
// something waits for them, and in any case soon (see dispatcher.wakeAt): there is no wake-up for
// each of them.
func (c *crew) giveBack(j *job) {
	c.resultsMu.Lock()
	c.results = append(c.results, j)
	c.resultsMu.Unlock()
}

// putBack takes back that results were taken.
func (c *crew) putBack(results []*job) {
	c.resultsMu.Lock()
	c.results = append(c.results, results...)
	c.resultsMu.Unlock()
	c.handed += len(results)
}

// take takes what workers gave back. It is valid until the next call.
func (c *crew) take() []*job {
	c.resultsMu.Lock()
	c.results, c.taken = c.taken[:0], c.results
	c.resultsMu.Unlock()
	c.handed -= len(c.taken)
	return c.taken
}

// noteSize warns once of a body that is larger than receivers of the format usually take. Each line
// of the delivery log has its size.
func (c *crew) noteSize(j *job) {
	if usual := c.profile.product.UsualBody; usual.Size > 0 && j.size > usual.Size && !c.warnedOfSize.Swap(true) {
		c.logger.Warn("a body is larger than listeners of this format usually take: they may refuse it with status 413", "event", j.id(),
			"bytes", j.size, "usual", usual.Size, "remedy", usual.Remedy)
	}
}
