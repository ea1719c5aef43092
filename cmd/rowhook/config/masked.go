package config

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"rowhook/delivery/webhook"
)

// maskedValue stands for a secret.
const maskedValue = "***"

// secretKey are keys whose values are not shown, wherever they stand, besides those that the
// sections call secret.
var secretKey = regexp.MustCompile(`(?i)secret|password|credential|passphrase|token$|identification_key`)

// File is the config file, as it was given.
func (c *Config) File() string { return c.file }

// Masked is the config file as it was read, without its secrets and its comments, which may hold
// old ones. ${NAME} stays as it is written.
func (c *Config) Masked() (string, error) {
	m := &masker{config: c, inline: map[[2]int]bool{}, shown: map[string]string{}}
	for _, at := range c.inline {
		m.inline[at] = true
	}
	for i := range c.Profiles {
		if sender, err := webhook.New(c.Profiles[i], webhook.Options{Products: c.products}); err == nil {
			_, m.shown[c.Profiles[i].Code] = sender.Describe()
		}
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(m.node(c.root, nil)); err != nil {
		return "", fmt.Errorf("write the config: %w", err)
	}
	return c.hide(out.String()), nil
}

// masker copies a config without its secrets.
type masker struct {
	config *Config
	inline map[[2]int]bool
	shown  map[string]string // profiles' URLs as logs show them
}

// node copies a node that a path of keys leads to.
func (m *masker) node(n *yaml.Node, path []string) *yaml.Node {
	if n == nil {
		return nil
	}
	own := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style, Anchor: n.Anchor, Alias: n.Alias}
	if n.Kind == yaml.ScalarNode {
		if shown := m.scalar(n, path); shown != n.Value {
			own.Value, own.Tag, own.Style = shown, "!!str", yaml.DoubleQuotedStyle
		}
		return own
	}
	for i, inner := range n.Content {
		at := path
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				own.Content = append(own.Content, &yaml.Node{Kind: inner.Kind, Tag: inner.Tag, Value: inner.Value, Style: inner.Style})
				continue
			}
			at = append(path[:len(path):len(path)], n.Content[i-1].Value)
		}
		own.Content = append(own.Content, m.node(inner, at))
	}
	return own
}

// scalar is what is shown of a value.
func (m *masker) scalar(n *yaml.Node, path []string) string {
	if n.Value == "" || len(path) == 0 {
		return n.Value
	}
	last := path[len(path)-1]
	file := strings.HasSuffix(last, "_file") || last == "file"
	switch {
	case last == "url" && len(path) == 3 && path[0] == "profiles" && !strings.Contains(n.Value, "${"):
		if shown := m.shown[path[1]]; shown != "" {
			return shown
		}
		return hostOf(n.Value)
	case last == "url" && path[0] == "source":
		return maskURL(n.Value)
	case last == "url" || strings.HasSuffix(last, "_url"):
		return hostOf(n.Value)
	case m.inline[[2]int{n.Line, n.Column}], !file && secretKey.MatchString(last):
		return maskedValue
	case len(path) > 1 && (path[len(path)-2] == "headers" || path[len(path)-2] == "endpoint_params") && !oneVariable.MatchString(n.Value):
		return maskedValue
	}
	return n.Value
}

var (
	urlUser  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*://[^:@/]*):.*@`)
	urlQuery = regexp.MustCompile(`(?i)([?&][^=&]*(?:password|secret|token|key|sig|auth)[^=&]*=)[^&#]*`)
)

var (
	oneVariable = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)
	urlParts    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*://)(?:[^/?#@]*@)?` +
		`((?:[A-Za-z0-9_.-]|\$\{[A-Za-z_][A-Za-z0-9_]*\}|\[[0-9A-Fa-f:.]+\])+(?::(?:[0-9]+|\$\{[A-Za-z_][A-Za-z0-9_]*\}))?)(/?)([^@]*)$`)
)

// hostOf is of a URL what cannot be a credential: its scheme and host. Many receivers have them in
// the path, the query, or as the user.
func hostOf(text string) string {
	if oneVariable.MatchString(text) {
		return text
	}
	parts := urlParts.FindStringSubmatch(text)
	switch {
	case parts == nil || parts[4] != "" && parts[3] == "" && !strings.ContainsAny(parts[4][:1], "?#"):
		return maskedValue
	case parts[4] != "":
		return parts[1] + parts[2] + "/" + maskedValue
	}
	return parts[1] + parts[2] + parts[3]
}

// maskURL takes password and credentials out of a URL. What is no URL is not shown.
func maskURL(text string) string {
	if _, err := url.Parse(text); err != nil && !strings.Contains(text, "${") {
		return maskedValue
	}
	return urlQuery.ReplaceAllString(urlUser.ReplaceAllString(text, "${1}:"+maskedValue+"@"), "${1}"+maskedValue)
}
