package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"rowhook/capture"
)

const readsConfig = `
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
mapping: {public.loans: {}}
profiles:
  desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}
`

// model is a database with a log, whose transactions are in the log before others see them, and a
// stream of the log that is behind it. Rows are held by their writer until it is seen.
type model struct {
	*pipelineWorld
	rnd     *rand.Rand
	vague   bool // snapshots do not tell of what was logged about when they were taken
	visible map[string]int
	version map[string]int // that a row was given last
	held    map[string]bool
	running []*modelTx
	log     []*modelTx
	next    int // transaction number

	streamed int // transactions that the sink has whole
	part     int // changes of the next that it has; -1 before its beginning

	track   *Tracking
	settles bool
	chunk   *Merge // read, not handed in
	pending *merging
	after   int
	again   map[string]bool
	read    int // rows that were stored
}

type modelTx struct {
	id     int
	writes []modelWrite
	shown  bool
}

// modelWrite sets a row; to 0 deletes it.
type modelWrite struct {
	key      string
	from, to int
}

// modelSight is a snapshot of a model.
type modelSight struct {
	m     *model
	seen  map[string]bool
	vague map[string]bool
	mark  int
}

func (s *modelSight) Sees(tx *capture.Transaction) capture.Sight {
	switch {
	case s.vague[tx.ID]:
		return capture.Unclear
	case s.seen[tx.ID]:
		return capture.Seen
	}
	return capture.Unseen
}

func (s *modelSight) Passed() bool                 { return s.m.streamed >= s.mark }
func (s *modelSight) Mark() capture.Position       { return capture.Position(fmt.Sprint("0/", s.mark+1)) }
func (s *modelSight) Hasten(context.Context) error { return nil }

const modelRows = 12

func (m *model) key() string { return fmt.Sprintf("%02d", m.rnd.IntN(modelRows)) }

// write has a transaction, a new one at times, change some row that nobody else holds.
func (m *model) write() {
	if len(m.running) == 0 || len(m.running) < 4 && m.rnd.IntN(3) == 0 {
		m.next++
		m.running = append(m.running, &modelTx{id: m.next})
	}
	tx := m.running[m.rnd.IntN(len(m.running))]
	key := m.key()
	own := slices.ContainsFunc(tx.writes, func(w modelWrite) bool { return w.key == key })
	if m.held[key] && !own {
		return
	}
	from := m.visible[key]
	for _, w := range tx.writes {
		if w.key == key {
			from = w.to
		}
	}
	w := modelWrite{key: key, from: from}
	if from == 0 || m.rnd.IntN(5) > 0 {
		m.version[key]++
		w.to = m.version[key]
	}
	m.held[key] = true
	tx.writes = append(tx.writes, w)
}

func (m *model) commit() {
	if len(m.running) == 0 {
		return
	}
	i := m.rnd.IntN(len(m.running))
	m.log = append(m.log, m.running[i])
	m.running = slices.Delete(m.running, i, i+1)
}

// show has others see a transaction of the log, in any order.
func (m *model) show() {
	var hidden []*modelTx
	for _, tx := range m.log {
		if !tx.shown {
			hidden = append(hidden, tx)
		}
	}
	if len(hidden) == 0 {
		return
	}
	tx := hidden[m.rnd.IntN(len(hidden))]
	tx.shown = true
	for _, w := range tx.writes {
		m.visible[w.key] = w.to
		delete(m.held, w.key)
	}
}

func modelRow(key string, version int) capture.Row {
	return capture.Row{{State: capture.Present, Text: []byte(key)}, {State: capture.Present, Text: []byte(fmt.Sprint(version))}}
}

// stream hands over the next piece of the log.
func (m *model) stream() {
	if m.streamed == len(m.log) {
		return
	}
	tx := m.log[m.streamed]
	switch {
	case m.part < 0:
		must(m.t, m.pipe.Begin(&capture.Transaction{ID: fmt.Sprint(tx.id), Identity: fmt.Sprint("tx ", tx.id), Position: "0/1", Time: time.Now().UTC()}))
		m.part = 0
	case m.rnd.IntN(40) == 0: // the connection breaks
		m.pipe.Abort()
		m.part = -1
	case m.part < len(tx.writes):
		w := tx.writes[m.part]
		c := &capture.Change{Table: m.table, Ordinal: m.part}
		switch {
		case w.from == 0:
			c.Op, c.New = capture.Insert, modelRow(w.key, w.to)
		case w.to == 0:
			c.Op, c.Old = capture.Delete, modelRow(w.key, w.from)
		default:
			c.Op, c.Old, c.New = capture.Update, modelRow(w.key, w.from), modelRow(w.key, w.to)
		}
		must(m.t, m.pipe.Change(c))
		m.part++
	default:
		m.streamed++
		m.part = -1
		must(m.t, m.pipe.Commit(capture.Position(fmt.Sprint("0/", m.streamed+1))))
	}
}

// settled reports whether all that was streamed is seen.
func (m *model) settled() bool {
	n := m.streamed
	if m.part >= 0 {
		n++
	}
	return !slices.ContainsFunc(m.log[:n], func(tx *modelTx) bool { return !tx.shown })
}

// reader does what a backfill does next.
func (m *model) reader() {
	switch {
	case m.track == nil:
		m.track, m.settles = m.pipe.Track(m.table), true
	case m.settles:
		m.settles = !m.settled()
	case m.pending != nil:
		m.look()
	case m.chunk == nil:
		m.readChunk()
	default:
		var err error
		m.pending, err = m.track.handIn(m.chunk)
		if m.chunk = nil; errors.Is(err, ErrTrackingLost) {
			m.track, m.pending = nil, nil
		} else {
			must(m.t, err)
		}
	}
}

func (m *model) look() {
	must(m.t, m.track.look())
	select {
	case <-m.pending.dropped:
		m.track, m.pending = nil, nil
		return
	default:
	}
	if m.track.chunk != nil {
		return
	}
	merged := m.pending.merged
	m.read += merged.Rows
	for _, row := range m.pending.Chunk.Rows {
		delete(m.again, string(row[0].Text))
		m.after = max(m.after, number(m.t, string(row[0].Text))+1)
	}
	for _, key := range merged.Again {
		m.again[key[0]] = true
	}
	m.pending = nil
}

func (m *model) readChunk() {
	s := &modelSight{m: m, seen: map[string]bool{}, vague: map[string]bool{}, mark: len(m.log)}
	for i, tx := range m.log {
		if s.seen[fmt.Sprint(tx.id)] = tx.shown; m.vague && i > len(m.log)-4 {
			s.vague[fmt.Sprint(tx.id)] = m.rnd.IntN(2) == 0
		}
	}
	chunk := &capture.Chunk{Table: m.table, Snapshot: s, Time: time.Now()}
	for i := range modelRows {
		key := fmt.Sprintf("%02d", i)
		if wanted := m.again[key] || i >= m.after && i < m.after+4; wanted && m.visible[key] > 0 {
			chunk.Rows = append(chunk.Rows, modelRow(key, m.visible[key]))
		}
		if m.visible[key] == 0 {
			delete(m.again, key)
		}
	}
	if len(chunk.Rows) == 0 {
		m.after += 4
		return
	}
	m.chunk = &Merge{Chunk: chunk, Entry: "public.loans", Identity: "backfill 1"}
}

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	must(t, err)
	return n
}

// TestReadsModel: whatever order reads, commits, their being seen and the stream come in, no older
// state of a row follows a newer one, each row is read, and the last event has the last state.
func TestReadsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &model{pipelineWorld: newPipelineWorldOf(t, readsConfig), rnd: rand.New(rand.NewPCG(seed, 13)), vague: seed%3 == 0,
				visible: map[string]int{}, version: map[string]int{}, held: map[string]bool{}, again: map[string]bool{}, part: -1}
			m.start()
			must(t, m.pipe.Idle("0/1"))
			for i := range modelRows {
				key := fmt.Sprintf("%02d", i)
				m.visible[key], m.version[key] = 1, 1
			}
			for step := 0; step < 1200 || m.after < modelRows || len(m.again) > 0 || m.pending != nil || m.chunk != nil || m.streamed < len(m.log); step++ {
				if step > 100000 {
					t.Fatalf("after %d steps: after %d, again %v, streamed %d of %d", step, m.after, m.again, m.streamed, len(m.log))
				}
				switch m.rnd.IntN(5) {
				case 0:
					if step < 1200 {
						m.write()
					}
				case 1:
					m.commit()
				case 2:
					m.show()
				case 3:
					m.stream()
				default:
					m.reader()
				}
			}
			m.pipe.Flush(t.Context())
			m.judge()
		})
	}
}

// TestReadsEndWithTheConnection holds that nothing read from one server is put into the stream of
// another, whether a chunk waits or not.
func TestReadsEndWithTheConnection(t *testing.T) {
	t.Parallel()
	m := &model{pipelineWorld: newPipelineWorldOf(t, readsConfig)}
	m.start()
	must(t, m.pipe.Idle("0/1"))
	track := m.pipe.Track(m.table)
	m.pipe.Abort()
	chunk := &capture.Chunk{Table: m.table, Snapshot: &modelSight{m: m}, Rows: []capture.Row{modelRow("01", 1)}}
	if _, err := track.handIn(&Merge{Chunk: chunk, Entry: "public.loans", Identity: "backfill 1"}); !errors.Is(err, ErrTrackingLost) {
		t.Errorf("a chunk that was read before the connection broke: %v", err)
	}
	m.pipe.Flush(t.Context())
	if events := m.events(); len(events) != 0 {
		t.Errorf("%d events", len(events))
	}
}

// TestReadsAreStoredAtOnce holds that rows which were read do not wait for a stream that has nothing to
// say: not for a second each chunk, and whether they are placed when they come or later.
func TestReadsAreStoredAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		passes int // looks until the stream has passed the chunk's mark
	}{{"already there", 0}, {"a look later", 1}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := &model{pipelineWorld: newPipelineWorldOf(t, readsConfig)}
			must(t, m.pipe.Idle("0/1"))
			m.pipe.Rest()
			must(t, m.pipe.store(t.Context(), <-m.pipe.batches.work))
			track := m.pipe.Track(m.table)
			chunk := &capture.Chunk{Table: m.table, Snapshot: &modelSight{m: m, mark: test.passes}, Rows: []capture.Row{modelRow("01", 1)}}
			waits, err := track.handIn(&Merge{Chunk: chunk, Entry: "public.loans", Identity: "backfill 1"})
			must(t, err)
			for range test.passes {
				if len(m.pipe.batches.work) != 0 {
					t.Error("rows were placed before the stream has passed their mark")
				}
				m.streamed++
				must(t, track.look())
			}
			if len(m.pipe.batches.work) != 1 {
				t.Fatal("rows that were read wait for the stream")
			}
			must(t, m.pipe.store(t.Context(), <-m.pipe.batches.work))
			<-waits.stored
			if events := m.events(); len(events) != 1 {
				t.Errorf("%d events", len(events))
			}
		})
	}
}

// deafSight is a snapshot whose server does not answer any more.
type deafSight struct{ *modelSight }

var errDeaf = errors.New("no answer")

func (deafSight) Hasten(context.Context) error { return errDeaf }

// TestReadsGivenUp holds that a chunk for which nobody waits any more is not put into the stream.
func TestReadsGivenUp(t *testing.T) {
	t.Parallel()
	m := &model{pipelineWorld: newPipelineWorldOf(t, readsConfig)}
	m.start()
	must(t, m.pipe.Idle("0/1"))
	track := m.pipe.Track(m.table)
	chunk := &capture.Chunk{Table: m.table, Snapshot: deafSight{&modelSight{m: m, mark: 1}}, Rows: []capture.Row{modelRow("01", 1)}}
	if _, err := track.Merge(t.Context(), &Merge{Chunk: chunk, Entry: "public.loans", Identity: "backfill 1"}); !errors.Is(err, errDeaf) {
		t.Errorf("merged: %v", err)
	}
	m.streamed = 1
	must(t, m.pipe.Idle("0/2"))
	m.pipe.Flush(t.Context())
	if events := m.events(); len(events) != 0 {
		t.Errorf("%d events", len(events))
	}
}

func (m *model) judge() {
	m.t.Helper()
	last := map[string]int{} // twice the version, and one for a delete
	reads := 0
	for i, ev := range m.events() {
		var key struct{ ID string }
		var body struct{ Note string }
		must(m.t, json.Unmarshal(ev.Key, &key))
		raw := ev.Data
		if ev.Op == "delete" {
			raw = ev.Previous
		}
		must(m.t, json.Unmarshal(raw, &body))
		state := 2 * number(m.t, body.Note)
		if ev.Op == "delete" {
			state++
		}
		if ev.Op == "read" {
			reads++
		}
		if state < last[key.ID] {
			m.t.Fatalf("event %d, %s of %s, has state %d after %d", i, ev.Type, key.ID, state, last[key.ID])
		}
		last[key.ID] = state
	}
	if reads < m.read || reads == 0 {
		m.t.Errorf("%d reads stored, %d counted", reads, m.read)
	}
	for key, version := range m.visible {
		want := 2 * version
		if version == 0 {
			want = 2*m.version[key] + 1
		}
		if last[key] != want {
			m.t.Errorf("the last event of %s has state %d, want %d", key, last[key], want)
		}
	}
}
