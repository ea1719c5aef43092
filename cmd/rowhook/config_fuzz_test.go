package main

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig holds that no file makes the loader panic, and that every error has its place in the file.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../../config.example.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a\n  <<: *a\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Add([]byte("source: ${\n"))
	variables := env(map[string]string{"PASSWORD": "p@ss"})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("config.yaml", data, variables, func(string) ([]byte, error) { return []byte("secret\n"), nil })
		if err == nil {
			c.findings()
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
