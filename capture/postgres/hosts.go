package postgres

import (
	"fmt"
	"slices"
	"strings"
)

// Hosts returns the servers as configured, "host:port" each and joined by commas, in the
// URL's order. A Unix socket is its directory.
func (s *Source) Hosts() string {
	var hosts []string
	add := func(host string, port uint16) {
		name := fmt.Sprintf("%s:%d", host, port)
		if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	add(s.connect.Host, s.connect.Port)
	for _, f := range s.connect.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(hosts, ",")
}
