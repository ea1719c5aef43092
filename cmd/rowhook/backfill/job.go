package backfill

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

// Job is a backfill as it was asked for.
type Job struct {
	ID      string                  `json:"id"`
	Created time.Time               `json:"created"`
	User    string                  `json:"user,omitempty"`
	Entries []string                `json:"entries"`
	Profile string                  `json:"profile,omitempty"` // the only one that gets the events; empty for all that subscribe
	Where   []capture.ReadCondition `json:"where,omitempty"`
	Rate    float64                 `json:"rate,omitempty"` // rows a second; 0 is as fast as may be
	// Memory is the table whose rows are kept rather than sent; empty for a backfill.
	Memory string `json:"memory,omitempty"`
	// Key is of the only row that is read, for a trigger.
	Key    []string                `json:"key,omitempty"`
	Parts  []Part                  `json:"parts"`
	State  operation.BackfillState `json:"state"`
	Error  string                  `json:"error,omitempty"` // why it failed
	Remedy string                  `json:"hint,omitempty"`
	Ended  time.Time               `json:"ended,omitzero"`
}

// Part is one table, read for one entry.
type Part struct {
	Entry string `json:"entry"`
	Table string `json:"table"`
	Rows  int64  `json:"rows"` // about how many there were; -1 where nobody knows
}

// total is about how many rows there are to read; -1 where nobody knows.
func (j *Job) total() int64 {
	if j.Key != nil {
		return 1
	}
	if len(j.Where) > 0 {
		return -1
	}
	var total int64
	for _, p := range j.Parts {
		if p.Rows < 0 {
			return -1
		}
		total += p.Rows
	}
	return total
}

// progress is how far a backfill is.
type progress struct {
	Part  int        `json:"part"`
	After []string   `json:"after,omitempty"` // key of the last row that was read in order
	Read  bool       `json:"read,omitempty"`  // all of the part has been read in order
	Again [][]string `json:"again,omitempty"` // keys of rows to be read by themselves

	// Generation is the one of its table's kept rows that a job for memory loads.
	Generation uint32 `json:"generation,omitempty"`

	Rows   int64 `json:"rows"`
	Events int64 `json:"events"`
	Failed int64 `json:"failed,omitempty"`
	Done   bool  `json:"done,omitempty"`
}

// againMost is how many rows are read at once by their keys.
const againMost = 50

// again are the keys to be read next; nil where rows are read in order.
func (p *progress) again(inOrder bool) [][]string {
	if len(p.Again) == 0 || inOrder && !p.Read && len(p.Again) < 10*againMost {
		return nil
	}
	return p.Again[:min(len(p.Again), againMost)]
}

// after is the progress once a read is stored.
func (p progress) after(read *capture.ReadRequest, chunk *capture.Chunk, again [][]string, parts int) progress {
	p.Again = slices.Clone(p.Again[len(read.Keys):])
	p.Again = append(p.Again, again...)
	if read.Keys != nil && chunk.More {
		p.Again = append(p.Again, unread(read.Keys, chunk)...)
	}
	if read.Keys == nil {
		if n := len(chunk.Rows); n > 0 {
			p.After, _ = chunk.Table.RowKey(chunk.Rows[n-1])
		}
		p.Read = !chunk.More
	}
	if p.Read && len(p.Again) == 0 {
		p.Part, p.After, p.Read = p.Part+1, nil, false
		p.Done = p.Part >= parts
	}
	return p
}

// unread are the keys whose rows a chunk does not have.
func unread(keys [][]string, chunk *capture.Chunk) [][]string {
	var have [][]string
	for _, row := range chunk.Rows {
		if key, ok := chunk.Table.RowKey(row); ok {
			have = append(have, key)
		}
	}
	return slices.DeleteFunc(slices.Clone(keys), func(key []string) bool {
		return slices.ContainsFunc(have, func(k []string) bool { return slices.Equal(k, key) })
	})
}

// Store is the part of the spool that holds the agent's own values.
type Store interface {
	Meta(key string) ([]byte, error)
	SetMeta(key string, value []byte) error
}

// The keys of the spool's values.
const (
	metaJobs     = "backfills"
	metaProgress = "backfill/"
)

// jobs are the stored backfills.
type jobs struct {
	Next int    `json:"next"`
	Jobs []*Job `json:"jobs"`
}

func load(s Store) (*jobs, error) {
	j := &jobs{Next: 1}
	raw, err := s.Meta(metaJobs)
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, j)
	}
	if err != nil {
		return nil, fmt.Errorf("read the backfills: %w", err)
	}
	return j, nil
}

func loadProgress(s Store, id string) (p progress, err error) {
	raw, err := s.Meta(metaProgress + id)
	if err == nil && len(raw) > 0 {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil {
		return p, fmt.Errorf("read how far backfill %s is: %w", id, err)
	}
	return p, nil
}

// overMost is how many backfills that are over are remembered.
const overMost = 20

// tidy forgets the oldest that are over.
func (j *jobs) tidy() (gone []string) {
	over := 0
	for i := len(j.Jobs) - 1; i >= 0; i-- {
		if !j.Jobs[i].State.Over() {
			continue
		}
		if over++; over > overMost {
			gone = append(gone, j.Jobs[i].ID)
			j.Jobs = slices.Delete(j.Jobs, i, i+1)
		}
	}
	return gone
}
