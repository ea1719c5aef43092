package delivery

import "time"

// preset changes the defaults to what the receivers of the profile's format know from the product that they were written for.
func (c *ProfileConfig) preset() {
	switch c.Format {
	case "alma":
		c.Timeout = 5 * time.Second
		c.Signature = "alma"
		c.Challenge = "query"
		c.Retry.Schedule = []time.Duration{time.Hour, 3 * time.Hour, 6 * time.Hour}
		c.Replies = []ReplyConfig{{"3xx", "dead"}, {"4xx", "dead"}}
	case "rakuraku":
		c.Timeout = 10 * time.Second
		c.Signature = "none"
		c.Success = []string{"200", "201"}
		c.Retry.Schedule = []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}
		c.Replies = []ReplyConfig{{"1xx", "retry"}, {"2xx", "retry"}, {"3xx", "retry"}, {"4xx", "retry"}, {"5xx", "retry"}}
	case "slack":
		c.Signature = "none" // an incoming webhook's URL is its secret
	}
}

// usualBody is how large a body receivers of the format take where nobody has set them up otherwise; 0 is not known. Listeners of Alma's
// are often built on Express, whose parser refuses more than 100 kB with 413, which ends the delivery.
func (c *ProfileConfig) UsualBody() int {
	if c.Format == "alma" {
		return 100 << 10
	}
	return 0
}
