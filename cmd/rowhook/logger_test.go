package main

import (
	"strings"
	"testing"
	"time"
)

func TestLogWritesDurations(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		var b strings.Builder
		c, _ := write(t, smallConfig+"log: {format: "+format+"}\n")
		newLogger(c, &b).Info("endpoint waits", "for", 300*time.Millisecond)
		if !strings.Contains(b.String(), "300ms") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}
