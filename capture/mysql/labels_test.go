package mysql

import (
	"slices"
	"testing"
)

// The catalog's enums and sets come with their labels, on every server.
func TestLabels(t *testing.T) {
	t.Parallel()
	for columnType, want := range map[string][]string{
		"enum('new','paid')":        {"new", "paid"},
		"enum('won''t','a,b','''')": {"won't", "a,b", "'"},
		"set('x')":                  {"x"},
		"enum('','('')')":           {"", "(')"},
		"int(11)":                   nil,
	} {
		if got := labelsOf(columnType); !slices.Equal(got, want) {
			t.Errorf("%s has the labels %q, want %q", columnType, got, want)
		}
	}
}
