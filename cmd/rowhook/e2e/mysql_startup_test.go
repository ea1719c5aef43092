package e2e_test

import (
	"strings"
	"testing"
)

// An account that the server does not know is one finding, with its cure.
func TestMySQLAccountRefused(t *testing.T) {
	t.Parallel()
	for _, name := range databases[1:] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, name, nil)
			w.conf.url = strings.Replace(w.server.url(w.server.address()), "rowhook:", "stranger:", 1)
			w.write()
			r := w.rowhook("check")
			if r.code != 3 || strings.Count(r.stdout, "Access denied") != 1 || !strings.Contains(r.stdout, "CREATE USER") || strings.Contains(r.stdout, mysqlPassword) {
				t.Errorf("check ends with %d and says\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
}
