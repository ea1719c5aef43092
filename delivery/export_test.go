package delivery

// InMemory returns how many deliveries and lanes the engine holds in memory.
func InMemory(e *Engine) (jobs, lanes int) {
	for _, d := range e.all() {
		d.mu.Lock()
		jobs += d.jobs
		lanes += len(d.lanes)
		d.mu.Unlock()
	}
	return jobs, lanes
}

// InLane reports whether a delivery stands in a lane.
func InLane(d *Delivery, lane uint64) bool { return d.inLane(lane) }
