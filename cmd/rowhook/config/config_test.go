package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigFiles loads every file of testdata/config. What is wrong with a file stands,
// as people see it, in the file of the same name with .txt; a file without one is valid.
func TestConfigFiles(t *testing.T) {
	t.Parallel()
	variables := env(map[string]string{"TIMEOUT": "5s", "PASSWORD": "s3cr3t/p@ss", "EMPTY": "", "LIMIT": "many-s3cr3ts"})
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(file, variables)
			valid := strings.HasPrefix(name, "valid-")
			if valid != (err == nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if code := err.(interface{ ExitCode() int }).ExitCode(); code != exitConfig {
				t.Errorf("exit code %d", code)
			}
			told := printed(err)
			for _, secret := range []string{"s3cr3t", "p%40ss"} {
				if strings.Contains(told, secret) {
					t.Errorf("%q is shown", secret)
				}
			}
			golden(t, filepath.Join("config", name+".txt"), told)
		})
	}
}

// printed is an error as rowhook prints it, each part with its hint.
func printed(err error) string {
	var b strings.Builder
	for _, one := range Errors(err) {
		fmt.Fprintf(&b, "rowhook: %s\n", one)
		if hint := Hint(one); hint != "" {
			fmt.Fprintf(&b, "hint: %s\n", strings.ReplaceAll(hint, "\n", "\n      "))
		}
	}
	return b.String()
}
