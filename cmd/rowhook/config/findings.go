package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rowhook/capture"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/delivery/webhook"
	"rowhook/mapping"
)

// Findings says what is odd about the config without being wrong, for `rowhook check`. What
// rooms have to say beside it goes through [Config.warnings].
func (c *Config) Findings() []capture.Finding {
	found := c.secretFindings()
	for i := range c.Profiles {
		p := &c.Profiles[i]
		if sender, err := webhook.New(*p, webhook.Options{Products: c.products}); err == nil {
			found = append(found, c.warnings("profile", sender.Warnings()...)...)
		}
		found = append(found, c.subscriptionFindings(p)...)
		found = append(found, c.productFindings(p)...)
		if len(p.Contacts) > 0 && !c.Alerts.Enabled() {
			found = append(found, c.Finding("contacts", fmt.Sprintf("profile %s has contacts, and no mail is sent: alerts.smtp names no server", p.Code),
				"write alerts.smtp with host and from", "profiles", p.Code, "contacts"))
		}
	}
	return found
}

// Finding is a warning about a place in the config.
func (c *Config) Finding(code, text, remedy string, path ...string) capture.Finding {
	at := c.Place(path...)
	return capture.Finding{Severity: capture.Warning, Code: code, Subject: at, At: at, Text: c.hide(text), Remedy: remedy}
}

// Place is where in the file a path leads, as editors and terminals take it.
func (c *Config) Place(path ...string) string {
	line, column := c.locate(path...)
	return fmt.Sprintf("%s:%d:%d", c.file, line, column)
}

// TableFindings compares the mapping with tables as the database has them.
func (c *Config) TableFindings(tables []*capture.Table) []capture.Finding {
	var found []capture.Finding
	named := mapping.ByName(tables)
	for _, table := range tables {
		for _, f := range c.rules.Check(table, named) {
			f.At = c.Place(f.Path...)
			found = append(found, f.Finding)
		}
	}
	return found
}

// AtTables adds the place of the mapping entry, or the setting, by which a table is named to
// findings of the source about it.
func (c *Config) AtTables(found []capture.Finding) []capture.Finding {
	var places tablePlaces // of tables there may be thousands, of findings too
	for i := range found {
		if found[i].At != "" || found[i].Table == "" {
			continue
		}
		if places.exact == nil {
			places = c.tablePlaces()
		}
		if path := places.of(found[i].Table); path != nil {
			found[i].At = c.Place(path...)
		}
	}
	return found
}

// tablePlaces leads to what names a table. An entry of its own comes before a wildcard's, and that
// before the settings.
type tablePlaces struct {
	exact, settings map[string][]string
	wildcards       []tablePlace
}

type tablePlace struct {
	pattern string
	path    []string
}

func (c *Config) tablePlaces() tablePlaces {
	p := tablePlaces{exact: map[string][]string{}, settings: map[string][]string{
		c.Source.Signals.Table: {"source", "signals", "table"},
	}}
	p.settings[c.Source.Context.Table] = []string{"source", "context", "table"}
	for i := range c.Mapping {
		name, at := c.Mapping[i].Table, []string{"mapping", c.Mapping[i].Name, "table"}
		if name == "" {
			name, at = c.Mapping[i].Name, at[:2]
		}
		switch {
		case strings.Contains(name, "*"):
			p.wildcards = append(p.wildcards, tablePlace{name, at})
		case p.exact[name] == nil:
			p.exact[name] = at
		}
	}
	return p
}

// of returns the path; nil where nothing names the table.
func (p *tablePlaces) of(table string) []string {
	if path := p.exact[table]; path != nil {
		return path
	}
	for _, w := range p.wildcards {
		if delivery.MatchGlob(w.pattern, table) {
			return w.path
		}
	}
	return p.settings[table]
}

// warnings makes findings of what a room says about the config with a ConfigPath, but does not
// refuse.
func (c *Config) warnings(code string, said ...error) []capture.Finding {
	var found []capture.Finding
	for _, one := range capture.Errors(errors.Join(said...)) {
		problem := c.problems(one)[0]
		at := fmt.Sprintf("%s:%d:%d", problem.file, problem.line, problem.column)
		found = append(found, capture.Finding{Severity: capture.Warning, Code: code, Subject: at, At: at, Text: problem.text, Remedy: problem.remedy})
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
			text := fmt.Sprintf("profile %s: %q fits no %s of the mapping%s", p.Code, glob, what, spelling.DidYouMean(glob, names))
			found = append(found, c.Finding(code, text, "rowhook check --events lists every event", append(path, strconv.Itoa(i))...))
		}
	}
	for i, s := range p.Subscriptions {
		at := []string{"profiles", p.Code, "subscriptions", strconv.Itoa(i)}
		report("subscription_event", "event type", s.Events, types, append(slices.Clone(at), "events")...)
		report("subscription_table", "entry", s.Tables, entries, append(slices.Clone(at), "tables")...)
	}
	return found
}

// Rounded lists the entries of which some profile gets 64-bit integers as JSON numbers, which
// JavaScript and others round.
func (c *Config) Rounded() map[string]bool {
	entries := map[string]bool{}
	for i := range c.Profiles {
		p := &c.Profiles[i]
		if product := c.products.Of(p.Format); !product.Rounds(p) {
			continue
		}
		for _, e := range c.rules.Events() {
			entries[e.Entry] = entries[e.Entry] || subscribes(p, e.Type, e.Entry)
		}
	}
	return entries
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
