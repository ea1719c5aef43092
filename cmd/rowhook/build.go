package main

import (
	"io"
	"log/slog"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/spool"
)

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
