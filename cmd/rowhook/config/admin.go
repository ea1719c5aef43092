package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// adminConfig is the HTTP side of a running agent.
type adminConfig struct {
	Listen  string        `yaml:"listen" doc:"address of /metrics, /healthz, /readyz and the console; off when empty"`
	Console bool          `yaml:"console" doc:"serve the web console under /console/; it shows row data to whoever holds a token"`
	Hosts   []string      `yaml:"hosts,oneormany" doc:"host names that requests may use, besides IP addresses and localhost. Default: any name where other machines can reach the address, else none. The console accepts no name that is not listed"`
	Tokens  []tokenConfig `yaml:"tokens" secret:"true" doc:"who may see more than metrics and health, and who may change something; required where other machines can reach the address"`
}

// tokenConfig is a bearer token.
type tokenConfig struct {
	Name string `yaml:"name" doc:"name of the token's holder, for the audit log"`
	File string `yaml:"file" path:"file" doc:"file that holds the token, at least 16 characters"`
	Role string `yaml:"role" enum:"admin,viewer" doc:"a viewer sees the status, and the console if there is one; an admin may change something too"`

	token string
}

const roleAdmin = "admin"

// shortestToken keeps tokens from being guessed.
const shortestToken = 16

// Holder returns who holds a bearer token, and whether the holder may change something. ok is false
// for a token that the section does not name.
func (a *adminConfig) Holder(token string) (name string, admin, ok bool) {
	given := sha256.Sum256([]byte(token)) // of one length, so that the time tells nothing
	for i := range a.Tokens {
		t := &a.Tokens[i]
		own := sha256.Sum256([]byte(t.token))
		if subtle.ConstantTimeCompare(own[:], given[:]) == 1 && !ok {
			name, admin, ok = t.Name, t.Role == roleAdmin, true
		}
	}
	return name, admin, ok
}

// validateAdmin checks the section and reads the tokens.
func (c *Config) validateAdmin(readFile func(string) ([]byte, error)) configErrors {
	var errs configErrors
	refuse := func(text, remedy string, path ...string) {
		errs = append(errs, c.problem(append([]string{"admin"}, path...), text, remedy))
	}
	local := true
	if listen := c.Admin.Listen; listen != "" {
		host, port, err := net.SplitHostPort(listen)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 && port != "0" {
			refuse("expected an address and a port, such as 127.0.0.1:8642", "", "listen")
		}
		local = err != nil || loopback(host)
	}
	names, holders := map[string]bool{}, map[string]string{}
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
		if holder := holders[t.token]; holder != "" && err == nil && t.token != "" {
			refuse("it holds the same token as that of "+holder+": nobody could tell who acts", "make one with: openssl rand -hex 32", "tokens", at, "file")
		}
		names[t.Name], holders[t.token] = true, t.Name
	}
	if !local && len(c.Admin.Tokens) == 0 {
		refuse("others than this machine can reach this address, and there is no token", "add admin.tokens, or listen on 127.0.0.1", "listen")
	}
	switch {
	case !c.Admin.Console:
	case c.Admin.Listen == "":
		refuse("the console needs an address to listen on", "write admin.listen, such as 127.0.0.1:8642", "console")
	case len(c.Admin.Tokens) == 0:
		refuse("the console needs a token: without one, nobody could log in",
			"make one with: openssl rand -hex 32 > admin-token && chmod 600 admin-token; then write admin.tokens: [{name: YOU, file: admin-token, role: admin}]", "console")
	}
	return errs
}

// loopback reports whether only this machine can reach a host.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
