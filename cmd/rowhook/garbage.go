package main

import (
	"context"
	"math"
	"runtime/metrics"
	"time"
)

const (
	// memoryGoal is where the garbage collector begins to work harder than it does by itself, which
	// lets the heap grow without looking at the whole. Nothing but a single row of many megabytes, or
	// very many profiles, comes near it.
	memoryGoal = 192 << 20
	// The heap grows by leastGarbage before it is collected, or by leastGarbagePercent of what is live
	// if that is more; to no more than double. A collection costs what is live, however little of it:
	// with a few megabytes live, a percentage would have a busy agent collect dozens of times a second.
	leastGarbage        = 4 << 20
	leastGarbagePercent = 30
	mostGarbagePercent  = 100
	// garbageInterval is how often what is live is looked at.
	garbageInterval = time.Second
)

// garbagePercent is by how many percent of what is live the heap may grow.
func garbagePercent(live uint64) int {
	percent := uint64(leastGarbage) * 100 / max(live, 1)
	return int(min(max(percent, leastGarbagePercent), mostGarbagePercent))
}

// liveHeap returns how many bytes the last collection found to be live.
func liveHeap() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// paceGarbage has the garbage collector follow what is live until ctx ends.
func paceGarbage(ctx context.Context, live func() uint64, set func(percent int) int) {
	ticker := time.NewTicker(garbageInterval)
	defer ticker.Stop()
	now := leastGarbagePercent
	set(now)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		percent := garbagePercent(live())
		// Setting it stops everybody for a moment, so that small changes are let pass.
		if math.Abs(float64(percent-now)) > float64(now)/10 {
			now = percent
			set(now)
		}
	}
}
