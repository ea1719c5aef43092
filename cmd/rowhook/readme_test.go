package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// readme is the README's text and its code blocks by language.
func readme(t *testing.T) (text string, blocks map[string][]string) {
	t.Helper()
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks = map[string][]string{}
	for _, match := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(string(raw), -1) {
		blocks[match[1]] = append(blocks[match[1]], match[2])
	}
	return string(raw), blocks
}

// TestReadmeConfigLoads loads the README's config as it stands there.
func TestReadmeConfigLoads(t *testing.T) {
	t.Parallel()
	_, blocks := readme(t)
	if len(blocks["yaml"]) != 1 {
		t.Fatalf("README has %d YAML blocks, want its one config", len(blocks["yaml"]))
	}
	secrets := func(string) ([]byte, error) { return []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n"), nil }
	if _, err := parseConfig("README.md", []byte(blocks["yaml"][0]), func(string) (string, bool) { return "", false }, secrets); err != nil {
		t.Errorf("the README's config is refused:\n%v", err)
	}
}

// TestStarterLoads loads the short config that the README names, which sets nothing but what one has to.
func TestStarterLoads(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/starter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secrets := func(string) ([]byte, error) { return []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n"), nil }
	c, err := parseConfig("/etc/rowhook/config.yaml", raw, func(string) (string, bool) { return "", false }, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if c.State != "/var/lib/rowhook" || c.Log.Deliveries != "/var/lib/rowhook/log/deliveries.jsonl" {
		t.Errorf("in /etc, state and log are %s and %s", c.State, c.Log.Deliveries)
	}
}

func TestReadmeJSONIsValid(t *testing.T) {
	t.Parallel()
	_, blocks := readme(t)
	for _, block := range blocks["json"] {
		if !json.Valid([]byte(block)) {
			t.Errorf("not valid JSON:\n%s", block)
		}
	}
}

// TestReadmeCommandsExist holds each `rowhook …` that the README mentions against the
// commands and flags that there are.
func TestReadmeCommandsExist(t *testing.T) {
	t.Parallel()
	text, blocks := readme(t)
	var lines []string
	for _, match := range regexp.MustCompile("`rowhook ([^`]+)`").FindAllStringSubmatch(text, -1) {
		lines = append(lines, match[1])
	}
	for _, block := range append(blocks["sh"], blocks["ini"]...) {
		for _, match := range regexp.MustCompile(`(?m)^(?:\S*=\S*/)?rowhook (.+?)(?: +#.*)?$`).FindAllStringSubmatch(block, -1) {
			lines = append(lines, match[1])
		}
	}
	if len(lines) < 10 {
		t.Fatalf("found only %d commands in the README", len(lines))
	}
	for _, line := range lines {
		cmd, rest, err := newRootCommand(&console{env: os.LookupEnv}).Find(strings.Fields(line))
		if err != nil || !cmd.HasParent() {
			t.Errorf("rowhook %s: there is no such command", line)
			continue
		}
		if cmd.HasSubCommands() {
			t.Errorf("rowhook %s: %q needs one of its own commands", line, cmd.Name())
		}
		for _, word := range rest {
			if name, ok := strings.CutPrefix(word, "--"); ok && cmd.Flag(name) == nil {
				t.Errorf("rowhook %s: there is no flag --%s", line, name)
			}
		}
	}
}
