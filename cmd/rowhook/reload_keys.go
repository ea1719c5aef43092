package main

import (
	"reflect"
	"slices"
	"strings"
)

// What a running agent can take from a config is the mapping, the profiles with their defaults, and where context and
// signals come from. Of the rest, what says whom this agent works for is refused; it would be another agent. The others
// wait for a restart, and are named.

// reloaded are the sections that take effect at a reload.
var reloaded = []string{"mapping", "defaults", "profiles", "alerts", "source.context", "source.signals", "admin.tokens"}

// startOnly returns the keys that differ from the config before and take effect at a start only: those that make it
// another agent, and the others.
func (c *Config) startOnly(before *Config) (fixed, restart []string) {
	for _, key := range differingKeys("", reflect.ValueOf(*c), reflect.ValueOf(*before)) {
		switch {
		case slices.Contains(reloaded, key):
		case key == "source.password" || key == "source.password_file":
			restart = append(restart, key) // the database's owner has changed it, and the agent is connected
		case key == "state" || strings.HasPrefix(key, "source."):
			fixed = append(fixed, key)
		default:
			restart = append(restart, key)
		}
	}
	return fixed, restart
}

// differingKeys lists the keys whose values differ, sections that take effect at a reload as a whole.
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
		case shapeOf(f.typ) == shapeObject && !slices.Contains(reloaded, key):
			keys = append(keys, differingKeys(key, x, y)...)
		default:
			keys = append(keys, key)
		}
	}
	return keys
}

// refuseFixed is the error about keys that only a start can change; nil when there are none.
func (c *Config) refuseFixed(keys []string) error {
	var errs configErrors
	for _, key := range keys {
		errs = append(errs, c.problem(strings.Split(key, "."), "cannot change while the agent runs",
			"restart rowhook, or undo the change and reload the rest"))
	}
	return errs.orNil()
}
