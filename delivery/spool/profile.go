package spool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

// profile is what the spool keeps in memory of one profile.
type profile struct {
	id   delivery.ProfileID
	code string

	// What it was addressed, ever. Written by the append side.
	sentEvents, sentBytes atomic.Int64

	mu       sync.Mutex // held through an Update
	progress progressRecord
	oldest   oldest
	// No live delivery lies below liveFrom and none is due before dueFrom. What ended leaves
	// tombstones at the front of both, over which a search would crawl.
	liveFrom delivery.Seq
	dueFrom  uint64
}

func (p *profile) sentSoFar() tally {
	return tally{events: p.sentEvents.Load(), bytes: p.sentBytes.Load()}
}

// cursor returns how far the profile has come.
func (p *profile) cursor() delivery.Seq {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.progress.Cursor
}

// profiles is the registry.
type profiles struct {
	registering sync.Mutex

	mu     sync.RWMutex
	byID   []*profile // nil for a number that is not in use
	byCode map[string]*profile
}

func (r *profiles) get(id delivery.ProfileID) *profile {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if int(id) < len(r.byID) {
		return r.byID[id]
	}
	return nil
}

func (r *profiles) find(code string) *profile {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byCode[code]
}

func (r *profiles) all() []*profile {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*profile, 0, len(r.byCode))
	for _, p := range r.byID {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

func (r *profiles) add(p *profile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reserve(p.id)
	r.byID[p.id] = p
	if r.byCode == nil {
		r.byCode = make(map[string]*profile)
	}
	r.byCode[p.code] = p
}

// reserve makes sure that the number is not given again.
func (r *profiles) reserve(id delivery.ProfileID) {
	for int(id) >= len(r.byID) {
		r.byID = append(r.byID, nil)
	}
}

func (r *profiles) remove(p *profile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[p.id] = nil
	delete(r.byCode, p.code)
}

// nextID returns the number of the next profile. Numbers start at 1.
func (r *profiles) nextID() delivery.ProfileID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return delivery.ProfileID(max(1, len(r.byID)))
}

func (s *Spool) profile(id delivery.ProfileID) (*profile, error) {
	if p := s.profiles.get(id); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("profile number %d is not registered in the spool", id)
}

// Register implements [delivery.Store].
func (s *Spool) Register(code string) (delivery.ProfileID, error) {
	s.profiles.registering.Lock()
	defer s.profiles.registering.Unlock()
	if p := s.profiles.find(code); p != nil {
		return p.id, nil
	}
	p := &profile{id: s.profiles.nextID(), code: code}
	p.progress.Cursor = s.tail.end() + 1
	w := s.db.NewBatch()
	defer w.Close()
	g := registration{code: code}
	err := w.Set(registryKey(p.id), g.encode(nil), nil)
	if err == nil {
		err = w.Set(profileKey(p.id, kindProgress), p.progress.encode(nil), nil)
	}
	if err == nil {
		err = s.commit(w, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("register profile %s: %w", code, err)
	}
	s.profiles.add(p)
	return p.id, nil
}

// Retire implements [delivery.Store]. Registering the code again makes a new profile.
func (s *Spool) Retire(code string) error {
	s.profiles.registering.Lock()
	defer s.profiles.registering.Unlock()
	p := s.profiles.find(code)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := s.db.NewBatch()
	defer w.Close()
	g := registration{code: code, retired: true}
	err := w.Set(registryKey(p.id), g.encode(nil), nil)
	if err == nil {
		// All kinds are letters below 0xff.
		err = w.DeleteRange(profileKey(p.id, 0), profileKey(p.id, 0xff), nil)
	}
	if err == nil {
		err = s.commit(w, nil)
	}
	if err != nil {
		return fmt.Errorf("retire profile %s: %w", code, err)
	}
	s.profiles.remove(p)
	return nil
}

// ProfileInfo is a registered profile.
type ProfileInfo struct {
	ID      delivery.ProfileID
	Code    string
	Backlog delivery.Backlog
}

// Profiles lists the registered profiles. One that the config no longer names keeps its events,
// and all events behind its cursor, until it is retired.
func (s *Spool) Profiles() ([]ProfileInfo, error) {
	var list []ProfileInfo
	for _, p := range s.profiles.all() {
		backlog, err := s.Backlog(p.id)
		if err != nil {
			return nil, err
		}
		list = append(list, ProfileInfo{ID: p.id, Code: p.code, Backlog: backlog})
	}
	return list, nil
}

// Progress implements [delivery.Store].
func (s *Spool) Progress(id delivery.ProfileID) (delivery.Progress, error) {
	p, err := s.profile(id)
	if err != nil {
		return delivery.Progress{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return delivery.Progress{
		Cursor: p.progress.Cursor,
		Done:   append([]delivery.Seq(nil), p.progress.Done...),
	}, nil
}

// LoadState implements [delivery.Store].
func (s *Spool) LoadState(id delivery.ProfileID) ([]byte, error) {
	if _, err := s.profile(id); err != nil {
		return nil, err
	}
	return s.get(profileKey(id, kindState))
}

// SaveState implements [delivery.Store].
func (s *Spool) SaveState(id delivery.ProfileID, state []byte) error {
	if _, err := s.profile(id); err != nil {
		return err
	}
	return s.set(profileKey(id, kindState), state)
}

// set writes one key on its own.
func (s *Spool) set(key, value []byte) error {
	return s.change(func(w *pebble.Batch) error { return w.Set(key, value, nil) })
}

// change applies what fill writes as one batch.
func (s *Spool) change(fill func(w *pebble.Batch) error) error {
	w := s.db.NewBatch()
	defer w.Close()
	if err := fill(w); err != nil {
		return err
	}
	return s.commit(w, nil)
}

// oldest caches the commit time of a profile's oldest unfinished event.
type oldest struct {
	valid bool
	live  bool // it has a live delivery; otherwise it was not read yet
	seq   delivery.Seq
	time  time.Time
}

// Backlog implements [delivery.Store]. The oldest event is remembered, so that only its end
// makes the spool look for the next.
func (s *Spool) Backlog(id delivery.ProfileID) (delivery.Backlog, error) {
	p, err := s.profile(id)
	if err != nil {
		return delivery.Backlog{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	sent := p.sentSoFar()
	backlog := delivery.Backlog{
		Events: sent.events - p.progress.finished.events,
		Bytes:  sent.bytes - p.progress.finished.bytes,
	}
	if backlog.Events <= 0 {
		return delivery.Backlog{}, nil
	}
	if !p.oldest.valid {
		if err := s.findOldest(p); err != nil {
			return backlog, err
		}
	}
	backlog.Oldest = p.oldest.time
	return backlog, nil
}

// Waits reports whether events wait for the profile with that code. It reads nothing from the disk.
func (s *Spool) Waits(code string) bool {
	p := s.profiles.find(code)
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sentSoFar().events > p.progress.finished.events
}

// oldestScan bounds the search for the oldest unread event. Events come in commit order, so that
// the place reached tells the time closely enough.
const oldestScan = 4096

// findOldest looks among the live deliveries, then in the log behind the cursor.
func (s *Spool) findOldest(p *profile) error {
	p.oldest = oldest{}
	lower, upper := profileKey(p.id, kindLive, uint64(p.liveFrom)), after(profileKey(p.id, kindLive))
	p.liveFrom = s.tail.end() + 1
	err := s.scan(lower, upper, func(key, value []byte) (bool, error) {
		d, err := decodeDelivery(keySeq(key), value)
		p.liveFrom = keySeq(key)
		p.oldest = oldest{valid: true, live: true, seq: keySeq(key), time: d.when}
		return false, err
	})
	if err != nil || p.oldest.valid && p.oldest.seq < p.progress.Cursor {
		return err
	}
	scanned := 0
	return s.scanLog(p.progress.Cursor, openAlone, func(l *logged) (bool, error) {
		scanned++
		mine, err := l.addressed(p.id)
		if err != nil || scanned < oldestScan && (!mine || p.progress.over(l.seq)) {
			return err == nil, err
		}
		if p.oldest.valid && p.oldest.seq <= l.seq {
			return false, nil
		}
		p.oldest = oldest{valid: true, seq: l.seq, time: l.when}
		return false, nil
	})
}
