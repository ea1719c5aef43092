package config

import (
	"slices"
	"strings"

	"rowhook/delivery"
)

// Profile returns a profile's config; nil when there is none.
func (c *Config) Profile(code string) *delivery.ProfileConfig {
	for i := range c.Profiles {
		if c.Profiles[i].Code == code {
			return &c.Profiles[i]
		}
	}
	return nil
}

// noteOrdering tells each profile what the ordering keys of its events are made of.
func (c *Config) noteOrdering() {
	events := c.rules.Events()
	for i := range c.Profiles {
		p := &c.Profiles[i]
		made := map[string][]string{}
		for _, ev := range events {
			if ev.Table != "" && subscribes(p, ev.Type, ev.Entry) && !slices.Contains(made[ev.Table], ev.Order) {
				made[ev.Table] = append(made[ev.Table], ev.Order)
			}
		}
		p.Ordering = make(map[string]string, len(made))
		for table, orders := range made {
			slices.Sort(orders)
			p.Ordering[table] = strings.Join(orders, " ")
		}
	}
}

// subscribes reports whether a profile may get events of a type and mapping entry.
func subscribes(p *delivery.ProfileConfig, eventType, entry string) bool {
	return len(p.Subscriptions) == 0 || slices.ContainsFunc(p.Subscriptions, func(s delivery.SubscriptionConfig) bool {
		return fitsAny(s.Events, eventType) && fitsAny(s.Tables, entry)
	})
}
