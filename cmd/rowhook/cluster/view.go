package cluster

import (
	"maps"
	"slices"
	"time"
)

// View is the cluster as one machine sees it.
type View struct {
	Machine  string // this one
	Machines []MachineView
	Capture  SeatView
	Profiles map[string]SeatView // of those that ever had an owner, by code
	Applied  uint64              // sequence number of the last message that is applied here
	// CameBack is when a renewal of this machine came back last: while there is a majority of
	// servers, it is a lease ago at most.
	CameBack time.Time
	// Within says that this machine may act on what it owns.
	Within bool
	Stream StreamView
}

// MachineView is a machine as another one sees it.
type MachineView struct {
	Name    string
	Roles   []string
	Address string
	Version string
	Config  string // digest
	Alive   bool
	Heard   time.Time // when it was heard of last
	// Applied is the last message that it said it had applied. Behind is how many messages came since.
	Applied, Behind uint64
}

// SeatView is who has a seat.
type SeatView struct {
	Owner string // empty for nobody
	Epoch uint64
}

// StreamView is the stream as the servers told of it last.
type StreamView struct {
	Asked       time.Time // zero while they have not
	Bytes       uint64
	Messages    uint64
	First, Last uint64
	Snapshot    uint64 // the last message that the last snapshot covers
}

// View returns the cluster as this machine sees it now.
func (r *Replica) View() View {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, s := time.Now(), r.core.state
	v := View{
		Machine: r.machine, Profiles: map[string]SeatView{}, Applied: r.core.next - 1,
		CameBack: r.came, Within: r.tenure.within(now), Stream: r.told,
	}
	v.Stream.Snapshot = s.latest.covers
	for _, name := range slices.Sorted(maps.Keys(s.members)) {
		m := s.members[name]
		view := MachineView{
			Name: name, Roles: m.about.Roles.Names(), Address: m.about.Address, Version: m.about.Version, Config: m.about.Config,
			Alive: r.tenure.alive(s, name, now), Heard: r.tenure.heard[name].at, Applied: r.applied[name],
		}
		if name == r.machine {
			view.Applied = v.Applied
		}
		view.Behind = v.Applied - min(view.Applied, v.Applied)
		v.Machines = append(v.Machines, view)
	}
	for name, t := range s.seats {
		if name == captureSeat {
			v.Capture = SeatView{t.owner, t.epoch}
		} else {
			v.Profiles[name] = SeatView{t.owner, t.epoch}
		}
	}
	return v
}

// Owns returns the epoch in which this machine owns a profile; 0 when it does not.
func (r *Replica) Owns(profile string) uint64 {
	if profile == captureSeat {
		return 0
	}
	return r.owned(profile)
}
