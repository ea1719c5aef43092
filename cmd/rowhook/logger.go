package main

import (
	"io"
	"log/slog"

	"rowhook/cmd/rowhook/config"
)

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
