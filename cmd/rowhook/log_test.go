package main

import (
	"strings"
	"testing"
)

// Before the first event there is no delivery log, which is no error.
func TestLogBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	_, path := write(t, smallConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n")
	var out, messages strings.Builder
	code := execute(t.Context(), []string{"log", "--json", "-c", path}, &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(nil)})
	if code != 0 || out.String() != "" || !strings.Contains(messages.String(), "no delivery log") {
		t.Errorf("exit %d, output %q, messages %q", code, out.String(), messages.String())
	}
}
