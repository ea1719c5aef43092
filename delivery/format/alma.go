package format

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
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
		Schema:      almaSchema,
		DeletedRows: true,
		UsualBody: delivery.UsualBody{
			Size:   100 << 10,
			Remedy: "raise the listener's limit (Express: express.json({limit: …})), or send fewer fields",
		},
		Mail:      almaMail,
		Check:     checkAlma,
		Signature: &delivery.Signature{Header: "X-Exl-Signature", Encode: base64.StdEncoding.AppendEncode},
	}
}

// checkAlma refuses names of payloads that would break the promise of canonical JSON: that the body
// is what JavaScript's JSON.stringify(JSON.parse(body)) gives.
func checkAlma(p *delivery.ProfileConfig, events []delivery.EventType) (wrong []*delivery.ConfigError) {
	for _, e := range events {
		if e.Object == "" {
			continue
		}
		if fault := almaObjectFault(p, e.Object); fault != "" {
			wrong = append(wrong, &delivery.ConfigError{
				Path: e.ObjectAt, Text: fmt.Sprintf("%q %s", e.Object, fault),
				Remedy: "give the payload another name, such as item_loan",
			})
		}
	}
	return wrong
}

// shownAnswer is how many characters of an answer are quoted.
const shownAnswer = 200

// almaMail is the mail of an Alma webhook profile: one line each, in this order.
func almaMail(m delivery.FailureMail) (subject, text string) {
	f := m.Failure
	attempts := f.Attempts
	if attempts == 0 {
		attempts = f.Attempt
	}
	subject = fmt.Sprintf("[rowhook] Webhook failed: %s (%d/%d)", f.Profile, f.Attempt, attempts)
	var l letter
	l.line("Profile: %s %s", m.Profile.Code, m.Profile.Name)
	l.line("Environment: %s", m.Environment)
	l.line("Message: %s", f.Event)
	l.line("Event: %s", strings.Join(mailedNames(f), "/"))
	l.line("URL: %s", f.URL)
	l.line("Time: %s", utc(f.Time))
	l.line("Attempt: %d of %d", f.Attempt, attempts)
	if f.Status != 0 {
		l.line("Status: %d", f.Status)
	} else {
		l.line("Error: %s", f.Result())
	}
	l.line("Answer: %s", cut(oneLine(f.Response), shownAnswer))
	if f.Next.IsZero() {
		l.line("Next attempt: given up")
	} else {
		l.line("Next attempt: %s", utc(f.Next))
	}
	if m.Left > 0 {
		l.line("Not mailed since %s: %d", utc(m.Since), m.Left)
	}
	return subject, l.String()
}

// mailedNames are the event's action and event code. The mail tells an event code where the message
// has none of its own, too.
func mailedNames(f *delivery.Failure) []string {
	ev := &delivery.Event{Making: &delivery.Making{Type: f.Type, As: f.As}, Commit: &delivery.Commit{}}
	event := asConstant(f.Type)
	if text, ok := given(ev, "event"); ok {
		event = orNothing(text)
	}
	return slices.DeleteFunc([]string{ownAction(ev), event}, func(name string) bool { return name == "" })
}
