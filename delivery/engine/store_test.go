package engine_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"rowhook/delivery"
)

// memStore is a spool in memory, kept simple so that it can be trusted. What was updated survives
// the engine, as if every update were synced at once.
type memStore struct {
	mu       sync.Mutex
	log      []memEntry
	appended chan struct{}
	codes    []string
	profiles map[delivery.ProfileID]*memProfile
	usage    delivery.Usage
	updates  int
	frozen   bool // nothing is stored any more
}

type memEntry struct {
	event *delivery.Event
	to    []delivery.ProfileID
	bytes int
}

type memProfile struct {
	progress delivery.Progress
	records  map[delivery.Seq]delivery.Delivery
	state    []byte
	backlog  delivery.Backlog
}

func newMemStore() *memStore {
	return &memStore{appended: make(chan struct{}), profiles: make(map[delivery.ProfileID]*memProfile)}
}

// append adds events for the profiles; each counts as 100 bytes.
func (s *memStore) append(to []delivery.ProfileID, events ...*delivery.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range events {
		s.log = append(s.log, memEntry{ev, to, 100})
		for _, id := range to {
			s.profiles[id].backlog.Events++
			s.profiles[id].backlog.Bytes += 100
		}
	}
	close(s.appended)
	s.appended = make(chan struct{})
}

func (s *memStore) Register(code string) (delivery.ProfileID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.codes, code); i >= 0 {
		return delivery.ProfileID(i + 1), nil
	}
	s.codes = append(s.codes, code)
	id := delivery.ProfileID(len(s.codes))
	s.profiles[id] = &memProfile{
		progress: delivery.Progress{Cursor: delivery.Seq(len(s.log) + 1)},
		records:  make(map[delivery.Seq]delivery.Delivery),
	}
	return id, nil
}

func (s *memStore) Retire(code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.codes, code); i >= 0 {
		s.codes[i] = ""
		delete(s.profiles, delivery.ProfileID(i+1))
	}
	return nil
}

func (s *memStore) End() delivery.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return delivery.Seq(len(s.log))
}

func (s *memStore) Progress(id delivery.ProfileID) (delivery.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.profiles[id]
	if known == nil {
		return delivery.Progress{}, fmt.Errorf("profile number %d is not registered", id)
	}
	p := known.progress
	p.Done = slices.Clone(p.Done)
	return p, nil
}

func (s *memStore) Read(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, limit, maxBytes int) ([]delivery.Entry, delivery.Seq, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for int(from) <= len(s.log) {
		e := s.log[from-1]
		if slices.Contains(e.to, id) {
			if n == limit || n > 0 && size+e.bytes > maxBytes {
				return dst, from, false, nil
			}
			n, size = n+1, size+e.bytes
			dst = append(dst, delivery.Entry{Seq: from, Event: e.event, Bytes: e.bytes})
		}
		from++
	}
	return dst, from, true, nil
}

func (s *memStore) History(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, limit, _ int) ([]delivery.Entry, delivery.Seq, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from = max(from, 1)
	for ; int(from) <= len(s.log) && len(dst) < limit; from++ {
		e := s.log[from-1]
		dst = append(dst, delivery.Entry{Seq: from, Event: e.event, Bytes: e.bytes, Others: !slices.Contains(e.to, id)})
	}
	return dst, from, int(from) > len(s.log), nil
}

func (s *memStore) Event(_ delivery.ProfileID, seq delivery.Seq) (*delivery.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[seq-1].event, nil
}

func (s *memStore) Payload(_ delivery.ProfileID, seq delivery.Seq, part delivery.Part, yield func([]byte) error) error {
	s.mu.Lock()
	ev := s.log[seq-1].event
	s.mu.Unlock()
	return yield(*ev.Parts()[part])
}

func (s *memStore) Events(id delivery.ProfileID, d *delivery.Delivery, from delivery.Seq, dst []delivery.Entry, limit, maxBytes int) ([]delivery.Entry, delivery.Seq, bool, error) {
	entries, next, end, err := s.Read(id, from, nil, limit, maxBytes)
	for _, e := range entries {
		if e.Seq <= d.Last() && (d.Members == nil || d.Members.Has(e.Event)) {
			dst = append(dst, e)
		}
	}
	return dst, next, end || next > d.Last(), err
}

func (s *memStore) Delivery(id delivery.ProfileID, seq delivery.Seq) (delivery.Delivery, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.profiles[id].records[seq]
	return d, ok, nil
}

// sorted returns the records that keep lets pass.
func (s *memStore) sorted(id delivery.ProfileID, keep func(delivery.Delivery) bool) []delivery.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []delivery.Delivery
	for d := range maps.Values(s.profiles[id].records) {
		if keep(d) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b delivery.Delivery) int { return cmp.Compare(a.Seq, b.Seq) })
	return found
}

func (s *memStore) Due(id delivery.ProfileID, until time.Time, dst []delivery.Delivery, limit int) ([]delivery.Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type place struct {
		due time.Time
		seq delivery.Seq
	}
	var found []place
	records := s.profiles[id].records
	for seq, d := range records {
		if d.State == delivery.Retrying && !d.Due.After(until) {
			found = append(found, place{d.Due, seq})
		}
	}
	slices.SortFunc(found, func(a, b place) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.seq, b.seq)) })
	for _, at := range found[:min(limit, len(found))] {
		dst = append(dst, records[at.seq])
	}
	return dst, nil
}

func (s *memStore) Lane(id delivery.ProfileID, lane uint64, from delivery.Seq, dst []delivery.Delivery, limit int) ([]delivery.Delivery, error) {
	found := s.sorted(id, func(d delivery.Delivery) bool {
		return d.State != delivery.Dead && d.Seq >= from && slices.Contains(d.Lanes(new([2]uint64)), lane)
	})
	return append(dst, found[:min(limit, len(found))]...), nil
}

func (s *memStore) Deliveries(id delivery.ProfileID, from delivery.Seq, states []delivery.State, yield func(delivery.Delivery) bool) error {
	found := s.sorted(id, func(d delivery.Delivery) bool {
		return d.Seq >= from && (len(states) == 0 || slices.Contains(states, d.State))
	})
	for _, d := range found {
		d.Body = nil
		if !yield(d) {
			break
		}
	}
	return nil
}

func (s *memStore) Update(id delivery.ProfileID, u delivery.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen {
		return nil
	}
	s.updates++
	p := s.profiles[id]
	if u.Progress != nil {
		p.progress = delivery.Progress{Cursor: u.Progress.Cursor, Done: slices.Clone(u.Progress.Done)}
	}
	for _, d := range u.Put {
		d.Body = slices.Clone(d.Body)
		p.records[d.Seq] = d
	}
	for _, seq := range u.Remove {
		delete(p.records, seq)
	}
	if u.State != nil {
		p.state = u.State
	}
	p.backlog.Events -= u.DoneEvents
	p.backlog.Bytes -= u.DoneBytes
	return nil
}

func (s *memStore) Backlog(id delivery.ProfileID) (delivery.Backlog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.profiles[id].backlog, nil
}

func (s *memStore) LoadState(id delivery.ProfileID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.profiles[id].state, nil
}

func (s *memStore) SaveState(id delivery.ProfileID, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.frozen {
		s.profiles[id].state = b
	}
	return nil
}

func (s *memStore) Appended(seq delivery.Seq) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(seq) <= len(s.log) {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return s.appended
}

func (s *memStore) Usage() delivery.Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage
}
