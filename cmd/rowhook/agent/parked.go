package agent

import (
	"context"
	"fmt"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/mapping"
)

// parkedLimit is how many dead letters of the source one list or one step shows.
const parkedLimit = 1000

// eachParked calls fn for the selected dead letters, oldest first, until it returns false.
func (w *workspace) eachParked(r operation.ParkedRequest, fn func(delivery.Parked) bool) error {
	wanted := make(map[delivery.Seq]bool, len(r.Seqs))
	for _, seq := range r.Seqs {
		wanted[seq] = true
	}
	err := w.spool.Parked(0, func(p delivery.Parked) bool {
		if r.UpTo > 0 && p.Seq > r.UpTo {
			return false
		}
		if len(wanted) > 0 && !wanted[p.Seq] || r.Table != "" && !delivery.MatchGlob(r.Table, p.Table) {
			return true
		}
		return fn(p)
	})
	if err != nil {
		return fmt.Errorf("read dead letters of the source: %w", err)
	}
	return nil
}

func (w *workspace) listParked(r operation.ParkedRequest) (operation.ParkedList, error) {
	list := operation.ParkedList{Items: []operation.ParkedItem{}, Last: w.spool.LastParked()}
	limit := r.Limit
	if limit <= 0 {
		limit = parkedLimit
	}
	err := w.eachParked(r, func(p delivery.Parked) bool {
		if len(list.Items) == limit {
			list.More = true
			return false
		}
		list.Items = append(list.Items, operation.ParkedItem{
			Seq: p.Seq, Table: p.Table, Entry: p.Entry, Profile: p.Profile, Made: p.Made, Reason: p.Reason, Error: p.Error,
			Transaction: p.Transaction, Position: p.Position, Ordinal: p.Ordinal, Time: p.Time,
			Bytes: len(p.Relation) + len(p.Change) + len(p.Second) + sizeOf(p.Merged) + len(p.Touch), Size: p.Size, Key: p.Key,
		})
		return true
	})
	return list, err
}

func sizeOf(raws [][]byte) (bytes int) {
	for _, raw := range raws {
		bytes += len(raw)
	}
	return bytes
}

// errSelect refuses to touch all dead letters of the source by accident.
var errSelect = &control.Failure{
	Message: "which dead letters of the source?",
	Remedy:  "name numbers as `rowhook failed list --source` shows them, --table, or --all",
}

func selects(r operation.ParkedRequest) bool { return r.All || r.Table != "" || len(r.Seqs) > 0 }

// discardParked takes dead letters of the source away for good, each with a line in the delivery
// log.
func (w *workspace) discardParked(ctx context.Context, r operation.ParkedRequest) (engine.Changed, error) {
	if !selects(r) {
		return engine.Changed{}, errSelect
	}
	var changed engine.Changed
	for {
		if err := ctx.Err(); err != nil {
			return changed, err
		}
		var gone []delivery.Seq
		err := w.eachParked(r, func(p delivery.Parked) bool {
			w.log.Append(&delivery.LogRecord{
				Time: time.Now(), Profile: p.Profile, Outcome: delivery.OutcomeDiscarded, Table: p.Table,
				Position: p.Position, Reason: delivery.ReasonOperator,
			})
			gone = append(gone, p.Seq)
			return len(gone) < parkedLimit
		})
		if err != nil || len(gone) == 0 {
			return changed, err
		}
		// The lines come first: nothing leaves without one.
		if err := w.log.Flush(); err != nil {
			return changed, err
		}
		if err := w.journal.RemoveParked(gone...); err != nil {
			return changed, err
		}
		changed.Count += len(gone)
	}
}

// retryParked decodes and maps dead letters of the source again, oldest first, and spools what
// comes of them under the ids it would have had. What fails again stays, and so do changes that
// were read past.
func (a *Agent) retryParked(ctx context.Context, r operation.ParkedRequest) (engine.Changed, error) {
	if !selects(r) {
		return engine.Changed{}, errSelect
	}
	t := a.term.Load()
	if t == nil {
		return engine.Changed{}, errStandby
	}
	var letters []delivery.Parked
	var changed engine.Changed
	from := delivery.Seq(0)
	for {
		letters = letters[:0]
		err := a.eachParked(r, func(p delivery.Parked) bool {
			if p.Seq > from {
				letters = append(letters, p)
			}
			return len(letters) < parkedLimit
		})
		if err != nil || len(letters) == 0 {
			return changed, err
		}
		for i := range letters {
			from = letters[i].Seq
			if size := letters[i].Size; size > 0 {
				if len(r.Seqs) == 0 {
					continue // nothing can come of it
				}
				return changed, &capture.OperatorError{
					Err:    fmt.Errorf("dead letter %d of the source: the change was read past and not kept: it had %d bytes", letters[i].Seq, size),
					Remedy: fmt.Sprintf("look the row up by its key, which `rowhook failed show --source %d` tells; then `rowhook failed discard --source %[1]d`", letters[i].Seq),
				}
			}
			if err := t.retryOne(ctx, &letters[i]); err != nil {
				return changed, &capture.OperatorError{
					Err:    fmt.Errorf("dead letter %d of the source: %w", letters[i].Seq, err),
					Remedy: fmt.Sprintf("fix the mapping or the table, and retry; or `rowhook failed discard --source %d`", letters[i].Seq),
				}
			}
			changed.Count++
		}
	}
}

// retryOne maps one dead letter again.
func (t *term) retryOne(ctx context.Context, p *delivery.Parked) error {
	if len(p.Touch) > 0 {
		return t.pipe.Remap(ctx, t.config().Rules(), p, nil)
	}
	change, err := t.from.DecodeRaw(ctx, capture.Raw{Relation: p.Relation, Change: p.Change})
	if err != nil {
		return err
	}
	if len(p.Merged) > 0 {
		changes := []*capture.Change{change}
		for _, raw := range p.Merged {
			next, err := t.from.DecodeRaw(ctx, capture.Raw{Relation: p.Relation, Change: raw})
			if err != nil {
				return err
			}
			changes = append(changes, next)
		}
		change = mapping.Merge(changes)
	}
	if len(p.Second) > 0 {
		second, err := t.from.DecodeRaw(ctx, capture.Raw{Relation: p.Relation, Change: p.Second})
		if err != nil {
			return err
		}
		change = &capture.Change{Op: capture.Update, Table: second.Table, Old: change.Old, New: second.New}
	}
	change.Ordinal = p.Ordinal
	return t.pipe.Remap(ctx, t.config().Rules(), p, change)
}
