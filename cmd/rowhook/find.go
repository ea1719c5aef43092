package main

import (
	"bytes"
	"cmp"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/config"
)

// findConfig settles which config file commands use.
func (c *console) findConfig() {
	found := config.Find(c.env)
	if c.configPath == "" {
		c.configPath = found
		return
	}
	given, err := filepath.Abs(c.configPath)
	usual, uerr := filepath.Abs(found)
	c.given = err != nil || uerr != nil || given != usual
}

// commandPattern finds rowhook's commands in texts.
func commandPattern(root *cobra.Command) *regexp.Regexp {
	var names []string
	for _, cmd := range root.Commands() {
		for _, sub := range cmd.Commands() {
			names = append(names, cmd.Name()+" "+sub.Name())
		}
		names = append(names, cmd.Name())
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // the longest that fits
	return regexp.MustCompile(`\browhook (` + strings.Join(names, "|") + `)\b`)
}

// runnable returns a writer of texts for people, in which rowhook's commands name the config file
// that was given, so that a remedy can be run as it is printed.
func (c *console) runnable(w io.Writer) io.Writer { return &remedyWriter{w: w, console: c} }

type remedyWriter struct {
	w       io.Writer
	console *console
}

// plainPath is a file's name that shells, YAML and JSON take as it is.
var plainPath = regexp.MustCompile(`^[\w./@%+=:,-]+$`)

// Write implements [io.Writer].
func (r *remedyWriter) Write(p []byte) (int, error) {
	if !r.console.given || !bytes.Contains(p, []byte("rowhook ")) {
		return r.w.Write(p)
	}
	path, err := filepath.Abs(r.console.configPath)
	switch {
	case err != nil || strings.ContainsAny(path, "'\"\\\n$"):
		return r.w.Write(p)
	case !plainPath.MatchString(path):
		path = "'" + path + "'"
	}
	if _, err := r.w.Write(r.console.remedies.ReplaceAll(p, []byte("rowhook $1 -c "+path))); err != nil {
		return 0, err
	}
	return len(p), nil
}
