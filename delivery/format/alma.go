package format

import (
	"encoding/base64"
	"time"

	"rowhook/delivery"
)

// almaProduct is the library system Alma. Its listeners end a delivery with any 4xx, and are often
// built on Express, whose parser refuses more than 100 kB with 413.
func almaProduct() delivery.Product {
	return delivery.Product{
		Name: "alma",
		Preset: func(c *delivery.ProfileConfig) {
			c.Timeout = 5 * time.Second
			c.Signature = "alma"
			c.Challenge = "query"
			c.Retry.Schedule = []time.Duration{time.Hour, 3 * time.Hour, 6 * time.Hour}
			c.Replies = []delivery.ReplyConfig{{Status: "3xx", Action: "dead"}, {Status: "4xx", Action: "dead"}}
			c.Alert.On, c.Alert.Text = "attempt", "alma"
		},
		Section: func(c *delivery.ProfileConfig) { c.Alma.NullMembers = "omit" },
		Units: delivery.UnitRule{
			Only: []string{delivery.UnitRecord},
			Text: "alma knows requests with one event only", Remedy: "write record",
		},
		Formatter:   func(c delivery.ProfileConfig) (delivery.Formatter, error) { return newAlma(c) },
		XML:         true,
		DeletedRows: true,
		UsualBody:   100 << 10,
		Signature:   &delivery.Signature{Header: "X-Exl-Signature", Encode: base64.StdEncoding.AppendEncode},
	}
}
