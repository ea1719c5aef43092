// Package format renders events as request bodies, one file per format.
//
// A formatter appends the whole body to a caller's buffer and keeps no state, so that
// one formatter serves all lanes of a profile. Bodies are deterministic: the same event and
// configuration always give the same bytes. The values come as ready JSON from the mapping
// and are copied, never decoded: what the database said is what arrives, digit by digit.
package format

import (
	"fmt"

	"rowhook/delivery"
)

// New returns the formatter that the profile's configuration asks for.
func New(cfg delivery.ProfileConfig) (delivery.Formatter, error) {
	if cfg.MessageType == "xml" && cfg.Format != "alma" && cfg.Format != "native" && cfg.Format != "" {
		return nil, &delivery.ConfigError{
			Path:   []string{"profiles", cfg.Code, "message_type"},
			Text:   fmt.Sprintf("there is no XML for format %s", cfg.Format),
			Remedy: "write json",
		}
	}
	switch cfg.Format {
	case "", "native":
		if cfg.MessageType == "xml" {
			return newNativeXML(), nil
		}
		return newNative(cfg)
	case "cloudevents":
		return newCloudEvents(cfg)
	case "slack":
		return newSlack(), nil
	case "template":
		return newTemplate(cfg)
	case "alma":
		return newAlma(cfg)
	case "rakuraku":
		return newRakuraku(cfg)
	}
	return nil, &delivery.ConfigError{
		Path:   []string{"profiles", cfg.Code, "format"},
		Text:   fmt.Sprintf("format %q is not in this version", cfg.Format),
		Remedy: "use native, cloudevents, alma, rakuraku, slack or template",
	}
}

// RoundsBigints reports whether a profile's bodies have 64-bit integers as JSON numbers, of which a receiver that reads them as
// JavaScript does loses digits. XML and the products' own formats write texts, and slack no values.
func RoundsBigints(cfg *delivery.ProfileConfig) bool {
	switch cfg.Format {
	case "", "native", "cloudevents", "template":
		return cfg.Bigint != "string" && cfg.MessageType != "xml"
	}
	return false
}
