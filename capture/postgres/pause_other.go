//go:build !linux

package postgres

import "time"

// pauseShortly waits for coalesceWait, as exactly as timers can.
func pauseShortly() { time.Sleep(coalesceWait) } //nolint:forbidigo // shorter than what a context would be looked at for
