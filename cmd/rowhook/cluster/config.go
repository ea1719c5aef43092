package cluster

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"rowhook/delivery"
)

// Config is the config's section cluster. Its keys are read at start only.
type Config struct {
	NATS     NATSConfig    `yaml:"nats" doc:"the NATS servers with JetStream that the machines meet at"`
	Name     string        `yaml:"name" doc:"of the cluster; stream and bucket are named after it"`
	Machine  string        `yaml:"machine" doc:"this machine's name in the cluster; default: its host name"`
	Replicas int           `yaml:"replicas" doc:"how many servers keep the stream"`
	Roles    []string      `yaml:"roles,oneormany" enum:"capture,deliver" doc:"what this machine may do"`
	Lease    time.Duration `yaml:"lease" doc:"how long a machine that is not heard of keeps what it has; others take over a second later. The same on all machines"`
	Confirm  string        `yaml:"confirm" enum:"stream,spool" doc:"stream: the database is confirmed what most of the servers have on disk, and this machine"`
}

// NATSConfig says how the servers are reached.
type NATSConfig struct {
	URL             string `yaml:"url" public:"inline" doc:"of the servers, with commas: nats://n1:4222,nats://n2:4222; tls:// asks for TLS"`
	CredentialsFile string `yaml:"credentials_file" path:"file" doc:"file with a user's JWT and key, as nsc writes it"`
	CAFile          string `yaml:"ca_file" path:"file" doc:"PEM file of the authorities that the servers' certificates are checked by; default: the system's"`
	CertFile        string `yaml:"cert_file" path:"file" doc:"PEM file of this machine's certificate, where the servers ask for one"`
	KeyFile         string `yaml:"key_file" path:"file" doc:"PEM file of its key"`
}

// Bounds of what the section may ask for.
const (
	minLease    = time.Second
	maxLease    = 5 * time.Minute
	maxReplicas = 5
)

// DefaultConfig returns the section where the file has nothing to say. Without nats.url there is no
// cluster.
func DefaultConfig() Config {
	return Config{Replicas: 3, Roles: []string{RoleCapture.String(), RoleDeliver.String()}, Lease: 5 * time.Second, Confirm: "stream"}
}

// Enabled reports whether there is a cluster.
func (c *Config) Enabled() bool { return c.NATS.URL != "" }

// namePattern is what NATS takes as a stream's, a bucket's and a subject's name.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Validate checks the section. Each error has a ConfigPath and a remedy.
func (c *Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	e := delivery.ErrorsAt("cluster")
	for server := range strings.SplitSeq(c.NATS.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(server)); err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls"}, u.Scheme) {
			e.Add("each server is written nats://HOST:PORT or tls://HOST:PORT", "write nats://n1:4222,nats://n2:4222", "nats", "url")
			break
		}
	}
	if (c.NATS.CertFile == "") != (c.NATS.KeyFile == "") {
		e.Add("a certificate and its key go together", "give both cert_file and key_file", "nats", "cert_file")
	}
	if !namePattern.MatchString(c.Name) {
		e.Add(fmt.Sprintf("%q is no name for a stream", c.Name), "write up to 64 letters, digits, - and _", "name")
	}
	if name := c.machine(); !namePattern.MatchString(name) {
		e.Add(fmt.Sprintf("%q is no name for a machine", name), "write up to 64 letters, digits, - and _", "machine")
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != maxReplicas {
		e.Add(fmt.Sprintf("%d servers have no better majority than one less", c.Replicas), "write 3 or 5; 1 is for trials: what one server loses is lost", "replicas")
	}
	if c.Lease < minLease || c.Lease > maxLease {
		e.Add(fmt.Sprintf("%s is not from %s to %s", c.Lease, minLease, maxLease), "write 5s", "lease")
	}
	if _, err := c.roles(); err != nil {
		e.Add(err.Error(), "write capture, deliver or both", "roles")
	}
	if c.Confirm == "spool" {
		e.Add("spool cannot be had in a cluster: the spool is filled from the stream, so that what it has the stream has before", "leave the key out", "confirm")
	}
	return e.Err()
}

// machine is the machine's name. A host name's domain is left out, since names hold no dots.
func (c *Config) machine() string {
	if c.Machine != "" {
		return c.Machine
	}
	host, _ := os.Hostname() // none is refused as a name
	host, _, _ = strings.Cut(host, ".")
	return host
}

// Roles are what a machine may do.
type Roles uint8

// The roles.
const (
	RoleCapture Roles = 1 << iota
	RoleDeliver
)

func (c *Config) roles() (roles Roles, err error) {
	for _, name := range c.Roles {
		switch name {
		case RoleCapture.String():
			roles |= RoleCapture
		case RoleDeliver.String():
			roles |= RoleDeliver
		default:
			return 0, fmt.Errorf("%q is no role", name)
		}
	}
	if roles == 0 {
		return 0, fmt.Errorf("a machine without a role does nothing")
	}
	return roles, nil
}

// String lists the roles.
func (r Roles) String() string { return strings.Join(r.Names(), ", ") }

// Names returns the roles' names.
func (r Roles) Names() (names []string) {
	if r&RoleCapture != 0 {
		names = append(names, "capture")
	}
	if r&RoleDeliver != 0 {
		names = append(names, "deliver")
	}
	return names
}

// may reports whether who has the roles may have a seat.
func (r Roles) may(seat string) bool {
	if seat == captureSeat {
		return r&RoleCapture != 0
	}
	return r&RoleDeliver != 0
}
