package agent

import (
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/mapping"
)

// keptWants are the tables whose last values the mapping wants to be remembered.
func keptWants(rules *mapping.Rules) []kept.Want {
	var wants []kept.Want
	for _, m := range rules.Memory() {
		wants = append(wants, kept.Want{Table: m.Table, Columns: m.Columns, All: m.All, By: m.By, LookedUp: m.LookedUp})
	}
	return wants
}

// memory tells how the remembered tables stand.
func (t *term) memory() []operation.MemoryStatus {
	var list []operation.MemoryStatus
	for _, k := range t.pipe.Kept() {
		m := operation.MemoryStatus{
			Table: k.Table, Columns: k.Columns, State: operation.MemoryUnknown, Reason: k.Reason, Bytes: k.Bytes, Filled: k.Filled, Unknown: k.Unknown,
		}
		switch {
		case k.Full:
			m.State = operation.MemoryFull
		case k.Loaded:
			m.State = operation.MemoryLoaded
		case k.Generation != 0:
			m.State = operation.MemoryLoading
		}
		list = append(list, m)
	}
	return list
}

// memoryMetrics are those of the remembered tables.
type memoryMetrics struct{ state, bytes, filled, unknown metric }

func newMemoryMetrics() memoryMetrics {
	return memoryMetrics{
		state:   gauge("memory_state", "1 for the state that a table's memory is in, 0 for the others.", "table", "state"),
		bytes:   gauge("memory_bytes", "About how much of the spool a table's memory takes.", "table"),
		filled:  counter("memory_filled_total", "Old values that memory knew and the stream did not carry.", "table"),
		unknown: counter("memory_unknown_total", "Rows that memory was asked for and did not know.", "table"),
	}
}

func (m *agentMetrics) collectMemory(c *collection) {
	captures := m.agent.term.Load()
	if captures == nil {
		return
	}
	for _, t := range captures.memory() {
		for _, state := range [...]string{operation.MemoryLoaded, operation.MemoryLoading, operation.MemoryUnknown, operation.MemoryFull} {
			c.put(m.memory.state, c.flag(t.State == state), t.Table, state)
		}
		c.put(m.memory.bytes, float64(t.Bytes), t.Table)
		c.put(m.memory.filled, float64(t.Filled), t.Table)
		c.put(m.memory.unknown, float64(t.Unknown), t.Table)
	}
}
