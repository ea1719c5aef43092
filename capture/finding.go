package capture

import (
	"errors"
	"fmt"
	"strings"
)

// Severity says what a finding means for `run`.
type Severity uint8

// The severities. An Error stops `run`, unless it concerns one table only, which
// is then the only one that suffers (invariant I11).
const (
	Info Severity = iota
	Warning
	Error
)

// String returns "info", "warning" or "error".
func (s Severity) String() string {
	return [...]string{"info", "warning", "error"}[s]
}

// MarshalText writes the word that String returns.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Severity) UnmarshalText(text []byte) error {
	for _, known := range []Severity{Info, Warning, Error} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("severity %q is not known", text)
}

// Finding is one thing that `check` found, with what to do about it.
type Finding struct {
	Severity Severity `json:"severity"`
	// Code names the finding for scripts, in a stable form such as "wal_level".
	Code string `json:"code"`
	// Subject is what it is about: a table, a column, a setting. May be empty.
	Subject string `json:"subject,omitempty"`
	Text    string `json:"text"`
	// Remedy is what cures it: SQL, a setting or a command.
	Remedy string `json:"remedy,omitempty"`
	// At is the place in the config that it is about: file:line:column. Whoever knows the config
	// fills it in.
	At string `json:"at,omitempty"`
	// Table is set when the finding concerns that table only.
	Table string `json:"table,omitempty"`
}

// MissingTable is the finding about a pattern of the mapping that no table matches. Example is a
// table's name as the database has them.
func MissingTable(pattern, example string) Finding {
	f := Finding{Severity: Error, Code: "table", Subject: pattern, Table: pattern,
		Text: fmt.Sprintf("table %s does not exist", pattern), Remedy: "correct the name in mapping"}
	if strings.Contains(pattern, "*") {
		f.Severity, f.Text = Warning, fmt.Sprintf("no table matches %s", pattern)
	}
	if _, _, ok := ParseTable(pattern); !ok {
		f.Text = fmt.Sprintf("%q is not a table's name with its schema, such as %s", pattern, example)
	}
	return f
}

// GapError says that the stream between the stored position and what the server
// can give is not whole: continuing would lose changes. It ends the agent with exit 4.
type GapError struct {
	Stored Position // what we have; empty when nothing is stored
	Server Position // what the server offers; empty when it offers nothing
	Text   string   // what happened, in one sentence
	Remedy string   // the ways out
}

func (e *GapError) Error() string {
	return fmt.Sprintf("stream gap: %s (stored position %s, server %s)", e.Text, orNone(e.Stored), orNone(e.Server))
}

// RemedyText returns the remedy for the operator.
func (e *GapError) RemedyText() string { return e.Remedy }

func orNone(p Position) string {
	if p == "" {
		return "none"
	}
	return string(p)
}

// OperatorError is an error that a person has to fix: it carries the remedy.
type OperatorError struct {
	Err    error
	Remedy string
}

func (e *OperatorError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *OperatorError) Unwrap() error { return e.Err }

// RemedyText returns the remedy for the operator.
func (e *OperatorError) RemedyText() string { return e.Remedy }

// RefusedError is what a setup leaves out, since a person has to look at it first. The rest has
// been done, or printed.
type RefusedError struct{ Operator *OperatorError }

func (e *RefusedError) Error() string { return e.Operator.Error() }

// Unwrap returns the error with its remedy.
func (e *RefusedError) Unwrap() error { return e.Operator }

// UnreadableRemedy is what to do about a stream that cannot be read at one position.
const UnreadableRemedy = "look at what stands between agent and server, and at the server's own log, and start again; if it stays, what the server sends is newer " +
	"than this version of rowhook. Nothing beyond the position has been confirmed to the server, and what was taken before it is stored"

// Errors takes joined errors apart. An error that wraps several stays whole when it leads to a place
// in the config itself.
func Errors(err error) []error {
	if err == nil {
		return nil
	}
	if _, ok := err.(interface{ ConfigPath() []string }); ok { // itself, not what it wraps
		return []error{err}
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, Errors(one)...)
	}
	return all
}

// Remedy returns what an error says to do about it; empty when it says nothing.
func Remedy(err error) string {
	var h interface{ RemedyText() string }
	if errors.As(err, &h) {
		return h.RemedyText()
	}
	return ""
}
