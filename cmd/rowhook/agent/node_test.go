package agent

import (
	"context"
	"testing"
	"time"

	"rowhook/capture"
)

// telling is a database that says who it is. While it does, a term begins.
type telling struct {
	Source
	agent *Agent
	asked chan struct{}
}

func (s *telling) Hosts() string { return "db" }

func (s *telling) Identify(context.Context) (capture.Server, error) {
	select {
	case s.asked <- struct{}{}:
		s.agent.term.Store(&term{Agent: s.agent})
	default: // it was asked before
	}
	return capture.Server{Lineage: "1"}, nil
}

// TestArrivalAfterTerm: deliveries that waited for what a term would have found out go on when the
// term ends before it has.
func TestArrivalAfterTerm(t *testing.T) {
	t.Parallel()
	a := &Agent{workspace: newTestWorkspace(t)}
	a.node = &node{}
	t.Cleanup(func() { a.node = nil }) // it has no stream to be closed
	source := &telling{agent: a, asked: make(chan struct{}, 1)}
	a.source = source
	a.suspension.engine = a.engine
	a.suspension.set(suspendStart, "the database has not said yet which environment this is")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.arrival(ctx) }()
	for a.term.Load() == nil {
		select {
		case err := <-ended:
			t.Fatalf("it ends with %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	a.term.Store(nil)
	for a.suspension.has(suspendStart) {
		select {
		case err := <-ended:
			t.Fatalf("it ends with %v, and deliveries wait", err)
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	must(t, <-ended)
}
