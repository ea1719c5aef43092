package main

import (
	"testing"

	"rowhook/cmd/rowhook/environment"
)

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
