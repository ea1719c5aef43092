package pipeline

import (
	"fmt"
	"testing"
	"time"

	"rowhook/delivery"
)

// TestPipelineExchange has a mapping and recipients change between two transactions, whatever the
// appender does.
func TestPipelineExchange(t *testing.T) {
	t.Parallel()
	for _, open := range []bool{false, true} {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprint(open, stored), func(t *testing.T) {
				t.Parallel()
				w := newPipelineWorld(t)
				if stored {
					w.start()
				}
				w.begin()
				w.insert(0, "a", "")
				w.commit("0/10")
				w.begin()
				w.insert(0, "b", "")
				if !open {
					w.commit("0/20")
				}
				if stored {
					<-w.spool.Appended(1)
				}
				nobody := Routing{Rules: w.to.Rules, Router: delivery.NewRouter(nil), Codes: w.to.Codes}
				var before string
				apply := func() error {
					before = fmt.Sprint(w.spool.End())
					return nil
				}
				done := make(chan error, 1)
				go func() { done <- w.pipe.Exchange(t.Context(), nobody, apply) }()
				if open {
					w.waitFor(func() bool { return w.pipe.coming != nil })
					w.insert(1, "c", "")
					w.commit("0/20")
				} else {
					w.waitFor(func() bool { return w.pipe.coming != nil || w.pipe.router == nobody.Router })
				}
				if !stored {
					w.start()
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				w.begin()
				w.insert(0, "d", "")
				w.commit("0/30")
				w.pipe.Flush(t.Context())
				want, end := `{"id":"a"}{"id":"b"}`, "2"
				if open {
					want, end = `{"id":"a"}{"id":"b"}{"id":"c"}`, "3"
				}
				if got := w.keys(); got != want || before != end {
					t.Errorf("desk got %q and the log ended at %s; want %q and %s", got, before, want, end)
				}
			})
		}
	}
}

// waitFor waits for a state of the pipeline.
func (w *pipelineWorld) waitFor(ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 20000 {
		w.pipe.mu.Lock()
		reached := ok()
		w.pipe.mu.Unlock()
		if reached {
			return
		}
		<-tick.C
	}
	w.t.Fatal("waited in vain")
}
