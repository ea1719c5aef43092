package cluster

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"rowhook/delivery"
)

// TestReplicas: three machines have the same, and share out the work; machines leave, are killed and
// come back, and nothing is lost, out of order, or done by two.
func TestReplicas(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 3, 7)
	b.grow(60)
	b.spread()
	b.verify()

	// The one that captures hands over, and leaves.
	first := b.owner(captureSeat)
	b.grow(120)
	b.check(first.replica.Handover(b.ctx))
	if now := b.owner(captureSeat); now == first {
		t.Errorf("%s captures still", first.name)
	}
	b.check(first.replica.Leave(b.ctx))
	b.check(first.stop())
	b.grow(160)
	b.spread()
	b.verify()

	// The next one is killed. The first comes back and has all.
	second := b.owner(captureSeat)
	second.kill()
	first.start()
	b.grow(260)
	b.spread()
	second.start()
	b.spread()
	b.verify()
}

// TestRoles: only who may capture captures, and only who may deliver delivers, however many others
// there are.
func TestRoles(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 0, 4)
	for name, role := range map[string]string{"c1": "capture", "c2": "capture", "d1": "deliver", "d2": "deliver"} {
		m := &machine{bed: b, name: name, dir: filepath.Join(t.TempDir(), "spool"), roles: []string{role}}
		b.machines = append(b.machines, m)
		m.start()
	}
	b.grow(50)
	has := func(seat string) string {
		if m := b.owner(seat); m != nil {
			return m.roles[0]
		}
		return ""
	}
	counts := map[*machine]int{}
	b.await("all seats taken", func() bool {
		clear(counts)
		for _, code := range b.profiles {
			counts[b.owner(code)]++
		}
		return has(captureSeat) != "" && counts[nil] == 0 && len(counts) == 2
	})
	b.verify()
	if has(captureSeat) != "capture" {
		t.Errorf("a machine with role %s captures", has(captureSeat))
	}
	for m := range counts {
		if m.roles[0] != "deliver" {
			t.Errorf("%s delivers, whose role is %s", m.name, m.roles[0])
		}
	}
	view := b.machines[0].replica.View()
	if len(view.Machines) != 4 || view.Capture.Owner != b.owner(captureSeat).name || len(view.Profiles) != 4 || !view.Within {
		t.Errorf("the view is %+v", view)
	}
}

// TestRetire: a profile that the config has no more is forgotten on all machines, and nobody owns it
// until it is there again.
func TestRetire(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 2, 2)
	b.grow(20)
	b.spread()
	b.settled()
	epoch := b.owner("p1").replica.Owns("p1")
	for _, m := range b.machines {
		if m.replica.Owns("p1") == 0 {
			if err := m.replica.Retire("p1"); !errors.Is(err, delivery.ErrNotOwner) {
				t.Errorf("%s, which does not own the profile: %v", m.name, err)
			}
		}
	}
	b.check(b.owner("p1").replica.Retire("p1"))
	for _, m := range b.machines {
		b.await("the profile forgotten on "+m.name, func() bool {
			profiles, err := m.spool.Profiles()
			m.mu.Lock()
			defer m.mu.Unlock()
			return err == nil && len(profiles) == 1 && profiles[0].Code == "p0" && slices.Equal(m.retired, []string{"p1"})
		})
	} // Machines claim what is free at once: a second of it has been renewed meanwhile.
	seen := b.machines[0].replica.View().Applied
	b.await("the leases renewed", func() bool { return b.machines[0].replica.View().Applied > seen+4 })
	for _, m := range b.machines {
		if seat := m.replica.View().Profiles["p1"]; seat.Owner != "" || seat.Epoch != epoch {
			t.Errorf("%s sees %+v of the profile that nobody has, whose epoch was %d", m.name, seat, epoch)
		}
		var err error
		m.ids["p1"], err = m.replica.Register("p1")
		b.check(err)
	}
	for _, m := range b.machines {
		m.replica.Profiles(b.profiles)
	}
	b.await("an owner of the profile that is there again", func() bool {
		m := b.owner("p1")
		if m == nil || m.replica.Owns("p1") != epoch+1 {
			return false
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.deliver["p1"] != nil
	})
}

// TestClaimedWhileLeaving: what falls to a machine that is leaving is given back.
func TestClaimedWhileLeaving(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 1, 1)
	b.grow(5)
	b.spread()
	r := b.machines[0].replica
	r.Profiles(nil)
	free := func(epoch uint64) func() bool {
		return func() bool { return r.View().Profiles["p0"] == SeatView{Epoch: epoch} }
	}
	b.await("the seat free", free(1))
	r.mu.Lock()
	r.leaving = true // the claim has been published before
	r.mu.Unlock()
	if _, err := r.say(b.ctx, laneMembership, claim{[]claimed{{seat: "p0", epoch: 1}}}); err != nil {
		t.Fatal(err)
	}
	b.await("the seat given back", free(2))
}
