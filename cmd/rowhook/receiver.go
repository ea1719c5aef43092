package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"rowhook/delivery/format"
	"rowhook/delivery/webhook"
)

const (
	maxReceived    = 16 << 20 // of one request's body
	rememberedSeen = 100_000  // ids, for telling duplicates
)

// receiver is the HTTP side of `rowhook listen`.
type receiver struct {
	console *console
	options *listenOptions
	secret  string         // empty: signatures are not verified
	random  func() float64 // in [0, 1)
	now     func() time.Time

	mu       sync.Mutex // guards what follows, and the output
	accepted map[string]bool
	order    []string // of accepted, oldest first
}

func newReceiver(c *console, o *listenOptions, secret string) *receiver {
	return &receiver{console: c, options: o, secret: secret, random: rand.Float64, now: time.Now, accepted: map[string]bool{}}
}

// verification says whether signatures are verified.
func (r *receiver) verification() string {
	if r.secret == "" {
		return "signatures are not verified, no secret given"
	}
	return "signatures are verified"
}

// received is what is printed of a request.
type received struct {
	Time      time.Time       `json:"time"`
	Method    string          `json:"method"`
	Path      string          `json:"path"`
	Status    int             `json:"status"` // of the answer
	ID        string          `json:"id,omitempty"`
	Type      string          `json:"type,omitempty"`
	Key       json.RawMessage `json:"key,omitempty"`
	Verified  *bool           `json:"verified,omitempty"` // absent: not checked
	Problem   string          `json:"problem,omitempty"`  // why it was refused
	Duplicate bool            `json:"duplicate,omitempty"`
	Body      json.RawMessage `json:"body,omitempty"`
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	got := &received{Time: r.now(), Method: req.Method, Path: req.URL.Path, Status: http.StatusOK}
	switch {
	case req.Method == http.MethodGet && req.URL.Query().Has("challenge"):
		got.Type = "challenge"
		answerJSON(w, map[string]string{"challenge": req.URL.Query().Get("challenge")})
	case req.Method == http.MethodOptions && req.Header.Get("WebHook-Request-Origin") != "":
		got.Type = "challenge"
		w.Header().Set("WebHook-Allowed-Origin", req.Header.Get("WebHook-Request-Origin"))
		w.Header().Set("WebHook-Allowed-Rate", "*")
		w.WriteHeader(got.Status)
	case req.Method != http.MethodPost:
		got.refuse(http.StatusMethodNotAllowed, "only POST brings webhooks")
		http.Error(w, got.Problem, got.Status)
	default:
		r.take(w, req, got)
	}
	r.print(got)
}

// take answers a webhook.
func (r *receiver) take(w http.ResponseWriter, req *http.Request, got *received) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxReceived))
	got.describe(req.Header, body, r.options.print == "body")
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		got.refuse(http.StatusRequestEntityTooLarge, "the body is too large")
	case err != nil:
		got.refuse(http.StatusBadRequest, "the body did not arrive whole")
	default:
		r.judge(req.Header, body, got)
	}
	select {
	case <-time.After(r.options.delay):
	case <-req.Context().Done():
		got.Problem = "the sender did not wait for the answer"
		return
	}
	if got.Problem != "" {
		http.Error(w, got.Problem, got.Status)
		return
	}
	r.remember(got)
	w.WriteHeader(got.Status)
}

// judge verifies a request, and plays the failures that were asked for.
func (r *receiver) judge(header http.Header, body []byte, got *received) {
	if r.secret != "" {
		err := webhook.VerifyAny(format.Products(), header, body, got.Time, r.secret)
		verified := err == nil
		got.Verified = &verified
		if err != nil {
			got.refuse(http.StatusUnauthorized, err.Error())
			return
		}
	}
	if r.options.fail == 0 || r.random() < r.options.fail {
		got.Status = r.options.status
	}
}

// remember notes an accepted request's id, and whether it had been accepted before.
func (r *receiver) remember(got *received) {
	if got.ID == "" || got.Status >= 300 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accepted[got.ID] {
		got.Duplicate = true
		return
	}
	r.accepted[got.ID] = true
	r.order = append(r.order, got.ID)
	if len(r.order) > rememberedSeen {
		delete(r.accepted, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *receiver) print(got *received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.options.json && (r.options.print != "none"):
		_ = printJSONLine(r.console.out, got) // nobody reads on: there is nothing to tell it to
	case r.options.print == "none":
	default:
		out := unfiltered(r.console.out) // for the colours; line makes its parts printable
		fmt.Fprintln(out, got.line(r.console.colours(out)))
		if len(got.Body) > 0 {
			fmt.Fprintf(r.console.out, "%s\n", got.Body)
		}
	}
}

func (got *received) refuse(status int, problem string) { got.Status, got.Problem = status, problem }

// describe takes id, type and key from a request, as far as it has them.
func (got *received) describe(header http.Header, body []byte, whole bool) {
	var event struct {
		ID   string          `json:"id"`
		Type string          `json:"type"`
		Key  json.RawMessage `json:"key"`
	}
	isJSON := json.Unmarshal(body, &event) == nil
	got.ID, got.Type, got.Key = header.Get("webhook-id"), event.Type, compact(event.Key)
	if got.ID == "" {
		got.ID = event.ID
	}
	switch {
	case !whole || len(body) == 0:
	case isJSON:
		got.Body = compact(body)
	default:
		got.Body, _ = json.Marshal(string(body))
	}
}

func compact(raw []byte) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return nil
	}
	return b.Bytes()
}

// line is a request on one line: time, status, type, key, id, and what there is to say.
func (got *received) line(colours bool) string {
	paint := func(code, text string) string {
		if !colours {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	status := paint("32", strconv.Itoa(got.Status))
	if got.Status >= 300 {
		status = paint("31", strconv.Itoa(got.Status))
	}
	parts := []string{got.Time.Format("15:04:05.000"), status}
	for _, part := range []string{got.Type, string(got.Key), got.ID} {
		if part != "" {
			parts = append(parts, printable(part))
		}
	}
	if got.Type == "" && got.ID == "" {
		parts = append(parts, got.Method, printable(got.Path))
	}
	if got.Verified != nil && *got.Verified {
		parts = append(parts, "verified")
	}
	if got.Duplicate {
		parts = append(parts, paint("33", "duplicate"))
	}
	if got.Problem != "" {
		parts = append(parts, paint("31", printable(got.Problem)))
	}
	return strings.Join(parts, "  ")
}

// printable keeps what a request says from moving the terminal's cursor.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if strconv.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}

func answerJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client went away
}
