package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ConfigError is a value of the config that cannot work.
type ConfigError struct {
	Path   []string // leads to the value from the top of the config
	Text   string
	Remedy string // what would work
}

func (e *ConfigError) Error() string { return strings.Join(e.Path, ".") + ": " + e.Text }

// ConfigPath leads to the value from the top of the config.
func (e *ConfigError) ConfigPath() []string { return e.Path }

// RemedyText says what would work.
func (e *ConfigError) RemedyText() string { return e.Remedy }

// ConfigErrors collects what is wrong with one section of the config.
type ConfigErrors struct {
	at    []string
	found []error
}

// ErrorsAt begins a list for the section that a path leads to.
func ErrorsAt(path ...string) *ConfigErrors { return &ConfigErrors{at: path} }

// Add adds an error about the value that a path leads to from the section.
func (e *ConfigErrors) Add(text, remedy string, path ...string) {
	e.found = append(e.found, &ConfigError{Path: slices.Concat(e.at, path), Text: text, Remedy: remedy})
}

// OneOf adds an error when a key has none of the known values.
func (e *ConfigErrors) OneOf(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		e.Add(fmt.Sprintf("%q is not known", value), "write "+strings.Join(known, " or "), key)
	}
}

// Err returns all errors, joined; nil when there is none.
func (e *ConfigErrors) Err() error { return errors.Join(e.found...) }
