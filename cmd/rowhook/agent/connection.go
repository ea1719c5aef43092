package agent

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
	"rowhook/mapping"
)

// connected looks at the server before anything is read from it.
func (t *term) connected(server capture.Server) error {
	if err := mayPause(t.config(), server); err != nil {
		return err
	}
	found := operation.Identity{Lineage: server.Lineage, Hosts: t.from.Hosts(), Machine: t.machine()}
	diffs, err := t.identify(found)
	if err != nil {
		return err
	}
	t.setConnection("connecting", &server, found, diffs)
	if err := t.arrive(found, t.config().Sandboxed(&server)); err != nil {
		return err
	}
	if len(diffs) == 0 {
		t.suspension.clear(suspendIdentity)
	} else {
		t.suspension.set(suspendIdentity, describeDifferences(diffs))
	}
	for _, d := range diffs {
		if d.What == "lineage" {
			t.setConnection("waiting for adoption", &server, found, diffs)
			t.logger.Error("the server is not the one this state directory belongs to; nothing is read from it",
				"pinned", d.Pinned, "found", d.Found, "remedy", adoptRemedy)
			return errForeign
		}
	}
	t.pipe.Identify(mapping.Identity{Source: t.sourceName(), Lineage: found.Lineage})
	return nil
}

// identify compares what was found with what the state directory is pinned to; the first one is
// pinned.
func (a *Agent) identify(found operation.Identity) ([]operation.Difference, error) {
	pinned, known, err := loadIdentity(a.spool)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, saveIdentity(a.values(), found)
	}
	return a.differences(pinned, found), nil
}

// mayPause refuses on_full: pause_source where the WAL that it holds back could fill the database's
// disk.
func mayPause(c *config.Config, server capture.Server) error {
	for i := range c.Profiles {
		if p := &c.Profiles[i]; p.OnFull == "pause_source" && server.KeepSize < 0 {
			return &capture.OperatorError{
				Err:    fmt.Errorf("profile %s has on_full: pause_source, and max_slot_wal_keep_size is unlimited: its backlog could fill the database's disk", p.Code),
				Remedy: "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();  or on_full: shed",
			}
		}
	}
	return nil
}

// started notes where the stream begins, and tells it where that is news. Deliveries wait until
// then: who cannot have the slot may be a copy of the agent that has it.
func (t *term) started(s capture.Started) {
	t.suspension.clear(suspendStart)
	t.mu.Lock()
	t.connection.State, t.connection.Since, t.connection.Err = "streaming", time.Now(), nil
	t.mu.Unlock()
	if err := t.journal.SetMeta(metaTimeline, fmt.Append(nil, s.Server.Timeline)); err != nil {
		t.pipe.Fail(fmt.Errorf("store the timeline: %w", err))
		return
	}
	switch {
	case s.GapFrom != "" || s.GapTo != "":
		t.logger.Warn("stream gap accepted: changes committed between the two positions may be missing", "from", s.GapFrom, "to", s.GapTo)
		if err := t.audit.append(operation.AuditLine{User: directories.User(), Command: "run --accept-gap", Key: "gap", Old: string(s.GapFrom), New: string(s.GapTo)}); err != nil {
			t.pipe.Fail(err)
			return
		}
		t.pipe.Gap(t.sourceName(), s.GapFrom, s.GapTo)
	case t.beginsAnew(s):
		from := t.pipe.Abandoned()
		t.anew = false
		t.logger.Warn("adopted server: what was committed on it before now is not delivered", "from", from, "position", s.Position)
		t.pipe.Gap(t.sourceName(), from, s.Position)
	case s.Created:
		t.logger.Info("slot created: changes committed from now on are delivered", "slot", t.config().Source.Slot, "position", s.Position)
	case !s.Resumed && t.config().Source.MySQL():
		t.logger.Info("first start: changes committed from now on are delivered", "position", s.Position)
	case !s.Resumed:
		t.logger.Info("first start: changes since the slot's position are delivered", "slot", t.config().Source.Slot, "position", s.Position)
	}
}

// beginsAnew reports whether the stream of an adopted server begins at its present. What was
// committed there before, and in the former stream behind the position that was given up, is not in
// it. A slot that the server had keeps its place.
func (t *term) beginsAnew(s capture.Started) bool {
	return t.anew && !s.Resumed && (s.Created || t.config().Source.MySQL())
}

// lost notes that there is no stream for the time being.
func (a *Agent) lost(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connection.Err, a.ended = err, err
	state := "connecting"
	if errors.Is(err, capture.ErrPaused) {
		state = "paused"
	}
	if (a.connection.State == "streaming" || a.connection.State == "paused") && a.connection.State != state {
		a.connection.State, a.connection.Since = state, time.Now()
	}
}

func (a *Agent) setConnection(state string, server *capture.Server, found operation.Identity, diffs []operation.Difference) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.connection.State != state {
		a.connection.Since = time.Now()
	}
	a.connection.State, a.connection.Server, a.connection.Found, a.connection.Diffs = state, server, found, diffs
}

// adopt pins the identity that was found last, on a person's word.
func (a *Agent) adopt(user string) (operation.Adoption, error) {
	a.mu.Lock()
	found, diffs := a.connection.Found, a.connection.Diffs
	a.mu.Unlock()
	if len(diffs) == 0 {
		return operation.Adoption{}, &capture.OperatorError{Err: errors.New("there is nothing to adopt"), Remedy: "`rowhook status` shows what waits and why"}
	}
	done, err := a.workspace.adopt(user, found, diffs)
	if err != nil {
		return operation.Adoption{}, err
	}
	if t := a.term.Load(); t != nil && done.Abandoned != "" {
		t.pipe.Abandon(capture.Position(done.Abandoned))
	}
	a.mu.Lock()
	a.connection.Diffs = nil
	a.mu.Unlock()
	a.suspension.clear(suspendIdentity)
	select {
	case a.adopted <- struct{}{}:
	default:
	}
	return done, nil
}

// The reasons for which all deliveries wait, in the order they are told.
const (
	suspendIdentity = iota
	suspendStart
	suspendRoom
	suspendKinds
)

// suspension keeps the reasons for which all deliveries wait: they go on when the last is gone.
type suspension struct {
	engine  *engine.Engine
	mu      sync.Mutex
	reasons [suspendKinds]string
	told    string // what the engine was told last
}

func (s *suspension) set(kind int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reasons[kind] = reason
	s.apply()
}

func (s *suspension) clear(kind int) { s.set(kind, "") }

// has reports whether deliveries wait for one of these reasons.
func (s *suspension) has(kinds ...int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(kinds, func(kind int) bool { return s.reasons[kind] != "" })
}

// apply is called with mu held.
func (s *suspension) apply() {
	first := cmp.Or(s.reasons[:]...)
	if first == s.told {
		return
	}
	s.told = first
	if first == "" {
		s.engine.Continue()
		return
	}
	s.engine.Suspend(first)
}
