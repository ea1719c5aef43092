package backfill

import (
	"context"
	"errors"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline/kept"
)

// A table whose last values are to be remembered is read like a backfill, once, by a job that begins
// by itself: its rows are kept rather than mapped. Whatever makes them worthless, which the pipeline
// knows, begins another.

const (
	// anewFirst and anewMost are how long a table is left alone whose kept rows were given up while
	// they were read, again and again.
	anewFirst = time.Second
	anewMost  = 15 * time.Minute
	// failedAgain is after how long a job is tried again that could not read its table.
	failedAgain = 10 * time.Minute
)

// Kept is what the pipeline does with rows that are kept.
type Kept interface {
	// Kept tells how each table stands.
	Kept() []kept.Table
	// BeginKept has a table's rows kept from where the stream has passed a read of it, as this
	// generation.
	BeginKept(ctx context.Context, seen *capture.Chunk) (generation uint32, err error)
}

// remember sees to it that there is a job for each table whose rows are to be kept and are not yet.
func (w *worker) remember(now time.Time) error {
	if w.Kept == nil {
		return nil
	}
	tables := w.Kept.Kept()
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for _, j := range w.jobs.Jobs {
		if j.Memory == "" || j.State.Over() {
			continue
		}
		at := slices.IndexFunc(tables, func(t kept.Table) bool { return t.Table == j.Memory })
		switch {
		case at < 0 || tables[at].Full:
			j.State, j.Ended = operation.BackfillCancelled, now.UTC()
		case tables[at].Loaded: // the table was emptied, or the agent killed behind the last row
			j.State, j.Ended = operation.BackfillDone, now.UTC()
		case j.State == operation.BackfillFailed && now.Sub(w.failed[j.ID]) >= failedAgain:
			j.State, j.Error, j.Remedy = operation.BackfillRunning, "", ""
		default:
			continue
		}
		delete(w.waiting, j.ID)
		changed = true
	}
	for _, t := range tables {
		if t.Loaded || t.Full || slices.ContainsFunc(w.jobs.Jobs, func(j *Job) bool { return j.Memory == t.Table && !j.State.Over() }) {
			continue
		}
		job := w.Manager.add(&Job{
			Created: now.UTC(), Memory: t.Table, Parts: []Part{{Table: t.Table, Rows: -1}}, State: operation.BackfillRunning,
		}, &progress{})
		w.Logger.Info("the last values of a table's rows are read", "table", t.Table, "backfill", job.ID)
		changed = true
	}
	if !changed {
		return nil
	}
	return w.save()
}

// begin has the rows of a job's table kept, unless they are already by this job's doing.
func (w *worker) begin(ctx context.Context, job *Job, table string, p *progress) error {
	for _, t := range w.Kept.Kept() {
		if t.Table == table && t.Generation != 0 && t.Generation == p.Generation {
			return nil
		}
	}
	w.waits(job, "the stream to come to where the table was looked at")
	seen, err := w.reader.Read(ctx, &capture.ReadRequest{Table: table, Limit: 1})
	if err != nil {
		return err
	}
	generation, err := w.Kept.BeginKept(ctx, seen)
	if err == nil {
		*p = progress{Generation: generation}
	}
	return err
}

// anew has a job begin again whose rows were given up meanwhile.
func (w *worker) anew(job *Job, err error) error {
	w.untrack()
	w.putOff(job, min(anewFirst<<min(w.failures[job.ID], 12), anewMost))
	w.failures[job.ID]++
	w.Logger.Warn("the last values of a table's rows are read anew", "table", job.Memory, "err", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	*w.progress[job.ID] = progress{}
	return w.saveProgress(job.ID, w.progress[job.ID])
}

// errMemory refuses to end what the mapping asks for.
var errMemory = &capture.OperatorError{
	Err:    errors.New("the mapping wants these rows to be remembered"),
	Remedy: "take memory, or the lookup, out of the mapping, and `rowhook reload`; or pause it; `rowhook backfill list` has its id",
}
