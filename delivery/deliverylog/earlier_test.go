package deliverylog_test

import (
	"path/filepath"
	"testing"

	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
)

// TestEarlierLog reads the delivery log that an earlier version left.
func TestEarlierLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "testdata", "state-428a154", "deliveries.jsonl")
	got := make(map[delivery.Outcome]int)
	undecided, err := deliverylog.Search(t.Context(), deliverylog.Query{Path: path}, func(_ []byte, rec deliverylog.ParsedRecord) error {
		got[rec.Outcome]++
		return nil
	})
	if err != nil || undecided != 0 {
		t.Fatalf("%d undecided, %v", undecided, err)
	}
	for outcome, want := range map[delivery.Outcome]int{"delivered": 23, "dead": 4, "retrying": 8, "held": 8} {
		if got[outcome] != want {
			t.Errorf("%d lines %s, want %d", got[outcome], outcome, want)
		}
	}
}
