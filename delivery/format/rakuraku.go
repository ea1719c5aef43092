package format

import (
	"time"

	"rowhook/delivery"
)

// rakurakuProduct is RakuRaku WebDatabase, which sends once, and tries again three times whatever
// the answer was.
func rakurakuProduct() delivery.Product {
	return delivery.Product{
		Name: "rakuraku",
		Preset: func(c *delivery.ProfileConfig) {
			c.Timeout = 10 * time.Second
			c.Signature = "none"
			c.Success = []string{"200", "201"}
			c.Retry.Schedule = []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}
			c.Replies = nil
			for _, status := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
				c.Replies = append(c.Replies, delivery.ReplyConfig{Status: status, Action: "retry"})
			}
			c.Alert.On, c.Alert.Text = "final", "rakuraku"
		},
		Section: func(c *delivery.ProfileConfig) {
			c.Rakuraku = delivery.RakurakuConfig{
				Timezone: "Asia/Tokyo", AppCodeField: "appCode", NullValue: "empty",
				DateFormat: "YYYY-MM-DD", DatetimeFormat: "YYYY-MM-DD hh:mm:ss",
			}
		},
		Units: delivery.UnitRule{
			Only:   []string{delivery.UnitRecord, delivery.UnitType},
			Text:   "rakuraku knows records and operations",
			Remedy: "write record, or type for what one transaction did of one kind",
		},
		Keyed:     true,
		Formatter: func(c delivery.ProfileConfig) (delivery.Formatter, error) { return newRakuraku(c) },
		Whole:     true,
		Items: func(p *delivery.ProfileConfig, entries map[string]delivery.RakurakuEntry) {
			p.Rakuraku.Entries = entries
		},
	}
}
