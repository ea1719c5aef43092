package delivery

import "fmt"

// Profile is a destination that is ready for work: its config, the sender that reaches it and
// the formatter that speaks its language. It is immutable.
type Profile struct {
	code          string
	config        ProfileConfig
	sender        Sender
	formatter     Formatter
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

// splits reports whether a group that is too large for one request is sent in numbered parts.
func (p *Profile) splits() bool { return p.config.Format != formatRakuraku }

// dry reports whether nothing is sent.
func (p *Profile) dry() bool { return p.config.Mode == "dry_run" }

// ordered reports whether events of one ordering key wait for each other.
func (p *Profile) ordered() bool { return p.config.Order != "none" }
