package e2e_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rowhook/capture/capturetest"
)

// hidden are the credentials that the secretive agent has, each in a place of its own, and none of
// them may be shown anywhere.
var hidden = map[string]string{
	"database":   "hushDatabase-0123456789",
	"secret":     "hushSecret-0123456789",
	"file":       "hushFile-0123456789",
	"whsec":      "whsec_aHVzaFdoc2VjLTAxMjM0NTY3ODlhYmNkZWY=",
	"basic":      "hushBasic-0123456789",
	"bearer":     "hushBearer-0123456789",
	"oauth":      "hushClient-0123456789",
	"token":      "hushToken-0123456789",
	"header":     "hushHeader-0123456789",
	"userinfo":   "hushUserinfo-0123456789",
	"query":      "hushQuery/+0123456789",
	"smtp":       "hushMail-0123456789",
	"admin":      "hushAdmin-0123456789",
	"environ":    "hushEnviron/0123456789",
	"identified": "hushKey_0123456789",
	"path":       "hushPath-0123456789",
	"address":    "hushAddress-0123456789",
}

// rowText is in a row, and must be in nothing but what is sent, stored and shown to those who ask
// for bodies.
const rowText = "hushRow-0123456789"

// assertNoSecret fails when what rowhook puts out shows a secret, as it is or as URLs and basic
// authentication write it.
func assertNoSecret(t *testing.T, where string, output []byte, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for _, shape := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), strings.TrimPrefix(secret, "whsec_"), base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			at := bytes.Index(output, []byte(shape))
			if at >= 0 {
				t.Errorf("%s shows %q: …%s…", where, shape, output[max(0, at-120):min(len(output), at+len(shape)+80)])
				break
			}
		}
	}
}

// secretiveProfiles have a credential in every place that has one, and receivers that fail in all
// ways.
func (w *world) secretiveProfiles(t *testing.T) string {
	t.Helper()
	// The gossip tells what it was sent, in the answer's status, body and headers.
	gossip := func(status int) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			rw.Header().Set("Location", r.URL.String())
			rw.Header().Set("X-Said", r.Header.Get("Authorization"))
			rw.WriteHeader(status)
			_, _ = fmt.Fprintf(rw, `{"error":"invalid_client","error_description":"%s %v %s"}`, r.URL, r.Header, body)
		})
	}
	serve := func(status int, secure bool) string {
		s := httptest.NewUnstartedServer(gossip(status))
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail, as one is to
		if secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return strings.Replace(s.URL, "://", "://user:"+hidden["userinfo"]+"@", 1) + "/hook?token=" + url.QueryEscape(hidden["query"])
	}
	const refusing = "127.0.0.1:1"         // not a port that something else may be given
	plain := func(address string) string { // basic_auth and the URL's userinfo exclude each other
		return strings.Replace(address, "user:"+hidden["userinfo"]+"@", "", 1)
	}
	const common = "    allow_networks: [loopback]\n    timeout: 5s\n    retry: {initial: 50ms, max: 200ms}\n    contacts: [ada@example.org]\n"
	var b strings.Builder
	add := func(code, address string, lines ...string) {
		key := "url"
		if strings.HasPrefix(address, "./") {
			key = "url_file"
		}
		fmt.Fprintf(&b, "  %s:\n    %s: %s\n%s", code, key, address, common)
		for _, line := range append(lines, "headers: {X-Key: "+hidden["header"]+"}") {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	add("well", w.hook.url("well"), "secret: "+secret)
	add("refused", "http://user:"+hidden["userinfo"]+"@"+refusing+"/?token=${HUSH}", "secret: "+hidden["secret"])
	add("s401", plain(serve(401, false)), "secret_file: ./signing", "http: {basic_auth: {username: ada, password: "+hidden["basic"]+"}}")
	add("s500", plain(serve(500, false)), "secrets: [{secret: "+hidden["whsec"]+"}, {secret_file: ./signing}]", "http: {authorization: {credentials: "+hidden["bearer"]+"}}")
	add("s400", serve(400, false), "secret: "+hidden["secret"], "replies: {400: dead}")
	add("s302", serve(302, false), "secret: "+hidden["secret"])
	add("untrusted", serve(200, true), "secret: "+hidden["secret"])
	add("oauth", plain(serve(500, false)), "secret: "+hidden["secret"],
		"http: {oauth2: {client_id: rowhook, client_secret: "+hidden["oauth"]+", token_url: '"+plain(serve(401, false))+"'}}")
	add("tokened", plain(serve(401, false)), "secret: "+hidden["secret"], "http: {authorization: {credentials_file: ./bearer}}")
	add("identified", serve(500, false), "format: rakuraku", "identification_key: "+hidden["identified"])
	add("chat", strings.Replace(plain(serve(500, false)), "/hook", "/services/T1/"+hidden["path"], 1), "format: slack")
	address := strings.Replace(plain(serve(302, false)), "/hook", "/in/"+hidden["address"], 1)
	capturetest.Must(t, os.WriteFile(w.path("address"), []byte(address+"\n"), 0o600))
	add("filed", "./address", "secret: "+hidden["secret"])
	add("bare", serve(500, false), "secret: "+hidden["secret"], "log_body: 0")
	add("templated", serve(500, false), "secret: "+hidden["secret"], "format: template", "template: '{{.data.note.nothing}}'")
	return b.String()
}

// No credential and no row data is in what rowhook says, whatever goes wrong: neither in its own
// log, status, metrics and audit trail, nor in what commands print. Bodies, with their row data,
// are shown only where the delivery log, the queue and dead letters are read.
func TestNoSecretAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	admin := free.Addr().String()
	capturetest.Must(t, free.Close())
	for name, text := range map[string]string{"signing": hidden["file"], "bearer": hidden["token"], "viewer": hidden["admin"]} {
		capturetest.Must(t, os.WriteFile(w.path(name), []byte(text+"\n"), 0o600))
	}
	w.env = []string{"HUSH=" + hidden["environ"]}
	w.conf.url = strings.Replace(w.server.url(w.server.address()), "rowhook@", "rowhook:"+hidden["database"]+"@", 1)
	w.conf.profiles = w.secretiveProfiles(t)
	w.conf.mapping = "  proof.rows:\n    events:\n      row.made: {op: insert}\n      row.odd: {op: insert, where: {seq: 9}, if: 'int(new.note) > 5'}\n"
	w.conf.log = "  level: debug\n  deliveries: ./log/deliveries.jsonl\n"
	w.conf.top = "admin: {listen: '" + admin + "', tokens: [{name: ada, file: ./viewer, role: admin}]}\n" +
		"alerts: {smtp: {host: 127.0.0.1, port: 1, from: rowhook@example.org, username: rowhook, password: " + hidden["smtp"] + "}}\n"
	a := w.begin()
	w.exec(`insert into proof.rows values (1, 1, '` + rowText + `'), (2, 9, '` + rowText + `')`) // the second cannot be mapped
	w.hook.wait(t, "well", 1, patience)
	codes := []string{"refused", "s401", "s500", "s400", "s302", "untrusted", "oauth", "tokened", "identified", "templated", "bare", "chat", "filed"}
	for _, code := range codes {
		eventually(t, patience, code+" fails", func() bool { return len(w.told(code)) > 0 })
	}

	credentials := slices.Collect(maps.Values(hidden))
	everything := append(slices.Clone(credentials), rowText)
	credentialsOutsideBodies := slices.DeleteFunc(slices.Clone(credentials), func(s string) bool { return s == hidden["identified"] })
	shown := func(secrets []string, args ...string) result {
		t.Helper()
		r := w.rowhook(args...)
		if r.stdout+r.stderr == "" {
			t.Errorf("rowhook %q says nothing", args)
		}
		assertNoSecret(t, fmt.Sprintf("rowhook %q", args), []byte(r.stdout+r.stderr), secrets...)
		return r
	}
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"check"}, {"check", "--json"}, {"check", "--events"}, {"setup"}, {"profile", "list", "--history"}, {"profile", "list", "--json"},
		{"profile", "pause", "refused"}, {"profile", "resume", "refused"}, {"reload"}, {"schema"},
	} {
		shown(everything, args...)
	}
	for _, code := range codes {
		shown(credentialsOutsideBodies, "profile", "test", code)
	}
	for _, args := range [][]string{{"log"}, {"log", "--json"}, {"queue", "list"}, {"queue", "list", "--json"}, {"failed", "list"}, {"failed", "list", "--json"}} {
		shown(credentialsOutsideBodies, args...)
	}
	lines := w.readLog()
	dead := slices.IndexFunc(lines, func(l logLine) bool { return l.Outcome == "dead" && l.Profile == "s400" })
	if dead < 0 {
		t.Fatal("s400 has no dead letter")
	}
	if r := shown(credentialsOutsideBodies, "failed", "show", lines[dead].Event); !strings.Contains(r.stdout, rowText) {
		t.Errorf("failed show has no body: %+v", r)
	}
	for _, page := range []string{"/metrics", "/readyz", "/healthz", "/status"} {
		for _, token := range []string{"", hidden["admin"]} {
			assertNoSecret(t, "GET "+page, w.page(t, "http://"+admin+page, token), everything...)
		}
	}
	w.brokenConfigs(t, everything)
	a.signal(syscall.SIGHUP)
	a.says("could not be reloaded")
	a.term()
	assertNoSecret(t, "the process log", []byte(a.stderr.String()), append(everything, typoSecret)...)
	for name, secrets := range map[string][]string{"state/audit.jsonl": everything, "log/deliveries.jsonl": credentialsOutsideBodies} {
		raw, err := os.ReadFile(w.path(name))
		if err != nil || len(raw) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		assertNoSecret(t, name, raw, secrets...)
		for line := range bytes.Lines(raw) {
			if bytes.Contains(line, []byte(`"profile":"bare"`)) && bytes.Contains(line, []byte(`"outcome"`)) {
				assertNoSecret(t, "a line of a profile with log_body: 0", line, append(slices.Clone(everything), `"key":`)...)
			}
		}
	}
}

// page asks for an admin page.
func (w *world) page(t *testing.T, address, token string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	capturetest.Must(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	capturetest.Must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	capturetest.Must(t, err)
	return body
}

// typoSecret is a secret in a place, or in a form, that the config does not take.
const typoSecret = "hushTypo-0123456789"

// brokenConfigs breaks the config where credentials are, and looks at what is said of it. The last
// one stays.
func (w *world) brokenConfigs(t *testing.T, everything []string) {
	t.Helper()
	good, err := os.ReadFile(w.path("config.yaml"))
	capturetest.Must(t, err)
	const typo = typoSecret
	for _, change := range [][2]string{
		{"secret: " + hidden["secret"], "secrte: " + typo},
		{"secret: " + hidden["whsec"], "secret: whsec_" + typo + "!"},
		{"credentials: " + hidden["bearer"], "credentials: [" + typo + "]"},
		{"password: " + hidden["basic"], "password: {" + typo + ": " + typo + "}"},
		{"headers: {X-Key: " + hidden["header"] + "}", `headers: {X-Key: "` + typo + `\n"}`},
		{"password: " + hidden["smtp"], "password: \"" + typo},
		{"user:" + hidden["userinfo"] + "@", "user:" + typo + "%zz@"},
		{"rowhook:" + hidden["database"] + "@", "rowhook:" + typo + "%zz@"},
		{"token=${HUSH}", "token=" + typo + "${HUSH_NONE}"},
		{"identification_key: " + hidden["identified"], "identification_key: " + typo + "!"},
		{"secret: " + hidden["secret"], "secret: *" + typo},
		{"secret: " + hidden["secret"], "secret: !" + typo},
		{"secret: " + hidden["secret"], "secret: ${" + typo + "}"},
		{"headers: {X-Key: " + hidden["header"] + "}", `headers: "Authorization: Bearer ` + typo + `"`},
		{"headers: {X-Key: " + hidden["header"] + "}", `headers: {"Authorization: Bearer ` + typo + `"}`},
		{"headers: {X-Key: " + hidden["header"] + "}", `headers: {"X-Key ` + typo + `": a}`},
	} {
		old, broken := change[0], change[1]
		text := strings.Replace(string(good), old, broken, 1)
		if text == string(good) {
			t.Fatalf("the config has no %q", old)
		}
		capturetest.Must(t, os.WriteFile(w.path("config.yaml"), []byte(text), 0o600))
		for _, args := range [][]string{{"check"}, {"check", "--json"}, {"reload"}, {"run"}} {
			r := w.rowhook(args...)
			if r.code != 2 {
				t.Errorf("%s: rowhook %q: exit code %d, want 2\n%s%s", broken, args, r.code, r.stdout, r.stderr)
			}
			assertNoSecret(t, fmt.Sprintf("rowhook %q of %s", args, broken), []byte(r.stdout+r.stderr), append(everything, typo)...)
		}
		r := w.rowhook("status")
		assertNoSecret(t, "rowhook status after "+broken, []byte(r.stdout+r.stderr), append(everything, typo)...)
	}
}
