package cluster

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simulation is a cluster whose stream, clocks, spools and machines are all made up. Time is that of
// an observer.
type simulation struct {
	t        *testing.T
	rand     *rand.Rand
	now      time.Duration
	stream   [][]byte
	flying   []flight // published, not in the stream yet
	machines []*machineSim
	cut      bool // the servers have no majority
	profiles []string

	truth map[uint64][2]string // rest and table after each message, as the first replica has it
	parts map[string]uint64    // batch to the place where it was applied
	holds map[string]time.Duration
}

type flight struct {
	at  time.Duration
	raw []byte
}

// machineSim is a machine with its spool, whose process comes and goes.
type machineSim struct {
	sim    *simulation
	name   string
	rate   float64
	offset time.Duration
	spool  spoolSim

	// The process; core is nil while none runs.
	core     *core
	tenure   *tenure
	previous uint64
	joined   bool
	frozen   time.Duration // until then
	arrive   []time.Duration
	n        [laneCount]uint64
	waiting  [laneCount][][]byte // envelopes under way; the first is sent, and sent again
	resend   [laneCount]time.Duration
	opened   int
	renewing uint64   // number of the last renewal
	giving   []string // seats that a release under way gives back: nothing is done with them any more
}

// has returns the epoch in which the process works with a seat; 0 when it does not.
func (m *machineSim) has(seat string) uint64 {
	if m.core == nil || slices.Contains(m.giving, seat) {
		return 0
	}
	return m.core.state.owned(seat, m.name, m.tenure.incarnation)
}

// spoolSim is what a spool keeps. What is open goes with the process, as the spool's Open does it.
type spoolSim struct {
	log, rest, table, self []byte
	batches, open          []string
	updates                []string
}

func newSimulation(t *testing.T, seed uint64, machines, profiles int) *simulation {
	s := &simulation{t: t, rand: rand.New(rand.NewPCG(seed, 1)), truth: map[uint64][2]string{}, parts: map[string]uint64{}, holds: map[string]time.Duration{}}
	for i := range profiles {
		s.profiles = append(s.profiles, fmt.Sprintf("p%d", i))
	}
	for i := range machines {
		m := &machineSim{sim: s, name: fmt.Sprintf("m%d", i), rate: 0.95 + 0.1*s.rand.Float64(), offset: time.Duration(s.rand.Int64N(int64(time.Hour)))}
		s.machines = append(s.machines, m)
		m.start()
	}
	return s
}

// clock is what the machine's clock says.
func (m *machineSim) clock() time.Time {
	return time.Unix(0, 0).Add(m.offset + time.Duration(float64(m.sim.now)*m.rate))
}

func (m *machineSim) start() {
	core, err := loadCore(m.spool.log, m.spool.rest, m.spool.table, nil)
	if err != nil {
		m.sim.t.Fatal(err)
	}
	m.core, m.joined, m.n, m.waiting, m.opened, m.giving = core, false, [laneCount]uint64{}, [laneCount][][]byte{}, 0, nil
	m.previous = 0
	if m.spool.self != nil {
		m.previous = uint64(m.spool.self[0])<<8 | uint64(m.spool.self[1])
	}
	incarnation := m.sim.rand.Uint64N(60000) + 1
	m.spool.self = []byte{byte(incarnation >> 8), byte(incarnation)}
	m.tenure = newTenure(m.name, incarnation, time.Second)
	m.tenure.see(core.state, m.clock())
	m.arrive = slices.Repeat([]time.Duration{m.sim.now}, len(m.sim.stream))
}

// kill ends the process. Of what it wrote last the disk may lack some; here all or nothing of what
// is open.
func (m *machineSim) kill() {
	m.core = nil
	m.spool.open = nil
}

// say publishes a message, in pieces at times.
func (m *machineSim) say(l lane, msg message) {
	body := encodeMessage(msg)
	pieces := [][]byte{body}
	if _, joining := msg.(join); !joining && len(body) > 3 && m.sim.rand.IntN(3) == 0 {
		at := 1 + m.sim.rand.IntN(len(body)-1)
		pieces = [][]byte{body[:at], body[at:]}
	}
	for i, piece := range pieces {
		m.n[l]++
		e := envelope{machine: m.name, incarnation: m.tenure.incarnation, lane: l, n: m.n[l], goesOn: i > 0, more: i < len(pieces)-1, body: piece}
		m.waiting[l] = append(m.waiting[l], e.bytes())
	}
	switch msg.(type) {
	case join, renew:
		m.renewing = m.n[l]
	}
	m.send(l)
}

// send hands the first envelope of a lane to the network, which may lose it, or bring it very late.
func (m *machineSim) send(l lane) {
	m.resend[l] = m.sim.now + 300*time.Millisecond
	if l == laneMembership && m.n[l] == m.renewing && len(m.waiting[l]) == 1 {
		m.tenure.send(m.renewing, m.clock())
	}
	r := m.sim.rand
	if r.IntN(20) == 0 {
		return
	}
	delay := time.Duration(r.IntN(20)) * time.Millisecond
	if r.IntN(10) == 0 {
		delay = time.Duration(r.IntN(3000)) * time.Millisecond
	}
	m.sim.flying = append(m.sim.flying, flight{m.sim.now + delay, m.waiting[l][0]})
}

// act is what a process does by itself every few milliseconds.
func (m *machineSim) act() {
	for l := range m.waiting {
		if len(m.waiting[l]) > 0 && m.sim.now >= m.resend[l] {
			m.send(lane(l))
		}
	}
	if len(m.waiting[laneMembership]) == 0 {
		m.member(m.core.state, m.clock())
	}
	if !m.joined || len(m.waiting[laneCapture]) > 0 || len(m.waiting[laneProgress]) > 0 {
		return
	}
	if epoch := m.has(captureSeat); epoch != 0 && m.sim.rand.IntN(3) == 0 {
		m.capture(epoch)
	}
	var items []progressItem
	for _, code := range m.sim.profiles {
		if epoch := m.has(code); epoch != 0 && m.sim.rand.IntN(3) == 0 {
			items = append(items, progressItem{code, epoch, fmt.Appendf(nil, "%s@%d by %s", code, epoch, m.name)})
		}
	}
	if len(items) > 0 {
		m.say(laneProgress, progress{items})
	}
}

func (m *machineSim) member(s *state, now time.Time) {
	t := m.tenure
	self := about{Roles: RoleCapture | RoleDeliver, Lease: t.lease}
	if !m.joined {
		there := s.members[m.name]
		if there == nil || there.incarnation == m.previous {
			m.say(laneMembership, join{previous: m.previous, about: self})
		} else if renewal, ended := t.lapsed(s, m.name, now); ended {
			m.say(laneMembership, join{seen: renewal, about: self})
		}
		return
	}
	switch r := m.sim.rand.IntN(40); {
	case now.After(t.sent.at.Add(t.lease / renewals)):
		m.say(laneMembership, renew{about: self, applied: s.seq})
	case r < 10:
		if seats := t.claims(s, m.sim.profiles, s.lastTurn().seq, now); len(seats) > 0 {
			m.say(laneMembership, claim{seats})
		}
	case r < 20:
		if codes := t.surplus(s, m.sim.profiles, now); len(codes) > 0 {
			m.giving = codes
			m.say(laneMembership, release{codes})
		}
	case r == 21 && m.has(captureSeat) != 0:
		for name := range s.members {
			if renewal, ended := t.lapsed(s, name, now); ended && name != m.name {
				m.say(laneMembership, gone{machine: name, seen: renewal})
				return
			}
		}
	case r == 20 && m.has(captureSeat) != 0 && m.sim.rand.IntN(5) == 0:
		m.giving = []string{captureSeat}
		m.say(laneMembership, release{m.giving})
	}
}

// capture publishes a part of a transaction, or takes the open one back.
func (m *machineSim) capture(epoch uint64) {
	switch r := m.sim.rand.IntN(10); {
	case m.core.state.lastTurn().seq == 0, r == 9 && m.opened == 0:
		m.say(laneCapture, turn{epoch: epoch, note: []byte(m.name)})
	case r == 0 && m.opened > 0:
		m.opened = 0
		m.say(laneCapture, abort{epoch})
	case r < 6:
		m.opened++
		m.say(laneCapture, part{epoch: epoch, batch: fmt.Appendf(nil, "%s-%d-%d", m.name, m.tenure.incarnation, m.n[laneCapture])})
	default:
		m.opened = 0
		m.say(laneCapture, part{epoch: epoch, commits: true, batch: fmt.Appendf(nil, "%s-%d-%d", m.name, m.tenure.incarnation, m.n[laneCapture])})
	}
}

// receive takes the next message, if it has arrived.
func (m *machineSim) receive() bool {
	i := int(m.core.next) - 1
	if i >= len(m.sim.stream) || m.arrive[i] > m.sim.now {
		return false
	}
	raw := m.sim.stream[i]
	do, err := m.core.take(uint64(i)+1, raw)
	if err != nil {
		m.sim.t.Fatal(err)
	}
	m.spool.apply(m.sim, m.core, &do)
	m.note(raw, &do)
	return true
}

// note is what the process learns of a message.
func (m *machineSim) note(raw []byte, do *action) {
	s := m.core.state
	if do.seq != s.seq {
		return // read again
	}
	m.tenure.hear(s, &do.effect, m.clock())
	e := &do.from
	if e.machine == m.name && e.incarnation == m.tenure.incarnation {
		if w := m.waiting[e.lane]; len(w) > 0 && bytes.Equal(w[0], raw) {
			m.waiting[e.lane] = w[1:]
			if len(w) > 1 {
				m.send(e.lane)
			}
		}
		switch do.message.(type) {
		case join:
			m.joined = m.joined || do.refused == nil
		case release:
			m.giving = nil
		}
	}
	if slices.Contains(do.seats, captureSeat) {
		m.opened = 0
	}
	// Taken off the list, or another process has the name: this one ends.
	if me := s.members[m.name]; m.joined && (me == nil || me.incarnation != m.tenure.incarnation) {
		defer m.kill()
	}
	after := [2]string{string(s.encodeRest()), string(s.encodeTable())}
	if first, ok := m.sim.truth[s.seq]; !ok {
		m.sim.truth[s.seq] = after
	} else if first != after {
		m.sim.t.Fatalf("%s after message %d (%T): %x, another has %x", m.name, s.seq, do.message, after, first)
	}
}

func (p *spoolSim) apply(sim *simulation, c *core, do *action) {
	if do.abort {
		p.open = nil
	}
	if do.skip || do.refused != nil || do.message == nil {
		return
	}
	switch msg := do.message.(type) {
	case part:
		if at, ok := sim.parts[string(msg.batch)]; ok && at != do.seq {
			sim.t.Fatalf("part %s applied at %d and %d", msg.batch, at, do.seq)
		}
		sim.parts[string(msg.batch)] = do.seq
		p.open = append(p.open, string(msg.batch))
		if msg.commits {
			p.batches = append(p.batches, p.open...)
			p.open = nil
			p.log = c.log.encode()
		}
		return
	case progress:
		for i, item := range msg.items {
			if do.items[i] {
				p.updates = append(p.updates, string(item.update))
			}
		}
	}
	p.rest = c.state.encodeRest()
	if do.table {
		p.table = c.state.encodeTable()
	}
}

// step lets some milliseconds pass.
func (s *simulation) step() {
	s.now += 5 * time.Millisecond
	s.flying = slices.DeleteFunc(s.flying, func(f flight) bool {
		if f.at > s.now || s.cut {
			return false
		}
		s.stream = append(s.stream, f.raw)
		for _, m := range s.machines {
			at := s.now + time.Duration(s.rand.IntN(10))*time.Millisecond
			if s.rand.IntN(200) == 0 {
				at += time.Duration(s.rand.IntN(2500)) * time.Millisecond
			}
			if n := len(m.arrive); n > 0 {
				at = max(at, m.arrive[n-1])
			}
			m.arrive = append(m.arrive, at)
		}
		return true
	})
	for _, m := range s.machines {
		if m.core == nil || m.frozen > s.now {
			continue
		}
		for m.core != nil && m.receive() {
		}
		if m.core != nil {
			m.act()
		}
	}
	s.check()
}

// check holds what must hold at each moment: nobody has what another one may still act on.
func (s *simulation) check() {
	for _, name := range append([]string{captureSeat}, s.profiles...) {
		var has []string
		for _, m := range s.machines {
			if m.has(name) != 0 && m.tenure.within(m.clock()) {
				has = append(has, m.name)
			}
		}
		if len(has) > 1 {
			s.t.Fatalf("%v: %v are within their leases for %q", s.now, has, name)
		}
	}
}

// harm does something bad, or mends it.
func (s *simulation) harm() {
	m := s.machines[s.rand.IntN(len(s.machines))]
	switch s.rand.IntN(8) {
	case 0:
		s.cut = true
	case 1, 2:
		s.cut = false
	case 3, 4:
		m.frozen = s.now + time.Duration(s.rand.IntN(4000))*time.Millisecond
	case 5, 6:
		if m.core != nil {
			m.kill()
		}
	}
	if s.rand.IntN(2) == 0 {
		for _, m := range s.machines {
			if m.core == nil {
				m.start()
				return
			}
		}
	}
}

// heal ends all harm and waits until the cluster is whole.
func (s *simulation) heal() {
	s.cut = false
	for _, m := range s.machines {
		m.frozen = 0
		if m.core == nil {
			m.start()
		}
	}
	for end := s.now + 30*time.Second; !s.whole(); s.step() {
		if s.now > end {
			s.t.Fatalf("the cluster is not whole 30 s after the last harm")
		}
	}
}

// whole reports whether somebody within the lease has each seat, evenly.
func (s *simulation) whole() bool {
	for _, m := range s.machines {
		if m.core == nil {
			m.start()
		}
	}
	owners := map[string]int{}
	for _, name := range append([]string{captureSeat}, s.profiles...) {
		owner := ""
		for _, m := range s.machines {
			if m.has(name) != 0 && m.tenure.within(m.clock()) {
				owner = m.name
			}
		}
		if owner == "" {
			return false
		}
		if name != captureSeat {
			owners[owner]++
		}
	}
	counts := slices.Collect(maps.Values(owners))
	return len(s.profiles) < len(s.machines) || len(counts) == len(s.machines) && slices.Max(counts)-slices.Min(counts) <= 1
}

// settle brings all replicas to the end of the stream and compares their spools.
func (s *simulation) settle() {
	last := len(s.stream)
	var first *machineSim
	for _, m := range s.machines {
		for i := range m.arrive {
			m.arrive[i] = min(m.arrive[i], s.now)
		}
		for m.core != nil && int(m.core.next) <= last && m.receive() {
		}
		if m.core == nil {
			m.start()
			for int(m.core.next) <= last && m.receive() {
			}
		}
		if first == nil {
			first = m
		}
		if !slices.Equal(m.spool.batches, first.spool.batches) || !slices.Equal(m.spool.open, first.spool.open) {
			s.t.Fatalf("%s and %s have applied different parts:\n%q %q\n%q %q", first.name, m.name, first.spool.batches, first.spool.open, m.spool.batches, m.spool.open)
		}
		if !slices.Equal(m.spool.updates, first.spool.updates) {
			s.t.Fatalf("%s and %s have applied different updates", first.name, m.name)
		}
	}
}

// TestNeverTwo plays machines whose clocks differ and that are killed, frozen and started again, with
// messages that are lost, late and repeated. No two own the same within their leases, all replicas
// are equal, and after each mend somebody owns everything.
func TestNeverTwo(t *testing.T) {
	t.Parallel()
	seeds := 20
	if soak() {
		seeds = 300
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			s := newSimulation(t, uint64(seed), 1+seed%5, 1+seed%11)
			s.stream = append(s.stream, (&envelope{machine: "setup", n: 1, body: encodeMessage(genesis{lineage: "l"})}).bytes())
			for _, m := range s.machines {
				m.arrive = append(m.arrive, 0)
			}
			for range 3 {
				for range 30 {
					s.harm()
					for range s.rand.IntN(200) {
						s.step()
					}
				}
				s.heal()
				s.settle()
			}
			if len(s.parts) == 0 || len(s.machines[0].spool.updates) == 0 {
				t.Error("nothing was captured or delivered")
			}
		})
	}
}
