package engine

import (
	"fmt"
	"slices"

	"rowhook/delivery"
)

// Profile is a destination that is ready for work: its config, what is known of its product, the
// sender that reaches it and the formatter that speaks its language. It is immutable.
type Profile struct {
	code          string
	config        delivery.ProfileConfig
	product       delivery.Product
	sender        delivery.Sender
	formatter     delivery.Formatter
	flagger       delivery.Flagger // the formatter, when it is one
	subscriptions delivery.Subscriptions
	schedule      schedule
	rate          delivery.Rate
	bodyLimit     int                 // see LogRecord
	challenger    delivery.Challenger // the sender, when it is one
}

// NewProfile checks a profile's config (see [delivery.ProfileConfig.Validate]) and compiles it.
func NewProfile(config delivery.ProfileConfig, product delivery.Product, sender delivery.Sender, formatter delivery.Formatter) (*Profile, error) {
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
		product:   product,
		sender:    sender,
		formatter: formatter,
		schedule:  newSchedule(config.Retry),
	}
	p.rate, _ = delivery.ParseRate(config.Rate) // validated
	p.bodyLimit = config.BodyLimit()
	p.flagger, _ = formatter.(delivery.Flagger)
	p.challenger, _ = sender.(delivery.Challenger)
	p.subscriptions = delivery.CompileSubscriptions(config.Subscriptions)
	return p, nil
}

// Code returns the profile's code: its name in the config.
func (p *Profile) Code() string { return p.code }

// Subscribes reports whether the profile has a subscription for events of that type and mapping
// entry, its conditions on rows and operations aside.
func (p *Profile) Subscribes(eventType, entry string) bool {
	return p.subscriptions.Names(eventType, entry)
}

// RouterOf makes a router that numbers the profiles by their places in the list, from 0, for
// telling who would get an event where nothing is delivered.
func RouterOf(profiles []*Profile) *delivery.Router {
	ids := make([]delivery.ProfileID, len(profiles))
	for i := range ids {
		ids[i] = delivery.ProfileID(i)
	}
	return newRouter(profiles, ids)
}

// newRouter makes a router for profiles with their numbers.
func newRouter(profiles []*Profile, ids []delivery.ProfileID) *delivery.Router {
	targets := make([]delivery.Target, len(profiles))
	for i, p := range profiles {
		targets[i] = delivery.Target{ID: ids[i], Subscriptions: p.subscriptions}
	}
	return delivery.NewRouter(targets)
}

// flags names the event's columns that are not in the body as the database has them.
func (p *Profile) flags(ev *delivery.Event) []string {
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
func (p *Profile) splits() bool { return !p.product.Whole }

// dry reports whether nothing is sent.
func (p *Profile) dry() bool { return p.config.Mode == "dry_run" }

// ordered reports whether events of one ordering key wait for each other.
func (p *Profile) ordered() bool { return p.config.Order != "none" }

// off reports whether the config has the profile inactive.
func (p *Profile) off() bool { return p.config.Active != nil && !*p.config.Active }

// challenged reports whether the endpoint has to agree.
func (p *Profile) challenged() bool {
	return p.challenger != nil && !p.dry() && p.config.Challenge != "" && p.config.Challenge != "none"
}

// endpoint is where the profile's requests go; zero when its sender does not say.
func (p *Profile) endpoint() delivery.Endpoint {
	if p.challenger == nil {
		return delivery.Endpoint{}
	}
	return p.challenger.Endpoint()
}
