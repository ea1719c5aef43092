package oracle

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"rowhook/capture"
)

// patience is how long a row may take to arrive.
const patience = 60 * time.Second

// delivered is a change as capture delivered it.
type delivered struct {
	table    string
	op       capture.Op
	columns  []string
	key      []string
	old, new []cell // nil is no row
	parked   error
}

// cell is a value as a payload would have it.
type cell struct {
	state capture.State
	json  string
	fits  bool
	typ   string
}

// Sink is a [capture.Sink] that keeps what comes in the form that payloads have.
type Sink struct {
	mu   sync.Mutex
	open []*delivered
	done []*delivered
	end  capture.Position
	over error // why nothing comes any more
	news chan struct{}
}

var _ capture.Sink = (*Sink)(nil)

// NewSink makes a sink that begins where the source does.
func NewSink() *Sink { return &Sink{news: make(chan struct{}, 1)} }

// Begin opens a transaction.
func (s *Sink) Begin(*capture.Transaction) error { s.open = nil; return nil }

// Change keeps a change.
func (s *Sink) Change(c *capture.Change) error {
	d := &delivered{table: c.Table.Name, op: c.Op, old: cells(c.Table, c.Old), new: cells(c.Table, c.New)}
	for _, column := range c.Table.Columns {
		d.columns = append(d.columns, column.Name)
	}
	for _, i := range c.Table.Key {
		d.key = append(d.key, c.Table.Columns[i].Name)
	}
	s.open = append(s.open, d)
	return nil
}

func cells(t *capture.Table, row capture.Row) []cell {
	if row == nil {
		return nil
	}
	list := make([]cell, len(row))
	for i, v := range row {
		list[i] = cell{state: v.State, fits: true, typ: t.Columns[i].Type.Name}
		if v.State == capture.Present {
			out, ok := t.Columns[i].Type.AppendJSON(nil, v.Text)
			list[i].json, list[i].fits = string(out), ok
		}
	}
	return list
}

// Message passes by.
func (s *Sink) Message(*capture.Message) error { return nil }

// Park keeps that a change was not decoded.
func (s *Sink) Park(u *capture.Undecoded) error {
	_, name, _ := capture.ParseTable(u.Table)
	why := u.Err
	if why == nil {
		why = errors.New("parked")
	}
	s.open = append(s.open, &delivered{table: name, parked: why})
	return nil
}

// Commit ends the transaction.
func (s *Sink) Commit(end capture.Position) error {
	s.mu.Lock()
	s.done = append(s.done, s.open...)
	s.mu.Unlock()
	s.open = nil
	return s.Idle(end)
}

// Abort forgets the open transaction.
func (s *Sink) Abort() { s.open = nil }

// Idle moves on.
func (s *Sink) Idle(end capture.Position) error {
	s.mu.Lock()
	s.end = end
	s.mu.Unlock()
	s.wake()
	return nil
}

// End says that the source has ended, and why.
func (s *Sink) End(err error) {
	s.mu.Lock()
	s.over = errors.Join(errors.New("the source ended"), err)
	s.mu.Unlock()
	s.wake()
}

func (s *Sink) wake() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Busy is never.
func (s *Sink) Busy() <-chan struct{} { return nil }

// Durable is all that came.
func (s *Sink) Durable() capture.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// await waits until a change of the table has come whose first value is that number, and takes all
// that came before it.
func (s *Sink) await(table, number string) ([]*delivered, error) {
	deadline := time.After(patience)
	for {
		taken, found, over := s.take(table, number)
		if found {
			return taken, nil
		}
		if over != nil {
			return nil, over
		}
		select {
		case <-s.news:
		case <-deadline:
			return nil, fmt.Errorf("row %s of %s did not come within %s", number, table, patience)
		}
	}
}

func (s *Sink) take(table, number string) (taken []*delivered, found bool, over error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, d := range s.done {
		if d.table == table && len(d.new) > 0 && d.new[0].json == number {
			taken, s.done = s.done[:i], s.done[i+1:]
			return taken, true, nil
		}
	}
	return nil, false, s.over
}
