package cluster

import (
	"errors"
	"testing"
	"time"

	"rowhook/delivery"
)

// TestRetireBehindTurn: who has drained a profile by an older config does not have it forgotten: the one
// that holds now may have it back.
func TestRetireBehindTurn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config string // of the machine that retires, as of its last renewal
		want   error
	}{
		"the config that holds": {config: "new"},
		"the one before":        {config: "old", want: errClaimed},
	} {
		s := newState()
		n := uint64(0)
		say := func(m message) error {
			n++
			e := envelope{machine: "m1", incarnation: 1, lane: laneMembership, n: n, body: encodeMessage(m)}
			f, err := s.apply(n, e.bytes())
			return errors.Join(err, f.refused)
		}
		self := about{Roles: RoleCapture | RoleDeliver, Lease: time.Second, Config: tt.config}
		for _, m := range []message{
			genesis{lineage: "l"}, join{about: self}, claim{[]claimed{{seat: captureSeat}, {seat: "desk"}}}, turn{epoch: 1, config: "new"},
		} {
			if err := say(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := say(retire{code: "desk", epoch: 1}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if owned := s.owned("desk", "m1", 1) != 0; owned != (tt.want != nil) {
			t.Errorf("%s: it owns the profile: %t", name, owned)
		}
	}
}

// TestReadsUpToTurn: what is behind a turn is read when the machine has taken it.
func TestReadsUpToTurn(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 1, 1)
	b.grow(5)
	b.spread()
	b.settled()
	m := b.machines[0]
	r := m.replica
	end := r.End()
	m.late.Lock()
	if _, err := r.Turn(testDigest, nil); err != nil {
		t.Fatal(err)
	}
	b.grow(8)
	b.await("more events", func() bool { return r.End() > end })
	entries, next, last, err := r.Read(m.ids["p0"], end, nil, 100, 1<<20)
	if err != nil || len(entries) != 1 || next != end+1 || !last {
		t.Errorf("read %d events to %d, end %t, %v; the turn is behind %d", len(entries), next, last, err, end)
	}
	more := r.Appended(end + 1)
	select {
	case <-more:
		t.Error("there is more behind the turn")
	default:
	}
	m.late.Unlock()
	<-more
	if entries, _, _, err = r.Read(m.ids["p0"], end, entries[:0], 100, 1<<20); err != nil || delivery.Seq(len(entries)) != r.End()-end+1 {
		t.Errorf("then %d events, %v", len(entries), err)
	}
}
