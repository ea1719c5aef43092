package capture

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// A finding that went over the control socket weighs what it weighed.
func TestFindingKeepsItsSeverity(t *testing.T) {
	t.Parallel()
	for _, severity := range []Severity{Info, Warning, Error} {
		raw, err := json.Marshal(Finding{Severity: severity, Code: "mapping", Text: "no column"})
		if err != nil || !strings.Contains(string(raw), `"severity":"`+severity.String()+`"`) {
			t.Errorf("%s, %v", raw, err)
		}
		var got Finding
		if err := json.Unmarshal(raw, &got); err != nil || got.Severity != severity {
			t.Errorf("%s became %v, %v", raw, got.Severity, err)
		}
	}
	if err := new(Severity).UnmarshalText([]byte("grave")); err == nil {
		t.Error("an unknown severity was read")
	}
}
