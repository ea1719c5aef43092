package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFeaturePage: docs/features.md has a row for each item, and each row names tests that exist,
// one of them from a row change to a receiver, or says that the item is not met.
func TestFeaturePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, part := range []struct {
		letter string
		n      int
	}{{"A", 54}, {"B", 66}, {"E", 11}, {"R", 6}} {
		for i := 1; i <= part.n; i++ {
			want = append(want, fmt.Sprintf("%s-%02d", part.letter, i))
		}
	}
	tests, wholeWay, named := testsIn(t, "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go"), testsIn(t, "cmd/rowhook/e2e/*_test.go"), regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	var got []string
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "or"), "|")
		if !regexp.MustCompile(`^\| [ABER]-\d\d `).MatchString(line) {
			continue
		}
		id := strings.TrimSpace(cells[1])
		got = append(got, id)
		if len(cells) != 6 {
			t.Errorf("%s has %d cells", id, len(cells)-2)
			continue
		}
		found := named.FindAllStringSubmatch(cells[4], -1)
		proven := strings.Contains(cells[3], "**Not met**")
		for _, name := range found {
			if !slices.Contains(tests, name[1]) {
				t.Errorf("%s names %s, which does not exist", id, name[1])
			}
			proven = proven || slices.Contains(wholeWay, name[1])
		}
		if !proven {
			t.Errorf("%s names no test that goes from a row change to a receiver", id)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%v\nand not\n%v", got, want)
	}
}

// testsIn are the names of the tests in files, by patterns from the repository's root.
func testsIn(t *testing.T, patterns ...string) []string {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	var names []string
	for _, pattern := range patterns {
		files, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range function.FindAllStringSubmatch(string(text), -1) {
				names = append(names, found[1])
			}
		}
	}
	return names
}
