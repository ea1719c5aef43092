package console

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"rowhook/capture"
	"rowhook/delivery/engine"
)

const (
	// taskPatience is how long a page waits for a task before it shows its progress instead.
	taskPatience = 1500 * time.Millisecond
	// maxTasks is how many tasks are remembered: the oldest that is over gives way.
	maxTasks = 20
	// maxRunning is how many run at once.
	maxRunning = 4
)

// tasks are what may take longer than a page: acts on very many dead letters. It is safe for
// concurrent use.
type tasks struct {
	// ending is over when the agent stops: they end with it.
	ending  context.Context
	end     context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	all     []*task
}

// task is one of them. Its fields are guarded by the tasks' lock, but for those that never change.
type task struct {
	id    string
	title string
	began time.Time
	dead  int64  // how many dead letters there were
	of    string // of which profile; empty for all
	done  chan struct{}

	changed engine.Changed
	err     error
	over    bool
}

// begin does something in the background, with what it has come to so far. It reports whether it may:
// not too many run at once, and none once the agent stops.
func (t *tasks) begin(one *task, do func(ctx context.Context, add func(engine.Changed)) error) bool {
	one.id, one.done = strings.ToLower(rand.Text()[:10]), make(chan struct{})
	t.mu.Lock()
	running := 0
	for _, o := range t.all {
		if !o.over {
			running++
		}
	}
	if running >= maxRunning || t.ending.Err() != nil {
		t.mu.Unlock()
		return false
	}
	if len(t.all) >= maxTasks {
		if i := slices.IndexFunc(t.all, func(o *task) bool { return o.over }); i >= 0 {
			t.all = slices.Delete(t.all, i, i+1)
		}
	}
	t.all = append(t.all, one)
	t.running.Go(func() { // also when nobody looks
		err := do(t.ending, func(c engine.Changed) {
			t.mu.Lock()
			defer t.mu.Unlock()
			one.changed.Count += c.Count
			one.changed.More = one.changed.More || c.More
		})
		t.mu.Lock()
		one.err, one.over = err, true
		t.mu.Unlock()
		close(one.done)
	})
	t.mu.Unlock()
	return true
}

// taskData is how a task stands.
type taskData struct {
	ID, Title string
	Began     time.Time
	Changed   engine.Changed
	Err       string
	Remedy    string
	Over      bool
	Before    int64 // dead letters when it began
	Now       int64
	Percent   int64
}

func (v *visit) taskData(id string) (*taskData, error) {
	t := &v.tasks
	t.mu.Lock()
	i := slices.IndexFunc(t.all, func(o *task) bool { return o.id == id })
	if i < 0 {
		t.mu.Unlock()
		return nil, &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	one := t.all[i]
	data := &taskData{ID: one.id, Title: one.title, Began: one.began, Changed: one.changed, Over: one.over, Before: one.dead}
	if one.err != nil {
		data.Err, data.Remedy = one.err.Error(), capture.Remedy(one.err)
	}
	of := one.of
	t.mu.Unlock()
	s, err := v.status(v.r.Context())
	if err != nil {
		return nil, err
	}
	data.Now = s.dead(of)
	if data.Before > 0 {
		data.Percent = max((data.Before-data.Now)*100/data.Before, 0)
	}
	return data, nil
}

// task shows how one stands.
func (v *visit) task() error {
	id := v.r.PathValue("id")
	data, err := v.taskData(id)
	if err != nil {
		return err
	}
	live := ""
	if !data.Over {
		live = "task?id=" + id
	}
	return v.ok(page{Title: data.Title, Nav: "failed", Template: "task", Live: live, Data: data})
}

// perform begins a task and goes back to a page when it is over, or to its progress.
func (v *visit) perform(one *task, back string, do func(ctx context.Context, add func(engine.Changed)) error) error {
	one.began = v.now()
	if !v.tasks.begin(one, do) {
		return &pageError{Status: http.StatusServiceUnavailable, Text: v.t("Too many long acts are under way."), Remedy: v.t("Do it again when one of them is over. Nothing was changed.")}
	}
	patience := time.NewTimer(taskPatience)
	defer patience.Stop()
	select {
	case <-one.done:
	case <-patience.C:
		return v.redirect("/tasks/" + one.id)
	}
	v.glance.forget()
	v.tasks.mu.Lock()
	changed, err := one.changed, one.err
	v.tasks.mu.Unlock()
	if changed.Count > 0 || err == nil {
		v.say("ok", fmt.Sprintf("%s: %d", one.title, changed.Count))
	}
	if changed.More {
		v.say("warn", v.t("There are more, which could not be taken before these have made room. Repeat it later."))
	}
	if err != nil {
		v.say("bad", err.Error(), capture.Remedy(err))
	}
	return v.redirect(back)
}
