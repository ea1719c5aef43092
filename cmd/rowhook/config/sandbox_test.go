package config

import (
	"reflect"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/format"
)

func TestSandboxed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		config, variable, database string
		want                       bool
	}{
		{"", "", "", false},
		{"production", "production", "production", false},
		{"production", "production", "PRODUCTION", false},
		{"sandbox", "", "", true},
		{"sandbox", "production", "production", true}, // whoever says sandbox is believed
		{"", "sandbox", "", true},
		{"production", "sandbox", "", true},
		{"", "", "sandbox", true},
		{"", "", "Sandbox", true},
		{"production", "production", "sandbox", true},
		{"", "", "staging", true}, // whatever it is, it is no production
	} {
		c := &Config{env: env(map[string]string{environmentVariable: tt.variable})}
		c.Source.Environment = tt.config
		if got := c.Sandboxed(&capture.Server{Environment: tt.database}); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestEnvironmentVariableIsChecked(t *testing.T) {
	t.Parallel()
	_, err := Parse("config.yaml", []byte(smallConfig), env(map[string]string{environmentVariable: "sanbox"}), nil)
	if err == nil || !strings.Contains(err.Error(), `ROWHOOK_ENVIRONMENT is "sanbox"; expected production or sandbox`) {
		t.Errorf("loaded: %v", err)
	}
}

// TestSandboxHasNoCredentials keeps whatever production proves itself with out of a sandbox.
func TestSandboxHasNoCredentials(t *testing.T) {
	t.Parallel()
	p := delivery.ProfileConfig{Secret: "s", Headers: []delivery.HeaderConfig{{Name: "X-Key", Value: "k"}}, HTTP: delivery.HTTPConfig{
		BasicAuth: delivery.BasicAuthConfig{Username: "u", Password: "p"}, TLS: delivery.TLSConfig{Key: "k"}, ProxyURL: "http://u:p@proxy", Gzip: true,
		OAuth2: delivery.OAuth2Config{ClientSecret: "c"}, Authorization: delivery.AuthorizationConfig{Credentials: "c"},
	}}
	got, _ := InSandbox(format.Products(), p, delivery.SandboxConfig{URL: "https://sandbox.example.org/"}) // what it is of is no whole profile
	want := delivery.ProfileConfig{URL: "https://sandbox.example.org/", HTTP: delivery.HTTPConfig{Gzip: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("a sandbox has %+v", got)
	}
}
