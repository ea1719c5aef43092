package main

import (
	"strings"
	"testing"
	"time"

	"rowhook/cmd/rowhook/environment"
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

// TestEndpointsAreProbed: an endpoint that nobody answers at is a finding of its own.
func TestEndpointsAreProbed(t *testing.T) {
	t.Parallel()
	c, _ := write(t, smallConfig+`profiles:
  desk: {url: https://127.0.0.1:1/, secret: short}
`)
	found := checkEndpoints(t.Context(), c, environment.New(c, "1"))
	if len(found) != 1 || found[0].Code != "endpoint" {
		t.Errorf("endpoints: %+v", found)
	}
}
