package config

import (
	"errors"
	"strings"

	"gopkg.in/yaml.v3"
)

// errGuestFile is said of a file that only a guest names.
var errGuestFile = errors.New("files that the config in force does not name are not looked at here")

// guestSecret stands for secrets in them.
const guestSecret = "whsec_bm8gc2VjcmV0LCBub3RoaW5nIGlzIHNlbnQ="

// ParseGuest is [Parse] for a config that somebody shows us in place of this one's file. Whoever may
// ask for it need not be allowed to look around on this machine: of files and environment variables
// only those are read that this config names, too. Something stands for the others, and [Unlooked]
// tells the errors that come of it.
func (c *Config) ParseGuest(data []byte) (*Config, error) {
	env := func(name string) (string, bool) {
		if name == environmentVariable || mentions(c.root, "${"+name+"}") || mentions(c.root, "${"+name+":") {
			return c.env(name)
		}
		return "guest", true
	}
	return Parse(c.file, data, env, func(path string) ([]byte, error) {
		if _, known := c.read[path]; known && path != c.file {
			return ReadSecret(path)
		}
		return nil, &absentSecret{errGuestFile, guestSecret}
	})
}

// Unlooked reports whether an error says no more than that a guest's file was not looked at.
func Unlooked(err error) bool { return strings.Contains(err.Error(), errGuestFile.Error()) }

// mentions reports whether a text stands in any scalar.
func mentions(n *yaml.Node, text string) bool {
	if n == nil {
		return false
	}
	if strings.Contains(n.Value, text) {
		return true
	}
	for _, inner := range n.Content {
		if mentions(inner, text) {
			return true
		}
	}
	return false
}
