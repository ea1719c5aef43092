package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestFeatureLog: the log of each webhook request is shown, searched by URL and by elements of the
// payload, and its body cut at 4,000 characters, while what was sent is whole.
func TestFeatureLog(t *testing.T) {
	t.Parallel()
	onLibraries(t, false, withProfiles(everything), testFeatureLog)
}

func testFeatureLog(t *testing.T, l *library) {
	w := &watcher{library: l.open(), profile: "everything"}
	long := strings.Repeat("図", 4100)
	sent := w.events(aBib, anItem, `insert into catalog.bibs (mms_id, title) values ('long', '`+long+`')`)[2]
	if got := sent.at(t, "data", "title"); got != long {
		t.Fatalf("the title that was sent has %d characters", utf8.RuneCountInString(fmt.Sprint(got)))
	}
	lines := func(args ...string) []map[string]any {
		t.Helper()
		r := l.rowhook(append([]string{"log", "--json", "--profile", "everything"}, args...)...)
		if r.code != 0 {
			t.Fatalf("log %q: %+v", args, r)
		}
		var list []map[string]any
		for line := range strings.Lines(r.stdout) {
			var one map[string]any
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatalf("log %q: %v: %s", args, err, line)
			}
			list = append(list, one)
		}
		return list
	}
	eventually(t, patience, "the log has all", func() bool { return len(lines()) >= 4 })
	found := lines("--payload", "data.mms_id=long")
	if len(found) != 1 {
		t.Fatalf("%d lines for the record", len(found))
	}
	body := fmt.Sprint(found[0]["body"])
	if utf8.RuneCountInString(body) != 4000 || found[0]["body_truncated"] != true || !strings.HasPrefix(string(sent.body), body) {
		t.Errorf("%d characters, truncated %v", utf8.RuneCountInString(body), found[0]["body_truncated"])
	}
	// What lies beyond the cut is found, too: the spool has the whole event.
	if n := len(lines("--payload", "data.last_modified_by=System")); n != 2 {
		t.Errorf("%d lines for the record's last editor, who stands behind the cut", n)
	}
	if n := len(lines("--payload", "data.item_data.barcode=B0001")); n != 1 {
		t.Errorf("%d lines for the barcode", n)
	}
	if n := len(lines("--url", "/everything/")); n < 4 {
		t.Errorf("%d lines for the URL", n)
	}
	if n := len(lines("--url", "nobody")); n != 0 {
		t.Errorf("%d lines for another URL", n)
	}
	for _, key := range []string{"time", "profile", "event", "type", "attempt", "url", "status", "duration_ms"} {
		if found[0][key] == nil {
			t.Errorf("the line has no %s: %v", key, found[0])
		}
	}
}

// TestFeatureDelivery: what a receiver answers decides, only an active profile gets anything, the
// URL's own query stays, the secret signs, headers come along, and a retry is the same bytes.
func TestFeatureDelivery(t *testing.T) {
	t.Parallel()
	onLibraries(t, false, withProfiles(everything+deliveries), testFeatureDelivery)
}

// deliveries are a receiver that decides by its answers, and one that is off.
const deliveries = `
  strict:
    url: https://strict.example.org/hook?institution=X
    secret: ${DESK_SECRET}
    headers: {X-Custom: "a value"}
    success: [200, 201]
    retry: {schedule: [10ms, 10ms, 10ms]}
    replies: {4xx: dead}
    concurrency: 1
    subscriptions: [{events: [bib.*]}]

  off:
    url: https://off.example.org/hook
    signature: none
    active: false
`

func testFeatureDelivery(t *testing.T, l *library) {
	w := &watcher{library: l.open(), profile: "everything"}
	tries := map[string]int{}
	status := http.StatusOK
	l.answers(func(r *request) int { // called one request at a time
		if r.profile != "strict" {
			return http.StatusOK
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		tries[r.header.Get("webhook-id")]++
		return status
	})
	set := func(s int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		status = s
	}
	outcome := func(id string) string {
		var last string
		eventually(t, patience, "the end of "+id, func() bool {
			r := l.rowhook("log", "--json", "--profile", "strict", "--event", id)
			for line := range strings.Lines(r.stdout) {
				var one struct{ Outcome string }
				if err := json.Unmarshal([]byte(line), &one); err != nil {
					t.Fatal(err)
				}
				last = one.Outcome
			}
			return last == "delivered" || last == "dead"
		})
		return last
	}
	for i, tt := range []struct {
		status, tries int
		outcome       string
	}{
		{200, 1, "delivered"}, {201, 1, "delivered"}, {204, 4, "dead"}, {302, 4, "dead"}, {500, 4, "dead"}, {404, 1, "dead"},
	} {
		set(tt.status)
		id := fmt.Sprint(w.events(fmt.Sprintf(`insert into catalog.bibs (mms_id, title) values ('%d', 'T')`, i))[0].at(t, "id"))
		if got := outcome(id); got != tt.outcome {
			t.Errorf("%d: %s, want %s", tt.status, got, tt.outcome)
		}
		got := l.got("strict", func(r *request) bool { return r.header.Get("webhook-id") == id })
		if len(got) != tt.tries {
			t.Errorf("%d: %d tries, want %d", tt.status, len(got), tt.tries)
		}
		for _, r := range got {
			if string(r.body) != string(got[0].body) || r.path != "hook?institution=X" || r.header.Get("X-Custom") != "a value" || r.header.Get("webhook-signature") == "" {
				t.Errorf("%d: %s %v", tt.status, r.path, r.header)
			}
		}
	}
	if n := len(l.got("off", nil)); n != 0 {
		t.Errorf("a profile that is off got %d requests", n)
	}
	if r := l.rowhook("failed", "list", "--profile", "strict"); strings.Count(r.stdout, "strict") < 4 {
		t.Errorf("failed list: %s", r.stdout)
	}
}
