package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"rowhook/capture"
	"rowhook/mapping"
)

// keptRows is the pipeline as a mapper sees it that looks rows of other tables up. The mapper does so
// at the end of a transaction, when the kept rows are what the transaction leaves.
type keptRows Pipeline

var _ mapping.Lookups = (*keptRows)(nil)

// LookUp implements [mapping.Lookups].
func (k *keptRows) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	p := (*Pipeline)(k)
	if err := p.worked(); err != nil {
		return false, false, err
	}
	return p.kept.LookUp(of, row)
}

// Parts implements [mapping.Lookups].
func (k *keptRows) Parts(of *capture.Table, by []int, row capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error) {
	p := (*Pipeline)(k)
	if err := p.worked(); err != nil {
		return false, false, err
	}
	return p.kept.Parts(of, by, row, most, take)
}

// LookUpBefore implements [mapping.Lookups].
func (k *keptRows) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	p := (*Pipeline)(k)
	if err := p.worked(); err != nil {
		return false, false, err
	}
	return p.kept.LookUpBefore(of, row)
}

// Referring implements [mapping.Lookups].
func (k *keptRows) Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (more bool, err error)) (known bool, err error) {
	p := (*Pipeline)(k)
	return p.kept.Referring(of, by, row, func(row capture.Row) (bool, error) {
		if err := p.worked(); err != nil {
			return false, err
		}
		return take(row)
	})
}

// worked notes that a step of what may take long is done. Called with mu held, which it may give up
// meanwhile.
func (p *Pipeline) worked() error {
	if p.ending {
		p.counts.worked.Add(1)
	}
	return p.heed()
}

// looksUp ties a mapper to the kept rows, and to what another one knows of their tables. Called with mu
// held.
func (p *Pipeline) looksUp(m, like *mapping.Mapper) {
	m.LookIn((*keptRows)(p))
	m.DescribeAs(like)
}

// Undescribed reports whether the source waits for [Pipeline.Describe].
func (p *Pipeline) Undescribed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.undescribed
}

// Describe tells what tables look like now whose rows are kept: those that the database has. The stream
// waits for it once, and tells of what comes later by itself, but not before a table's next change; so
// it may be told again at any time.
func (p *Pipeline) Describe(tables []*capture.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.ending {
		p.idle.Wait()
	}
	for _, t := range tables {
		p.mapper.Describe(t)
	}
	p.compare(tables)
	p.undescribed = false
	p.release()
}

// GoOn ends the stream's wait for [Pipeline.Describe]: until that comes, or a change of the table, what
// is looked up is not known.
func (p *Pipeline) GoOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.undescribed = false
	p.release()
}

// compare takes rows of tables for not known that are others by now than when the rows were read.
// Called with mu held.
func (p *Pipeline) compare(tables []*capture.Table) {
	if !slices.ContainsFunc(tables, p.kept.Another) {
		return
	}
	p.betweenTransactions(func() {
		for _, t := range tables {
			if p.kept.Another(t) {
				p.kept.Doubt(p.batches.cur.batch, t.String(), "the table is another one than when its rows were read")
			}
		}
	})
}

// early has a transaction come again that looked rows up which may have changed afterwards. Called with
// mu held.
func (p *Pipeline) early(err error) error {
	if !errors.Is(err, mapping.ErrEarly) {
		return err
	}
	p.distrusted = p.tx.Identity
	return fmt.Errorf("%w: %w", capture.ErrAgain, err)
}

// doubted has the open transaction come again if it looked rows up that are not known any more. Called
// with mu held.
func (p *Pipeline) doubted() error {
	for _, name := range p.kept.Doubted() {
		if err := p.mapper.Doubt(name); err != nil {
			return p.early(err)
		}
	}
	return nil
}
