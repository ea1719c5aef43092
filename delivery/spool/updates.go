package spool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

// Value is one of the agent's own values, see [Spool.Meta].
type Value struct {
	Key   string
	Value []byte
}

// ProfileUpdate is an update of the profile with that code.
type ProfileUpdate struct {
	Code   string
	Update delivery.Update
}

// UpdateAll applies updates of several profiles and sets own values, all in one atomic write. It does
// what Update would do with one after the other; a code may come more than once. Codes that are not
// registered are registered first. It is durable after the next shared sync.
func (s *Spool) UpdateAll(updates []ProfileUpdate, values ...Value) error {
	if len(updates) == 0 && len(values) == 0 {
		return nil
	}
	err := s.updateAll(updates, values)
	if err != nil {
		return fmt.Errorf("update profiles: %w", err)
	}
	return nil
}

func (s *Spool) updateAll(updates []ProfileUpdate, values []Value) error {
	owners, puts, err := s.owners(updates)
	if err != nil {
		return err
	}
	// In the order of their numbers, so that no two wait for each other.
	list := slices.Compact(slices.SortedFunc(slices.Values(owners), byNumber))
	for _, p := range list {
		p.mu.Lock()
		defer p.mu.Unlock()
	}
	if puts {
		// Events must not leave the log between our look at them and the record that keeps them.
		s.retention.removing.RLock()
		defer s.retention.removing.RUnlock()
	}
	w, view := s.db.NewBatch(), pebble.Reader(s.db)
	if len(list) < len(owners) {
		w = s.db.NewIndexedBatch() // a later update is to see what an earlier one has put
		view = w
	}
	defer w.Close()
	changes := make([]update, len(list))
	for i, p := range list {
		changes[i] = newUpdate(s, p, w, view)
	}
	for i, p := range owners {
		at, _ := slices.BinarySearchFunc(list, p, byNumber)
		if err := changes[at].fill(&updates[i].Update); err != nil {
			return fmt.Errorf("profile %s: %w", p.code, err)
		}
	}
	if err := setValues(w, values); err != nil {
		return err
	}
	if len(updates) > 0 {
		s.restsOnLines()
	}
	if err := s.commit(w, nil); err != nil {
		return err
	}
	for i := range changes {
		changes[i].settle()
	}
	return nil
}

func byNumber(a, b *profile) int { return cmp.Compare(a.id, b.id) }

// owners returns the profile of each update, and whether one of them puts deliveries.
func (s *Spool) owners(updates []ProfileUpdate) (owners []*profile, puts bool, err error) {
	owners = make([]*profile, len(updates))
	for i := range updates {
		puts = puts || len(updates[i].Update.Put) > 0
		code := updates[i].Code
		if code == "" {
			return nil, false, errors.New("an update names no profile")
		}
		if owners[i] = s.profiles.find(code); owners[i] != nil {
			continue
		}
		id, err := s.Register(code)
		if err != nil {
			return nil, false, err
		}
		if owners[i], err = s.profile(id); err != nil {
			return nil, false, err
		}
	}
	return owners, puts, nil
}

func setValues(w *pebble.Batch, values []Value) error {
	for _, v := range values {
		if err := w.Set(metaKey(v.Key), v.Value, nil); err != nil {
			return err
		}
	}
	return nil
}
