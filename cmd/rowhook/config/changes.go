package config

import (
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
		case key == "state" || strings.HasPrefix(key, "source."):
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
