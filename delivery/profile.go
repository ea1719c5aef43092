package delivery

import (
	"fmt"
	"slices"
)

// Profile is a destination that is ready for work: its config, the sender that reaches it and
// the formatter that speaks its language. It is immutable.
type Profile struct {
	code          string
	config        ProfileConfig
	sender        Sender
	formatter     Formatter
	flagger       Flagger // the formatter, when it is one
	subscriptions []subscription
	schedule      schedule
	rate          Rate
	bodyLimit     int        // see LogRecord
	challenger    Challenger // the sender, when it is one
}

// NewProfile checks a profile's config (see [ProfileConfig.Validate]) and compiles it.
func NewProfile(config ProfileConfig, sender Sender, formatter Formatter) (*Profile, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if sender == nil || formatter == nil {
		return nil, fmt.Errorf("profile %s has no sender or no formatter", config.Code)
	}
	if err := config.CheckUnit(formatter); err != nil {
		return nil, err
	}
	p := &Profile{
		code:      config.Code,
		config:    config,
		sender:    sender,
		formatter: formatter,
		schedule:  newSchedule(config.Retry),
	}
	p.rate, _ = ParseRate(config.Rate) // validated
	p.bodyLimit = config.BodyLimit()
	p.flagger, _ = formatter.(Flagger)
	p.challenger, _ = sender.(Challenger)
	for i := range config.Subscriptions {
		p.subscriptions = append(p.subscriptions, compileSubscription(&config.Subscriptions[i]))
	}
	return p, nil
}

// BodyLimit is what [LogRecord] has as its BodyLimit in lines about the profile's deliveries.
func (c *ProfileConfig) BodyLimit() int {
	switch {
	case c.LogBody == nil:
		return 0
	case *c.LogBody == 0:
		return -1
	}
	return *c.LogBody
}

// Code returns the profile's code: its name in the config.
func (p *Profile) Code() string { return p.code }

// flags names the event's columns that are not in the body as the database has them.
func (p *Profile) flags(ev *Event) []string {
	if p.flagger == nil {
		return ev.Flags
	}
	more := p.flagger.Flags(ev)
	if len(more) == 0 {
		return ev.Flags
	}
	return appendNew(slices.Clip(ev.Flags), more)
}

// appendNew appends the texts that the list does not have.
func appendNew(list, texts []string) []string {
	for _, text := range texts {
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// splits reports whether a group that is too large for one request is sent in numbered parts.
func (p *Profile) splits() bool { return p.config.Format != formatRakuraku }

// dry reports whether nothing is sent.
func (p *Profile) dry() bool { return p.config.Mode == "dry_run" }

// ordered reports whether events of one ordering key wait for each other.
func (p *Profile) ordered() bool { return p.config.Order != "none" }
