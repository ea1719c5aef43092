package delivery

import (
	"fmt"
	"strconv"
	"strings"
)

// StatusSet is a set of HTTP status codes from 100 to 599. The zero value is empty.
type StatusSet struct {
	bits [10]uint64
}

// ParseStatuses reads codes ("204"), classes ("5xx") and ranges ("200-299"). Each item may hold
// several, separated by commas. The error names the item at fault.
func ParseStatuses(items ...string) (StatusSet, error) {
	var set StatusSet
	for _, item := range items {
		for part := range strings.SplitSeq(item, ",") {
			first, last, ok := parseStatusRange(strings.TrimSpace(part))
			if !ok {
				return StatusSet{}, fmt.Errorf("status %q is not a code, a class or a range", part)
			}
			for code := first; code <= last; code++ {
				set.bits[code/64] |= 1 << (code % 64)
			}
		}
	}
	return set, nil
}

// Has reports whether the code is in the set.
func (s *StatusSet) Has(code int) bool {
	return code >= 100 && code <= 599 && s.bits[code/64]&(1<<(code%64)) != 0
}

// Empty reports whether the set has no code at all.
func (s *StatusSet) Empty() bool { return s.bits == [10]uint64{} }

func parseStatusRange(s string) (first, last int, ok bool) {
	if len(s) == 3 && strings.EqualFold(s[1:], "xx") && s[0] >= '1' && s[0] <= '5' {
		first = int(s[0]-'0') * 100
		return first, first + 99, true
	}
	from, to, isRange := strings.Cut(s, "-")
	if first, ok = parseStatus(from); !ok {
		return 0, 0, false
	}
	if !isRange {
		return first, first, true
	}
	last, ok = parseStatus(to)
	return first, last, ok && first <= last
}

func parseStatus(s string) (int, bool) {
	code, err := strconv.Atoi(strings.TrimSpace(s))
	return code, err == nil && code >= 100 && code <= 599
}
