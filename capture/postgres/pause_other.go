//go:build !linux

package postgres

import "time"

// pauseShortly waits for coalesceWait, as exactly as timers can.
func pauseShortly() { time.Sleep(coalesceWait) }
