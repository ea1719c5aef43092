package pipeline

import (
	"rowhook/capture"
	"rowhook/mapping"
)

// keptRows is the pipeline as a mapper sees it that looks rows of other tables up. The mapper does so
// at the end of a transaction, when the kept rows are what the transaction leaves.
type keptRows Pipeline

var _ mapping.Lookups = (*keptRows)(nil)

// LookUp implements [mapping.Lookups].
func (k *keptRows) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	return (*Pipeline)(k).kept.LookUp(of, row)
}

// looksUp ties a mapper to the kept rows, and to what is known of their tables. Called with mu held.
func (p *Pipeline) looksUp(m *mapping.Mapper) {
	m.LookIn((*keptRows)(p))
	for _, t := range p.described {
		m.Describe(t)
	}
}

// Undescribed reports whether the source waits for [Pipeline.Describe].
func (p *Pipeline) Undescribed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.undescribed
}

// Describe tells what the looked-up tables look like: all of those that the database has. The stream
// waits for it once, and tells of what comes later by itself.
func (p *Pipeline) Describe(tables []*capture.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.undescribed {
		return
	}
	p.described, p.undescribed = tables, false
	p.looksUp(p.mapper)
	if p.reader != nil {
		p.looksUp(p.reader)
	}
	p.release()
}
