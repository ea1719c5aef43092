package mysql

import (
	"errors"
	"testing"

	"rowhook/capture"
)

// TestCompressedValueIsBounded: a value that would become larger than a change may be is refused
// before it is inflated.
func TestCompressedValueIsBounded(t *testing.T) {
	t.Parallel()
	value := []byte("\x89\x03\x4b\x4c\x4a\x06\x00") // abc
	table := tableMap{columns: []column{{unpacked: appendBytes}}}
	c := &table.columns[0]
	for most, want := range map[int64]bool{0: true, 3: true, 2: false} {
		table.bound(most)
		out, err := appendUnpacked(c, nil, value)
		if large := new(capture.TooLargeError); !want && (!errors.As(err, &large) || large.Size != 3 || large.Limit != 2) {
			t.Errorf("at most %d: %q, %v", most, out, err)
		}
		if want && (err != nil || string(out) != "abc") {
			t.Errorf("at most %d: %q, %v", most, out, err)
		}
	}
}
