package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// exitConfig is the exit code of a program whose config is wrong.
const exitConfig = 2

// configError is one thing wrong with the config file, and where.
type configError struct {
	file         string
	line, column int // from 1; 0 when the file as a whole is meant
	text         string
	remedy       string
	meant        string // the path of what an unknown key was probably meant to be
}

func (e *configError) Error() string {
	if e.line == 0 {
		return fmt.Sprintf("%s: %s", e.file, e.text)
	}
	if e.column == 0 {
		return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.file, e.line, e.column, e.text)
}

// RemedyText says what to do about it; it may be empty.
func (e *configError) RemedyText() string { return e.remedy }

// ExitCode is that of a config error.
func (e *configError) ExitCode() int { return exitConfig }

// configErrors is everything wrong with the config file, in the file's order.
type configErrors []*configError

func (e configErrors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// ExitCode is that of a config error.
func (e configErrors) ExitCode() int { return exitConfig }

// Unwrap gives the errors one by one.
func (e configErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// with adds errors about values that have none yet: one is enough to fix them by.
func (e configErrors) with(more configErrors) configErrors {
	subject := func(one *configError) string {
		path, _, _ := strings.Cut(one.text, ": ")
		return path
	}
	spoken := map[string]bool{}
	for _, one := range e {
		spoken[subject(one)], spoken[one.meant] = true, true
	}
	for _, one := range more {
		if !spoken[subject(one)] {
			e = append(e, one)
		}
	}
	return e
}

// under reports whether there are errors in one of these sections.
func (e configErrors) under(sections ...string) bool {
	return slices.ContainsFunc(e, func(one *configError) bool {
		section, _, _ := strings.Cut(one.text, ".")
		return slices.Contains(sections, section)
	})
}

// orNil sorts the errors by place, drops repetitions, and returns nil when there are none.
func (e configErrors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *configError) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	return slices.CompactFunc(e, func(a, b *configError) bool { return *a == *b })
}

// pathError is what a room's validation returns: the segments lead to the value
// that is wrong, by keys and indexes, from the top of the file.
type pathError interface {
	error
	ConfigPath() []string
}

// Explain turns what a room says about the config (one error, or several joined)
// into errors with file, line and column.
func (c *Config) Explain(err error) error { return c.problems(err).orNil() }

// problems is [Config.Explain] before sorting. What does not say where it is concerns the whole
// file.
func (c *Config) problems(err error) configErrors {
	var found configErrors
	for _, one := range capture.Errors(err) {
		var path []string
		var at pathError
		if errors.As(one, &at) {
			path = at.ConfigPath()
		}
		found = append(found, c.problem(path, one.Error(), capture.Remedy(one)))
	}
	return found
}

// Problem is an error at a place in the config. Secrets are taken out of its text.
func (c *Config) Problem(path []string, text, remedy string) error {
	return c.problem(path, text, remedy)
}

// problem is the error at a place in the config, with what must not be shown taken out of its text.
func (c *Config) problem(path []string, text, remedy string) *configError {
	line, column := c.locate(path...)
	subject := ""
	if len(path) > 0 {
		subject = strings.Join(path, ".") + ": "
		text = strings.TrimPrefix(text, subject)
	}
	return &configError{file: c.file, line: line, column: column, text: subject + c.hide(text), remedy: c.hide(remedy)}
}
