package config

import (
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rowhook/capture/mysql"
	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/delivery/webhook"
	"rowhook/mapping"
)

// The kinds of sources.
const (
	typePostgres = "postgres"
	typeMySQL    = "mysql"
)

var profileCode = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// validate says what is wrong beyond the values' own notation: each room checks its section. The
// mapping is left out while it could not be read whole; its rooms would stumble over the same
// things.
func (c *Config) validate(readFile func(string) ([]byte, error), mappingUnread bool) configErrors {
	var errs configErrors
	refuse := func(text string, path ...string) { errs = append(errs, c.problem(path, text, "")) }
	if c.Source.Type == "" {
		refuse("missing; expected postgres or mysql", "source", "type")
	}
	if c.Source.URL == "" {
		refuse("missing; expected the database's URL, such as postgres://rowhook@127.0.0.1/library", "source", "url")
	}
	if len(c.Mapping) == 0 {
		refuse("missing; expected at least one table, such as circulation.loans: {}", "mapping")
	}
	if c.State == "" {
		refuse("missing; expected a directory", "state")
	}
	for i := range c.Profiles {
		if code := c.Profiles[i].Code; !profileCode.MatchString(code) {
			refuse("a profile's code takes letters, digits, _ and - only", "profiles", code)
		}
		c.noteItems(&c.Profiles[i])
		errs = errs.with(c.validateProfile(&c.Profiles[i]))
	}
	errs = errs.with(c.problems(c.Log.Validate())).with(c.problems(c.Account.Validate())).with(c.validateEnvironment()).with(c.problems(c.Alerts.Validate())).with(c.problems(c.Cluster.Validate())).with(c.validateAdmin(readFile))
	if mappingUnread {
		return errs
	}
	errs = errs.with(c.validateSource())
	rules, err := mapping.Compile(c.Mapping, mapping.Options{
		Context: c.Source.Context, Signals: c.Source.Signals, Lookups: c.Lookups, DeletedRows: c.sendsDeletedRows, Asked: c.askedColumns,
		ReadFile: readFile,
	})
	if err != nil {
		return errs.with(c.problems(err))
	}
	c.rules = rules
	return errs.with(c.validateOperations()).with(c.validateProducts())
}

// sendsDeletedRows reports whether a profile gets the event in a format that sends deleted rows
// with their last content.
func (c *Config) sendsDeletedRows(eventType, entry string) bool {
	return slices.ContainsFunc(c.Profiles, func(p delivery.ProfileConfig) bool {
		return c.products.Of(p.Format).DeletedRows && subscribes(&p, eventType, entry)
	})
}

// askedColumns are the columns that subscriptions' conditions may name of an entry's events.
func (c *Config) askedColumns(entry string) (columns []string) {
	for i := range c.Profiles {
		for _, s := range c.Profiles[i].Subscriptions {
			if len(s.Tables) > 0 && !slices.ContainsFunc(s.Tables, func(glob string) bool { return delivery.MatchGlob(glob, entry) }) {
				continue
			}
			for _, condition := range s.Where {
				columns = append(columns, condition.Column)
			}
		}
	}
	return columns
}

// noteItems tells a profile what the mapping says of its product's bodies.
func (c *Config) noteItems(p *delivery.ProfileConfig) {
	note := c.products.Of(p.Format).Items
	if note == nil {
		return
	}
	entries := make(map[string]delivery.RakurakuEntry, len(c.Mapping))
	for i := range c.Mapping {
		entry := c.Mapping[i].Rakuraku
		entry.Linked = c.Mapping[i].Link != ""
		entries[c.Mapping[i].Name] = entry
	}
	note(p, entries)
}

func (c *Config) validateProfile(p *delivery.ProfileConfig) configErrors {
	errs := append(c.problems(p.Validate()), c.problems(c.products.Validate(p))...)
	_, err := webhook.New(*p, webhook.Options{Products: c.products})
	errs = errs.with(c.problems(err))
	formatter, err := c.products.Formatter(*p)
	errs = errs.with(c.problems(err))
	if formatter != nil {
		errs = errs.with(c.problems(p.CheckUnit(formatter)))
	}
	if len(errs) > 0 {
		return errs
	}
	if p.Sandbox.URL == "" {
		return nil
	}
	_, err = InSandbox(c.products, *p, p.Sandbox)
	return c.problems(err)
}

// validateSource has the source check its connection settings, without connecting.
func (c *Config) validateSource() configErrors {
	if c.Source.URL == "" {
		return nil
	}
	schemes, example := []string{"postgres://", "postgresql://"}, "postgres://rowhook@127.0.0.1/library"
	if c.Source.Type == typeMySQL {
		schemes, example = []string{"mysql://"}, "mysql://rowhook@127.0.0.1:3306/library"
	}
	fits := func(scheme string) bool { return strings.HasPrefix(c.Source.URL, scheme) }
	if !slices.ContainsFunc(schemes, fits) {
		return configErrors{c.problem([]string{"source", "url"}, "expected the database's URL, such as "+example, "")}
	}
	if errs := c.foreignSourceKeys(); len(errs) > 0 {
		return errs
	}
	if id := c.Source.ServerID; id < 0 || id > math.MaxUint32 {
		return configErrors{c.problem([]string{"source", "server_id"}, fmt.Sprintf("expected a number from 1 to %d", uint32(math.MaxUint32)), "")}
	}
	return c.problems(c.openSource())
}

// openSource makes the source, which says what is wrong with its settings, and takes it down again.
// A URL may name files, which are read then. So a guest's settings are looked at under the URL in
// force.
func (c *Config) openSource() error {
	settings := c.Source.SourceConfig
	if c.host != nil {
		if settings.Type != c.host.Source.Type {
			return nil
		}
		settings.URL = c.host.Source.URL
	}
	var s interface{ Close() }
	var err error
	if c.Source.Type == typeMySQL {
		s, err = mysql.New(settings, mysql.Options{Logger: slog.New(slog.DiscardHandler), ServerID: uint32(c.Source.ServerID)})
	} else {
		s, err = postgres.New(settings, postgres.Options{Logger: slog.New(slog.DiscardHandler)})
	}
	if err == nil {
		s.Close()
	}
	return err
}

// foreignSourceKeys refuses keys that mean nothing to this kind of source.
func (c *Config) foreignSourceKeys() configErrors {
	kind, foreign := typePostgres, []string{"slot", "publication", "heartbeat"}
	if c.Source.Type == typePostgres {
		kind, foreign = typeMySQL, []string{"server_id"}
	}
	var errs configErrors
	for _, key := range foreign {
		if _, _, depth := walk(c.root, []string{"source", key}); depth == 2 {
			errs = append(errs, c.problem([]string{"source", key}, "only a source of type "+kind+" has it", ""))
		}
	}
	if c.Source.Type == typePostgres && c.Source.Context.Comment {
		errs = append(errs, c.problem([]string{"source", "context", "comment"}, "PostgreSQL's stream does not carry the comments of statements",
			"tell the context by a message (context.message) or a row (context.table)"))
	}
	if c.Source.Type == typeMySQL {
		errs = append(errs, c.foreignMessages()...)
	}
	return errs
}

// foreignMessages refuses messages where no database sends any. The default prefix of
// context.message is nobody's word.
func (c *Config) foreignMessages() configErrors {
	const none = "MySQL's and MariaDB's binlog carries no messages"
	var errs configErrors
	context, signals := []string{"source", "context", "message"}, []string{"source", "signals", "message"}
	if _, _, depth := walk(c.root, context); depth == len(context) && c.Source.Context.Message != "" {
		errs = append(errs, c.problem(context, none, "tell the context by the statement's comment (context.comment: true) or a row (context.table)"))
	}
	if c.Source.Signals.Message != "" {
		errs = append(errs, c.problem(signals, none, "tell signals by rows of a table (signals.table)"))
	}
	return errs
}

// validateOperations refuses filters for operations that cannot come: those outside the closed
// lists of all events that the subscription is about.
func (c *Config) validateOperations() configErrors {
	var errs configErrors
	events := c.rules.Events()
	for _, p := range c.Profiles {
		for i, s := range p.Subscriptions {
			possible, closed := operationsOf(events, s)
			if !closed {
				continue
			}
			path := []string{"profiles", p.Code, "subscriptions", strconv.Itoa(i), "operations"}
			errs = append(errs, c.foreignOperations(s.Operations.Only, possible, path...)...)
			errs = append(errs, c.foreignOperations(s.Operations.Not, possible, append(path, "not")...)...)
		}
	}
	return errs
}

func (c *Config) foreignOperations(globs, possible []string, path ...string) configErrors {
	var errs configErrors
	for i, glob := range globs {
		fits := func(operation string) bool { return delivery.MatchGlob(glob, operation) }
		if slices.ContainsFunc(possible, fits) {
			continue
		}
		text := fmt.Sprintf("%q is in none of the events' lists of operations: %s%s", glob, strings.Join(possible, ", "), spelling.DidYouMean(glob, possible))
		errs = append(errs, c.problem(append(slices.Clone(path), strconv.Itoa(i)), text, ""))
	}
	return errs
}

// operationsOf returns the operations by which a subscription's events can come, and
// whether these are all.
func operationsOf(events []mapping.EventInfo, s delivery.SubscriptionConfig) (possible []string, closed bool) {
	for _, event := range events {
		if !fitsAny(s.Events, event.Type) || !fitsAny(s.Tables, event.Entry) {
			continue
		}
		if event.Operations == nil {
			return nil, false
		}
		possible = append(possible, event.Operations...)
	}
	slices.Sort(possible)
	return slices.Compact(possible), len(possible) > 0
}

// fitsAny reports whether a name fits one of the globs; no globs fit everything.
func fitsAny(globs []string, name string) bool {
	return len(globs) == 0 || slices.ContainsFunc(globs, func(glob string) bool { return delivery.MatchGlob(glob, name) })
}
