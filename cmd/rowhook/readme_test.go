package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"rowhook/cmd/rowhook/config"
)

// readme is the README's text and its code blocks by language.
func readme(t *testing.T) (text string, blocks map[string][]string) {
	t.Helper()
	return page(t, "../../README.md")
}

// page is the text of a page for people and its code blocks by language.
func page(t *testing.T, path string) (text string, blocks map[string][]string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks = map[string][]string{}
	for _, match := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$").FindAllStringSubmatch(string(raw), -1) {
		blocks[match[1]] = append(blocks[match[1]], match[2])
	}
	return string(raw), blocks
}

// pages are the pages for people, by their paths.
func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(list) < 10 {
		t.Fatal("docs has", list, err)
	}
	return append(list, "../../README.md", "../../CONTRIBUTING.md")
}

// TestReadmeIsShort: what is read on the way to the first event is no reference.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	text, _ := readme(t)
	if lines := strings.Count(text, "\n"); lines > 200 {
		t.Errorf("the README has %d lines, want 200 at most: docs has the rest", lines)
	}
}

// TestReadmeConfigLoads loads the README's config as it stands there.
func TestReadmeConfigLoads(t *testing.T) {
	t.Parallel()
	_, blocks := readme(t)
	if len(blocks["yaml"]) != 1 {
		t.Fatalf("README has %d YAML blocks, want its one config", len(blocks["yaml"]))
	}
	secrets := func(string) ([]byte, error) { return []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n"), nil }
	if _, err := config.Parse("README.md", []byte(blocks["yaml"][0]), func(string) (string, bool) { return "", false }, secrets); err != nil {
		t.Errorf("the README's config is refused:\n%v", err)
	}
}

// TestStarterLoads loads the short config that the README names, which sets nothing but what one
// has to.
func TestStarterLoads(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/starter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secrets := func(string) ([]byte, error) { return []byte("whsec_c2VjcmV0c2VjcmV0c2VjcmV0\n"), nil }
	c, err := config.Parse("/etc/rowhook/config.yaml", raw, func(string) (string, bool) { return "", false }, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if c.State != "/var/lib/rowhook" || c.Log.Deliveries != "/var/lib/rowhook/log/deliveries.jsonl" {
		t.Errorf("in /etc, state and log are %s and %s", c.State, c.Log.Deliveries)
	}
}

// TestPagesJSONIsValid: examples can be copied.
func TestPagesJSONIsValid(t *testing.T) {
	t.Parallel()
	found := 0
	for _, path := range pages(t) {
		_, blocks := page(t, path)
		for _, block := range blocks["json"] {
			found++
			if !json.Valid([]byte(block)) {
				t.Errorf("%s: not valid JSON:\n%s", path, block)
			}
		}
	}
	if found < 5 {
		t.Errorf("found only %d examples", found)
	}
}

// TestPagesCommandsExist holds each `rowhook …` that a page mentions against the
// commands and flags that there are.
func TestPagesCommandsExist(t *testing.T) {
	t.Parallel()
	type mention struct{ path, line string }
	var mentions []mention
	for _, path := range pages(t) {
		text, blocks := page(t, path)
		for _, match := range regexp.MustCompile("`rowhook ([^`]+)`").FindAllStringSubmatch(text, -1) {
			mentions = append(mentions, mention{path, match[1]})
		}
		for _, block := range append(blocks["sh"], blocks["ini"]...) {
			for _, match := range regexp.MustCompile(`(?m)^(?:\S*=\S*/)?rowhook (.+?)(?: +#.*)?$`).FindAllStringSubmatch(block, -1) {
				mentions = append(mentions, mention{path, match[1]})
			}
		}
	}
	if len(mentions) < 50 {
		t.Fatalf("found only %d commands", len(mentions))
	}
	for _, m := range mentions {
		line, _, _ := strings.Cut(m.line, " | ")
		cmd, rest, err := newRootCommand(&console{env: os.LookupEnv}).Find(strings.Fields(line))
		if err != nil || !cmd.HasParent() {
			t.Errorf("%s: rowhook %s: there is no such command", m.path, line)
			continue
		}
		if cmd.HasSubCommands() && !strings.Contains(cmd.Use, " ") { // it does nothing by itself
			t.Errorf("%s: rowhook %s: %q needs one of its own commands", m.path, line, cmd.Name())
		}
		for _, word := range rest {
			if name, ok := strings.CutPrefix(word, "--"); ok && cmd.Flag(name) == nil {
				t.Errorf("%s: rowhook %s: there is no flag --%s", m.path, line, name)
			}
		}
	}
}

// TestPagesLinks: each link within the repository leads to a file, and to a heading where it names
// one.
func TestPagesLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notWord := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	found := 0
	for _, path := range pages(t) {
		text, _ := page(t, path)
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			found++
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %s leads nowhere", path, match[1])
				continue
			}
			if anchor == "" {
				continue
			}
			var anchors []string
			there, _ := page(t, file)
			for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(there, -1) {
				anchors = append(anchors, strings.ReplaceAll(notWord.ReplaceAllString(strings.ToLower(heading[1]), ""), " ", "-"))
			}
			if !slices.Contains(anchors, anchor) {
				t.Errorf("%s: %s has no heading #%s", path, file, anchor)
			}
		}
	}
	if found < 50 {
		t.Errorf("found only %d links", found)
	}
}

// TestPagesWidth: text can be read and compared side by side. Tables and examples are as wide as
// they are.
func TestPagesWidth(t *testing.T) {
	t.Parallel()
	for _, path := range pages(t) {
		if filepath.Base(path) == "proof.md" {
			continue // runs write it
		}
		text, _ := page(t, path)
		example := false
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "```") {
				example = !example
			}
			if !example && !strings.HasPrefix(line, "|") && utf8.RuneCountInString(line) > 100 {
				t.Errorf("%s:%d has more than 100 columns", path, i+1)
			}
		}
	}
}

// TestRunbooks: each alert has its section of the page, which its runbook_url leads to, and each
// section is some alert's. A section says what to look at, what to do and when it ends.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docker/prometheus-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Expr        string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(raw, &rules); err != nil {
		t.Fatal(err)
	}
	text, _ := page(t, "../../docs/runbooks.md")
	sections := map[string]string{}
	for _, section := range strings.Split(text, "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	delete(sections, "Sizing the spool")
	alerts := 0
	for _, rule := range rules.Groups[0].Rules {
		alerts++
		if want := "file:///usr/share/doc/rowhook/docs/runbooks.md#" + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want || rule.Annotations["summary"] == "" {
			t.Errorf("%s has %q", rule.Alert, rule.Annotations)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) || rule.Expr == "" {
			t.Errorf("%s has %q and asks for %q", rule.Alert, rule.Labels, rule.Expr)
		}
		section := sections[rule.Alert]
		for _, part := range []string{"\n- **Look**", "\n- **Do**", "\n- **It ends** "} {
			if !strings.Contains(section, part) {
				t.Errorf("the section of %s lacks %q", rule.Alert, part)
			}
		}
		delete(sections, rule.Alert)
	}
	for name := range sections {
		t.Errorf("no alert leads to the section %s", name)
	}
	if alerts < 15 {
		t.Errorf("found only %d alerts", alerts)
	}
}

// TestPagesNameFiles: the paths of Go files and folders that the pages for contributors name are
// there.
func TestPagesNameFiles(t *testing.T) {
	t.Parallel()
	found := 0
	for _, path := range []string{"../../CONTRIBUTING.md", "../../docs/internals.md"} {
		text, _ := page(t, path)
		for _, match := range regexp.MustCompile("`([a-z_.]+(?:/[a-z_*.]+)+)`").FindAllStringSubmatch(text, -1) {
			found++
			if files, err := filepath.Glob("../../" + match[1]); err != nil || len(files) == 0 {
				t.Errorf("%s names %s, which is not there", path, match[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("found only %d paths", found)
	}
}
