package engine

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"rowhook/delivery"
)

// ReplayFilter selects what of the spool's history a profile gets again. What is empty does not
// select.
type ReplayFilter struct {
	Profile string    `json:"profile"` // code
	Type    string    `json:"type,omitempty"`
	Since   time.Time `json:"since,omitzero"` // of the event's commit
	Until   time.Time `json:"until,omitzero"`
}

// Replayed is what a replay sends again, or would.
type Replayed struct {
	Events int64            `json:"events"`
	Types  map[string]int64 `json:"types"`
	// Waiting are events that the filter selects and that wait or are dead letters: they are left
	// to `queue` and `failed`.
	Waiting int64 `json:"waiting,omitempty"`
	// Undecided are events from before the profile or its subscription. Whether it gets them hangs
	// on columns that history does not have: they are left out.
	Undecided int64     `json:"undecided,omitempty"`
	First     time.Time `json:"first,omitzero"` // commit time of the first event
	Last      time.Time `json:"last,omitzero"`
}

// replay is a replay under way: history is gone through at the pace of deliveries, so that neither
// memory nor the profile's backlog grows with it. It outlives a restart.
type replay struct {
	Next  delivery.Seq `json:"next"`
	End   delivery.Seq `json:"end"`
	Type  string       `json:"type,omitempty"`
	Since time.Time    `json:"since,omitzero"`
	Until time.Time    `json:"until,omitzero"`
	Round int          `json:"round"`
	Left  int64        `json:"left"`

	// groups are the records of groups that may reach beyond what was gone through. Those that
	// began before it are looked for once.
	groups []delivery.Delivery
	looked bool
}

// replays sends history again: one replay at a time, as much of it as there is room for.
type replays struct {
	profile  *Profile // in force
	store    *profileStore
	reader   *reader
	queue    *queue
	commits  *committer
	endpoint *endpoint
	logger   *slog.Logger
	under    *replay // under way; nil when none is
	ever     int     // how many there were
}

func (rs *replays) follow(p *Profile) { rs.profile = p }

func (r *replay) selects(ev *delivery.Event) bool {
	return (r.Type == "" || delivery.MatchGlob(r.Type, ev.Type)) &&
		(r.Since.IsZero() || !ev.Time.Before(r.Since)) && (r.Until.IsZero() || ev.Time.Before(r.Until))
}

// replayWindow is how many deliveries may wait on disk before more of history is sent again.
const replayWindow = 1024

// Replay has a profile get history again: what it got or missed, and what it would have got with
// its present subscriptions. Events keep their ids and go in commit order within their keys, before
// newer ones that have not gone; their log lines have a round of their own. Where requests carry
// groups, each goes in a request of its own. A dry run only counts.
func (e *Engine) Replay(f ReplayFilter, dry bool) (Replayed, error) {
	d, err := e.one(f.Profile)
	if err != nil {
		return Replayed{}, err
	}
	r := replay{Type: f.Type, Since: f.Since, Until: f.Until}
	err = d.view(func(time.Time) error {
		r.End = max(d.intake.reader.next, d.intake.reader.resume+1)
		return nil
	})
	if err != nil {
		return Replayed{}, err
	}
	counted, err := d.replays.count(&r, d.profileNow())
	if err != nil || dry || counted.Events == 0 {
		return counted, err
	}
	return counted, d.update(func(now time.Time) error {
		under, begun := d.replays.begin(r, counted.Events, now)
		if !begun {
			return &operatorError{fmt.Sprintf("a replay to %s is under way, with %d events to go", d.code, under.Left),
				"wait for its end, or `rowhook replay --profile " + d.code + " --stop`"}
		}
		return nil
	})
}

// StopReplay ends a profile's replay and returns how many events are not sent again therefore. What
// is in hand goes on.
func (e *Engine) StopReplay(profile string) (int64, error) {
	d, err := e.one(profile)
	if err != nil {
		return 0, err
	}
	var left int64
	err = d.update(func(now time.Time) error {
		stopped := d.replays.stop(now)
		if stopped == nil {
			return &operatorError{"no replay to " + d.code + " is under way", "`rowhook queue list` shows what waits"}
		}
		left = stopped.Left
		return nil
	})
	return left, err
}

// begin has a replay of so many events be under way, with a round of its own. While another is, it
// returns that one and begins none.
func (rs *replays) begin(r replay, events int64, now time.Time) (under *replay, begun bool) {
	if rs.under != nil {
		return rs.under, false
	}
	rs.ever++
	r.Round, r.Left = rs.ever+1, events
	rs.under = &r
	rs.commits.keep(now)
	return rs.under, true
}

// stop ends the replay that is under way and returns it; nil when none is.
func (rs *replays) stop(now time.Time) (stopped *replay) {
	if stopped = rs.under; stopped != nil {
		rs.under = nil
		rs.commits.keep(now)
	}
	return stopped
}

// count goes through history without sending anything. It needs the store only: the dispatcher goes
// on meanwhile.
func (rs *replays) count(r *replay, profile *Profile) (Replayed, error) {
	counted := Replayed{Types: make(map[string]int64)}
	progress, err := rs.store.Progress(rs.store.id)
	if err != nil {
		return counted, fmt.Errorf("read progress: %w", err)
	}
	done := make(map[delivery.Seq]bool, len(progress.Done))
	for _, seq := range progress.Done {
		done[seq] = true
	}
	pass := *r
	for pass.Next < pass.End {
		err := rs.pass(&pass, math.MaxInt64, func(entry *delivery.Entry, waits bool) error {
			switch decided := profile.wouldGet(entry); {
			case decided == delivery.False:
			case decided == delivery.Undecidable:
				counted.Undecided++
			case waits || !entry.Others && entry.Seq >= progress.Cursor && !done[entry.Seq]:
				counted.Waiting++
			default:
				counted.count(entry.Event)
			}
			return nil
		})
		if err != nil {
			return counted, err
		}
	}
	return counted, nil
}

func (c *Replayed) count(ev *delivery.Event) {
	c.Events++
	c.Types[ev.Type]++
	if c.First.IsZero() {
		c.First = ev.Time
	}
	c.Last = ev.Time
}

// wouldGet reports whether a replay brings the profile an entry of history. One that was addressed
// to it it gets in any case.
func (p *Profile) wouldGet(entry *delivery.Entry) delivery.Truth {
	if !entry.Others {
		return delivery.True
	}
	return p.subscriptions.MatchHistory(entry.Event)
}

// pass calls fn for the next entries of history that a replay selects, below limit, and
// moves on behind them. waits says that the entry has a record: it waits, or is a dead letter.
func (rs *replays) pass(r *replay, limit delivery.Seq, fn func(entry *delivery.Entry, waits bool) error) error {
	entries, next, end, err := rs.store.History(rs.store.id, r.Next, nil, readChunk, 1<<20)
	if err != nil {
		return fmt.Errorf("read history at %d: %w", r.Next, err)
	}
	waiting, err := rs.recordsOf(r, entries)
	if err != nil {
		return err
	}
	for i := range entries {
		entry := &entries[i]
		if entry.Seq >= min(limit, r.End) {
			next = min(entry.Seq, r.End)
			break
		}
		if !r.selects(entry.Event) {
			continue
		}
		if err := fn(entry, waiting[entry.Seq]); err != nil {
			return err
		}
	}
	if r.Next = next; end {
		r.Next = max(next, r.End)
	}
	return nil
}

// recordsOf returns the places of those entries that have a record, of their own or as members of a
// group, which may have begun before them.
func (rs *replays) recordsOf(r *replay, entries []delivery.Entry) (map[delivery.Seq]bool, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	first, last := entries[0].Seq, entries[len(entries)-1].Seq
	groups := slices.DeleteFunc(slices.Clone(r.groups), func(g delivery.Delivery) bool { return g.Members.Last < first || g.Seq >= first })
	from := first
	if !r.looked {
		from = 0
	}
	found := make(map[delivery.Seq]bool)
	err := rs.store.Deliveries(rs.store.id, from, nil, func(rec delivery.Delivery) bool {
		found[rec.Seq] = true
		if rec.Members != nil && rec.Members.Last >= first && rec.Seq <= last {
			groups = append(groups, delivery.Delivery{Seq: rec.Seq, Members: rec.Members})
		}
		return rec.Seq < last
	})
	if err != nil {
		return nil, fmt.Errorf("read waiting deliveries: %w", err)
	}
	r.groups, r.looked = groups, true
	for _, g := range groups {
		for i := range entries {
			if seq := entries[i].Seq; seq > g.Seq && seq <= g.Members.Last && g.Members.Has(entries[i].Event) {
				found[seq] = true
			}
		}
	}
	return found, nil
}

// some sends more of history again when there is room for it.
func (rs *replays) some(now time.Time) error {
	if !rs.wanted() {
		return nil
	}
	r := rs.under
	settle := rs.commits.commit
	if rs.profile.config.Unit == delivery.UnitRecord {
		settle = rs.commits.hurry // no record carries more than one event
	}
	if committed, err := settle(); err != nil || !committed {
		return err
	}
	err := rs.pass(r, rs.reader.unread(), func(entry *delivery.Entry, waits bool) error {
		if !waits && !rs.commits.unstoredRecord(entry.Seq) && rs.queue.ledger.window.find(entry.Seq) == nil && rs.profile.wouldGet(entry) == delivery.True {
			rs.sendAgain(entry, r.Round, now)
			r.Left--
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.Next >= r.End {
		rs.logger.Info("replay is on its way", "round", r.Round)
		rs.under = nil
	}
	rs.commits.keep(now)
	return nil
}

// sendAgain has an event of history wait in its place in the order: in a request of its own, also
// where requests carry groups.
func (rs *replays) sendAgain(entry *delivery.Entry, round int, now time.Time) {
	r := rs.reader.newRecord(entry)
	r.Round = round
	rs.queue.again(r, now)
}

// wanted reports whether more of history may be sent again now.
func (rs *replays) wanted() bool {
	return rs.under != nil && !rs.endpoint.down() && rs.reader.caughtUp() && !rs.commits.stuck() &&
		rs.queue.ledger.waiting() < replayWindow && rs.under.Next < rs.reader.unread()
}
