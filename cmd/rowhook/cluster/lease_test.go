package cluster

import (
	"testing"
	"time"
)

// TestOtherConfig holds that a machine with another config than the capture's claims nothing while one
// with that config is alive, and claims what is free once there is none.
func TestOtherConfig(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	start := time.Now()
	for name, tt := range map[string]struct {
		own   string
		dead  bool // the other machine, which has the capture's config
		wants bool
	}{
		"same config":                     {own: "new", wants: true},
		"older config":                    {own: "old"},
		"older config, nobody has newer":  {own: "old", dead: true, wants: true},
		"same config, the other one dead": {own: "new", dead: true, wants: true},
	} {
		s := newState()
		s.turns = []turned{{seq: 1, config: "new", from: 1}}
		roles := RoleCapture | RoleDeliver
		s.members["m1"] = &member{incarnation: 1, renewal: 1, about: about{Roles: roles, Lease: lease, Config: tt.own}}
		s.members["m2"] = &member{incarnation: 2, renewal: 2, about: about{Roles: roles, Lease: lease, Config: "new"}}
		s.seats[captureSeat] = &seat{epoch: 3}
		tn := newTenure("m1", 1, lease)
		tn.see(s, start)
		now := start
		if tt.dead {
			now = start.Add(2 * lease)
		}
		tn.until = now.Add(lease)
		if seats := tn.claims(s, []string{"p"}, 1, now); (len(seats) > 0) != tt.wants {
			t.Errorf("%s: claims %+v", name, seats)
		}
	}
}

// TestHandedOver holds that a machine which has handed the capture over leaves it to another one that
// would take it, and takes it back when there is none.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	start := time.Now()
	for name, tt := range map[string]struct {
		roles  Roles
		config string
		back   bool
	}{
		"another may capture":               {roles: RoleCapture, config: "c"},
		"the other one delivers only":       {roles: RoleDeliver, config: "c", back: true},
		"the other one has another config":  {roles: RoleCapture, config: "d", back: true},
		"both, by which it cannot take any": {roles: RoleDeliver, config: "d", back: true},
	} {
		s := newState()
		s.turns = []turned{{seq: 1, config: "c", from: 1}}
		s.members["m1"] = &member{incarnation: 1, renewal: 1, about: about{Roles: RoleCapture, Lease: lease, Config: "c"}}
		s.members["m2"] = &member{incarnation: 2, renewal: 2, about: about{Roles: tt.roles, Lease: lease, Config: tt.config}}
		s.seats[captureSeat] = &seat{epoch: 3, left: "m1"}
		tn := newTenure("m1", 1, lease)
		tn.see(s, start)
		tn.until = start.Add(lease)
		if seats := tn.claims(s, nil, 1, start); (len(seats) > 0) != tt.back {
			t.Errorf("%s: claims %+v", name, seats)
		}
	}
}
