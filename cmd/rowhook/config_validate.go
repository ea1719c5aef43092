package main

import (
	"regexp"

	"rowhook/delivery/format"
	"rowhook/delivery/webhook"
)

var profileCode = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// validate says what is wrong beyond the values' own notation: each room checks its section.
func (c *Config) validate() configErrors {
	var errs configErrors
	refuse := func(text string, path ...string) { errs = append(errs, c.problem(path, text, "")) }
	if c.Source.Type == "" {
		refuse("missing; expected postgres", "source", "type")
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
		p := &c.Profiles[i]
		if !profileCode.MatchString(p.Code) {
			refuse("a profile's code takes letters, digits, _ and - only", "profiles", p.Code)
		}
		errs = errs.with(c.problems(p.Validate()))
		_, err := webhook.New(*p, webhook.Options{})
		errs = errs.with(c.problems(err))
		_, err = format.New(*p)
		errs = errs.with(c.problems(err))
	}
	return errs.with(c.problems(c.Log.Validate()))
}
