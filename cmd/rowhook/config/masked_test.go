package config

import (
	"strings"
	"testing"
)

// TestMasked: the config that people are shown has no secret, in whichever place one may stand, and
// nothing of what comments say.
func TestMasked(t *testing.T) {
	t.Parallel()
	text := `# old password: s3cret-comment
source: {type: postgres, url: "postgres://rowhook:s3cret-url@db.example.org/library"}
mapping:
  catalog.items: {} # s3cret-comment
admin: {tokens: [{name: ada, file: token, role: admin}]}
profiles:
  desk:
    url: https://user:s3cret-user@desk.example.org/hook?token=s3cret-query
    secret: whsec_c2VjcmV0LWlubGluZS1zZWNyZXQtaW5saW5l
    headers: {X-Api-Key: "s3cret-header", X-Odd: s3cret-odd}
    http: {proxy_url: "http://p:s3cret-proxy@proxy.example.org:3128"}
  basic:
    url: https://basic.example.org/
    http: {basic_auth: {username: u, password: s3cret-basic}}
  chat:
    format: slack
    url: https://hooks.slack.example.org/services/s3cret-path
  sandboxed:
    format: slack
    url: https://hooks.slack.example.org/services/s3cret-path
    sandbox: {url: https://sandbox.slack.example.org/services/s3cret-path}
  user:
    url: https://user.example.org/
    sandbox: {url: "https://s3cret-user@user-sandbox.example.org/?code=s3cret-code"}
  part:
    url: https://part.example.org/${PART}/s3cret-literal
    headers: {X-Whole: "${PART}", X-Part: "${PART}s3cret-header", X-Default: "${PART:-s3cret-default}"}
  tokens:
    url: https://tokens.example.org/
    http: {oauth2: {client_id: c, client_secret: s3cret-oauth, token_url: "https://login.example.org/s3cret-tenant", endpoint_params: {assertion: s3cret-param, whole: "${PART}"}}}
  other:
    url: ${OTHER_URL}
    secret_file: key
alerts: {smtp: {host: mail.example.org, from: a@example.org, username: u, password: s3cret-mail}}
`
	c, err := Parse("c.yaml", []byte(text), env(map[string]string{"OTHER_URL": "https://other.example.org/s3cret-env", "PART": "s3cret-part"}),
		func(string) ([]byte, error) { return []byte("whsec_czNjcmV0LWZpbGUtczNjcmV0LWZpbGUtczNjcmV0"), nil })
	if err != nil {
		t.Fatal(err)
	}
	masked, err := c.Masked()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cret", "c2VjcmV0", "czNjcmV0"} {
		if strings.Contains(masked, secret) {
			t.Errorf("%s is shown:\n%s", secret, masked)
		}
	}
	for _, want := range []string{"db.example.org/library", "desk.example.org/hook", "${OTHER_URL}", "secret_file: key", "name: ada", "hooks.slack.example.org", "X-Odd", "username: u", "proxy.example.org:3128", "https://sandbox.slack.example.org/***", "https://user-sandbox.example.org/***", "https://part.example.org/***", "https://login.example.org/***", `X-Whole: "${PART}"`, `whole: "${PART}"`} {
		if !strings.Contains(masked, want) {
			t.Errorf("%q is not shown:\n%s", want, masked)
		}
	}
	again, err := c.Masked()
	if err != nil || again != masked {
		t.Error("the second look differs from the first")
	}
}

// TestHostOf shows scheme and host of what is surely a URL, and nothing of anything else.
func TestHostOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://a.example.org": "https://a.example.org", "https://a.example.org/": "https://a.example.org/", "https://u:p@a.example.org:8443/x": "https://a.example.org:8443/***",
		"https://a.example.org?x=s": "https://a.example.org/***", "https://a.example.org#s": "https://a.example.org/***", "http://[::1]:80/x": "http://[::1]:80/***", "${URL}": "${URL}",
		"${URL:-https://s@h}": "***", "${SCHEME}://h/": "***", "https://${HOST}:${PORT}/${PATH}": "https://${HOST}:${PORT}/***", "https://u:1/s@a.example.org/": "***",
		"https://u:s": "***", "secret": "***", "https://${HOST:-s/x}/": "***",
	} {
		if got := hostOf(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}
