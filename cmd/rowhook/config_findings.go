package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/webhook"
)

// findings says what is odd about the config without being wrong, for `rowhook check`. What
// rooms have to say beside it goes through [Config.warnings].
func (c *Config) findings() []capture.Finding {
	found := c.secretFindings()
	for i := range c.Profiles {
		p := &c.Profiles[i]
		if sender, err := webhook.New(*p, webhook.Options{}); err == nil {
			found = append(found, c.warnings("profile", sender.Warnings()...)...)
		}
		found = append(found, c.subscriptionFindings(p)...)
		if len(p.Contacts) > 0 && !c.Alerts.Enabled() {
			found = append(found, c.finding("contacts", fmt.Sprintf("profile %s has contacts, and no mail is sent: alerts.smtp names no server", p.Code),
				"write alerts.smtp with host and from", "profiles", p.Code, "contacts"))
		}
	}
	return found
}

// finding is a warning about a place in the config.
func (c *Config) finding(code, text, remedy string, path ...string) capture.Finding {
	line, column := c.locate(path...)
	return capture.Finding{
		Severity: capture.Warning,
		Code:     code,
		Subject:  fmt.Sprintf("%s:%d:%d", c.file, line, column),
		Text:     c.hide(text),
		Remedy:   remedy,
	}
}

// warnings makes findings of what a room says about the config with a ConfigPath, but does not refuse.
func (c *Config) warnings(code string, said ...error) []capture.Finding {
	var found []capture.Finding
	for _, one := range flatten(errors.Join(said...)) {
		problem := c.problems(one)[0]
		found = append(found, capture.Finding{
			Severity: capture.Warning,
			Code:     code,
			Subject:  fmt.Sprintf("%s:%d:%d", problem.file, problem.line, problem.column),
			Text:     problem.text,
			Remedy:   problem.hint,
		})
	}
	return found
}

// subscriptionFindings tells of globs that no event type or mapping entry fits.
func (c *Config) subscriptionFindings(p *delivery.ProfileConfig) []capture.Finding {
	types, entries := c.eventTypes()
	var found []capture.Finding
	report := func(code, what string, globs, names []string, path ...string) {
		for i, glob := range globs {
			if slices.ContainsFunc(names, func(name string) bool { return fitsAny([]string{glob}, name) }) {
				continue
			}
			text := fmt.Sprintf("profile %s: %q fits no %s of the mapping%s", p.Code, glob, what, didYouMean(glob, names))
			found = append(found, c.finding(code, text, "rowhook check --events lists every event", append(path, strconv.Itoa(i))...))
		}
	}
	for i, s := range p.Subscriptions {
		at := []string{"profiles", p.Code, "subscriptions", strconv.Itoa(i)}
		report("subscription_event", "event type", s.Events, types, append(slices.Clone(at), "events")...)
		report("subscription_table", "entry", s.Tables, entries, append(slices.Clone(at), "tables")...)
	}
	return found
}

// eventTypes lists the event types that can come, and the mapping's entries.
func (c *Config) eventTypes() (types, entries []string) {
	for _, event := range c.rules.Events() {
		types = append(types, event.Type)
	}
	for i := range c.Mapping {
		entries = append(entries, c.Mapping[i].Name)
	}
	return append(types, "rowhook.gap"), entries
}
