package delivery

import (
	"testing"
	"time"
)

func TestParseRate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{
		"":         {},
		"50/s":     {Requests: 50, Per: time.Second},
		"10/1s":    {Requests: 10, Per: time.Second},
		"600/m":    {Requests: 600, Per: time.Minute},
		"1/500ms":  {Requests: 1, Per: 500 * time.Millisecond},
		"5/1h30m":  {Requests: 5, Per: 90 * time.Minute},
		"1000/24h": {Requests: 1000, Per: 24 * time.Hour},
	} {
		if got, err := ParseRate(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"50", "/s", "50/", "0/s", "-1/s", "+1/s", "1.5/s", "50/0s", "50/x", "50/-1s", "50/25h", "1/1us", "9999999/s", "50/s/s", "50 /s"} {
		if got, err := ParseRate(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	f.Add("50/s")
	f.Add("10/1s")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRate(text)
		if err == nil && text != "" && (r.Requests < 1 || r.Per < time.Millisecond) {
			t.Errorf("%q: %+v", text, r)
		}
	})
}
