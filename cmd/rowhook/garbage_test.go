package main

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{
		0: mostGarbagePercent, 1 << 20: mostGarbagePercent, 4 << 20: 100, 8 << 20: 50, 20 << 20: leastGarbagePercent, 200 << 20: leastGarbagePercent,
	} {
		if got := garbagePercent(live); got != want {
			t.Errorf("with %d MiB live the heap grows by %d %%, want %d", live>>20, got, want)
		}
	}
}

// TestGarbageIsPaced holds that the collector is told when what is live has changed, and only then.
func TestGarbageIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []int
		sizes := []uint64{4 << 20, 4 << 20, 4<<20 + 1000, 100 << 20, 8 << 20}
		looks := 0
		live := func() uint64 { looks++; return sizes[looks-1] }
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(sizes))*garbageInterval+garbageInterval/2)
		defer cancel()
		paceGarbage(ctx, live, func(percent int) int { told = append(told, percent); return 0 })
		if want := []int{leastGarbagePercent, 100, leastGarbagePercent, 50}; looks != len(sizes) || !slices.Equal(told, want) {
			t.Errorf("after %d looks the collector was told %d, want %d", looks, told, want)
		}
	})
	if liveHeap() == 0 {
		t.Error("nothing is live")
	}
}
