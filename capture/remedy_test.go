package capture

import (
	"errors"
	"fmt"
	"testing"
)

// TestErrors: joined errors come apart, but for one that says itself where it is.
func TestErrors(t *testing.T) {
	t.Parallel()
	one, two := errors.New("one"), &OperatorError{Err: errors.New("two"), Remedy: "start it"}
	placed := &ConfigError{Err: errors.Join(one, two)}
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"nil":       {nil, 0},
		"one":       {one, 1},
		"joined":    {errors.Join(one, errors.Join(two, placed)), 3},
		"placed":    {placed, 1},
		"wrapped":   {fmt.Errorf("read: %w", two), 1},
		"wraps two": {fmt.Errorf("%w, %w", one, two), 2},
	} {
		if got := Errors(test.err); len(got) != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := Remedy(fmt.Errorf("read: %w", two)); got != "start it" {
		t.Errorf("its remedy is %q", got)
	}
	if got := Remedy(one) + Remedy(nil); got != "" {
		t.Errorf("the remedy of one that has none is %q", got)
	}
}
