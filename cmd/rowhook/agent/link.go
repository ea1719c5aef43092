package agent

import (
	"cmp"
	"errors"
	"fmt"
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
func (a *Agent) connected(server capture.Server) error {
	if err := mayPause(a.config(), server); err != nil {
		return err
	}
	found := operation.Identity{Lineage: server.Lineage, Hosts: a.source.Hosts(), Machine: thisMachine()}
	diffs, err := a.identify(found)
	if err != nil {
		return err
	}
	a.setLink("connecting", &server, found, diffs)
	if err := a.arrive(found, a.config().Sandboxed(&server)); err != nil {
		return err
	}
	if len(diffs) == 0 {
		a.holds.clear(holdIdentity)
	} else {
		a.holds.set(holdIdentity, describeDifferences(diffs))
	}
	for _, d := range diffs {
		if d.What == "lineage" {
			a.setLink("waiting for adoption", &server, found, diffs)
			a.logger.Error("the server is not the one this state directory belongs to; nothing is read from it",
				"pinned", d.Pinned, "found", d.Found, "remedy", adoptRemedy)
			return errForeign
		}
	}
	a.pipe.Identify(mapping.Identity{Source: a.sourceName(), Lineage: found.Lineage})
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
		return nil, saveIdentity(a.spool, found)
	}
	return compareIdentity(pinned, found, a.config().Source.Servers), nil
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
func (a *Agent) started(s capture.Started) {
	a.holds.clear(holdStart)
	a.mu.Lock()
	a.link.State, a.link.Since, a.link.Err = "streaming", time.Now(), nil
	a.mu.Unlock()
	if err := a.spool.SetMeta(metaTimeline, fmt.Append(nil, s.Server.Timeline)); err != nil {
		a.pipe.Fail(fmt.Errorf("store the timeline: %w", err))
		return
	}
	switch {
	case s.GapFrom != "" || s.GapTo != "":
		a.logger.Warn("stream gap accepted: changes committed between the two positions may be missing", "from", s.GapFrom, "to", s.GapTo)
		if err := a.audit.append(operation.AuditLine{User: directories.User(), Command: "run --accept-gap", Key: "gap", Old: string(s.GapFrom), New: string(s.GapTo)}); err != nil {
			a.pipe.Fail(err)
			return
		}
		a.pipe.Gap(a.sourceName(), s.GapFrom, s.GapTo)
	case a.beginsAnew(s):
		from := a.pipe.Abandoned()
		a.anew = false
		a.logger.Warn("adopted server: what was committed on it before now is not delivered", "from", from, "position", s.Position)
		a.pipe.Gap(a.sourceName(), from, s.Position)
	case s.Created:
		a.logger.Info("slot created: changes committed from now on are delivered", "slot", a.config().Source.Slot, "position", s.Position)
	case !s.Resumed && a.config().Source.MySQL():
		a.logger.Info("first start: changes committed from now on are delivered", "position", s.Position)
	case !s.Resumed:
		a.logger.Info("first start: changes since the slot's position are delivered", "slot", a.config().Source.Slot, "position", s.Position)
	}
}

// beginsAnew reports whether the stream of an adopted server begins at its present. What was
// committed there before, and in the former stream behind the position that was given up, is not in
// it. A slot that the server had keeps its place.
func (a *Agent) beginsAnew(s capture.Started) bool {
	return a.anew && !s.Resumed && (s.Created || a.config().Source.MySQL())
}

// lost notes that there is no stream for the time being.
func (a *Agent) lost(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link.Err, a.ended = err, err
	state := "connecting"
	if errors.Is(err, capture.ErrPaused) {
		state = "paused"
	}
	if (a.link.State == "streaming" || a.link.State == "paused") && a.link.State != state {
		a.link.State, a.link.Since = state, time.Now()
	}
}

func (a *Agent) setLink(state string, server *capture.Server, found operation.Identity, diffs []operation.Difference) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link.State != state {
		a.link.Since = time.Now()
	}
	a.link.State, a.link.Server, a.link.Found, a.link.Diffs = state, server, found, diffs
}

// adopt pins the identity that was found last, on a person's word.
func (a *Agent) adopt(user string) (operation.Adoption, error) {
	a.mu.Lock()
	found, diffs := a.link.Found, a.link.Diffs
	a.mu.Unlock()
	if len(diffs) == 0 {
		return operation.Adoption{}, &capture.OperatorError{Err: errors.New("there is nothing to adopt"), Remedy: "`rowhook status` shows what waits and why"}
	}
	done, err := a.workspace.adopt(user, found, diffs)
	if err != nil {
		return operation.Adoption{}, err
	}
	if done.Abandoned != "" {
		a.pipe.Abandon(capture.Position(done.Abandoned))
	}
	a.mu.Lock()
	a.link.Diffs = nil
	a.mu.Unlock()
	a.holds.clear(holdIdentity)
	select {
	case a.adopted <- struct{}{}:
	default:
	}
	return done, nil
}

// The reasons for which all deliveries wait, in the order they are told.
const (
	holdIdentity = iota
	holdStart
	holdKinds
)

// holds keeps the reasons for which all deliveries wait: they go on when the last is gone.
type holds struct {
	engine  *engine.Engine
	mu      sync.Mutex
	reasons [holdKinds]string
	told    string // what the engine was told last
}

func (h *holds) set(kind int, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reasons[kind] = reason
	h.apply()
}

func (h *holds) clear(kind int) { h.set(kind, "") }

// apply is called with mu held.
func (h *holds) apply() {
	first := cmp.Or(h.reasons[:]...)
	if first == h.told {
		return
	}
	h.told = first
	if first == "" {
		h.engine.Continue()
		return
	}
	h.engine.Suspend(first)
}
