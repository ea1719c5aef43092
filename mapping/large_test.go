package mapping

import (
	"testing"

	"rowhook/capture"
)

// TestKeyOfSeveralEntries: the key of a row that is not mapped is known where all entries agree.
func TestKeyOfSeveralEntries(t *testing.T) {
	t.Parallel()
	one := EntryConfig{Name: "circulation.loans"}
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"one":       {Config{one}, `{"loan_id":7}`},
		"the same":  {Config{one, {Name: "second", Table: "circulation.loans"}}, `{"loan_id":7}`},
		"different": {Config{one, {Name: "second", Table: "circulation.loans", Key: []string{"item_pid"}}}, ""},
	} {
		m, _ := setup(t, tt.cfg, Options{})
		values := row("7", "P1", "MAIN", "ACTIVE", null, null, null, "")
		if got := string(m.Key(&capture.Change{Op: capture.Insert, Table: loans(capture.IdentityFull), New: values})); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
