package mysql

import (
	"slices"
	"strings"
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

// A raw @ or / in the password is refused before a piece of it is taken for a host, and nothing of
// it is quoted.
func TestRawPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"mysql://rowhook:s3cr@t3@db/shop", "mysql://rowhook:s3cr/t3@db:3306/shop", "mysql://rowhook:s3cr?t3@db/shop"} {
		_, err := parseAddress(raw)
		if err == nil || !strings.Contains(err.Error(), "password_file") || strings.Contains(err.Error(), "s3cr") || strings.Contains(err.Error(), "t3") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
