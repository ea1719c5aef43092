package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// configPage is the reference of the config for people. It is made from what `rowhook schema`
// prints, and from nothing else.
const configPage = "../../docs/configuration.md"

const configPageHead = "# Configuration\n\n" +
	"Every key of the config file. This page is made from the JSON Schema that `rowhook schema` prints:\n" +
	"`go test ./cmd/rowhook -run TestConfigPage -update` writes it anew. Editors take the schema itself.\n\n" +
	"[config.example.yaml](../config.example.yaml) shows the keys in place, [starter.yaml](starter.yaml)\n" +
	"is a config to start from. The file is strict: an unknown key, a wrong type or a bad value is\n" +
	"refused with its line. `rowhook check` looks at the values too.\n\n" +
	"| Notation | Meaning |\n|---|---|\n" +
	"| `${NAME}`, `${NAME:-default}` | an environment variable, after parsing; percent-encoded inside a URL |\n" +
	"| `$$` | a dollar sign |\n" +
	"| duration | `500ms`, `15s`, `72h`, `30d` |\n" +
	"| size | `64KiB`, `100MiB`, `10GiB` |\n" +
	"| rate | `50/s`, `10/1s`, `600/m` |\n" +
	"| percentage | `25%` |\n" +
	"| file | a path, relative to the config file; it is read again on reload |\n\n" +
	"A profile's key comes from the profile, else from `defaults`, else from its format. Maps are merged\n" +
	"key by key, lists are replaced. Some formats have defaults of their own:\n\n" +
	"| Key | `alma` | `rakuraku` | `slack` |\n|---|---|---|---|\n" +
	"| `timeout` | 5s | 10s | |\n" +
	"| `success` | | 200, 201 | |\n" +
	"| `signature` | alma | none | none |\n" +
	"| `challenge` | query | | |\n" +
	"| `retry.schedule` | 1h, 3h, 6h | 5s, 5s, 5s | |\n" +
	"| `replies` | 3xx and 4xx: dead | all others: retry | |\n" +
	"| `alert.on` | attempt | final | |\n\n" +
	"When the config lies in `/etc`, `state` is `/var/lib/rowhook` by default, and `log.deliveries` is\n" +
	"`log/deliveries.jsonl` in the state directory.\n"

const configPageTail = "\n## Conditions\n\n" +
	"A condition (`where`, `becomes`) names values: the database's, as SELECT shows them. Numbers compare\n" +
	"by value (1.50 is 1.5), and so do dates and times, which may also be written as payloads have them.\n" +
	"Without a zone they are UTC. Intervals are written as in payloads (P1DT2H) and compare as PostgreSQL\n" +
	"does (P1M is P30D), networks as addresses, JSON by what it holds. Spaces at the end of a PostgreSQL\n" +
	"`char(n)`, capitals in a `citext`, and capitals and hyphens in a `uuid` do not count. A domain is as\n" +
	"the type below it. All else, texts above all, compares as written, whatever the collation: 01 is not\n" +
	"1, `a` is not `A`. `rowhook check` names values that a column never has.\n\n" +
	"In expressions (`if`, `expr`) a column's `==`, `!=` and `in` say the same; a text in JSON has no\n" +
	"quotes there. `<` and its like order numbers, dates, times, MySQL's TIME, intervals, addresses and\n" +
	"UUIDs as the database does, and texts letter by letter, A to Z before a to z. Of `money`, enums,\n" +
	"ranges, MariaDB's UUIDs and types that somebody made the order is not known: `check` refuses the\n" +
	"rule, and `run` parks its changes.\n" +
	"\n## Fields\n\n" +
	"An entry's `fields` are the payload's shape, in this order. A text is a column. A map with `column`,\n" +
	"`const` or `expr` is an operator, any other map nests. Beside an operator stand:\n\n" +
	"| Member | Values |\n|---|---|\n" +
	"| `type` | `string`, `number`, `bool`, `date`, `datetime`, `list` (NULL is an empty one), `json` |\n" +
	"| `format` | of times: `seconds`, `milliseconds`, `microseconds`; of dates: `xs` (2026-11-22Z); of bools: `string` |\n" +
	"| `zone` | the time zone of times that carry none; they are sent in UTC |\n" +
	"| `items` | the shape of the objects in a JSON column or a list: `column` is a member there, `a.b` one inside it |\n"

// topKeys are the file's keys in the order in which one reads about them.
var topKeys = []string{"source", "state", "spool", "shutdown_grace", "rate", "mapping", "lookups", "profiles", "defaults", "log", "account", "alerts", "admin", "cluster"}

// TestConfigPage holds the page to the schema.
func TestConfigPage(t *testing.T) {
	t.Parallel()
	var out, messages bytes.Buffer
	if code := execute(t.Context(), []string{"schema"}, &console{out: &out, err: &messages, env: os.LookupEnv}); code != exitDone {
		t.Fatalf("exit %d, %s", code, &messages)
	}
	var schema configNode
	if err := json.Unmarshal(out.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	got := writeConfigPage(&schema)
	if *update {
		if err := os.WriteFile(configPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(configPage)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("docs/configuration.md is not what the schema says: go test ./cmd/rowhook -run TestConfigPage -update")
	}
	for key := range schema.Properties {
		if !slices.Contains(topKeys, key) {
			t.Errorf("topKeys lacks %s", key)
		}
	}
}

// configNode is as much of a JSON Schema as the page shows.
type configNode struct {
	Ref         string                 `json:"$ref"`
	Description string                 `json:"description"`
	Default     any                    `json:"default"`
	Type        any                    `json:"type"`
	Enum        []string               `json:"enum"`
	Required    []string               `json:"required"`
	Items       *configNode            `json:"items"`
	Then        *configNode            `json:"then"`
	Else        *configNode            `json:"else"`
	Properties  map[string]*configNode `json:"properties"`
	Definitions map[string]*configNode `json:"$defs"`
	// Values is the schema of a map's values, or false.
	Values json.RawMessage `json:"additionalProperties"`
}

// configPageWriter writes a section for each object, at the first place where it stands.
type configPageWriter struct {
	strings.Builder
	definitions map[string]*configNode
	sections    map[string]string // title by reference
	waiting     []configSection
}

type configSection struct{ title, ref string }

func writeConfigPage(schema *configNode) string {
	w := &configPageWriter{definitions: schema.Definitions, sections: map[string]string{}}
	w.WriteString(configPageHead)
	w.WriteString("\n## The file\n\n")
	for _, key := range topKeys {
		if node := schema.Properties[key]; node != nil {
			w.key("", key, node, slices.Contains(schema.Required, key))
		}
	}
	for len(w.waiting) > 0 {
		next := w.waiting[0]
		waiting := w.waiting[1:]
		w.waiting = nil
		w.section(next)
		w.waiting = append(w.waiting, waiting...) // what stands in a section follows it
	}
	w.WriteString(configPageTail)
	return w.String()
}

func (w *configPageWriter) section(s configSection) {
	fmt.Fprintf(w, "\n## %s\n\n", s.title)
	node := w.definitions[s.ref]
	keys := make([]string, 0, len(node.Properties))
	for key := range node.Properties {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		w.key(s.title+".", key, node.Properties[key], slices.Contains(node.Required, key))
	}
}

// key writes one key as an item of a list.
func (w *configPageWriter) key(above, key string, node *configNode, required bool) {
	kind, ref, suffix := w.kind(node)
	notes := []string{kind}
	if required {
		notes = append(notes, "required")
	}
	if node.Default != nil {
		notes = append(notes, "default "+configValue(node.Default))
	}
	text := fmt.Sprintf("- **`%s`** (%s)", key, strings.Join(notes, ", "))
	if node.Description != "" {
		text += ": " + strings.ReplaceAll(node.Description, "<", `\<`) + "."
	}
	if ref != "" {
		title, known := w.sections[ref]
		if !known {
			title = above + key + suffix
			w.sections[ref] = title
			w.waiting = append(w.waiting, configSection{title, ref})
		}
		text += fmt.Sprintf(" See [%s](#%s).", title, strings.ToLower(strings.ReplaceAll(title, ".", "")))
	}
	w.wrap(text)
}

// kind says what a key takes; ref is the object that has a section, suffix what its keys stand
// under.
func (w *configPageWriter) kind(node *configNode) (kind, ref, suffix string) {
	name := strings.TrimPrefix(node.Ref, "#/$defs/")
	switch name {
	case "":
	case "text", "duration", "size", "rate":
		return name, "", ""
	case "percent":
		return "percentage", "", ""
	default:
		if target := w.definitions[name]; len(target.Properties) > 0 {
			return "map", name, ""
		}
		return "any shape", "", ""
	}
	switch {
	case node.Then != nil && node.Then.Items != nil: // one, or a list of them
		kind, ref, suffix = w.kind(node.Then.Items)
		return "one or more: " + kind, ref, suffix
	case node.Items != nil:
		kind, ref, suffix = w.kind(node.Items)
		return "list: " + kind, ref, suffix
	case node.Else != nil:
		return w.kind(node.Else)
	case len(node.Enum) > 0:
		return "`" + strings.Join(node.Enum, "`, `") + "`", "", ""
	}
	var values configNode
	if json.Unmarshal(node.Values, &values) == nil {
		kind, ref, suffix = w.kind(&values)
		return "map of " + kind, ref, ".NAME" + suffix
	}
	return configType(node.Type), "", ""
}

func configType(t any) string {
	name, ok := t.(string)
	switch {
	case !ok:
		return "value" // text, a number, a boolean or null
	case name == "string":
		return "text"
	case name == "integer":
		return "whole number"
	}
	return name
}

func configValue(v any) string {
	text, err := json.Marshal(v)
	if s, ok := v.(string); ok {
		text = []byte(s)
	} else if err != nil {
		text = fmt.Append(nil, v)
	}
	return "`" + string(text) + "`"
}

// wrap writes an item of a list in lines of at most 100 characters.
func (w *configPageWriter) wrap(text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > 100 {
			w.WriteString(line + "\n")
			line = "  " + word
			continue
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	w.WriteString(line + "\n")
}
