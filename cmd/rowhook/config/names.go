package config

import (
	"fmt"
	"slices"

	"rowhook/delivery/format"
)

// validateNames refuses names in the mapping that would break the promise of the formats alma and rakuraku: that their bodies are what
// JavaScript's JSON.stringify(JSON.parse(body)) gives.
func (c *Config) validateNames() configErrors {
	var errs configErrors
	var told []string
	refuse := func(name, fault, hint string, path ...string) {
		if place := fmt.Sprint(path); !slices.Contains(told, place) {
			told = append(told, place)
			errs = append(errs, c.problem(path, fmt.Sprintf("%q %s", name, fault), hint))
		}
	}
	for i := range c.Profiles {
		p := &c.Profiles[i]
		for _, e := range c.rules.Events() {
			if !subscribes(p, e.Type, e.Entry) {
				continue
			}
			switch object, path := c.objectOf(e.Type, e.Entry); {
			case p.Format == "alma" && object != "":
				if fault := format.AlmaObjectFault(p, object); fault != "" {
					refuse(object, fault, "give the payload another name, such as item_loan", path...)
				}
			case p.Format == "rakuraku":
				for _, item := range p.Rakuraku.Entries[e.Entry].Items {
					if fault := format.NameFault(item.ID); fault != "" {
						refuse(item.ID, fault, "item ids of RakuRaku look like rakwdb_app20_main_1",
							"mapping", e.Entry, "rakuraku", "items", item.Member, "id")
					}
				}
			}
		}
	}
	return errs
}

// objectOf is the payload's name that the mapping, or the signals' section, gives an event, and where it does.
func (c *Config) objectOf(eventType, entry string) (object string, path []string) {
	if entry == "" {
		for _, s := range c.Source.Signals.Types {
			if s.Type == eventType {
				return s.Object, []string{"source", "signals", "types", s.Type, "object"}
			}
		}
		return "", nil
	}
	for i := range c.Mapping {
		if c.Mapping[i].Name == entry {
			return c.Mapping[i].Object, []string{"mapping", entry, "object"}
		}
	}
	return "", nil
}
