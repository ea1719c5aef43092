package console

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	// livePace is how often a page that is looked at is brought up to date.
	livePace = 3 * time.Second
	// maxWatchers bounds how many pages update themselves; others stay as they were loaded.
	maxWatchers = 32
)

// watchers counts the pages that update themselves.
type watchers struct {
	mu sync.Mutex
	n  int
}

func (w *watchers) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= maxWatchers {
		return false
	}
	w.n++
	return true
}

func (w *watchers) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n--
}

// live sends the live part of a page whenever it has changed, as server-sent events, until whoever
// looks goes away or their session ends.
func (v *visit) live() error {
	part := v.livePart(v.r.PathValue("page"))
	if part == nil {
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}
	if !v.watchers.enter() {
		return &pageError{Status: http.StatusServiceUnavailable, Text: v.t("Too many pages update themselves.")}
	}
	defer v.watchers.leave()
	v.w.Header().Set("Content-Type", "text/event-stream")
	deadline := http.NewResponseController(v.w)
	ticker := time.NewTicker(livePace)
	defer ticker.Stop()
	var sent [sha256.Size]byte
	for {
		name, data, err := part()
		if err != nil {
			return nil // the page says by itself that nothing comes any more
		}
		var html bytes.Buffer
		if err := v.pages.part(&html, v.lang, name, &page{Lang: v.lang, Admin: v.admin, CSRF: v.session.csrf, Data: data}); err != nil {
			return nil
		}
		event := []byte("event: beat\ndata: .\n\n") // a comment would not reach the page
		if sum := sha256.Sum256(html.Bytes()); sum != sent {
			sent, event = sum, eventOf(visible(html.Bytes()))
		}
		_ = deadline.SetWriteDeadline(time.Now().Add(5 * livePace))
		if _, err := v.w.Write(event); err != nil || deadline.Flush() != nil {
			return nil
		}
		select {
		case <-v.r.Context().Done():
			return nil
		case <-ticker.C:
		}
		if !v.stillIn() {
			return nil
		}
	}
}

// stillIn reports whether the session goes on.
func (v *visit) stillIn() bool {
	one := v.sessions.find(v.r, false)
	if one == nil {
		return false
	}
	_, _, ok := v.options.Holder(one.token)
	return ok
}

// eventOf is a text as one server-sent event.
func eventOf(text []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.SplitSeq(bytes.ReplaceAll(text, []byte("\r"), nil), []byte("\n")) {
		out.WriteString("data: ")
		out.Write(line)
		out.WriteByte('\n')
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// livePart returns what makes a page's live part; nil for a page that has none.
func (v *visit) livePart(name string) func() (template string, data any, err error) {
	switch name {
	case "overview":
		return func() (string, any, error) {
			data, err := v.overviewData()
			return "overview.live", data, err
		}
	case "profiles":
		return func() (string, any, error) {
			data, err := v.profileList()
			return "profiles.live", data, err
		}
	case "backfills":
		return func() (string, any, error) {
			list, err := v.backfillList()
			return "backfills.live", &backfillsData{List: list}, err
		}
	case "task":
		return func() (string, any, error) {
			data, err := v.taskData(v.r.URL.Query().Get("id"))
			return "task.live", data, err
		}
	}
	return nil
}
