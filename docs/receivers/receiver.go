//go:build ignore

// Receives rowhook's webhooks. Go 1.22 or later, standard library alone.
//
//	RECEIVER_SECRET=whsec_... go run receiver.go
//
// It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes
// each id once. Work is done from there, after the answer: process stands for it. PORT is 8080.
package main

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	tolerance = 5 * time.Minute
	largest   = 16 << 20
)

func key(secret string) ([]byte, error) {
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		return base64.StdEncoding.DecodeString(text)
	}
	return []byte(secret), nil
}

// genuine checks the signature of Standard Webhooks; one of several is enough while secrets rotate.
func genuine(secret []byte, h http.Header, body []byte) bool {
	id, at := h.Get("webhook-id"), h.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", id, at)
	mac.Write(body)
	want, found := mac.Sum(nil), false
	for _, signature := range strings.Fields(h.Get("webhook-signature")) {
		text, ok := strings.CutPrefix(signature, "v1,")
		given, err := base64.StdEncoding.DecodeString(text)
		found = ok && err == nil && hmac.Equal(given, want) || found
	}
	return found
}

// inbox is a file of lines: an id, a blank, a body. A line that was cut by a crash was never answered.
type inbox struct {
	mu   sync.Mutex
	file *os.File
	ids  map[string]bool
}

func openInbox(path string) (*inbox, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	whole, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	whole = whole[:bytes.LastIndexByte(whole, '\n')+1]
	in := &inbox{file: file, ids: map[string]bool{}}
	for _, line := range strings.Split(string(whole), "\n") {
		id, _, _ := strings.Cut(line, " ")
		in.ids[id] = true
	}
	return in, file.Truncate(int64(len(whole)))
}

// take says whether the id is new. It returns when the line is on the disk.
func (in *inbox) take(id string, body []byte) (bool, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ids[id] {
		return false, nil
	}
	line := strings.NewReplacer("\r", " ", "\n", " ").Replace(id + " " + string(body))
	if _, err := in.file.WriteString(line + "\n"); err != nil {
		return false, err
	}
	if err := in.file.Sync(); err != nil {
		return false, err
	}
	in.ids[id] = true
	return true, nil
}

func process(id string, body []byte) { fmt.Println(id, len(body), "bytes") }

func main() {
	secret, err := key(os.Getenv("RECEIVER_SECRET"))
	if err != nil || len(secret) == 0 {
		log.Fatal("RECEIVER_SECRET: whsec_ and base64, or raw text: ", err)
	}
	in, err := openInbox(cmp.Or(os.Getenv("INBOX"), "inbox.txt"))
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largest))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if !genuine(secret, r.Header, body) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		id := r.Header.Get("webhook-id")
		fresh, err := in.take(id, body)
		if err != nil {
			log.Print(err)
			w.WriteHeader(http.StatusServiceUnavailable) // rowhook tries again
			return
		}
		w.WriteHeader(http.StatusNoContent)
		if fresh {
			process(id, body)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8080"), nil))
}
