package cluster

import (
	"errors"
	"slices"
	"testing"
	"time"

	"rowhook/delivery"
)

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Config)
		wrong  []string // paths
	}{
		"good":            {func(*Config) {}, nil},
		"no cluster":      {func(c *Config) { *c = Config{} }, nil},
		"several servers": {func(c *Config) { c.NATS.URL = "tls://n1:4222, tls://n2:4222" }, nil},
		"http":            {func(c *Config) { c.NATS.URL = "nats://n1:4222,http://n2" }, []string{"cluster.nats.url"}},
		"no key":          {func(c *Config) { c.NATS.CertFile = "cert.pem" }, []string{"cluster.nats.cert_file"}},
		"no name":         {func(c *Config) { c.Name = "" }, []string{"cluster.name"}},
		"dots":            {func(c *Config) { c.Name, c.Machine = "a.b", "c.d" }, []string{"cluster.name", "cluster.machine"}},
		"two servers":     {func(c *Config) { c.Replicas = 2 }, []string{"cluster.replicas"}},
		"short lease":     {func(c *Config) { c.Lease = time.Millisecond }, []string{"cluster.lease"}},
		"unknown role":    {func(c *Config) { c.Roles = []string{"lead"} }, []string{"cluster.roles"}},
		"no role":         {func(c *Config) { c.Roles = nil }, []string{"cluster.roles"}},
		"spool":           {func(c *Config) { c.Confirm = "spool" }, []string{"cluster.confirm"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			config.NATS.URL, config.Name, config.Machine = "nats://n1:4222", "library", "m1"
			c.change(&config)
			var wrong []string
			if err := config.Validate(); err != nil {
				for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
					var found *delivery.ConfigError
					if !errors.As(err, &found) || found.Remedy == "" {
						t.Fatalf("%v is no config error with a remedy", err)
					}
					path := found.Path[0]
					for _, part := range found.Path[1:] {
						path += "." + part
					}
					wrong = append(wrong, path)
				}
			}
			if !slices.Equal(wrong, c.wrong) {
				t.Errorf("wrong: %v, want %v", wrong, c.wrong)
			}
		})
	}
}
