package engine

// InMemory returns how many deliveries and lanes the engine holds in memory.
func InMemory(e *Engine) (jobs, lanes int) {
	for _, d := range e.all() {
		d.mu.Lock()
		jobs += d.queue.memory.jobs
		lanes += len(d.queue.lanes.byKey)
		d.mu.Unlock()
	}
	return jobs, lanes
}
