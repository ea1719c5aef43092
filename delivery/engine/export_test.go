package engine

// InMemory returns how many deliveries and lanes the engine holds in memory.
func InMemory(e *Engine) (jobs, lanes int) {
	for _, d := range e.all() {
		d.mu.Lock()
		jobs += d.memory.jobs
		lanes += len(d.lanes.byKey)
		d.mu.Unlock()
	}
	return jobs, lanes
}
