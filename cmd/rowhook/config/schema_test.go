package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// compileSchema compiles the schema as it is printed.
func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	printed, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(printed))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("rowhook.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("rowhook.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON reads a YAML file as editors give it to a schema: times stay text.
func asJSON(t *testing.T, file string) any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root, err := parseYAML(file, data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(plain(t, root))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch n.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			object[n.Content[i].Value] = plain(t, n.Content[i+1])
		}
		return object
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, plain(t, item))
		}
		return list
	}
	if n.ShortTag() == "!!timestamp" {
		return n.Value
	}
	var value any
	if err := n.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSchemaTakesValidConfigs(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	files, err := filepath.Glob("testdata/config/valid-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range append(files, exampleConfig, libraryConfig) {
		if err := schema.Validate(asJSON(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	// What JSON Schema cannot say, or what JSON does not have.
	beyond := []string{
		"empty", "only-comments", "second-document", "tab", "syntax", "syntax-indent", "syntax-quote", "syntax-colon", "syntax-version", "alias-cycle", "alias-unknown", "tag", "merge-not-a-map",
		"key-not-text", "duplicate-key", "variable-unset", "variable-value-hidden", "room-validation", "numbers",
		"mapping-rules", "operations", "source-slot", "source-url", "source-url-parts", "foreign-source-key", "foreign-source-key-postgres", "comment-on-postgres", "messages-on-mysql",
		"rakuraku-groups", "member-names",
	}
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if strings.HasPrefix(name, "valid-") || slices.Contains(beyond, name) {
			continue
		}
		if schema.Validate(asJSON(t, file)) == nil {
			t.Errorf("%s is taken", file)
		}
	}
}

// TestSchemaSaysWhatIsMeant: an editor can say what is wrong, not only that a value is none of many
// things.
func TestSchemaSaysWhatIsMeant(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for entry, want := range map[string]string{
		"customers: {}": "missing property 'table'",
		"shop.customers: {events: {a.b: {op: on}}}":                "value must be one of 'insert', 'update', 'delete', 'truncate'",
		"shop.customers: {events: {a.b: [{op: on}]}}":              "value must be one of 'insert', 'update', 'delete', 'truncate'",
		"customers: {table: shop.customers}":                       "",
		"shop.customers: {events: {a.b: {op: [insert, '${OP}']}}}": "",
	} {
		file := filepath.Join(t.TempDir(), "c.yaml")
		text := "source: {type: postgres, url: 'postgres://rowhook@127.0.0.1/shop'}\nmapping:\n  " + entry + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		switch err := schema.Validate(asJSON(t, file)); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
}

func TestSchemaHasNoLaterKeys(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	for _, later := range []string{"handover", "jetstream"} {
		if strings.Contains(string(text), `"`+later+`"`) {
			t.Errorf("%s is in the schema", later)
		}
	}
}

// TestSchemaTellsDefaults holds that the defaults told are those used, in the loader's notation.
func TestSchemaTellsDefaults(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties map[string]struct{ Default any }
		Defs       map[string]struct {
			Properties map[string]struct{ Default any }
		} `json:"$defs"`
	}
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	told := func(definition, key string) any { return schema.Defs[definition].Properties[key].Default }
	for _, test := range []struct{ got, want any }{
		{schema.Properties["state"].Default, "state"},
		{schema.Properties["shutdown_grace"].Default, "20s"},
		{told("rowhook.spool", "max_size"), "10GiB"},
		{told("rowhook.spool", "dead"), "30d"},
		{told("rowhook.spool", "sync"), "10ms"},
		{told("rowhook.source", "slot"), "rowhook"},
		{told("delivery.Profile", "share"), "25%"},
		{told("delivery.Profile", "concurrency"), 8.0},
		{told("delivery.Retry", "max_age"), "72h"},
		{told("delivery.Retry", "jitter"), 0.2},
		{told("delivery.Log", "max_size"), "100MiB"},
		{told("delivery.Profile", "url"), nil},
	} {
		if test.got != test.want {
			t.Errorf("default %v, want %v", test.got, test.want)
		}
	}
}
