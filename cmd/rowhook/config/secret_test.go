package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// However a secret is mistaken in the file, no error quotes it: as an alias, a tag, a variable, a
// map, a key, or in the place of what it stands in.
func TestConfigErrorsQuoteNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "Hush7Value"
	profile := func(lines string) string {
		return "source: {type: postgres, url: 'postgres://u@h/d'}\nmapping: {a.b: {}}\nprofiles:\n  desk:\n    url: https://h.example.org/\n" + lines
	}
	for _, text := range []string{
		profile("    secret: *Hush7Value\n"),
		profile("    secret: !Hush7Value\n"),
		profile("    secret: !Hush7Value x\n"),
		profile("    secret: &Hush7Value\n"),
		profile("    secret: ${Hush7Value}\n"),
		profile("    secret: ab${Hush7Value}cd\n"),
		profile("    secret: ${Hush7Value-}\n"),
		profile("    secret: {Hush7Value}\n"),
		profile("    secret: [Hush7Value]\n"),
		profile("    secret: [Hush7Value\n"),
		profile("    secret: @Hush7Value\n"),
		profile("    secret: a: Hush7Value\n"),
		profile("    secret Hush7Value\n"),
		profile("    secret:Hush7Value\n"),
		profile("    secrets: Hush7Value\n"),
		profile("    secrets: [Hush7Value]\n"),
		profile("    secrets: [{Hush7Value}]\n"),
		profile("    secrets: [{secret: a, not_after: b, Hush7Value: c}]\n"),
		profile("    secrets: {secret: Hush7Value}\n"),
		profile("    headers: \"Authorization: Bearer Hush7Value\"\n"),
		profile("    headers: {\"Authorization: Bearer Hush7Value\"}\n"),
		profile("    headers: {\"Authorization: Bearer Hush7Value\": x}\n"),
		profile("    headers: {Hush7Value}\n"),
		profile("    headers: [Authorization, Hush7Value]\n"),
		profile("    headers: [{Authorization: Hush7Value}]\n"),
		profile("    headers: {Authorization: [Hush7Value]}\n"),
		profile("    headers: {X-Key: ${Hush7Value}}\n"),
		profile("    headers: {X-Key: \"Hush7Value\\n\"}\n"),
		profile("    headers: {X-Key: Hush7Value, X-Key: Hush7Value}\n"),
		profile("    http: Hush7Value\n"),
		profile("    http: {basic_auth: Hush7Value}\n"),
		profile("    http: {basic_auth: ['ada', 'Hush7Value']}\n"),
		profile("    http: {basic_auth: {\"ada:Hush7Value\"}}\n"),
		profile("    http: {authorization: Bearer Hush7Value}\n"),
		profile("    http: {authorization: {Hush7Value: Bearer}}\n"),
		profile("    http: {oauth2: Hush7Value}\n"),
		profile("    sandbox: Hush7Value\n"),
		profile("    url: [https://h.example.org/Hush7Value]\n"),
		profile("    url: {https://h.example.org/Hush7Value}\n"),
		profile("") + "alerts: {smtp: Hush7Value}\n",
		profile("") + "alerts: Hush7Value\n",
		profile("") + "admin: {tokens: Hush7Value}\n",
		profile("") + "admin: {tokens: [Hush7Value]}\n",
		"source: Hush7Value\nmapping: {a.b: {}}\nprofiles: {}\n",
		"source: {type: postgres, url: [Hush7Value]}\nmapping: {a.b: {}}\nprofiles: Hush7Value\n",
		"source: {type: postgres, url: 'postgres://u@h/d', password: {Hush7Value: x}}\nmapping: {a.b: {}}\nprofiles: {}\n",
		"Hush7Value\n",
	} {
		_, err := Parse("config.yaml", []byte(text), func(string) (string, bool) { return "", false }, ReadSecret)
		if err == nil {
			continue // not every form is a mistake
		}
		said := err.Error()
		for _, one := range capture.Errors(err) {
			said += "\n" + capture.Remedy(one) + fmt.Sprintf("%v", one)
		}
		if strings.Contains(said, secret) {
			t.Errorf("%s\nsays: %v", text[max(0, len(text)-80):], err)
		}
	}
}

// What is no secret is still told as it was written: names of variables, keys and values.
func TestConfigErrorsStayTelling(t *testing.T) {
	t.Parallel()
	head := "source: {type: postgres, url: 'postgres://u@h/d'}\nmapping: {a.b: {}}\nprofiles:\n  desk:\n    url: https://h.example.org/\n"
	for text, want := range map[string]string{
		"    secret: ${DESK_SECRET}\n":                        "the environment variable DESK_SECRET is not set",
		"    headers: {Authorization: \"Bearer ${TOKEN}\"}\n": "the environment variable TOKEN is not set",
		"    headers: {X-Key: [a]}\n":                         "profiles.desk.headers.X-Key",
		"    secrte: abc\n":                                   `unknown key; did you mean "secret"?`,
		"    timeout: 5x\n":                                   `got "5x"`,
		"    name: ${Desk}\n":                                 "the environment variable Desk is not set",
		"    http: {basic_auth: {username: a, pasword: b}}\n": `did you mean "password"?`,
		"    subscriptions: [{events: [a], Tabels: [b]}]\n":   "Tabels: unknown key",
	} {
		_, err := Parse("config.yaml", []byte(head+text), func(string) (string, bool) { return "", false }, ReadSecret)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestReadable: who may not read a secret is told which right is missing, and how to give it.
func TestReadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	capturetest.Must(t, os.WriteFile(file, nil, 0o600))
	for _, tt := range []struct {
		path string
		err  error
		want string
	}{
		{file, fs.ErrNotExist, ""},
		{file, &fs.PathError{Op: "open", Path: file, Err: fs.ErrPermission}, " " + file + " && chmod 400 " + file},
		{filepath.Join(dir, "closed", "secret"), &fs.PathError{Op: "open", Err: fs.ErrPermission}, " " + dir + "/closed && chmod g+x " + dir + "/closed"},
	} {
		if got := readable(tt.path, tt.err); (got == "") != (tt.want == "") || !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s, %v: %q", tt.path, tt.err, got)
		}
	}
}
