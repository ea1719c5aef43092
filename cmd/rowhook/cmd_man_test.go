package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMan writes a page for each command that one sees, with all that its help has.
func TestMan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := rowhook(t, "man", dir); got.code != exitDone || got.out+got.err != "" {
		t.Fatalf("%+v", got)
	}
	pages, err := filepath.Glob("testdata/help/*.txt")
	must(t, err)
	for _, help := range pages {
		name := strings.TrimSuffix(filepath.Base(help), ".txt")
		page, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if name == "rowhook-man" {
			if err == nil {
				t.Error("a hidden command has a page")
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		want := []string{".SH NAME\n" + roff(name) + ` \- `, ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXIT STATUS\n"}
		if strings.Contains(name, "-") {
			want = append(want, ".SH SEE ALSO\n", `  \-c, \-\-config file`)
		}
		for _, part := range want {
			if !strings.Contains(string(page), part) {
				t.Errorf("%s lacks %q", name, part)
			}
		}
		for line := range strings.Lines(string(page)) {
			if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && len(strings.Fields(line)[0]) > 3 {
				t.Errorf("%s: text becomes a request: %s", name, line)
			}
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "rowhook-listen.1"))
	must(t, err)
	_, body, _ := strings.Cut(string(page), "\n") // below the version
	golden(t, "man/rowhook-listen.1", body)
}
