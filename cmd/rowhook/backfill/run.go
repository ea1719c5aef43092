package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline"
)

const (
	// retryFirst and retryMost are how long a broken connection is left alone.
	retryFirst = 250 * time.Millisecond
	retryMost  = 15 * time.Second
	// againSoon is the pause before rows are read again that could not be placed.
	againSoon = 5 * time.Millisecond
	// roomEvery is how often the receivers' backlog is looked at while it is too large.
	roomEvery = 200 * time.Millisecond
	// unloadedEvery is how often it is asked whether looked-up rows are known.
	unloadedEvery = time.Second
	// rateSlice is for how long one chunk should last at a limited rate, and rateSliceMost where chunks
	// take longer than that to be placed: on a quiet server they wait for its log to be flushed.
	rateSlice     = 200 * time.Millisecond
	rateSliceMost = 2 * time.Second
	// lostTold is how many times in a row rows could not be placed before that is told, and lostMost
	// the longest pause then.
	lostTold = 4
	lostMost = 5 * time.Second
	// lateTold is after how long it is told that a chunk waits for the stream.
	lateTold = 3 * time.Second
	// trackIdle is for how long what the stream changes is kept while nothing is read.
	trackIdle = time.Minute
	// rememberEvery is how often the tables are looked at whose last values are remembered.
	rememberEvery = time.Second
	// rowsMost is how many rows a chunk has at most.
	rowsMost = 1000
)

// worker is what Run has in hand.
type worker struct {
	*Manager
	reader   capture.Reader
	tracking *pipeline.Tracking // of table; nil when there is none, or it is lost
	table    string
	inOrder  bool                     // the last read was in order no more: the next one is
	failures map[string]int           // of a backfill, in a row
	lost     map[string]int           // how often in a row a backfill's rows could not be placed
	due      map[string]time.Time     // when a backfill may read again
	took     map[string]time.Duration // how long a backfill's last chunk took
	failed   map[string]time.Time     // when one failed
}

// Run works on the backfills until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	w := newWorker(m)
	defer w.reader.Close()
	defer w.untrack()
	for ctx.Err() == nil {
		if err := w.remember(time.Now()); err != nil {
			return err
		}
		job, wait := w.next(time.Now())
		if job == nil {
			if !w.idle(ctx, wait) {
				return nil
			}
			continue
		}
		if err := w.step(ctx, job); err != nil {
			return err
		}
	}
	return nil
}

func newWorker(m *Manager) *worker {
	return &worker{Manager: m, reader: m.Reader(), failures: map[string]int{}, lost: map[string]int{}, due: map[string]time.Time{}, took: map[string]time.Duration{}, failed: map[string]time.Time{}}
}

// idle waits while nothing is to be read. What the stream changes is not kept for long meanwhile, but
// a rate's short pauses do not have each chunk begin anew.
func (w *worker) idle(ctx context.Context, wait time.Duration) bool {
	if wait > trackIdle {
		w.untrack()
		w.reader.Close() // which connects anew when there is something to read
	}
	if w.Kept != nil {
		wait = min(wait, rememberEvery)
	}
	return w.pause(ctx, wait)
}

// pause waits, or for a nudge; it reports whether ctx goes on.
func (w *worker) pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// untrack ends the tracking.
func (w *worker) untrack() {
	if w.tracking != nil {
		w.tracking.End()
	}
	w.tracking, w.table = nil, ""
}

// next is the backfill to work at: of those that may go on the one of the lowest rank, the oldest.
func (w *worker) next(now time.Time) (next *Job, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait = time.Hour
	for _, j := range w.jobs.Jobs {
		if j.State != operation.BackfillRunning {
			continue
		}
		if late := w.due[j.ID].Sub(now); late > 0 {
			wait = min(wait, late)
			continue
		}
		if next == nil || j.rank() < next.rank() {
			next = j
		}
	}
	return next, wait
}

// rank is lower for what goes first: single rows, then what is to be remembered, which events rest on.
func (j *Job) rank() int {
	switch {
	case j.Key != nil:
		return 0
	case j.Memory != "":
		return 1
	}
	return 2
}

// unloaded is a table that an entry looks rows up in, and of which not all are known yet; empty for none.
func (w *worker) unloaded(entry string) string {
	if w.Kept == nil {
		return ""
	}
	looked := w.Rules().LooksUp(entry)
	if len(looked) == 0 {
		return ""
	}
	for _, t := range w.Kept.Kept() {
		if !t.Loaded && !t.Full && slices.Contains(looked, t.Table) {
			return t.Table
		}
	}
	return ""
}

// step reads and places one chunk, or puts off when the next is read. An error ends the agent.
func (w *worker) step(ctx context.Context, job *Job) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	if job.State != operation.BackfillRunning {
		w.mu.Unlock()
		return nil
	}
	w.current, w.cancel = job.ID, cancel
	before := *w.progress[job.ID]
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.current, w.cancel = "", nil
		w.mu.Unlock()
	}()
	if before.Done {
		return w.finish(job)
	}
	if job.Memory == "" {
		if err := w.wanted(job, before.Part); err != nil {
			w.untrack()
			return w.fail(job, err)
		}
		if table := w.unloaded(job.Parts[before.Part].Entry); table != "" {
			w.waits(job, "the rows of "+table+", which are read first")
			w.putOff(job, unloadedEvery)
			return nil
		}
		if full := w.full(job, before.Part); full != "" {
			w.waits(job, full)
			w.putOff(job, roomEvery)
			return nil
		}
	}
	err := w.chunk(ctx, job, before)
	var operator *capture.OperatorError
	switch {
	case err == nil:
		delete(w.failures, job.ID)
		delete(w.lost, job.ID)
		w.waits(job, "")
		return nil
	case ctx.Err() != nil:
		w.untrack()
		return nil
	case errors.Is(err, pipeline.ErrKeptAnew):
		return w.anew(job, err)
	case errors.Is(err, pipeline.ErrTrackingLost):
		w.untrack()
		w.putOff(job, min(againSoon<<min(w.lost[job.ID], 12), lostMost))
		if w.lost[job.ID]++; w.lost[job.ID] == lostTold {
			w.Logger.Warn("backfill waits for the stream", "backfill", job.ID, "err", err)
		}
		if w.lost[job.ID] >= lostTold {
			w.waits(job, "the stream: "+err.Error())
		}
		return nil
	case errors.As(err, &operator):
		w.untrack()
		return w.fail(job, err)
	}
	w.untrack()
	w.putOff(job, min(retryFirst<<min(w.failures[job.ID], 10), retryMost))
	if w.failures[job.ID]++; w.failures[job.ID] == 1 {
		w.Logger.Warn("backfill waits for the database", "backfill", job.ID, "err", err)
	}
	w.waits(job, "the database: "+err.Error())
	return nil
}

// putOff has others go first for some time.
func (w *worker) putOff(job *Job, wait time.Duration) { w.due[job.ID] = time.Now().Add(wait) }

// wanted says why nobody would get what is read any more: the mapping may have been loaded anew.
func (w *worker) wanted(job *Job, part int) error {
	p := job.Parts[part]
	table, err := w.readable(p.Entry, job.Profile)
	if err == nil && !strings.Contains(table, "*") && table != p.Table {
		return &capture.OperatorError{
			Err:    fmt.Errorf("entry %s maps table %s now, and the backfill reads %s", p.Entry, table, p.Table),
			Remedy: fmt.Sprintf("rowhook backfill cancel %s; rowhook backfill %s", job.ID, p.Entry),
		}
	}
	return err
}

// waits notes what a backfill waits for; empty for nothing.
func (w *worker) waits(job *Job, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if what == "" {
		delete(w.waiting, job.ID)
	} else {
		w.waiting[job.ID] = what
	}
}

// full says whose backlog is too large for more to be read; empty for nobody's.
func (w *worker) full(job *Job, part int) string {
	for _, code := range w.receivers(job.Parts[part].Entry) {
		if job.Profile != "" && code != job.Profile {
			continue
		}
		waiting, err := w.Backlog(code)
		if err == nil && (waiting.Events > mostBacklog || waiting.Bytes > w.MostBacklog(code)) {
			return fmt.Sprintf("profile %s, which has a backlog of %d events", code, waiting.Events)
		}
	}
	return ""
}

// chunk reads one chunk and has it placed.
func (w *worker) chunk(ctx context.Context, job *Job, before progress) error {
	part := job.Parts[before.Part]
	if err := w.track(ctx, job, part.Table, &before); err != nil {
		return err
	}
	began := time.Now()
	w.inOrder = !w.inOrder
	request := &capture.ReadRequest{Table: part.Table, Where: job.Where, After: before.After, Limit: w.limit(job), Keys: before.again(w.inOrder)}
	if request.Keys != nil {
		request.After = nil
	}
	chunk, err := w.reader.Read(ctx, request)
	if err != nil {
		return err
	}
	now := before
	told := w.tellLate(ctx, job)
	merged, err := w.tracking.Merge(ctx, &pipeline.Merge{
		Chunk: chunk, Entry: part.Entry, Profile: job.Profile, Generation: before.Generation, Last: func() bool { return now.Done },
		Identity: fmt.Sprintf("backfill %s %d", job.ID, job.Created.UnixNano()),
		Store: func(merged pipeline.Merged) (string, []byte) {
			now = before.after(request, chunk, merged.Again, len(job.Parts))
			now.Rows += int64(merged.Rows)
			now.Events += int64(merged.Events)
			now.Failed += int64(merged.Failed)
			raw, _ := json.Marshal(&now) // numbers and texts
			return metaProgress + job.ID, raw
		},
	})
	told()
	if err != nil {
		return err
	}
	w.advance(job, now, began, time.Now())
	if len(merged.Again) > 0 && len(merged.Again) == len(chunk.Rows) {
		_ = capture.Sleep(ctx, againSoon) // the stream is at work on just these
	}
	if now.Done && ctx.Err() == nil { // and the rows are stored
		return w.finish(job)
	}
	if before.Part != now.Part {
		w.untrack()
	}
	return nil
}

// tellLate notes after a while that a chunk waits for the stream, until what it returns is called.
func (w *worker) tellLate(ctx context.Context, job *Job) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if capture.Sleep(ctx, lateTold) == nil {
			w.waits(job, "the stream to come to where the rows were read: `rowhook status` shows how far it lags")
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

// advance notes how far a backfill is after a chunk that took from began to at.
func (w *worker) advance(job *Job, now progress, began, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	read := now.Rows - w.progress[job.ID].Rows
	meter := w.meters[job.ID]
	if meter == nil {
		meter = newMeter()
		w.meters[job.ID] = meter
		meter.add(at, w.progress[job.ID].Rows)
	}
	*w.progress[job.ID] = now
	meter.add(at, now.Rows)
	if job.Rate > 0 {
		w.took[job.ID] = at.Sub(began)
		from := w.due[job.ID]
		if early := began.Add(-rateSlice); from.Before(early) {
			from = early
		}
		w.due[job.ID] = from.Add(time.Duration(float64(read) / job.Rate * float64(time.Second)))
	}
}

// limit is how many rows a backfill's chunk may have.
func (w *worker) limit(job *Job) int {
	if job.Rate <= 0 {
		return rowsMost
	}
	slice := min(max(rateSlice, w.took[job.ID]), rateSliceMost)
	return max(1, min(rowsMost, int(math.Ceil(job.Rate*slice.Seconds()))))
}

// track sees to it that what the stream changes in the table is kept, and that the reads to come have
// seen what came before.
func (w *worker) track(ctx context.Context, job *Job, table string, p *progress) error {
	if w.tracking != nil && w.table == table && (job.Memory == "" || p.Generation != 0) {
		return nil
	}
	w.untrack()
	found, err := w.reader.Describe(ctx, table)
	if err != nil {
		return err
	}
	if job.Memory != "" {
		if err := w.begin(ctx, job, table, p); err != nil {
			return err
		}
	}
	tracking := w.Track(found.Table)
	err = w.reader.Settle(ctx, func(what string) { w.waits(job, what) }, tracking.Seen)
	if err != nil {
		tracking.End()
		return err
	}
	w.tracking, w.table = tracking, table
	return nil
}

// fail ends a backfill that a person has to look after.
func (w *worker) fail(job *Job, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if job.State != operation.BackfillRunning {
		return nil
	}
	job.State, job.Error, job.Remedy = operation.BackfillFailed, err.Error(), capture.Remedy(err)
	w.failed[job.ID] = time.Now()
	delete(w.waiting, job.ID)
	w.Logger.Error("backfill failed", "backfill", job.ID, "err", err, "remedy", job.Remedy)
	return w.save()
}

// finish ends a backfill whose rows are all stored.
func (w *worker) finish(job *Job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if job.State != operation.BackfillRunning {
		return nil
	}
	job.State, job.Ended = operation.BackfillDone, time.Now().UTC()
	p := w.progress[job.ID]
	delete(w.waiting, job.ID)
	delete(w.meters, job.ID)
	w.Logger.Info("backfill done", "backfill", job.ID, "rows", p.Rows, "events", p.Events, "failed", p.Failed, "took", job.Ended.Sub(job.Created).Round(time.Millisecond))
	return w.save()
}
