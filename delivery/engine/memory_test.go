package engine

import (
	"testing"

	"rowhook/delivery"
)

// TestMemory: what is in memory is accounted for with its body, and what leaves it is used again, but
// for a job that still stands in a ready queue.
func TestMemory(t *testing.T) {
	t.Parallel()
	m := memory{max: 1000 + jobMemory}
	if !m.room() || !m.half(1000) || m.half(1013) {
		t.Errorf("an empty memory: room %t, half %t and %t", m.room(), m.half(500), m.half(501))
	}
	first := m.newJob()
	first.event, first.bytes, first.record.Body = &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{}}, 700, make([]byte, 300)
	m.take(first)
	if m.room() || m.half(0) || m.jobs != 1 || m.bytes != 1000+jobMemory {
		t.Errorf("%d jobs with %d bytes", m.jobs, m.bytes)
	}
	var q jobQueue
	first.state = jobReady
	q.push(first)
	m.release(first)
	if m.jobs != 0 || m.bytes != 0 || len(m.spare) != 0 || first.state != jobGone {
		t.Errorf("%d jobs with %d bytes, %d spare", m.jobs, m.bytes, len(m.spare))
	}
	m.reuse(q.pop())
	if again := m.newJob(); again != first || again.record.Body != nil || again.state != jobWaiting {
		t.Error("a job that is spare is not used again, or not empty")
	}
	// Of a large event only what is held counts; the rest lies in the store.
	large := m.newJob()
	large.event, large.bytes = &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{}, Away: &delivery.Away{Sizes: [delivery.Parts]int64{900, -1, -1, -1}}}, 950
	if m.take(large); m.bytes != 50+jobMemory {
		t.Errorf("a large event takes %d bytes", m.bytes)
	}
	m.max = 2 * maxWindowJobs * jobMemory
	for range maxWindowJobs - 1 {
		m.take(&job{event: &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{}}})
	}
	if m.room() {
		t.Error("there is room for more jobs than the window has")
	}
}
