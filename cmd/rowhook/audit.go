package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// auditLine is one line of state/audit.jsonl: who changed what, when. Secrets never appear in it.
type auditLine struct {
	Time    time.Time `json:"time"`
	User    string    `json:"user"`
	Command string    `json:"command"`
	Profile string    `json:"profile,omitempty"`
	Key     string    `json:"key,omitempty"`
	Old     string    `json:"old,omitempty"`
	New     string    `json:"new,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// auditLog appends to state/audit.jsonl. It is safe for concurrent use.
type auditLog struct {
	mu   sync.Mutex
	path string
}

func newAuditLog(stateDir string) *auditLog {
	return &auditLog{path: filepath.Join(stateDir, "audit.jsonl")}
}

// append writes one line and syncs it: an audit trail that a crash can shorten is none.
func (a *auditLog) append(line auditLine) error {
	line.Time = time.Now().UTC()
	raw, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode audit line: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync audit log: %w", err)
	}
	return nil
}
