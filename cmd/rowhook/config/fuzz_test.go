package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// FuzzConfig holds that no file makes the loader panic, that every error has its place in the file,
// and that the JSON Schema takes whatever the loader takes.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, exampleConfig, libraryConfig) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a\n  <<: *a\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("source: ${\n"))
	schema := compileSchema(f)
	variables := env(map[string]string{"PASSWORD": "p@ss"})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("config.yaml", data, variables, func(string) ([]byte, error) { return []byte("secret\n"), nil })
		if err == nil {
			c.Findings()
			checkSchema(t, schema, c)
			return
		}
		errs, ok := err.(configErrors)
		if !ok || len(errs) == 0 {
			t.Fatalf("error %T", err)
		}
		for _, one := range errs {
			if one.line < 1 || one.column < 1 || one.text == "" {
				t.Errorf("%q has no place", one)
			}
		}
	})
}

func checkSchema(t *testing.T, schema *jsonschema.Schema, c *Config) {
	t.Helper()
	text, err := json.Marshal(plain(t, c.root))
	if err != nil {
		return // a number that JSON does not have, where any text is taken
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("the schema refuses what the loader takes: %v", err)
	}
}
