package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/delivery/spool"
)

const (
	// keptShare is the share of the spool that kept rows may take.
	keptShare = 0.25
	// keptMeasure is how often they are measured.
	keptMeasure = 5 * time.Second
)

// ErrKeptAnew says that a table's rows are loaded in vain: another generation has begun, or none is
// wanted any more.
var ErrKeptAnew = errors.New("the table's kept rows are given up, since they may have changed without being told")

// Kept tells how the kept rows of each table stand.
func (p *Pipeline) Kept() []kept.Table {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept.Tables()
}

// keptBeginning is a table whose rows are kept from where the stream has passed a look at it.
type keptBeginning struct {
	seen       *capture.Chunk
	generation uint32
	err        error
	done       chan struct{}
}

// BeginKept has a table's rows kept from where the stream has passed a read of it, and returns their
// generation. The table is as that read found it: where the stream is behind, it may have been
// another one. A [Merge] of this generation brings the rows.
func (p *Pipeline) BeginKept(ctx context.Context, seen *capture.Chunk) (generation uint32, err error) {
	b := &keptBeginning{seen: seen, done: make(chan struct{})}
	p.mu.Lock()
	p.beginning = b
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.beginning = nil
	}()
	poll := time.NewTicker(mergePoll)
	defer poll.Stop()
	hasten := time.NewTicker(hastenAfter)
	defer hasten.Stop()
	for {
		select {
		case <-b.done:
			return b.generation, b.err
		case <-poll.C:
			if err := p.lookKept(); err != nil {
				return 0, err
			}
		case <-hasten.C:
			if err := seen.Hasten(ctx); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// lookKept has a table's rows kept if the stream stands still behind the look at it.
func (p *Pipeline) lookKept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.beginning; b != nil && !p.open && p.end != "" && b.seen.Passed() {
		p.settle(p.end)
	}
	return p.failure
}

// keptDue begins to keep a table's rows if the stream is there. Called with mu held, between
// transactions, before the batch's commit.
func (p *Pipeline) keptDue() {
	b := p.beginning
	if b == nil || !b.seen.Passed() {
		return
	}
	b.generation, b.err = p.kept.Begin(p.batches.cur.batch, b.seen.Table)
	if b.err == nil {
		p.mapper.Describe(b.seen.Table) // rows are looked up as they are kept
	}
	close(b.done)
	p.beginning = nil
}

// betweenTransactions does something at the end of the open transaction; at once where there is none.
// Called with mu held.
func (p *Pipeline) betweenTransactions(do func()) {
	p.between = append(p.between, do)
	if !p.open && p.end != "" {
		p.settle(p.end)
	}
}

// keptIdentify has rows of another database forgotten. Called with mu held, between transactions.
func (p *Pipeline) keptIdentify(lineage string) {
	p.kept.Identify(p.batches.cur.batch, lineage)
	if p.end != "" && !p.kept.Empty() {
		p.settle(p.end)
	}
}

// keptConfigure has other rows kept. Called with mu held, between transactions.
func (p *Pipeline) keptConfigure(wants []kept.Want) {
	if p.kept.Empty() && len(wants) == 0 {
		return
	}
	p.kept.Configure(p.batches.cur.batch, wants)
	if p.end != "" {
		p.settle(p.end)
	}
}

// keepRead keeps a row that was read. Called with mu held.
func (p *Pipeline) keepRead(c *merging, row capture.Row) error {
	ok, err := p.kept.Read(p.batches.cur.batch, c.Generation, c.Chunk.Table, row)
	if err == nil && !ok {
		c.anew = true
	}
	c.merged.Rows++
	return err
}

// Defines implements [capture.Definer].
func (p *Pipeline) Defines(_ string, statement []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept.Empty() {
		return p.failure
	}
	p.betweenTransactions(func() { p.kept.Defines(p.batches.cur.batch, statement) })
	return p.failure
}

// keptSpool is the spool as kept rows use it: read as it is, and written by the journal.
func (p *Pipeline) keptSpool() kept.Spool { return keptSpool{p.spool, p.journal} }

type keptSpool struct {
	*spool.Spool
	journal Journal
}

// ForgetKept implements [kept.Spool].
func (s keptSpool) ForgetKept(lower, upper []byte) error { return s.journal.ForgetKept(lower, upper) }

// keptStored takes note of a batch that is stored. The appender calls it.
func (p *Pipeline) keptStored() error {
	p.mu.Lock()
	unneeded := p.kept.Stored()
	var list []kept.Measured
	if now := time.Now(); now.Sub(p.keptMeasured) >= keptMeasure {
		p.keptMeasured = now
		list = p.kept.ToMeasure()
	}
	p.mu.Unlock()
	if err := kept.Forget(p.keptSpool(), unneeded); err != nil || len(list) == 0 {
		return err
	}
	if err := kept.Measure(p.spool, list); err != nil {
		return fmt.Errorf("measure kept rows: %w", err)
	}
	limit := int64(keptShare * float64(p.spool.Usage().Max))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.between = append(p.between, func() {
		if full := p.kept.Sized(p.batches.cur.batch, list, limit); full != "" {
			p.logger.Error("the kept rows of a table have no room in the spool: their values are not known from now on", "table", full,
				"limit", limit, "remedy", "raise spool.max_size, or keep fewer columns; then `rowhook reload`")
		}
	})
	return nil
}
