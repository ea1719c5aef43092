package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"rowhook/mapping"
)

// What a running agent can take from a config is the mapping, the profiles with their defaults, and
// where context and signals come from. Of the rest, what says whom this agent works for is refused;
// it would be another agent. The others wait for a restart, and are named.

// takenByReload are the sections that take effect at a reload.
var takenByReload = []string{"mapping", "defaults", "profiles", "alerts", "source.context", "source.signals",
	"admin.console", "admin.hosts", "admin.tokens"}

// StartOnly returns the keys that differ from the config before and take effect at the next start.
// Those that would make it another agent are an error.
func (c *Config) StartOnly(before *Config) (restart []string, err error) {
	var errs configErrors
	for _, key := range differingKeys("", reflect.ValueOf(*c), reflect.ValueOf(*before)) {
		switch {
		case slices.Contains(takenByReload, key):
		case key == "source.password" || key == "source.password_file":
			restart = append(restart, key) // the database's owner has changed it, and the agent is connected
		case key == "state" || strings.HasPrefix(key, "source.") || strings.HasPrefix(key, "cluster."):
			errs = append(errs, c.problem(strings.Split(key, "."), "cannot change while the agent runs",
				"restart rowhook, or undo the change and reload the rest"))
		default:
			restart = append(restart, key)
		}
	}
	return restart, errs.orNil()
}

// differingKeys lists the keys whose values differ, sections that take effect at a reload as a
// whole.
func differingKeys(path string, a, b reflect.Value) []string {
	var keys []string
	for _, f := range specOf(a.Type()).fields {
		key := f.name
		if path != "" {
			key = path + "." + f.name
		}
		x, y := a.FieldByIndex(f.index), b.FieldByIndex(f.index)
		switch {
		case reflect.DeepEqual(x.Interface(), y.Interface()):
		case shapeOf(f.typ) == shapeObject && !slices.Contains(takenByReload, key):
			keys = append(keys, differingKeys(key, x, y)...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}

// Digest is of what the machines of a cluster have to agree on: what becomes of changes, and where
// events go. Secrets are left out, and where each machine has its files.
func (c *Config) Digest() string {
	raw, err := json.Marshal([]any{c.Mapping, c.Lookups, c.Profiles, c.Source.Type, c.Source.Name, c.Source.Slot, c.Source.Publication,
		c.Source.Environment, c.Source.Servers, c.Source.Context, c.Source.Signals, c.Rate})
	if err != nil {
		raw = []byte(err.Error())
	}
	text := hideIn(string(raw), append(slices.Collect(maps.Keys(c.read)), c.hidden...))
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// MapsOtherwise reports whether changes are mapped in another way than by the config before.
func (c *Config) MapsOtherwise(before *Config) bool {
	if !reflect.DeepEqual(c.Mapping, before.Mapping) || !reflect.DeepEqual(c.Source.Context, before.Source.Context) ||
		!reflect.DeepEqual(c.Source.Signals, before.Source.Signals) {
		return true
	}
	return slices.ContainsFunc(c.Mapping, func(e mapping.EntryConfig) bool {
		key := e.Columns.MaskKeyFile
		return key != "" && c.read[key] != before.read[key]
	})
}
