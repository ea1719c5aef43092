package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rowhook/capture"
)

func codes(c *Config) string {
	var all []string
	for _, finding := range c.Findings() {
		all = append(all, finding.Code)
	}
	return strings.Join(all, " ")
}

func TestFindingsOfSubscriptions(t *testing.T) {
	t.Parallel()
	c, path := write(t, smallConfig+`profiles:
  desk:
    url: https://desk.example.org/
    secret: ${SECRET}
    subscriptions:
      - events: [loan.*, record.inserted, rowhook.gap]
        tables: ["circulation.*"]
      - events: [loan.retuned]
        tables: [catalogue.items]
`)
	found := c.Findings()
	if got, want := codes(c), "subscription_event subscription_table"; got != want {
		t.Fatalf("findings %q, want %q", got, want)
	}
	if got, want := found[0].Text, `profile desk: "loan.retuned" fits no event type of the mapping; did you mean "loan.returned"?`; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	if got, want := found[0].Subject, path+":12:18"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	if !strings.Contains(found[1].Text, `did you mean "catalog.items"?`) {
		t.Errorf("text %q", found[1].Text)
	}
}

func TestFindingsOfReadableSecrets(t *testing.T) {
	t.Parallel()
	c, path := write(t, smallConfig+`profiles:
  desk: {url: https://desk.example.org/, secret: "in the file, and long enough"}
`)
	key := filepath.Join(filepath.Dir(path), "key")
	if err := os.WriteFile(key, []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.secrets = []readFrom{{line: 7, path: key}}
	if got := codes(c); got != "" {
		t.Errorf("findings %q of files that only the owner may read", got)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := codes(c), "config_readable secret_readable"; got != want {
		t.Errorf("findings %q, want %q", got, want)
	}
	for _, finding := range c.Findings() {
		if strings.Contains(finding.Text+finding.Remedy, "in the file") {
			t.Errorf("the secret is shown: %+v", finding)
		}
	}
}

func TestFindingsOfTheDeliveryLog(t *testing.T) {
	t.Parallel()
	const text = "source: {type: postgres, url: 'postgres://u@h/d'}\nmapping: {a.b: {}}\nlog: {deliveries: ./deliveries.jsonl}\n" +
		"profiles: {desk: {url: 'https://h.example.org/', secret_file: ./desk}}\n"
	for _, test := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"none yet", func(string) error { return nil }, ""},
		{"ours", func(path string) error { return os.WriteFile(path, nil, 0o600) }, ""},
		{"the group's", func(path string) error { return os.WriteFile(path, nil, 0o640) }, ""},
		{"everybody's", func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)) }, "delivery_log_readable"},
		{"a link", func(path string) error { return os.Symlink("/dev/null", path) }, "delivery_log"},
		{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "delivery_log"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.yaml")
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "desk"), []byte("a secret of enough length\n"), 0o600),
			test.make(filepath.Join(dir, "deliveries.jsonl"))); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file, env(nil), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := codes(c); got != test.want {
			t.Errorf("%s: findings %q, want %q", test.name, got, test.want)
		}
	}
}

// A config that is no file, or a profile's name of several lines, is refused at once.
func TestConfigIsAFile(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "config.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero", filepath.Dir(pipe)} {
		if _, err := Load(path, env(nil), ""); err == nil || !strings.Contains(err.Error(), "not a file") {
			t.Errorf("%s: %v", path, err)
		}
	}
	_, err := Parse("config.yaml", []byte("source: {type: postgres, url: 'postgres://u@h/d'}\nmapping: {a.b: {}}\n"+
		"profiles: {desk: {url: 'https://h.example.org/', name: \"Desk\\nEvent: forged\"}}\n"), env(nil), ReadSecret)
	if err == nil || !strings.Contains(err.Error(), "one line of text") {
		t.Errorf("a name of two lines: %v", err)
	}
}

func TestFindingsOfPasswordsInURLs(t *testing.T) {
	t.Parallel()
	text := strings.Replace(smallConfig, "rowhook@", "rowhook:%s@", 1)
	c, path := write(t, strings.Replace(text, "%s", "${SECRET}", 1))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := codes(c); got != "" {
		t.Errorf("findings %q of a variable", got)
	}
	c, path = write(t, strings.Replace(text, "%s", "swordfish", 1))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := codes(c); got != "config_readable" {
		t.Errorf("findings %q", got)
	}
}

func TestFindingsOfSecretHeaders(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Authorization: Bearer swordfish":   "config_readable",
		"X-Api-Key: swordfish":              "config_readable",
		`Authorization: "Bearer ${SECRET}"`: "",
		"X-Library: main":                   "",
	} {
		c, path := write(t, smallConfig+"profiles:\n  desk: {url: https://desk.example.org/, signature: none, headers: {"+header+"}}\n")
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := codes(c); got != want {
			t.Errorf("%s: findings %q, want %q", header, got, want)
		}
	}
}

func TestFindingsOfVariablesAreNone(t *testing.T) {
	t.Parallel()
	c, path := write(t, smallConfig+`profiles:
  desk: {url: https://desk.example.org/, secret: "${SECRET}"}
`)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := codes(c); got != "" {
		t.Errorf("findings %q", got)
	}
}

// remark is what a room says about a place in the config.
type remark struct{ path []string }

func (remark) Error() string          { return "profiles.desk.secret: from the environment, and long is short" }
func (r remark) ConfigPath() []string { return r.path }
func (remark) RemedyText() string     { return "make it longer" }

func TestWarningsOfRooms(t *testing.T) {
	t.Parallel()
	c, path := write(t, smallConfig+`profiles:
  desk: {url: https://desk.example.org/, secret: "${SECRET}"}
`)
	found := c.warnings("secret", remark{[]string{"profiles", "desk", "secret"}}, remark{[]string{"profiles", "desk", "secrets"}})
	if len(found) != 2 {
		t.Fatalf("%d findings", len(found))
	}
	first := found[0]
	if first.Subject != path+":6:50" || first.Text != "profiles.desk.secret: … is short" || first.Remedy != "make it longer" {
		t.Errorf("got %+v", first)
	}
	if got, want := found[1].Subject, path+":6:3"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
}

// What is odd about a profile is said once, with its line.
func TestFindingsAreSaidOnce(t *testing.T) {
	t.Parallel()
	c, _ := write(t, smallConfig+`profiles:
  desk: {url: https://127.0.0.1:1/, secret: short}
`)
	if got, want := codes(c), "profile profile"; got != want {
		t.Errorf("findings %q, want %q", got, want)
	}
}

// TestFindingsOfRakuraku: what a strict receiver could do nothing with is said before it is sent.
func TestFindingsOfRakuraku(t *testing.T) {
	t.Parallel()
	const source = "source: {type: postgres, url: \"postgres://rowhook@127.0.0.1/library\"}\n"
	for _, tt := range []struct{ name, entry, profile, want string }{
		{"as it should be", "code: APP_0100", "rakuraku: {url_base: https://db.example.jp}", ""},
		{"a link of its own", "code: APP_0100, link: 'https://db.example.jp/{id}'", "name: Raku", ""},
		{"no host", "code: APP_0100", "name: Raku", "rakuraku_url"},
		{"per operation there is no url", "code: APP_0100", "unit: type", ""},
		{"no url for deletes", "code: APP_0100, events: {plan.deleted: {op: delete}}", "name: Raku", ""},
		{"no code", "title: Plans", "rakuraku: {url_base: https://db.example.jp}", "rakuraku_code"},
		{"a login has none", "title: Logins, events: {login: {op: insert, as: {event: LOGIN}}}", "name: Raku", ""},
		{"of another profile", "title: Plans", "subscriptions: [{tables: [other]}]", "subscription_table"},
	} {
		c, _ := write(t, source+"mapping:\n  app.plans: {"+tt.entry+"}\nprofiles:\n  raku: {url: https://raku.example.org/, format: rakuraku, "+tt.profile+"}\n")
		if got := codes(c); got != tt.want {
			t.Errorf("%s: findings %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestRoundedEntries: only receivers that get JSON numbers round them.
func TestRoundedEntries(t *testing.T) {
	t.Parallel()
	for profile, want := range map[string]bool{
		"format: native": true, "format: template, template: '{{json .data}}'": true, "format: cloudevents": true,
		"bigint: string": false, "message_type: xml": false, "format: alma": false, "format: rakuraku": false, "format: slack": false,
		"subscriptions: [{tables: [catalog.*]}]": false,
	} {
		c, _ := write(t, smallConfig+"profiles:\n  desk: {url: https://desk.example.org/, secret: \"${SECRET}\", "+profile+"}\n")
		if got := c.Rounded()["circulation.loans"]; got != want {
			t.Errorf("%s: %v, want %v", profile, got, want)
		}
	}
}

// TestLaterKeys: what a later version has is refused as such, wherever one would look for it.
func TestLaterKeys(t *testing.T) {
	t.Parallel()
	for text, place := range map[string]string{
		smallConfig + "backfill: true\n": "5:1: backfill",
		smallConfig + "handover: true\n": "5:1: handover",
		smallConfig + "trigger: {}\n":    "5:1: trigger",
		smallConfig + "profiles:\n  desk: {url: \"https://desk.example.org/\", backfill: true}\n": "6:44: profiles.desk.backfill",
		smallConfig + "profiles:\n  desk: {url: \"https://desk.example.org/\", coalesce: 5s}\n":   "6:44: profiles.desk.coalesce",
		strings.Replace(smallConfig, "catalog.items: {}", "catalog.items: {trigger: {}}", 1):      "4:19: mapping.catalog.items.trigger",
		strings.Replace(smallConfig, "set: returned_at", "parts: {}", 1):                          "3:60: mapping.circulation.loans.events.loan.returned.parts",
		strings.Replace(smallConfig, "set: returned_at", "lookup: {}", 1):                         "3:60: mapping.circulation.loans.events.loan.returned.lookup",
	} {
		_, err := Parse("c.yaml", []byte(text), env(nil), nil)
		if err == nil || !strings.Contains(err.Error(), "c.yaml:"+place+": not in this version of rowhook") {
			t.Errorf("%s\nis refused with %v, want %s", text, err, place)
		}
	}
}

// TestFindingsOfConditions: values of a subscription that no column of its tables has.
func TestFindingsOfConditions(t *testing.T) {
	t.Parallel()
	column := func(name, typ string, kind capture.Kind) capture.Column {
		return capture.Column{Name: name, Type: &capture.Type{Name: typ, Kind: kind, AppendJSON: capture.AppendJSONString}}
	}
	loans := &capture.Table{Schema: "circulation", Name: "loans", Columns: []capture.Column{
		column("due_at", "timestamptz", capture.Instant), column("fee", "numeric", capture.Decimal), column("lost", "bool", capture.Bool),
	}}
	for where, want := range map[string]string{
		"due_at: 2026-12-01T10:00:00+09:00": "",
		"due_at: tomorrow":                  `profile desk: condition on column "due_at": the column is a timestamptz and never "tomorrow"`,
		"fee: [1e3, null]":                  "",
		"fee: free":                         `profile desk: condition on column "fee": the column is a number and never "free"`,
		"lost: yes":                         `profile desk: condition on column "lost": the column is a boolean and never "yes"`,
		"los: true":                         `profile desk: no table of the subscription has a column "los"; did you mean "lost"?`,
	} {
		c, _ := write(t, "source: {type: postgres, url: 'postgres://u@h/d'}\nmapping: {circulation.loans: {}}\n"+
			"profiles: {desk: {url: 'https://h.example.org/', secret: '${SECRET}', subscriptions: [{where: {"+where+"}}]}}\n")
		var said []string
		for _, finding := range c.ConditionFindings([]*capture.Table{loans}) {
			said = append(said, finding.Text)
		}
		if got := strings.Join(said, "; "); got != want {
			t.Errorf("%s: got %s, want %s", where, got, want)
		}
	}
}
