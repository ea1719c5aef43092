package cluster

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// TestNoCopyWithoutRoom: while a part of the source's stream waits for room on the disk, no copy of
// the spool says that it is there, nor does the spool itself.
func TestNoCopyWithoutRoom(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	full := testSpool
	full.Reserve = 1 << 60
	sp, err := spool.Open(dir, full)
	if err != nil {
		t.Fatal(err)
	}
	config := DefaultConfig()
	config.Machine = "m1"
	r, err := NewReplica(&Stream{config: config, logger: slog.New(slog.DiscardHandler)}, sp, Self{Config: "same"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.Register("p0")
	if err != nil {
		t.Fatal(err)
	}
	batch := sp.NewBatch()
	batch.Add(testEvent(1, 1), []delivery.ProfileID{id})
	batch.Commit("30")
	var messages []message
	messages = append(messages, genesis{lineage: "l"}, join{about: r.about()}, claim{[]claimed{{seat: captureSeat}}})
	if err := batch.Encode(r.code, 1<<16, func(bytes []byte, commits bool) error {
		messages = append(messages, part{epoch: 1, commits: commits, batch: append([]byte(nil), bytes...)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	seq := uint64(0)
	take := func(ctx context.Context, m message) error {
		seq++
		e := envelope{machine: "m1", incarnation: r.tenure.incarnation, lane: laneMembership, n: seq, body: encodeMessage(m)}
		if _, ok := m.(part); ok {
			e.lane, e.n = laneCapture, 1
		}
		return r.take(ctx, seq, e.bytes())
	}
	for _, m := range messages[:3] {
		if err := take(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	work, end := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() { ended <- take(work, messages[3]) }()
	if err := r.await(ctx, func() bool { return r.short }); err != nil {
		t.Fatal(err)
	}
	if _, covers, err := r.copySpool(ctx, filepath.Join(t.TempDir(), "copy")); err == nil {
		t.Errorf("a copy covers %d, and message 4 is not applied", covers)
	}
	over := errors.New("over")
	end(over)
	select {
	case err := <-ended:
		if !errors.Is(err, over) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(testPatience):
		t.Fatal("it waits still")
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
	has, err := r.stream.inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if has.core.next != 4 {
		t.Errorf("message %d is due after a start, message 4 was not applied", has.core.next)
	}
}
