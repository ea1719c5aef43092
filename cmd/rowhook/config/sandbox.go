package config

import (
	"errors"
	"fmt"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/webhook"
)

// environmentVariable says what the environment is from outside the image, which a clone of it
// cannot do.
const environmentVariable = "ROWHOOK_ENVIRONMENT"

// The environments. What else a database says of itself counts as a sandbox.
const (
	environmentProduction = "production"
	environmentSandbox    = "sandbox"
)

// validateEnvironment refuses a value that nobody would read: a slip must not make a sandbox
// production.
func (c *Config) validateEnvironment() configErrors {
	value, _ := c.env(environmentVariable)
	if value == "" || value == environmentProduction || value == environmentSandbox {
		return nil
	}
	return configErrors{c.problem([]string{"source", "environment"},
		fmt.Sprintf("the environment variable %s is %q; expected production or sandbox", environmentVariable, value), "")}
}

// Sandboxed reports whether anything says that this is no production.
func (c *Config) Sandboxed(server *capture.Server) bool {
	declared, _ := c.env(environmentVariable)
	if c.Source.Environment == environmentSandbox || declared == environmentSandbox {
		return true
	}
	return server != nil && server.Environment != "" && !strings.EqualFold(server.Environment, environmentProduction)
}

// InSandbox returns a profile as a sandbox has it: its own URL, secret and identification key, and
// no header that carries credentials. An error leads to the sandbox block.
func InSandbox(products delivery.Products, p delivery.ProfileConfig, own delivery.SandboxConfig) (delivery.ProfileConfig, error) {
	p.URL, p.URLFile, p.Secret, p.SecretFile, p.Secrets = own.URL, own.URLFile, own.Secret, "", nil
	p.IdentificationKey = own.IdentificationKey
	p.Headers = nil
	p.HTTP = delivery.HTTPConfig{HTTP2: p.HTTP.HTTP2, Gzip: p.HTTP.Gzip}
	_, err := webhook.New(p, webhook.Options{Products: products})
	_, ferr := products.Formatter(p)
	return p, sandboxErrors(errors.Join(err, ferr))
}

// sandboxErrors has errors about a profile's URL, secret and key lead to its sandbox block.
func sandboxErrors(err error) error {
	var found []error
	for _, one := range capture.Errors(err) {
		var at pathError
		if !errors.As(one, &at) {
			found = append(found, one)
			continue
		}
		path := at.ConfigPath()
		text := strings.TrimPrefix(one.Error(), strings.Join(path, ".")+": ")
		if len(path) > 2 {
			path = append(append(append([]string(nil), path[:2]...), "sandbox"), path[2:]...)
		}
		found = append(found, &sandboxError{path: path, text: text, remedy: capture.Remedy(one)})
	}
	return errors.Join(found...)
}

// sandboxError is what is wrong with a sandbox block.
type sandboxError struct {
	path         []string
	text, remedy string
}

func (e *sandboxError) Error() string        { return strings.Join(e.path, ".") + ": " + e.text }
func (e *sandboxError) ConfigPath() []string { return e.path }
func (e *sandboxError) RemedyText() string   { return e.remedy }
