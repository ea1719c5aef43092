package config

import (
	"strings"
	"testing"
)

// TestDigest: machines of a cluster agree on what becomes of changes and where events go. Secrets,
// and what is each machine's own, are not part of it.
func TestDigest(t *testing.T) {
	t.Parallel()
	const profile = "profiles:\n  desk: {url: https://desk.example.org/, secret: \"${SECRET}\"}\n"
	digest := func(text, secret string) string {
		t.Helper()
		c, err := Parse("c.yaml", []byte(text), env(map[string]string{"SECRET": secret}), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest()
	}
	const one, other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_NfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"
	want := digest(smallConfig+profile, one)
	for name, got := range map[string]string{
		"another secret":          digest(smallConfig+profile, other),
		"another state directory": digest(smallConfig+profile+"state: /srv/other\n", one),
		"another machine":         digest(smallConfig+profile+"cluster: {nats: {url: \"nats://n1:4222\"}, name: a, machine: n2}\n", one),
	} {
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for name, got := range map[string]string{
		"another URL":     digest(smallConfig+strings.Replace(profile, "desk.example", "tills.example", 1), one),
		"another profile": digest(smallConfig+strings.Replace(profile, "desk:", "till:", 1), one),
		"another mapping": digest(strings.Replace(smallConfig, "catalog.items: {}", "catalog.titles: {}", 1)+profile, one),
	} {
		if got == want {
			t.Errorf("%s has the same digest", name)
		}
	}
}

// TestClusterIsOfTheStart: the section cluster cannot change while the agent runs.
func TestClusterIsOfTheStart(t *testing.T) {
	t.Parallel()
	const section = "cluster: {nats: {url: \"nats://n1:4222\"}, name: a, machine: n1}\n"
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse("c.yaml", []byte(text), env(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := parse(smallConfig + section)
	for _, text := range []string{smallConfig, smallConfig + strings.Replace(section, "name: a", "name: b", 1)} {
		if _, err := parse(text).StartOnly(before); err == nil || !strings.Contains(err.Error(), "cannot change while the agent runs") {
			t.Errorf("%s\nis taken: %v", text, err)
		}
	}
	if _, err := parse(smallConfig + section).StartOnly(before); err != nil {
		t.Error(err)
	}
}
