package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"rowhook/cmd/rowhook/backfill"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/mapping"
)

// backlogBytes is how much may wait for a profile while existing rows are read, where its share of
// the spool allows for more than twice that.
const backlogBytes = 64 << 20

// backfillOptions are what backfills need of a running agent.
func (t *term) backfillOptions() backfill.Options {
	var read *config.Config // whose subscriptions are compiled
	var subscriptions map[string]delivery.Subscriptions
	compiled := func() map[string]delivery.Subscriptions {
		t.mu.Lock()
		defer t.mu.Unlock()
		if c := t.config(); c != read {
			read, subscriptions = c, map[string]delivery.Subscriptions{}
			for _, p := range c.Profiles {
				subscriptions[p.Code] = delivery.CompileSubscriptions(p.Subscriptions)
			}
		}
		return subscriptions
	}
	return backfill.Options{
		Store: t.values(), Logger: t.logger, Track: t.pipe.Track, Kept: t.pipe, Reader: t.from.Reader, Tables: t.from.Tables,
		Rules: func() *mapping.Rules { return t.config().Rules() },
		Subscribers: func(eventType, entry string) (codes []string) {
			for code, s := range compiled() {
				if s.Names(eventType, entry) {
					codes = append(codes, code)
				}
			}
			slices.Sort(codes)
			return codes
		},
		Backlog: func(profile string) (delivery.Backlog, error) {
			id, err := t.spool.Register(profile)
			if err != nil {
				return delivery.Backlog{}, err
			}
			return t.spool.Backlog(id)
		},
		MostBacklog: func(profile string) int64 {
			for _, p := range t.config().Profiles {
				if p.Code == profile {
					return min(backlogBytes, int64(float64(p.Share)*float64(t.spool.Usage().Max)/2))
				}
			}
			return backlogBytes
		},
	}
}

// backfillStart begins a backfill, with a line in the audit log.
func (w *workspace) backfillStart(ctx context.Context, r operation.BackfillRequest) (operation.Backfill, error) {
	backfills, err := w.backfills()
	if err != nil {
		return operation.Backfill{}, err
	}
	b, err := backfills.Start(ctx, r)
	if err != nil {
		return b, err
	}
	line := operation.AuditLine{User: r.User, Command: "backfill", Profile: r.Profile, Key: b.ID, New: describeBackfill(r)}
	if r.Key != nil {
		line.Command = "trigger"
	}
	return b, w.audit.append(line)
}

// describeBackfill says what was asked for. Values may be row data, which the audit log does not
// hold.
func describeBackfill(r operation.BackfillRequest) string {
	text := strings.Join(r.Entries, " ")
	for _, c := range r.Where {
		text += " where " + c.Column
	}
	if r.Rate > 0 {
		text += fmt.Sprintf(" rate %g/s", r.Rate)
	}
	return text
}

func (w *workspace) backfillChange(command string, r operation.BackfillChange, change func(m *backfill.Manager, id string) (operation.Backfill, error)) (operation.Backfill, error) {
	backfills, err := w.backfills()
	if err != nil {
		return operation.Backfill{}, err
	}
	b, err := change(backfills, r.ID)
	return b, w.audited(r.User, "backfill "+command, b.Profile, r.ID, err)
}

// backfillOperations are about existing rows as events.
func (w *workspace) backfillOperations() map[string]control.Operation {
	return map[string]control.Operation{
		"backfill": control.Typed(func(ctx context.Context, r operation.BackfillRequest) (operation.Backfill, error) {
			return w.backfillStart(ctx, r)
		}),
		"backfill/plan": control.Typed(func(ctx context.Context, r operation.BackfillRequest) (operation.BackfillPlan, error) {
			backfills, err := w.backfills()
			if err != nil {
				return operation.BackfillPlan{}, err
			}
			return backfills.Plan(ctx, r)
		}),
		"backfill/list": control.Typed(func(context.Context, operation.None) ([]operation.Backfill, error) {
			backfills, err := w.backfills()
			if err != nil {
				return nil, err
			}
			return backfills.List(), nil
		}),
		"backfill/pause": control.Typed(func(_ context.Context, r operation.BackfillChange) (operation.Backfill, error) {
			return w.backfillChange("pause", r, (*backfill.Manager).Pause)
		}),
		"backfill/resume": control.Typed(func(_ context.Context, r operation.BackfillChange) (operation.Backfill, error) {
			return w.backfillChange("resume", r, (*backfill.Manager).Resume)
		}),
		"backfill/cancel": control.Typed(func(_ context.Context, r operation.BackfillChange) (operation.Backfill, error) {
			return w.backfillChange("cancel", r, (*backfill.Manager).Cancel)
		}),
	}
}

// backfillMetrics are those of backfills.
type backfillMetrics struct{ count, rows, left metric }

func newBackfillMetrics() backfillMetrics {
	return backfillMetrics{
		count: gauge("backfills", "Backfills by state, those that are over left out.", "state"),
		rows:  gauge("backfill_rows", "Rows that a backfill has read.", "backfill"),
		left:  gauge("backfill_rows_left", "About how many rows a backfill has to read yet. Absent where nobody knows.", "backfill"),
	}
}

func (m *agentMetrics) collectBackfills(c *collection) {
	states := map[operation.BackfillState]int{operation.BackfillRunning: 0, operation.BackfillPaused: 0, operation.BackfillFailed: 0}
	backfills := m.agent.atWork.Load()
	if backfills == nil {
		return
	}
	for _, b := range backfills.List() {
		if b.State.Over() {
			continue
		}
		states[b.State]++
		c.put(m.backfill.rows, float64(b.Rows), b.ID)
		if b.Total >= 0 {
			c.put(m.backfill.left, float64(max(b.Total-b.Rows, 0)), b.ID)
		}
	}
	for state, n := range states {
		c.put(m.backfill.count, float64(n), string(state))
	}
}
