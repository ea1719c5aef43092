package main

import (
	"os"
	"path/filepath"
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

// A profile that was never there is named, with its glob and when the log is followed too. One that
// the config no longer has is found by its lines.
func TestLogOfAProfile(t *testing.T) {
	t.Parallel()
	c, path := write(t, smallConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none}\n  shelf: {url: https://shelf.example.org/, signature: none}\n")
	missing := []struct {
		profile, message string
	}{
		{"nope", `neither the config nor the delivery log has a profile "nope"` + "\nhint: profiles are: desk, shelf\n"},
		{"dask", `has a profile "dask"; did you mean "desk"?`},
		{"branch-*", `has a profile "branch-*"`},
	}
	refused := func(args ...string) {
		t.Helper()
		for _, tt := range missing {
			got := rowhook(t, append([]string{"log", "-c", path, "--profile", tt.profile}, args...)...)
			if got.code != exitFailed || got.out != "" || !strings.Contains(got.err, tt.message) {
				t.Errorf("%s %q: exit %d, %q, %q", tt.profile, args, got.code, got.out, got.err)
			}
		}
	}
	refused()
	must(t, os.MkdirAll(filepath.Dir(c.Log.Deliveries), 0o700))
	must(t, os.WriteFile(c.Log.Deliveries, []byte(
		`{"v":1,"time":"2026-11-22T01:02:03Z","profile":"kiosk","outcome":"delivered","event":"evt_1","type":"loan.created"}`+"\n"), 0o600))
	refused()
	refused("-f")
	refused("--since", "2h")
	for _, tt := range []struct {
		args []string
		out  string
	}{
		{[]string{"--profile", "desk"}, ""},
		{[]string{"--profile", "d*"}, ""},
		{[]string{"--profile", "kiosk"}, "delivered   kiosk  loan.created"},
		{[]string{"--profile", "ki*"}, "delivered   kiosk  loan.created"},
		{[]string{"--profile", "kiosk", "--outcome", "dead"}, ""},
	} {
		got := rowhook(t, append([]string{"log", "-c", path}, tt.args...)...)
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, tt.out) || (tt.out == "") != (got.out == "") {
			t.Errorf("%q: exit %d, %q, %q", tt.args, got.code, got.out, got.err)
		}
	}
}
