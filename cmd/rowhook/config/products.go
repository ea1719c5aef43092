package config

import (
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// validateProducts has each profile's product check what the mapping makes for the profile. What
// is wrong with the mapping is told once, whichever profiles it concerns.
func (c *Config) validateProducts() configErrors {
	var errs configErrors
	var told []string
	for i := range c.Profiles {
		p := &c.Profiles[i]
		check := c.products.Of(p.Format).Check
		if check == nil {
			continue
		}
		for _, wrong := range check(p, c.eventsFor(p)) {
			if place := strings.Join(wrong.Path, "\x00"); wrong.Path[0] != "profiles" {
				if slices.Contains(told, place) {
					continue
				}
				told = append(told, place)
			}
			errs = append(errs, c.problem(wrong.Path, wrong.Text, wrong.Remedy))
		}
	}
	return errs
}

// productFindings says what the profile's receiver can do little with.
func (c *Config) productFindings(p *delivery.ProfileConfig) []capture.Finding {
	look := c.products.Of(p.Format).Findings
	if look == nil {
		return nil
	}
	var found []capture.Finding
	for _, f := range look(p, c.eventsFor(p)) {
		found = append(found, c.Finding(f.Code, f.Text, f.Remedy, f.Path...))
	}
	return found
}

// eventsFor lists the types of events that a profile gets, in the mapping's order.
func (c *Config) eventsFor(p *delivery.ProfileConfig) []delivery.EventType {
	var events []delivery.EventType
	for _, e := range c.rules.Events() {
		if !subscribes(p, e.Type, e.Entry) {
			continue
		}
		event := delivery.EventType{Type: e.Type, Entry: e.Entry, Ops: e.Ops, Unnamed: e.Unnamed}
		event.Object, event.ObjectAt = c.objectOf(e.Type, e.Entry)
		for i := range c.Mapping {
			if c.Mapping[i].Name == e.Entry {
				event.Code, event.Link = c.Mapping[i].Code, c.Mapping[i].Link
			}
		}
		events = append(events, event)
	}
	return events
}

// objectOf is the payload's name that the mapping, or the signals' section, gives an event, and
// where it does.
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
