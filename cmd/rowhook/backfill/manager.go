package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/delivery"
	"rowhook/mapping"
)

// Options are what a manager works with. Without an agent only Store is there.
type Options struct {
	Store  Store
	Logger *slog.Logger
	// Track begins to keep what the stream changes in a table.
	Track func(*capture.Table) *pipeline.Tracking
	// Kept keeps rows; nil where none are.
	Kept Kept
	// Reader returns a reader of the source.
	Reader func() capture.Reader
	// Tables describes the tables that patterns name.
	Tables func(ctx context.Context, patterns []string) ([]*capture.Table, error)
	// Rules are the mapping in force.
	Rules func() *mapping.Rules
	// Subscribers are the codes of the profiles that get events of a type.
	Subscribers func(eventType, entry string) []string
	// Backlog is what waits for a profile.
	Backlog func(profile string) (delivery.Backlog, error)
	// MostBacklog is how many bytes may wait for a profile while rows are read.
	MostBacklog func(profile string) int64
}

// mostBacklog is how many events may wait for a profile while rows are read.
const mostBacklog = 50_000

// Manager keeps backfills and works on them. Its methods are safe for concurrent use.
type Manager struct {
	Options
	wake chan struct{}

	mu       sync.Mutex
	jobs     *jobs
	progress map[string]*progress
	meters   map[string]*meter
	waiting  map[string]string // what a backfill waits for
	current  string            // the one that is worked at
	cancel   context.CancelFunc
}

// New reads the backfills of a state directory.
func New(o Options) (*Manager, error) {
	m := &Manager{Options: o, wake: make(chan struct{}, 1), progress: map[string]*progress{}, meters: map[string]*meter{}, waiting: map[string]string{}}
	var err error
	if m.jobs, err = load(o.Store); err != nil {
		return nil, err
	}
	for _, j := range m.jobs.Jobs {
		p, err := loadProgress(o.Store, j.ID)
		if err != nil {
			return nil, err
		}
		m.progress[j.ID] = &p
		if p.Done && j.State == operation.BackfillRunning { // the agent was killed between the last rows and this
			j.State, j.Ended = operation.BackfillDone, time.Now().UTC()
		}
	}
	return m, nil
}

// Start begins a backfill.
func (m *Manager) Start(ctx context.Context, r operation.BackfillRequest) (operation.Backfill, error) {
	if m.Reader == nil {
		return operation.Backfill{}, errNoAgent
	}
	job := &Job{Created: time.Now().UTC(), User: r.User, Entries: r.Entries, Profile: r.Profile, Where: r.Where, Rate: r.Rate, State: operation.BackfillRunning}
	if err := m.plan(ctx, job, &r); err != nil {
		return operation.Backfill{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &progress{}
	if job.Key != nil {
		p.Read, p.Again = true, [][]string{job.Key}
	}
	m.add(job, p)
	if err := m.saveProgress(job.ID, p); err != nil {
		return operation.Backfill{}, err
	}
	if err := m.save(); err != nil {
		return operation.Backfill{}, err
	}
	m.Logger.Info("backfill begins", "backfill", job.ID, "entries", strings.Join(job.Entries, " "), "rows", job.total())
	m.nudge()
	return m.view(job), nil
}

// add gives a job its name. Called with mu held.
func (m *Manager) add(job *Job, p *progress) *Job {
	job.ID = fmt.Sprint("b", m.jobs.Next)
	m.jobs.Next++
	m.jobs.Jobs = append(m.jobs.Jobs, job)
	m.progress[job.ID] = p
	return job
}

var errNoAgent = &capture.OperatorError{
	Err:    errors.New("rows are read beside the running stream, and no agent runs on this state directory"),
	Remedy: "start the agent with `rowhook run`, then try again",
}

// Plan says what a backfill would read and who would get it, and what speaks against it.
func (m *Manager) Plan(ctx context.Context, r operation.BackfillRequest) (operation.BackfillPlan, error) {
	if m.Reader == nil {
		return operation.BackfillPlan{}, errNoAgent
	}
	job := &Job{Entries: r.Entries, Profile: r.Profile, Where: r.Where}
	if err := m.plan(ctx, job, &r); err != nil {
		return operation.BackfillPlan{}, err
	}
	var found operation.BackfillPlan
	for _, p := range job.Parts {
		if len(job.Where) > 0 {
			p.Rows = -1
		}
		found.Parts = append(found.Parts, operation.BackfillPart(p))
		for _, code := range m.receivers(p.Entry) {
			if (job.Profile == "" || code == job.Profile) && !slices.Contains(found.Profiles, code) {
				found.Profiles = append(found.Profiles, code)
			}
		}
	}
	slices.Sort(found.Profiles)
	return found, nil
}

// receivers are the profiles that get what an entry's rows become.
func (m *Manager) receivers(entry string) (codes []string) {
	for _, info := range m.Rules().Events() {
		if info.Entry == entry && slices.Contains(info.Ops, capture.Read.String()) {
			codes = append(codes, m.Subscribers(info.Type, entry)...)
		}
	}
	return codes
}

// plan finds the tables to read, and what speaks against it.
func (m *Manager) plan(ctx context.Context, job *Job, r *operation.BackfillRequest) error {
	reader := m.Reader()
	defer reader.Close()
	for _, entry := range job.Entries {
		table, err := m.readable(entry, job.Profile)
		if err != nil {
			return err
		}
		tables := []string{table}
		if strings.Contains(table, "*") {
			if tables, err = m.tablesOf(ctx, entry, table); err != nil {
				return err
			}
		}
		for _, name := range tables {
			found, err := reader.Describe(ctx, name)
			if err != nil {
				return err
			}
			job.Parts = append(job.Parts, Part{Entry: entry, Table: name, Rows: found.Rows})
			request := &capture.ReadRequest{Table: name, Where: job.Where, Limit: 1}
			if r.Key != nil {
				if job.Key, err = keyOf(found.Table, r.Key); err != nil {
					return err
				}
				request.Keys = [][]string{job.Key}
			}
			// What the database makes of conditions and rights shows now.
			chunk, err := reader.Read(ctx, request)
			if err != nil {
				return err
			}
			if job.Key != nil && len(chunk.Rows) == 0 {
				return fmt.Errorf("table %s has no row with this key", name)
			}
		}
	}
	if r.Key != nil && len(job.Parts) != 1 {
		return errors.New("a trigger reads a row of one table: name an entry of one")
	}
	return nil
}

// readable finds an entry's table, and whether anybody gets what its rows become.
func (m *Manager) readable(entry, profile string) (table string, err error) {
	known, subscribed := false, false
	var types []string
	for _, info := range m.Rules().Events() {
		if info.Entry != entry {
			continue
		}
		known, table = true, info.Table
		if !slices.Contains(info.Ops, capture.Read.String()) {
			continue
		}
		types = append(types, info.Type)
		for _, code := range m.Subscribers(info.Type, entry) {
			subscribed = subscribed || profile == "" || code == profile
		}
	}
	switch {
	case !known:
		return "", &capture.OperatorError{Err: fmt.Errorf("the mapping has no entry %q", entry), Remedy: "`rowhook check --events` lists the entries"}
	case len(types) == 0:
		return "", &capture.OperatorError{
			Err:    fmt.Errorf("entry %s makes no event of a row that is read", entry),
			Remedy: "give the entry a rule for it, such as `record.read: {op: read}` under events, and subscribe to it",
		}
	case !subscribed:
		who := "no profile subscribes"
		if profile != "" {
			who = fmt.Sprintf("profile %s does not subscribe", profile)
		}
		return "", &capture.OperatorError{
			Err:    fmt.Errorf("%s to %s of entry %s", who, strings.Join(types, " or "), entry),
			Remedy: "add the event type to a subscription of the profile",
		}
	}
	return table, nil
}

// tablesOf lists the tables that a schema's entry maps.
func (m *Manager) tablesOf(ctx context.Context, entry, pattern string) (names []string, err error) {
	tables, err := m.Tables(ctx, []string{pattern})
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if m.Rules().Maps(entry, t) {
			names = append(names, t.String())
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("entry %s maps no table that there is", entry)
	}
	return names, nil
}

// keyOf puts the values of a key into the order of its columns.
func keyOf(t *capture.Table, values map[string]string) (key []string, err error) {
	var names []string
	for _, i := range t.Key {
		names = append(names, t.Columns[i].Name)
		if value, ok := values[t.Columns[i].Name]; ok {
			key = append(key, value)
		}
	}
	if len(key) != len(t.Key) || len(values) != len(key) {
		return nil, fmt.Errorf("the key of table %s is %s: give each column as COLUMN=VALUE, and no other", t, strings.Join(names, ", "))
	}
	return key, nil
}

// Pause, Resume and Cancel change a backfill's state.
func (m *Manager) Pause(id string) (operation.Backfill, error) {
	return m.change(id, operation.BackfillPaused, "is not running", operation.BackfillRunning)
}

// Resume goes on with a backfill that was paused or failed.
func (m *Manager) Resume(id string) (operation.Backfill, error) {
	return m.change(id, operation.BackfillRunning, "is neither paused nor failed", operation.BackfillPaused, operation.BackfillFailed)
}

// Cancel ends a backfill. What it has sent stays sent.
func (m *Manager) Cancel(id string) (operation.Backfill, error) {
	return m.change(id, operation.BackfillCancelled, "is over already", operation.BackfillRunning, operation.BackfillPaused, operation.BackfillFailed)
}

func (m *Manager) change(id string, to operation.BackfillState, otherwise string, from ...operation.BackfillState) (operation.Backfill, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	job := m.find(id)
	if job == nil {
		return operation.Backfill{}, &capture.OperatorError{Err: fmt.Errorf("there is no backfill %q", id), Remedy: "`rowhook backfill list` shows them"}
	}
	if job.Memory != "" && to == operation.BackfillCancelled {
		return operation.Backfill{}, errMemory
	}
	if !slices.Contains(from, job.State) {
		return operation.Backfill{}, fmt.Errorf("backfill %s %s: it is %s", id, otherwise, job.State)
	}
	job.State, job.Error, job.Remedy = to, "", ""
	if to.Over() {
		job.Ended = time.Now().UTC()
	}
	if m.current == id && m.cancel != nil && to != operation.BackfillRunning {
		m.cancel()
	}
	delete(m.waiting, id)
	delete(m.meters, id)
	m.nudge()
	return m.view(job), m.save()
}

func (m *Manager) find(id string) *Job {
	for _, j := range m.jobs.Jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}

// save stores the jobs. Called with mu held.
func (m *Manager) save() error {
	for _, id := range m.jobs.tidy() {
		delete(m.progress, id)
		if err := m.Store.SetMeta(metaProgress+id, nil); err != nil {
			return fmt.Errorf("store the backfills: %w", err)
		}
	}
	raw, err := json.Marshal(m.jobs)
	if err == nil {
		err = m.Store.SetMeta(metaJobs, raw)
	}
	if err != nil {
		return fmt.Errorf("store the backfills: %w", err)
	}
	return nil
}

func (m *Manager) saveProgress(id string, p *progress) error {
	raw, err := json.Marshal(p)
	if err == nil {
		err = m.Store.SetMeta(metaProgress+id, raw)
	}
	if err != nil {
		return fmt.Errorf("store how far backfill %s is: %w", id, err)
	}
	return nil
}

// nudge has Run look again.
func (m *Manager) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}
