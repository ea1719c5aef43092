package config

import (
	"errors"
	"strings"

	"gopkg.in/yaml.v3"

	"rowhook/capture"
)

// errGuestFile is said of a file that only a guest names.
var errGuestFile = errors.New("files that the config in force does not name, or not there, are not looked at here")

// guestSecret stands for secrets in them.
const guestSecret = "whsec_bm8gc2VjcmV0LCBub3RoaW5nIGlzIHNlbnQ="

// ParseGuest is [Parse] for a config that somebody shows us in place of this one's file. Whoever may
// ask for it need not be allowed to look around on this machine. So environment variables and files
// count only where this config has the same words at the same place: elsewhere, their content might
// come back in what is said of it. Something stands for the others, and [Config.Unlooked] tells the errors
// that come of it.
func (c *Config) ParseGuest(data []byte) (*Config, error) {
	return parse(c.file, data, c.env, func(path string) ([]byte, error) {
		if _, known := c.read[path]; known && path != c.file {
			return ReadSecret(path)
		}
		return guestFile(path)
	}, c)
}

// guestFile stands for a file that is not looked at.
func guestFile(string) ([]byte, error) { return nil, &absentSecret{errGuestFile, guestSecret} }

// guestEnv stands for environment variables, but for the one that is no secret.
func guestEnv(env func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if name == environmentVariable {
			return env(name)
		}
		return "guest", true
	}
}

// GuestFindings are [Config.Findings] of a guest's config, and what was not looked at.
func (c *Config) GuestFindings() []capture.Finding {
	found := c.Findings()
	if c.host != nil && c.Source.URL != c.host.Source.URL {
		f := c.Finding("unlooked", "source.url differs from the URL in force: the database behind it was not asked, and its parameters were not looked at",
			"`rowhook check -c FILE` on the agent's machine does", "source", "url")
		f.Severity = capture.Info
		found = append(found, f)
	}
	return found
}

// Hide takes secrets, and values from the environment, out of a finding.
func (c *Config) Hide(f capture.Finding) capture.Finding {
	hidden := c.hidden
	if c.host != nil {
		hidden = append(hidden[:len(hidden):len(hidden)], c.host.hidden...)
	}
	for _, text := range []*string{&f.Subject, &f.Text, &f.Remedy, &f.Table} {
		*text = hideIn(*text, hidden)
	}
	return f
}

// Unlooked reports whether an error about a guest's config says no more than that a file was not
// looked at.
func (c *Config) Unlooked(err error) bool { return strings.Contains(err.Error(), errGuestFile.Error()) }

// noteKnown notes the scalars of a guest's tree that stand in the tree in force, too.
func noteKnown(known map[*yaml.Node]bool, guest, force *yaml.Node) {
	switch {
	case guest.Kind != force.Kind:
	case guest.Kind == yaml.ScalarNode:
		known[guest] = guest.Value == force.Value
	case guest.Kind == yaml.MappingNode:
		for i := 1; i < len(guest.Content); i += 2 {
			if same := child(force, guest.Content[i-1].Value); same != nil {
				noteKnown(known, guest.Content[i], same)
			}
		}
	default:
		for i := range min(len(guest.Content), len(force.Content)) {
			noteKnown(known, guest.Content[i], force.Content[i])
		}
	}
}
