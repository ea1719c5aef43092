package capture

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzNumbers holds numbers against what JSON takes for one, blanks around them aside.
func FuzzNumbers(f *testing.F) {
	for _, text := range []string{"0", "-0", "7", "-12", "007", "-", "", "+1", "1.5", "1.", ".5", "1e5", "1E+05", "-1.5e-300", "1e", "0x10", "12a", "NaN", "1 ", "٣"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		number := strings.Trim(text, "0123456789+-.eE") == "" && json.Valid([]byte(text))
		if got := IsNumber([]byte(text)); got != number {
			t.Errorf("%q is a number: %t, want %t", text, got, number)
		}
		if got, want := IsInteger([]byte(text)), number && !strings.ContainsAny(text, ".eE"); got != want {
			t.Errorf("%q is a whole number: %t, want %t", text, got, want)
		}
	})
}
