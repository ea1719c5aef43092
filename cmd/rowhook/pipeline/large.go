package pipeline

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

const (
	// metaLarge is the spool's small value that tells which very large change is at work.
	metaLarge = "large_change"
	// largeStarts is how many starts of the agent may end at work on one change; the next one
	// reads past it.
	largeStarts = 2
	// parkOversize is the reason of a change that was read past for its size, or since it ended
	// the agent.
	parkOversize = "oversize"
)

// largeMark says which very large change is at work. It is on the disk before the change is in
// memory, and is taken away when what came of it is stored: a start that finds it knows that the
// agent was ended meanwhile, for want of memory as a rule.
type largeMark struct {
	Transaction string `json:"transaction"` // its identity
	Position    string `json:"position"`
	Ordinal     int    `json:"ordinal"`
	Table       string `json:"table,omitempty"`
	Bytes       int64  `json:"bytes"`
	Starts      int    `json:"starts"` // of the agent that began with it
}

func (m *largeMark) of(transaction string, ordinal int) bool {
	return m != nil && m.Transaction == transaction && m.Ordinal == ordinal
}

// errEnded is why a change is parked that ended the agent again and again.
var errEnded = &capture.OperatorError{
	Err:    fmt.Errorf("the agent was ended %d times while it was at work on this change", largeStarts),
	Remedy: "look the row up by its key; give the agent three times the change's size of memory, or lower source.max_change",
}

// largeChanges marks the very large change that is at work, so that one that ends the agent again and
// again is read past. Its methods are called with the pipeline's mu held, but for forget.
type largeChanges struct {
	spool   *spool.Spool
	journal Journal
	logger  *slog.Logger
	mark    *largeMark // of the change that is at work
	left    *largeMark // of one that an agent before this one was at work on
}

// load reads what an agent before this one was at work on.
func (l *largeChanges) load() error {
	raw, err := l.spool.Meta(metaLarge)
	if err != nil {
		return fmt.Errorf("read which large change was at work: %w", err)
	}
	if len(raw) == 0 {
		return nil
	}
	l.left = new(largeMark)
	if err := json.Unmarshal(raw, l.left); err != nil {
		return fmt.Errorf("read which large change was at work: %w", err)
	}
	return nil
}

// Weigh implements [capture.Weigher]. It waits for the disk.
func (p *Pipeline) Weigh(w *capture.Weighed) (capture.Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return capture.Verdict{}, p.failure
	}
	if w.Table != nil && !p.mapper.Wants(w.Table, w.Op) && !p.kept.Keeps(w.Table) {
		p.counts.changes.Add(1)
		return capture.Verdict{Unwanted: true}, nil
	}
	return p.large.weigh(&p.tx, w)
}

// weigh marks a change of the transaction that is to be read, or refuses one that has ended the agent
// before.
func (l *largeChanges) weigh(tx *capture.Transaction, w *capture.Weighed) (capture.Verdict, error) {
	again := l.left.of(tx.Identity, w.Ordinal)
	switch {
	case w.TooLarge:
		return capture.Verdict{}, nil
	case again && l.left.Starts >= largeStarts:
		l.mark = l.left // taken away when the change is parked
		return capture.Verdict{Refused: errEnded}, nil
	case l.mark.of(tx.Identity, w.Ordinal):
		return capture.Verdict{}, nil // the connection broke
	}
	mark := &largeMark{Transaction: tx.Identity, Position: string(tx.Position), Ordinal: w.Ordinal, Bytes: w.Size, Starts: 1}
	if w.Table != nil {
		mark.Table = w.Table.String()
	}
	if again {
		mark.Starts = l.left.Starts + 1
		l.logger.Warn("the agent was ended while it was at work on this change; it is tried again", "table", mark.Table, "position", mark.Position,
			"bytes", mark.Bytes, "starts", mark.Starts)
	}
	raw, err := json.Marshal(mark)
	if err == nil {
		err = l.journal.SetMeta(metaLarge, raw)
	}
	if err != nil {
		return capture.Verdict{}, fmt.Errorf("write down which large change is at work: %w", err)
	}
	l.mark, l.left = mark, nil
	l.logger.Info("a very large change comes", "table", mark.Table, "position", mark.Position, "bytes", mark.Bytes)
	return capture.Verdict{}, nil
}

// atWork reports whether a change is the one that is marked.
func (l *largeChanges) atWork(transaction string, ordinal int) bool {
	return l.mark.of(transaction, ordinal)
}

// over takes the mark away, and reports whether there was one.
func (l *largeChanges) over() (marked bool) {
	marked, l.mark = l.mark != nil, nil
	return marked
}

// forget takes the mark that was over from the disk.
func (l *largeChanges) forget() error {
	if err := l.journal.SetMeta(metaLarge, nil); err != nil {
		return fmt.Errorf("take the mark of a large change away: %w", err)
	}
	return nil
}

// atWork notes that the change at hand is the one that is marked: with its batch the mark is taken
// away. Called with mu held.
func (p *Pipeline) atWork(ordinal int) {
	if p.large.atWork(p.tx.Identity, ordinal) {
		p.batches.cur.unmark = true
	}
}

// unmark takes the mark away.
func (p *Pipeline) unmark() error {
	p.mu.Lock()
	marked := p.large.over()
	p.mu.Unlock()
	if !marked {
		return nil
	}
	return p.large.forget()
}

// Listens implements [capture.Listener].
func (p *Pipeline) Listens(prefix string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mapper.Listens(prefix)
}

// parkPassed parks a change that was read past, with its key where that is known. Called with mu
// held.
func (p *Pipeline) parkPassed(u *capture.Undecoded) error {
	parked := &delivery.Parked{Table: u.Table, Reason: parkOversize, Error: u.Err.Error(), Size: u.Size}
	if u.Kept != nil {
		parked.Key = p.mapper.Key(u.Kept)
	}
	return p.parkUnseen(parked, u)
}
