package config

import (
	"crypto/subtle"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// adminConfig is the HTTP side of a running agent.
type adminConfig struct {
	Listen string        `yaml:"listen" doc:"address of /metrics, /healthz and /readyz; off when empty"`
	Hosts  []string      `yaml:"hosts,oneormany" doc:"names by which the pages may be asked for, besides addresses and localhost; empty: by any name where others than this machine can reach the address, else by none"`
	_      struct{}      `later:"console"`
	Tokens []tokenConfig `yaml:"tokens" secret:"true" doc:"who may ask for more than these, and change something; needed where others than this machine can reach the address"`
}

// tokenConfig is a bearer token.
type tokenConfig struct {
	Name string `yaml:"name" doc:"whose it is, for the audit log"`
	File string `yaml:"file" path:"file" doc:"file that holds the token, at least 16 characters"`
	Role string `yaml:"role" enum:"admin,viewer" doc:"a viewer sees the status, an admin may change something too"`

	token string
}

const roleAdmin = "admin"

// shortestToken keeps tokens from being guessed.
const shortestToken = 16

// Holder returns who holds a bearer token, and whether the holder may change something. ok is false
// for a token that the section does not name.
func (a *adminConfig) Holder(token string) (name string, admin, ok bool) {
	for i := range a.Tokens {
		if t := &a.Tokens[i]; subtle.ConstantTimeCompare([]byte(t.token), []byte(token)) == 1 {
			return t.Name, t.Role == roleAdmin, true
		}
	}
	return "", false, false
}

// validateAdmin checks the section and reads the tokens.
func (c *Config) validateAdmin(readFile func(string) ([]byte, error)) configErrors {
	var errs configErrors
	refuse := func(text, hint string, path ...string) {
		errs = append(errs, c.problem(append([]string{"admin"}, path...), text, hint))
	}
	local := true
	if listen := c.Admin.Listen; listen != "" {
		host, port, err := net.SplitHostPort(listen)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 && port != "0" {
			refuse("expected an address and a port, such as 127.0.0.1:8642", "", "listen")
		}
		local = err != nil || loopback(host)
	}
	names := map[string]bool{}
	for i := range c.Admin.Tokens {
		t, at := &c.Admin.Tokens[i], strconv.Itoa(i)
		data, err := readFile(t.File)
		t.token = strings.TrimSpace(string(data))
		line, column := c.locate("admin", "tokens", at, "file")
		c.hidden, c.secrets = append(c.hidden, t.token), append(c.secrets, readFrom{line, column, t.File})
		switch {
		case t.Name == "" || names[t.Name]:
			refuse("a token needs a name of its own", "the audit log shows it", "tokens", at, "name")
		case t.Role == "":
			refuse("missing; expected admin or viewer", "", "tokens", at, "role")
		case t.File == "":
			refuse("missing; expected the file that holds the token", "", "tokens", at, "file")
		case err != nil:
			refuse("cannot read the file: "+cause(err).Error(), "", "tokens", at, "file")
		case len(t.token) < shortestToken:
			refuse(fmt.Sprintf("the token has fewer than %d characters", shortestToken), "make one with: openssl rand -hex 32", "tokens", at, "file")
		}
		names[t.Name] = true
	}
	if !local && len(c.Admin.Tokens) == 0 {
		refuse("others than this machine can reach this address, and there is no token", "add admin.tokens, or listen on 127.0.0.1", "listen")
	}
	return errs
}

// loopback reports whether only this machine can reach a host.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
