package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
)

// auditLog appends to state/audit.jsonl. It is safe for concurrent use.
type auditLog struct {
	mu   sync.Mutex
	path string
}

func newAuditLog(stateDir string) *auditLog {
	return &auditLog{path: filepath.Join(stateDir, "audit.jsonl")}
}

// append writes one line and syncs it: an audit trail that a crash can shorten is none.
func (a *auditLog) append(line operation.AuditLine) error {
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

// History returns what was done to profiles, from the audit log of the config's state directory.
func History(c *config.Config) ([]operation.AuditLine, error) {
	raw, err := os.ReadFile(newAuditLog(c.State).path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, directories.WithRemedy(c, fmt.Errorf("read the audit log: %w", err))
	}
	return readAudit(raw), nil
}

// readAudit returns the audit log's lines about profiles. A line that is no JSON, torn by a crash,
// is passed over.
func readAudit(raw []byte) []operation.AuditLine {
	lines := []operation.AuditLine{}
	for text := range strings.Lines(string(raw)) {
		var line operation.AuditLine
		if json.Unmarshal([]byte(text), &line) == nil && line.Profile != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
