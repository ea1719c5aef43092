package agent

import (
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
