package try

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rowhook/capture"
)

// maxLine bounds a line of recorded changes.
const maxLine = 64 << 20

// exitUsage is the exit code of a program that was used in the wrong way.
const exitUsage = 2

// lineForm is the form of a recorded change, for those who got it wrong.
const lineForm = `{"table":"schema.name","op":"insert|update|delete|truncate","key":["id"],"old":{…},"new":{…}} or {"signal":{"type":"…"}}; see rowhook try --help`

// recorded is one line of input.
type recorded struct {
	Table       string            `json:"table"`
	Op          string            `json:"op"`
	Key         []string          `json:"key"`
	Types       map[string]string `json:"types"`
	Old         *members          `json:"old"`
	New         *members          `json:"new"`
	Signal      json.RawMessage   `json:"signal"`
	Context     json.RawMessage   `json:"context"`
	Transaction string            `json:"transaction"`
	Time        time.Time         `json:"time"`
	Position    string            `json:"position"`

	at string // where the line stands, such as changes.jsonl:3
	op capture.Op
}

// members are those of a JSON object, in order.
type members struct {
	names  []string
	values map[string]json.RawMessage
}

// UnmarshalJSON implements [json.Unmarshaler].
func (m *members) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return errors.New("a row is an object of columns")
	}
	m.values = map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		column := name.(string) // the decoder has seen to it
		if _, twice := m.values[column]; twice {
			return fmt.Errorf("column %q is there twice", column)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		m.names = append(m.names, column)
		m.values[column] = value
	}
	return nil
}

// recordedError is a line that is no recorded change.
type recordedError struct {
	at  string
	err error
}

func (e *recordedError) Error() string { return e.at + ": " + e.err.Error() }

func (e *recordedError) Unwrap() error { return e.err }

// RemedyText returns the form that a line has.
func (e *recordedError) RemedyText() string { return "a line is " + lineForm }

// ExitCode is that of a usage error.
func (e *recordedError) ExitCode() int { return exitUsage }

// Changes are recorded changes, in order.
type Changes []*recorded

// Read reads the files, or what comes in where there are none.
func Read(files []string, in io.Reader) (Changes, error) {
	if len(files) == 0 {
		return parseRecorded("stdin", in)
	}
	var all Changes
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read recorded changes: %w", err)
		}
		lines, err := parseRecorded(filepath.Base(file), f)
		f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// parseRecorded reads lines; empty ones and those that begin with # are left out.
func parseRecorded(name string, in io.Reader) (Changes, error) {
	var lines []*recorded
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	for number := 1; scanner.Scan(); number++ {
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		line := &recorded{at: fmt.Sprintf("%s:%d", name, number)}
		if err := line.parse(text); err != nil {
			return nil, &recordedError{line.at, err}
		}
		lines = append(lines, line)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("read recorded changes from %s: %w", name, err)
	}
	return lines, nil
}

func (r *recorded) parse(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is more than one object on the line")
	}
	if r.Signal != nil {
		if r.Table != "" || r.Op != "" || r.Old != nil || r.New != nil || r.Key != nil || r.Types != nil {
			return errors.New("a signal has no table, op, key, types, old and new")
		}
		return nil
	}
	if _, _, ok := capture.ParseTable(r.Table); !ok {
		return fmt.Errorf("table: expected schema.name, got %q", r.Table)
	}
	var ok bool
	if r.op, ok = capture.ParseOp(r.Op); !ok || r.op == capture.Read {
		return fmt.Errorf("op: expected insert, update, delete or truncate, got %q", r.Op)
	}
	return r.checkRows()
}

// checkRows holds the rows to what the operation has.
func (r *recorded) checkRows() error {
	for _, row := range []struct {
		name          string
		given         bool
		needed, taken bool
	}{
		{"old", r.Old != nil, r.op == capture.Delete, r.op == capture.Update || r.op == capture.Delete},
		{"new", r.New != nil, r.op == capture.Insert || r.op == capture.Update, r.op == capture.Insert || r.op == capture.Update},
	} {
		switch {
		case row.needed && !row.given:
			return fmt.Errorf("%s: missing; op %s has it", row.name, r.Op)
		case row.given && !row.taken:
			return fmt.Errorf("%s: op %s has none", row.name, r.Op)
		}
	}
	return nil
}
