package capture

import (
	"slices"
	"testing"
)

// TestRowIdentity: rows are told apart by columns that old rows come with, or else by the key.
func TestRowIdentity(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		key, identity []int
		full, parted  bool
		want          []int
	}{
		"key":                           {key: []int{1, 0}, identity: []int{0, 1}, want: []int{1, 0}},
		"another index":                 {key: []int{0}, identity: []int{2}, want: []int{2}},
		"no identity":                   {key: []int{0}, want: []int{0}},
		"no key":                        {identity: []int{2}, want: nil},
		"whole rows":                    {key: []int{0}, identity: []int{0, 1, 2}, full: true, want: []int{0}},
		"partitions":                    {key: []int{0, 1}, identity: []int{0, 1}, parted: true, want: []int{0, 1}},
		"partitions with other indexes": {key: []int{0, 1}, identity: []int{2}, parted: true, want: []int{0, 1}},
	} {
		of := &Table{Columns: make([]Column, 3), Key: tt.key, Partitioned: tt.parted, Identity: IdentityIndex}
		if tt.full {
			of.Identity = IdentityFull
		}
		for _, i := range tt.identity {
			of.Columns[i].Identity = true
		}
		if got := of.RowIdentity(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
