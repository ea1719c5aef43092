package engine

// memory is what a profile's deliveries take in memory, and the jobs that are spare.
type memory struct {
	jobs  int
	bytes int
	max   int // bytes
	spare []*job
}

// jobMemory is about what a job takes beside what its event has in the spool: itself, its event's
// fields and its place in a lane.
const jobMemory = 1 << 10

// room reports whether more may be brought into memory.
func (m *memory) room() bool { return m.jobs < maxWindowJobs && m.bytes < m.max }

// half reports whether at most half of it is taken, with so many bytes besides.
func (m *memory) half(bytes int) bool { return m.jobs <= maxWindowJobs/2 && m.bytes+bytes <= m.max/2 }

// newJob returns an empty job.
func (m *memory) newJob() *job {
	if n := len(m.spare); n > 0 {
		j := m.spare[n-1]
		m.spare = m.spare[:n-1]
		return j
	}
	return new(job)
}

// take accounts for a job that came into memory.
func (m *memory) take(j *job) {
	j.memory = jobMemory + heldInMemory(j.event, j.bytes) + len(j.record.Body)
	m.jobs++
	m.bytes += j.memory
}

// release accounts for a job that leaves memory. One that stands in a ready queue is used again
// when it has come out of it, see [memory.reuse].
func (m *memory) release(j *job) {
	m.jobs--
	m.bytes -= j.memory
	if j.state == jobReady {
		*j = job{state: jobGone, queued: j.queued}
		return
	}
	m.reuse(j)
}

// reuse keeps a job that nobody has any more.
func (m *memory) reuse(j *job) {
	*j = job{}
	if len(m.spare) < maxWindowJobs {
		m.spare = append(m.spare, j)
	}
}
