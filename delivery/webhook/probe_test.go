package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"rowhook/delivery"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	var requests int
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ })
	plain := httptest.NewServer(count)
	defer plain.Close()
	secure := httptest.NewTLSServer(count)
	defer secure.Close()
	gone := httptest.NewServer(count)
	gone.Close()
	for _, tt := range []struct {
		name, url string
		allow     []string
		want      string // part of the error; empty for none
	}{
		{"reachable", plain.URL, []string{"loopback"}, ""},
		{"certificate nobody knows", secure.URL, []string{"loopback"}, "certificate"},
		{"nobody listens", gone.URL, []string{"loopback"}, "refused"},
		{"not allowed", secure.URL, nil, "profiles.desk.allow_networks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sender, err := New(delivery.ProfileConfig{Code: "desk", URL: tt.url, AllowNetworks: tt.allow, Signature: "none", Success: []string{"200"}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = sender.Probe(t.Context())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
	if requests != 0 {
		t.Errorf("the endpoints got %d requests", requests)
	}
}
