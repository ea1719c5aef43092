package spelling

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	keys := []string{"url", "set", "secret", "secret_file", "subscriptions", "timeout"}
	for word, want := range map[string]string{
		"ulr": "url", "uri": "url", "secert": "secret", "subscription": "subscriptions", "TIMEOUT": "timeout",
		"wen": "", "x": "", "": "", "colour": "", "timeouts": "timeout", "secretfile": "secret_file",
	} {
		if got := Nearest(word, keys); got != want {
			t.Errorf("nearest to %q: %q, want %q", word, got, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"lisp": `; did you mean "list"?`, "colour": ""} {
		if got := DidYouMean(word, []string{"list", "log"}); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}
