package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// mapperOutput is the pipeline as the mapper sees it. Its methods run inside the pipeline's
// own, with mu held.
type mapperOutput Pipeline

var _ mapping.Output = (*mapperOutput)(nil)

// ErrUndecidable says why a change is parked for one profile.
var ErrUndecidable = errors.New("a subscription's condition needs a value that the stream does not carry")

// Event implements [mapping.Output]: the event goes into the batch if somebody wants it.
func (o *mapperOutput) Event(ev *delivery.Event, row delivery.Row) error {
	p := (*Pipeline)(o)
	p.recipients, p.undecided = p.router.Match(ev, row, p.recipients[:0], p.undecided[:0])
	for _, profile := range p.undecided {
		err := p.park(&delivery.Parked{
			Table: ev.Table, Entry: ev.Entry, Profile: p.codes[profile],
			Reason: string(delivery.OutcomeUndecidable), Error: ErrUndecidable.Error(),
			Actor: ev.Actor, Operation: ev.Operation, Assumed: ev.Assumed, Key: bytes.Clone(ev.Key),
		}, p.mapper.Changes())
		if err != nil {
			return err
		}
	}
	p.routed(ev, row)
	if len(p.recipients) == 0 {
		p.counts.unsubscribed.Add(1)
		return nil
	}
	p.counts.events.Add(1)
	p.batches.cur.batch.Add(ev, p.recipients)
	if p.mapper.Touching() {
		return p.touched()
	}
	return nil
}

// Fail implements [mapping.Output]: the change is parked for the entry.
func (o *mapperOutput) Fail(f *mapping.Failure) error {
	p := (*Pipeline)(o)
	parked := &delivery.Parked{
		Table: f.Table, Entry: f.Entry, Made: f.Made, Reason: string(f.Reason), Error: f.Err.Error(),
		Actor: f.Actor, Operation: f.Operation, Key: f.Key,
	}
	var told *capture.OperatorError
	if f.Rows && errors.As(f.Err, &told) && told.Remedy != "" { // there is no row to look at
		parked.Error += ": " + told.Remedy
	}
	if err := p.park(parked, p.mapper.Changes()); err != nil || p.account == nil || !f.Rows {
		return err
	}
	p.account.Passed(parked) // the account has no change of these rows
	return nil
}

// Notice implements [mapping.Output]. Anybody may write messages, so they are not logged without
// limit.
func (o *mapperOutput) Notice(n mapping.Notice) {
	p := (*Pipeline)(o)
	if n.Kind == mapping.BigintRounded {
		if !p.rounded[n.Entry] {
			return
		}
		p.logger.Warn("numbers beyond 2^53 are sent, which JavaScript and others round", "column", n.Column, "position", n.Position,
			"remedy", "bigint: string in the profiles whose receivers do")
		return
	}
	p.counts.notices.Add(1)
	if now := time.Now(); now.Sub(p.warned) >= noticeInterval {
		p.warned = now
		fields := []any{"kind", n.Kind, "type", n.Type, "position", n.Position, "count", p.counts.notices.Load()}
		if n.Err != nil {
			fields = append(fields, "err", n.Err)
		}
		p.logger.Warn("message left out", fields...)
	}
}

// Park implements [capture.Sink].
func (p *Pipeline) Park(u *capture.Undecoded) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return p.failure
	}
	p.counts.changes.Add(1)
	p.atWork(u.Ordinal)
	if err := p.mapper.Undecoded(u.Table); err != nil {
		return p.early(err)
	}
	if p.tracking != nil && (u.Table == "" || u.Table == p.tracking.schema+"."+p.tracking.name) {
		p.tracking.trackAll()
	}
	if u.Size > 0 {
		if err := p.kept.Passed(p.batches.cur.batch, u.Table, u.Kept); err != nil {
			return err
		}
		if err := p.doubted(); err != nil {
			return err
		}
		return p.parkPassed(u)
	}
	p.kept.Doubt(p.batches.cur.batch, u.Table, "a change could not be decoded")
	return p.parkUnseen(&delivery.Parked{Table: u.Table, Reason: delivery.ReasonUndecoded, Error: u.Err.Error()}, u)
}

// parkUnseen parks a change that no entry was asked about. Called with mu held.
func (p *Pipeline) parkUnseen(parked *delivery.Parked, u *capture.Undecoded) error {
	if err := p.park(parked, []*capture.Change{{Ordinal: u.Ordinal, Raw: u.Raw}}); err != nil || p.account == nil {
		return err
	}
	p.account.Passed(parked)
	return nil
}

// park keeps a change as a dead letter of the source, with its line for the delivery log. A
// row's move between partitions is two raw changes, and what coalescing made one is as many as it
// was. Called with mu held.
func (p *Pipeline) park(parked *delivery.Parked, changes []*capture.Change) error {
	usage := p.spool.Usage()
	if float64(usage.Parked) > parkedShare*float64(usage.Max) {
		return errParkedFull
	}
	for i, c := range changes {
		switch {
		case i == 0:
			parked.Ordinal = c.Ordinal
			parked.Relation, parked.Change = bytes.Clone(c.Raw.Relation), bytes.Clone(c.Raw.Change)
		case p.mapper.Merged(): // the event's place is the last one's
			parked.Ordinal = c.Ordinal
			parked.Merged = append(parked.Merged, bytes.Clone(c.Raw.Change))
		default:
			parked.Second = bytes.Clone(c.Raw.Change)
		}
	}
	if note, ordinal := p.mapper.Touch(); note != nil {
		parked.Touch, parked.Ordinal = note, ordinal
	}
	parked.Transaction, parked.Identity = p.tx.ID, p.tx.Identity
	parked.Position, parked.Time = string(p.tx.Position), p.tx.Time
	p.counts.parked.Add(1)
	if now := time.Now(); now.Sub(p.parkWarned) >= noticeInterval {
		p.parkWarned = now
		p.logger.Warn("a change could not be mapped and is parked", "table", parked.Table, "position", parked.Position,
			"err", parked.Error, "count", p.counts.parked.Load(), "remedy", "rowhook failed list --source")
	}
	p.batches.cur.batch.Park(parked)
	outcome := delivery.OutcomeUnmapped
	if parked.Reason == string(delivery.OutcomeUndecidable) {
		outcome = delivery.OutcomeUndecidable
	}
	p.batches.cur.lines = append(p.batches.cur.lines, delivery.LogRecord{
		Time: time.Now(), Profile: parked.Profile, Outcome: outcome, Table: parked.Table, Key: parked.Key,
		Position: parked.Position, Reason: parked.Reason, Error: parked.Error, Bytes: int(parked.Size),
	})
	return nil
}

// gapType is the event that tells subscribers of an accepted gap.
const gapType = "rowhook.gap"

// Gap tells the log and those who subscribe that changes between two positions may be missing.
// It is called between transactions, before the stream goes on at to.
func (p *Pipeline) Gap(source string, from, to capture.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UTC()
	data, err := json.Marshal(map[string]capture.Position{"from": from, "to": to})
	if err != nil {
		p.failure = fmt.Errorf("encode the gap: %w", err)
		return
	}
	hash := sha256.Sum256(fmt.Append(nil, gapType, "|", source, "|", from, "|", to, "|", now.UnixNano()))
	event := &delivery.Event{
		Making: &delivery.Making{Type: gapType, Source: source, Op: "signal"},
		Commit: &delivery.Commit{Time: now, Position: string(to)},
		ID:     "gap_" + hex.EncodeToString(hash[:16]), Key: []byte("{}"), Data: data, OrderKey: gapType,
	}
	p.batches.cur.lines = append(p.batches.cur.lines, delivery.LogRecord{
		Time: now, Outcome: delivery.OutcomeSkipped, Event: event.ID, Type: gapType, Position: string(to),
		Reason: delivery.ReasonGap, Error: fmt.Sprintf("changes committed between %s and %s may be missing", orNone(from), to),
	})
	if p.recipients, _ = p.router.Match(event, emptyRow{}, p.recipients[:0], nil); len(p.recipients) > 0 {
		p.batches.cur.batch.Add(event, p.recipients)
	}
	p.batches.cur.urgent = true
	p.kept.Doubt(p.batches.cur.batch, "", "changes may be missing")
	p.settle(to)
}

func orNone(p capture.Position) string {
	if p == "" {
		return "none"
	}
	return string(p)
}

// emptyRow is the row of an event that comes from none.
type emptyRow struct{}

// Column implements [delivery.Row].
func (emptyRow) Column(string) (string, delivery.Known, delivery.Sense, bool) {
	return "", delivery.ValueUnknown, delivery.SenseText, false
}
