package main

import (
	"errors"
	"io"
	"log/slog"
	"os"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
	"rowhook/delivery/webhook"
)

// webhookOptions are what all profiles have in common. They share connections.
func webhookOptions(products delivery.Products) webhook.Options {
	host, _ := os.Hostname() // without one, the handshake names rowhook
	return webhook.Options{Products: products, Origin: host, UserAgent: "rowhook/" + readVersion().Version, Transports: webhook.NewTransports()}
}

// endpoints makes what sends and renders each profile's requests, by code.
func newEndpoints(c *config.Config, in *surroundings, options webhook.Options) (map[string]*endpoint, error) {
	endpoints := make(map[string]*endpoint, len(c.Profiles))
	var errs []error
	for i := range c.Profiles {
		e, err := in.newEndpoint(c.Profiles[i], options)
		errs = append(errs, err)
		endpoints[c.Profiles[i].Code] = e
	}
	return endpoints, c.Explain(errors.Join(errs...))
}

// profiles makes the profiles ready for the engine.
func newProfiles(c *config.Config, endpoints map[string]*endpoint) ([]*engine.Profile, error) {
	var profiles []*engine.Profile
	var errs []error
	for i := range c.Profiles {
		e := endpoints[c.Profiles[i].Code]
		profile, err := engine.NewProfile(c.Profiles[i], c.Products().Of(c.Profiles[i].Format), e, e.asFormatter())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		profiles = append(profiles, profile)
	}
	return profiles, c.Explain(errors.Join(errs...))
}

// logOptions are the delivery log's.
func logOptions(c *config.Config, logger *slog.Logger) deliverylog.Options {
	return deliverylog.Options{
		Path: c.Log.Deliveries, MaxSize: c.Log.MaxSize, Keep: c.Log.Keep, MaxTotal: c.Log.MaxTotal,
		Body: c.Log.Body, Logger: logger,
	}
}

// spoolOptions are the spool's. Its options take zero for their defaults, which the config
// has filled in already: a zero that is left was written, and means none.
func spoolOptions(c *config.Config, logger *slog.Logger) spool.Options {
	reserve := c.Spool.Reserve
	if reserve == 0 {
		reserve = -1
	}
	return spool.Options{
		MaxSize: c.Spool.MaxSize, HistorySize: max(c.Spool.HistorySize, 1), History: max(c.Spool.History, 1),
		Dead: c.Spool.Dead, Sync: c.Spool.Sync, Reserve: reserve, Readers: len(c.Profiles), Logger: logger,
	}
}

// newLogger makes rowhook's own log, which goes to w.
func newLogger(c *config.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[c.Log.Level]}
	if c.Log.Format == "json" {
		options.ReplaceAttr = writtenDurations
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// writtenDurations has JSON say 300ms, as text does, instead of a number of nanoseconds.
func writtenDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
