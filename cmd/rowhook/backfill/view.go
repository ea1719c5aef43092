package backfill

import (
	"time"

	"rowhook/cmd/rowhook/operation"
)

// List shows all backfills, the oldest first.
func (m *Manager) List() []operation.Backfill {
	m.mu.Lock()
	defer m.mu.Unlock()
	views := make([]operation.Backfill, len(m.jobs.Jobs))
	for i, j := range m.jobs.Jobs {
		views[i] = m.view(j)
	}
	return views
}

func (m *Manager) view(j *Job) operation.Backfill {
	p := m.progress[j.ID]
	v := operation.Backfill{
		ID: j.ID, State: j.State, Entries: j.Entries, Memory: j.Memory, Profile: j.Profile, Rate: j.Rate, Rows: p.Rows, Total: j.total(),
		Events: p.Events, Failed: p.Failed, Again: len(p.Again), Error: j.Error, Remedy: j.Remedy, User: j.User, Created: j.Created, Ended: j.Ended,
	}
	for _, c := range j.Where {
		v.Where = append(v.Where, c.Column)
	}
	if p.Part < len(j.Parts) {
		v.Table = j.Parts[p.Part].Table
	}
	if j.State != operation.BackfillRunning {
		return v
	}
	v.Waiting = m.waiting[j.ID]
	if meter := m.meters[j.ID]; meter != nil {
		if v.RowsPerSecond = meter.rate(time.Now(), p.Rows); v.RowsPerSecond > 0 && v.Total > p.Rows {
			v.SecondsLeft = float64(v.Total-p.Rows) / v.RowsPerSecond
		}
	}
	return v
}

// meterSpan is the time that a meter looks back.
const meterSpan = 10 * time.Second

// meter tells a rate by what was counted some seconds ago.
type meter struct{ samples []sample }

type sample struct {
	at   time.Time
	rows int64
}

// add notes a count, at most twice a second.
func (m *meter) add(now time.Time, rows int64) {
	if n := len(m.samples); n > 0 && now.Sub(m.samples[n-1].at) < meterSpan/20 {
		return
	}
	m.samples = append(m.samples, sample{now, rows})
	for len(m.samples) > 1 && now.Sub(m.samples[0].at) > meterSpan {
		m.samples = m.samples[1:]
	}
}

func newMeter() *meter { return &meter{} }

func (m *meter) rate(now time.Time, rows int64) float64 {
	if len(m.samples) == 0 {
		return 0
	}
	span := now.Sub(m.samples[0].at)
	if span <= 0 {
		return 0
	}
	return float64(rows-m.samples[0].rows) / span.Seconds()
}
