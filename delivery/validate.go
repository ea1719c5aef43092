package delivery

import (
	"fmt"
	"math"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of what a profile may ask for.
const (
	maxConcurrency = 256
	maxRetryWait   = 30 * 24 * time.Hour
	maxBatchWait   = time.Hour
)

// Defaults returns what a profile is where its product has nothing else to say, see
// [Products.Defaults].
func Defaults() ProfileConfig {
	return ProfileConfig{
		Signature:   "standard",
		Format:      DefaultFormat,
		MessageType: "json",
		Mode:        "live",
		Unit:        UnitRecord,
		Batch:       BatchConfig{Max: 100, Wait: time.Second},
		Timeout:     15 * time.Second,
		Success:     []string{"200-299"},
		Retry: RetryConfig{
			Initial:    time.Second,
			Max:        time.Hour,
			Multiplier: 2,
			Jitter:     0.2,
			MaxAge:     72 * time.Hour,
		},
		Order:       "key",
		Concurrency: 8,
		MaxBody:     1 << 20,
		Share:       0.25,
		OnFull:      "shed",
		OnDead:      "continue",
		MaxBlock:    time.Hour,
		Bigint:      "number",
		Challenge:   "none",
		Alert:       AlertConfig{On: "state", Every: 15 * time.Minute, Text: "plain"},
	}
}

// Validate checks what the engine needs of a profile: subscriptions, retry, order and bounds. URL,
// signature and replies are the sender's to check, and [Products.Validate] checks what depends on
// the format. All that is wrong is told, joined; each error has a ConfigPath and a remedy.
func (c *ProfileConfig) Validate() error {
	v := validation{ErrorsAt("profiles", c.Code)}
	for i := range c.Subscriptions {
		v.subscription(i, &c.Subscriptions[i])
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) {
		v.Add("a profile's name is one line of text", "mails and commands show it in lines of their own; description takes more", "name")
	}
	v.retry(&c.Retry)
	if c.Mode != "" {
		v.OneOf("mode", c.Mode, "live", "dry_run")
	}
	v.OneOf("order", c.Order, "key", "none")
	v.OneOf("on_full", c.OnFull, "shed", "pause_source")
	v.OneOf("on_dead", c.OnDead, "continue", "hold_key")
	if c.OnDead == "hold_key" && c.Order == "none" {
		v.Add("hold_key needs order: key", "without an order no event waits for another: write continue", "on_dead")
	}
	if c.MaxBlock < 0 {
		v.Add("a time is not negative", "write a duration such as 1h; 0 waits for retry.max_age", "max_block")
	}
	v.OneOf("bigint", c.Bigint, "number", "string")
	v.unit(c)
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		v.Add(fmt.Sprintf("%d is not between 1 and %d", c.Concurrency, maxConcurrency),
			"8 suits most receivers; more than 16 seldom helps", "concurrency")
	}
	if _, err := ParseRate(c.Rate); err != nil {
		v.Add(err.Error(), "write requests in a time, such as 50/s, 10/1s or 600/m", "rate")
	}
	if c.Timeout <= 0 {
		v.Add("a request needs a timeout", "write a duration above 0, such as 15s", "timeout")
	}
	if c.MaxBody < 1 {
		v.Add("a body needs room", "write a size such as 1MiB", "max_body")
	}
	if !(c.Share > 0 && c.Share <= 1) {
		v.Add("a share is above 0% and at most 100%", "write a share such as 25%", "share")
	}
	v.identificationKey(c.IdentificationKey, "identification_key")
	v.identificationKey(c.Sandbox.IdentificationKey, "sandbox", "identification_key")
	v.contacts(c.Contacts)
	if c.Alert.Every < 0 {
		v.Add("a time is not negative", "write a duration such as 15m; 0 leaves no mail out", "alert", "every")
	}
	if c.LogBody != nil && *c.LogBody < 0 {
		v.Add("a number of characters is 0 or more", "0 keeps no bodies", "log_body")
	}
	return v.Err()
}

// validation collects what is wrong with one profile.
type validation struct{ *ConfigErrors }

func (v validation) identificationKey(key string, path ...string) {
	for i := range len(key) {
		if c := key[i]; !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_') {
			v.Add("an identification key has other characters", "letters, digits and _ make one", path...)
			return
		}
	}
}

func (v validation) contacts(addresses []string) {
	for i, one := range addresses {
		if at, err := mail.ParseAddress(one); err != nil || at.Address != one {
			v.Add(fmt.Sprintf("%q is not a mail address", one), "write an address alone, such as circulation@example.org", "contacts", strconv.Itoa(i))
		}
	}
}

// unit checks what a request carries.
func (v validation) unit(c *ProfileConfig) {
	v.OneOf("unit", c.Unit, UnitRecord, UnitType, UnitTransaction, UnitBatch)
	if c.Batch.Max < 1 || c.Batch.Max > MaxGroupEvents {
		v.Add(fmt.Sprintf("%d is not between 1 and %d", c.Batch.Max, MaxGroupEvents), "100 suits most receivers", "batch", "max")
	}
	if c.Batch.Wait < 0 || c.Batch.Wait > maxBatchWait {
		v.Add("a batch waits for 0 to 1h", "write a duration such as 1s", "batch", "wait")
	}
}

// CheckUnit refuses a profile's unit where its format has no such requests. The error has a
// ConfigPath and a remedy.
func (c *ProfileConfig) CheckUnit(f Formatter) error {
	_, groups := f.(GroupFormatter)
	if c.Unit == UnitRecord || groups {
		return nil
	}
	return &ConfigError{
		Path:   []string{"profiles", c.Code, "unit"},
		Text:   fmt.Sprintf("%s is not for format %s", c.Unit, c.Format),
		Remedy: "write record: this format's requests carry one event",
	}
}

func (v validation) subscription(i int, s *SubscriptionConfig) {
	at := []string{"subscriptions", strconv.Itoa(i)}
	v.globs(s.Events, append(at, "events")...)
	v.globs(s.Tables, append(at, "tables")...)
	v.globs(s.Operations.Only, append(at, "operations")...)
	v.globs(s.Operations.Not, append(at, "operations", "not")...)
	for _, condition := range s.Where {
		if len(condition.Values) == 0 {
			v.Add("a condition needs a value", "write a value, a list of values, or null", append(at, "where", condition.Column)...)
		}
	}
}

// globs refuses what the globs do not understand, so that nobody relies on it.
func (v validation) globs(globs []string, at ...string) {
	for i, glob := range globs {
		path := append(slices.Clone(at), strconv.Itoa(i))
		switch {
		case glob == "":
			v.Add("an empty glob matches nothing", "write a name, or * for all", path...)
		case strings.ContainsAny(glob, "[]{}!\\"):
			v.Add(fmt.Sprintf("%q: a glob knows * for any characters and ? for one, nothing else", glob),
				"list several globs instead of a class or an alternative", path...)
		}
	}
}

func (v validation) retry(r *RetryConfig) {
	if r.MaxAge < 0 {
		v.Add("an age is not negative", "write a duration such as 72h; 0 never gives up", "retry", "max_age")
	}
	if !(r.Jitter >= 0 && r.Jitter <= 1) {
		v.Add("jitter is a share between 0 and 1", "0.2 varies each wait by a fifth", "retry", "jitter")
	}
	for i, wait := range r.Schedule {
		if wait < 0 || wait > maxRetryWait {
			v.Add("a wait is between 0 and 30 days", "write waits such as [5s, 5m, 1h]", "retry", "schedule", strconv.Itoa(i))
		}
	}
	if r.Initial <= 0 || r.Initial > maxRetryWait {
		v.Add("the first wait is above 0 and at most 30 days", "write a duration such as 1s", "retry", "initial")
	}
	if r.Max < r.Initial || r.Max > maxRetryWait {
		v.Add("the longest wait is not below retry.initial and at most 30 days", "write a duration such as 1h", "retry", "max")
	}
	if !(r.Multiplier >= 1) || math.IsInf(r.Multiplier, 1) {
		v.Add("waits do not shrink", "write a multiplier of 1 or more", "retry", "multiplier")
	}
}
