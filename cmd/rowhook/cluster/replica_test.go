package cluster

import (
	"path/filepath"
	"slices"
	"testing"
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

// TestRetire: a profile that the config has no more is forgotten on all machines.
func TestRetire(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 2, 2)
	b.grow(20)
	b.spread()
	b.settled()
	for _, m := range b.machines {
		m.replica.Profiles(b.profiles[:1])
	}
	b.check(b.machines[0].replica.Retire("p1"))
	for _, m := range b.machines {
		b.await("the profile forgotten on "+m.name, func() bool {
			profiles, err := m.spool.Profiles()
			m.mu.Lock()
			defer m.mu.Unlock()
			return err == nil && len(profiles) == 1 && profiles[0].Code == "p0" && slices.Equal(m.retired, []string{"p1"})
		})
	}
}
