package operation

import (
	"slices"
	"strings"
	"testing"
)

// TestRefusedRowsAreNotNamed: what somebody wrote for a row is not in errors, which are logged.
func TestRefusedRowsAreNotNamed(t *testing.T) {
	t.Parallel()
	_, noPair := ParseReadConditions([]string{"branch=MAIN", "name: Ann Smith"})
	_, noKey := ParseKey([]string{"name: Ann Smith"})
	_, twice := ParseKey([]string{"email=a", "email=Ann Smith"})
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

// TestParseKey: a value is what follows the first =, as it is.
func TestParseKey(t *testing.T) {
	t.Parallel()
	got, err := ParseKey([]string{"loan_id= 1000 ", "branch=a=b", "note="})
	want := []KeyPart{{"loan_id", " 1000 "}, {"branch", "a=b"}, {"note", ""}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q: %v", got, err)
	}
	read, err := ParseReadKey([]string{"loan_id= 1000 ", "branch=a=b"})
	if err != nil || len(read) != 2 || read["loan_id"] != " 1000 " || read["branch"] != "a=b" {
		t.Errorf("%q: %v", read, err)
	}
	for _, texts := range [][]string{nil, {"loan_id"}, {"=7"}, {"a=1", "a=2"}} {
		if got, err := ParseKey(texts); err == nil {
			t.Errorf("%q is %q", texts, got)
		}
	}
}
