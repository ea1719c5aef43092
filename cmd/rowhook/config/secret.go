package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"rowhook/capture"
)

// files reads the secrets of a map that are given as files. What the map says itself replaces
// what was there before, in whichever of the two ways.
func (d *decoder) files(n *yaml.Node, v reflect.Value, spec *structSpec) {
	for _, f := range spec.fields {
		if !f.secret {
			continue
		}
		file := spec.named(f.name + "_file")
		secret, path := v.FieldByIndex(f.index), v.FieldByIndex(file.index)
		inline, _ := entry(n, f.name)
		key, value := entry(n, file.name)
		switch {
		case inline != nil && key != nil:
			d.in(file.name, func() { d.refuse(key, "given beside %s; give one of the two", f.name) })
		case inline != nil:
			path.SetString("")
		case key != nil:
			d.in(file.name, func() { secret.SetString(d.fromFile(value, path.String(), f)) })
		}
	}
}

// fromFile reads what a field has a file for.
func (d *decoder) fromFile(n *yaml.Node, path string, f *field) string {
	text, read := d.secretFile(n, path, f.publicFile)
	if !read && f.url() && text != "" {
		return unreadURL
	}
	return text
}

// unreadURL stands for a URL whose file could not be read. It leads nowhere.
const unreadURL = "https://unread.invalid/"

// unreadSecret stands for a secret whose file could not be read, which has its error, so that the
// rooms do not complain of a missing one as well.
const unreadSecret = "the file of this secret could not be read"

// secretFile reads a secret without the newline that ends it. real tells whether it did, or
// something stands for it.
func (d *decoder) secretFile(n *yaml.Node, path string, public bool) (secret string, real bool) {
	if path == "" {
		return "", false
	}
	read := d.readFile
	if d.known != nil && !d.known[n] {
		read = guestFile
	}
	data, err := read(path)
	var absent *absentSecret
	if errors.As(err, &absent) && !public {
		return absent.standIn, false
	}
	if err != nil {
		d.refuse(n, "cannot read the file: %s", hideIn(path+": "+cause(err).Error(), d.hidden))
		d.errs[len(d.errs)-1].remedy = hideIn(readable(path, err), d.hidden)
		return unreadSecret, false
	}
	secret = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if secret == "" {
		d.refuse(n, "the file is empty")
		return unreadSecret, false
	}
	if public {
		return secret, true
	}
	d.hidden = append(d.hidden, secret)
	d.secrets = append(d.secrets, readFrom{n.Line, n.Column, path})
	return secret, true
}

// readable is what lets this user read a file that it may not: the file is its own, or the directory
// above, to enter.
func readable(path string, err error) string {
	if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	me, group := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())
	if u, err := user.Current(); err == nil {
		me = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	if _, err := os.Stat(path); err != nil {
		dir := filepath.Dir(path)
		return fmt.Sprintf("this user, %s, may not enter %s: chgrp %s %s && chmod g+x %s", me, dir, group, dir, dir)
	}
	return fmt.Sprintf("this user, %s, may not read it: chown %s %s && chmod 400 %s", me, me, path, path)
}

// absentSecret says that a file cannot be read, and what stands for the secret in it where no
// secret is used.
type absentSecret struct {
	err     error
	standIn string
}

func (e *absentSecret) Error() string { return cause(e.err).Error() }

var secretHeader = regexp.MustCompile(`(?i)auth|token|key|secret|password|cookie|signature`)

// noteHeaders treats the values of headers that carry credentials as the secrets they are.
func (c *Config) noteHeaders() {
	for i := range c.Profiles {
		p := &c.Profiles[i]
		for _, h := range p.Headers {
			if !secretHeader.MatchString(h.Name) || h.Value == "" {
				continue
			}
			c.hidden = append(c.hidden, h.Value)
			for _, section := range []*yaml.Node{child(child(c.root, "profiles"), p.Code), child(c.root, "defaults")} {
				value := child(child(section, "headers"), h.Name)
				if value != nil && value.Kind == yaml.ScalarNode && !strings.Contains(value.Value, "${") {
					c.inline = append(c.inline, [2]int{value.Line, value.Column})
				}
			}
		}
	}
}

// hide takes secrets, and values from the environment, out of a text.
func (c *Config) hide(text string) string { return hideIn(text, c.hidden) }

// hideIn replaces the hidden values in a text, longest first. Very short ones stay: they tell
// nothing, and replacing them would garble the text.
func hideIn(text string, hidden []string) string {
	const shortest = 4
	forms := make([]string, 0, 3*len(hidden))
	for _, value := range hidden { // as it is, and as %q and URLs have it
		quoted := strconv.Quote(value)
		forms = append(forms, value, quoted[1:len(quoted)-1], percentEncode(value))
	}
	longestFirst := slices.SortedFunc(slices.Values(forms), func(a, b string) int { return len(b) - len(a) })
	for _, value := range longestFirst {
		if len(value) >= shortest {
			text = strings.ReplaceAll(text, value, "…")
		}
	}
	return text
}

// kindOf names what is not a file.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return "a device or socket"
}

// secretFindings says which files with secrets others than their owner may read: the config
// itself, when secrets stand in it, and the files it names; and the delivery log, which holds rows.
func (c *Config) secretFindings() []capture.Finding {
	if c.host != nil {
		return nil // a guest is not told which files there are
	}
	var found []capture.Finding
	if info, err := os.Stat(c.file); err == nil && len(c.inline) > 0 && info.Mode().Perm()&0o044 != 0 {
		found = append(found, capture.Finding{
			Severity: capture.Warning,
			Code:     "config_readable",
			Subject:  c.file,
			Text: fmt.Sprintf("the file holds secrets (first in line %d) and others than its owner may read it (mode %04o)",
				c.inline[0][0], info.Mode().Perm()),
			Remedy: "chmod 600 " + c.file + ", or move the secrets to files (secret_file, password_file) or the environment (${NAME})",
		})
	}
	if info, err := os.Lstat(c.Log.Deliveries); err == nil {
		switch at := []string{"log", "deliveries"}; {
		case !info.Mode().IsRegular():
			finding := c.Finding("delivery_log", fmt.Sprintf("the delivery log %s is not a file of its own but %s, and run refuses it", c.Log.Deliveries, kindOf(info.Mode())),
				"name a file, or one that is not there yet, in log.deliveries", at...)
			finding.Severity = capture.Error
			found = append(found, finding)
		case info.Mode().Perm()&0o006 != 0:
			found = append(found, c.Finding("delivery_log_readable",
				fmt.Sprintf("everybody may read or write the delivery log %s, which holds row data (mode %04o)", c.Log.Deliveries, info.Mode().Perm()),
				"chmod o-rw "+c.Log.Deliveries, at...))
		}
	}
	for _, secret := range c.secrets {
		if info, err := os.Stat(secret.path); err == nil && info.Mode().Perm()&0o004 != 0 {
			found = append(found, capture.Finding{
				Severity: capture.Warning,
				Code:     "secret_readable",
				Subject:  secret.path,
				Text:     fmt.Sprintf("everybody may read this secret (mode %04o); it is named in line %d", info.Mode().Perm(), secret.line),
				Remedy:   "chmod o-r " + secret.path,
			})
		}
	}
	return found
}
