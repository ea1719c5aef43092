package cluster

import (
	"slices"
	"time"
)

// renewals is how often a lease is renewed while it lasts. A machine that does not hear of the owner
// waits so much of a lease longer than the owner, for clocks that go at different rates and for the
// time that a message takes.
const renewals = 5

// tenure is what one process knows by its own clock: until when it may act on what it owns, and when
// it heard of the others. Times are compared with those of the same clock only.
type tenure struct {
	machine     string
	incarnation uint64
	lease       time.Duration
	until       time.Time // the own lease; what was begun before may end after
	sent        sending
	heard       map[string]heard
}

// sending is the renewal that is under way.
type sending struct {
	n  uint64
	at time.Time
}

// heard is when a machine's last renewal came.
type heard struct {
	renewal uint64
	at      time.Time
}

func newTenure(machine string, incarnation uint64, lease time.Duration) *tenure {
	return &tenure{machine: machine, incarnation: incarnation, lease: lease, heard: map[string]heard{}}
}

// send notes that the renewal n is sent. If it is sent again, the first time counts.
func (t *tenure) send(n uint64, now time.Time) {
	if t.sent.n != n {
		t.sent = sending{n, now}
	}
}

// hear notes what a message says of its machine. The state is as of the message.
func (t *tenure) hear(s *state, f *effect, now time.Time) {
	if f.refused != nil {
		return
	}
	switch f.message.(type) {
	case join, renew:
		t.heard[f.from.machine] = heard{f.seq, now}
		if f.from.incarnation == t.incarnation && f.from.n == t.sent.n {
			t.until = t.sent.at.Add(t.lease)
		}
	}
	for machine := range t.heard {
		if s.members[machine] == nil {
			delete(t.heard, machine)
		}
	}
}

// see begins to wait for machines that the state has and that were not heard of yet.
func (t *tenure) see(s *state, now time.Time) {
	for name, m := range s.members {
		if t.heard[name].renewal != m.renewal {
			t.heard[name] = heard{m.renewal, now}
		}
	}
}

// within reports whether the own lease lasts.
func (t *tenure) within(now time.Time) bool { return now.Before(t.until) }

// lapsed reports whether a machine's lease has ended for sure, and by which renewal.
func (t *tenure) lapsed(s *state, machine string, now time.Time) (renewal uint64, ended bool) {
	m, h := s.members[machine], t.heard[machine]
	if m == nil || h.renewal != m.renewal {
		return 0, false
	}
	return m.renewal, now.Sub(h.at) >= m.about.Lease+m.about.Lease/renewals
}

// alive reports whether a machine is heard of. Who is far behind is not: what it says has to come
// back to it before it says more.
func (t *tenure) alive(s *state, machine string, now time.Time) bool {
	if machine == t.machine {
		return t.within(now)
	}
	if s.members[machine] == nil {
		return false
	}
	_, ended := t.lapsed(s, machine, now)
	return !ended
}

// others lists the machines that are alive, may have a seat and have the same config as this one, without
// this one. While it is alive, who has another config claims nothing of what it gives back.
func (t *tenure) others(s *state, seat string, now time.Time) (names []string) {
	self := s.members[t.machine]
	for name, m := range s.members {
		if name != t.machine && self != nil && m.about.Config == self.about.Config && m.about.Roles.may(seat) && t.alive(s, name, now) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// wanted says which profile should be whose, among the machines that are alive and have the same
// config as this one.
func (t *tenure) wanted(s *state, profiles []string, now time.Time) map[string]string {
	self := s.members[t.machine]
	if self == nil {
		return nil
	}
	var machines []string
	for name, m := range s.members {
		if m.about.Roles.may(anyProfile) && m.about.Config == self.about.Config && t.alive(s, name, now) {
			machines = append(machines, name)
		}
	}
	owners := make(map[string]string, len(profiles))
	for _, code := range profiles {
		if seat := s.seats[code]; seat != nil {
			owners[code] = seat.owner
		}
	}
	return spread(machines, profiles, owners)
}

// anyProfile stands for every profile's seat.
const anyProfile = "*"

// claims are the seats that this machine should have and that are free. noted is the last turn that it
// has taken.
func (t *tenure) claims(s *state, profiles []string, noted uint64, now time.Time) (seats []claimed) {
	self := s.members[t.machine]
	if self == nil || self.incarnation != t.incarnation || !t.within(now) {
		return nil
	}
	if self.about.Roles.may(captureSeat) && (t.upToDate(s, noted) || !t.led(s, RoleCapture|RoleDeliver, now)) {
		seats = t.claimFree(s, seats, captureSeat, now)
	}
	if self.about.Roles.may(anyProfile) && t.upToDate(s, noted) {
		wanted := t.wanted(s, profiles, now)
		for _, code := range profiles {
			if wanted[code] == t.machine {
				seats = t.claimFree(s, seats, code, now)
			}
		}
	}
	return seats
}

// upToDate reports whether this machine has the config by which events are made. Who has another one
// claims no profile: it does not know where in the log an order of its own begins. It claims the
// capture only while no machine that has that config is alive: what is wanted by the others and not
// known to it would get no recipient. When none is left, the whole cluster has got another config, and
// the capture's next owner says so.
func (t *tenure) upToDate(s *state, noted uint64) bool {
	last := s.lastTurn()
	return last.seq != 0 && last.seq <= noted && s.members[t.machine].about.Config == last.config
}

// led reports whether another machine with one of the roles is alive that has the config by which
// events are made.
func (t *tenure) led(s *state, roles Roles, now time.Time) bool {
	last := s.lastTurn()
	for name, m := range s.members {
		if last.seq != 0 && name != t.machine && m.about.Config == last.config && m.about.Roles&roles != 0 && t.alive(s, name, now) {
			return true
		}
	}
	return false
}

// claimFree adds a seat if it is free.
func (t *tenure) claimFree(s *state, seats []claimed, name string, now time.Time) []claimed {
	seat := s.seats[name]
	switch {
	case seat == nil:
		return append(seats, claimed{seat: name, epoch: s.floor})
	case seat.owner == "":
		// Who has handed the capture over takes it back only if nobody else is there.
		if name == captureSeat && seat.left == t.machine && len(t.others(s, name, now)) > 0 {
			return seats
		}
		return append(seats, claimed{seat: name, epoch: seat.epoch})
	case seat.owner == t.machine:
		return seats
	}
	if renewal, ended := t.lapsed(s, seat.owner, now); ended {
		return append(seats, claimed{seat: name, epoch: seat.epoch, seen: renewal})
	}
	return seats
}

// surplus are the profiles that this machine owns and another one should have.
func (t *tenure) surplus(s *state, profiles []string, now time.Time) (codes []string) {
	wanted := t.wanted(s, profiles, now)
	if wanted == nil || !t.within(now) {
		return nil
	}
	for name := range s.seats {
		if name != captureSeat && s.owned(name, t.machine, t.incarnation) != 0 && wanted[name] != t.machine {
			codes = append(codes, name)
		}
	}
	slices.Sort(codes)
	return codes
}
