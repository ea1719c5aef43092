package operation

import (
	"strings"
	"testing"
)

// TestRefusedRowsAreNotNamed: what somebody wrote for a row is not in errors, which are logged.
func TestRefusedRowsAreNotNamed(t *testing.T) {
	t.Parallel()
	_, noPair := ParseReadConditions([]string{"branch=MAIN", "name: Ann Smith"})
	_, noKey := ParseReadKey([]string{"name: Ann Smith"})
	_, twice := ParseReadKey([]string{"email=a", "email=Ann Smith"})
	for _, c := range []struct {
		err  error
		want string
	}{
		{noPair, "condition 2 is no COLUMN=VALUE"},
		{noKey, "column 1 of the key is no COLUMN=VALUE, or is given twice"},
		{twice, "column 2 of the key is no COLUMN=VALUE, or is given twice"},
	} {
		if c.err == nil || c.err.Error() != c.want || strings.Contains(c.err.Error(), "Ann") {
			t.Errorf("error %v, want %s", c.err, c.want)
		}
	}
}
