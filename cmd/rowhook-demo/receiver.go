package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"rowhook/delivery/webhook"
)

// receiver is an application that takes webhooks: it verifies each as Standard
// Webhooks says and enters it into the ledger. It can be shut and opened again at
// the same address.
type receiver struct {
	name   string
	secret string
	book   *ledger
	show   func(*arrival)

	mu     sync.Mutex // guards what follows
	addr   string
	server *http.Server
	quiet  bool // count, do not show
}

func newReceiver(name string, secret string, book *ledger, show func(*arrival)) *receiver {
	return &receiver{name: name, secret: secret, book: book, show: show, addr: "127.0.0.1:0"}
}

// open listens and serves, at the address of the first time.
func (r *receiver) open() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		return fmt.Errorf("open receiver %s: %w", r.name, err)
	}
	r.addr = l.Addr().String()
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	r.server = server
	go func() { _ = server.Serve(l) }() // ends with shut
	return nil
}

// shut stops listening; requests that are being served end first. The server waits for connections
// too on which nothing was asked yet, which clients open in reserve: these are closed after a
// second.
func (r *receiver) shut() error {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return errors.Join(err, server.Close())
}

func (r *receiver) url() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return "http://" + r.addr + "/" + r.name
}

// hush sets whether arrivals are only counted.
func (r *receiver) hush(quiet bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = quiet
}

// payload is what the demonstration reads of an event.
type payload struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Key       json.RawMessage `json:"key"`
	Operation string          `json:"operation"`
	Actor     struct {
		Name string `json:"name"`
	} `json:"actor"`
}

// ServeHTTP takes one webhook. What is not genuine is refused.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	now := time.Now()
	a := &arrival{id: req.Header.Get("webhook-id"), at: now, genuine: webhook.Verify(req.Header, body, now, r.secret) == nil}
	var event payload
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	a.expectation = expectation{receiver: r.name, kind: event.Type, key: keyOf(event.Key)}
	a.lag = now.Sub(event.Timestamp)
	if event.Operation != "" && event.Operation != "unknown" {
		a.actor = event.Actor.Name + ", " + event.Operation
	}
	r.book.arrive(a)
	r.mu.Lock()
	quiet := r.quiet
	r.mu.Unlock()
	if !quiet {
		r.show(a)
	}
	if !a.genuine {
		http.Error(w, "bad signature", http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// keyOf writes a key such as {"loan_id":7} as loan_id 7.
func keyOf(raw json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var key map[string]any
	if err := d.Decode(&key); err != nil {
		return string(raw)
	}
	var parts []string
	for name, value := range key {
		parts = append(parts, fmt.Sprint(name, " ", value))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
