package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
)

// guestForce is a config in force with secrets from the environment and from a file.
const guestForce = `source: {type: postgres, url: "postgres://rowhook:${DB_PASSWORD}@127.0.0.1:1/library"}
mapping:
  loans: {table: "${SCHEMA}.loans"}
profiles:
  desk: {url: "https://desk.example.org/", secret_file: KEY}
`

func parseForce(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("c.yaml", []byte(text), env(map[string]string{"DB_PASSWORD": `hunter"2 \x`, "SCHEMA": "public"}), func(path string) ([]byte, error) {
		return []byte("whsec_czNjcmV0LWZpbGUtczNjcmV0LWZpbGUtczNjcmV0"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGuestIsToldNoSecret: a variable counts where the config in force has it, and nowhere else, be
// it by an alias; what is said of a pasted config goes without secrets in any notation.
func TestGuestIsToldNoSecret(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("whsec_czNjcmV0LWZpbGUtczNjcmV0LWZpbGUtczNjcmV0"), 0o600); err != nil {
		t.Fatal(err)
	}
	inForce := strings.ReplaceAll(guestForce, "KEY", key)
	force := parseForce(t, inForce)
	for from, to := range map[string]string{
		`loans: {table: "${SCHEMA}.loans"}`:                    `loans: {table: "${SCHEMA}.${DB_PASSWORD}"}`,
		`{table: "${SCHEMA}.loans"}`:                           `{table: "a.${DB_PASSWORD:-x}"}`,
		"source: {type: postgres, url: \"postgres":             "state: &x \"${DB_PASSWORD}\"\nsource: {type: postgres, url: \"postgres",
		`desk: {url: "https://desk.example.org/"`:              `desk: {description: "${DB_PASSWORD}", url: "https://desk.example.org/"`,
		`url: "https://desk.example.org/", secret_file: KEY`:   `url_file: KEY, signature: none`,
		`{url: "https://desk.example.org/", secret_file: KEY}`: `{name: key, url: "https://desk.example.org/${DB_PASSWORD}", secret_file: KEY}`,
	} {
		text := strings.Replace(guestForce, from, to, 1)
		if text == guestForce {
			t.Fatalf("%s is not there", from)
		}
		guest, err := force.ParseGuest([]byte(strings.ReplaceAll(text, "KEY", key)))
		got := fmt.Sprint(guest.Mapping, guest.State, err)
		for _, p := range guest.Profiles {
			got += p.URL + p.Name + p.Description
		}
		if strings.Contains(got, "hunter") || strings.Contains(got, "czNjcmV0LWZpbGU") {
			t.Errorf("%s gets what is not its own: %s", to, got)
		}
	}
	same, err := force.ParseGuest([]byte(inForce))
	if err != nil || same.Mapping[0].Table != "public.loans" || same.Source.URL != force.Source.URL {
		t.Errorf("the config in force itself: %v, %+v", err, same.Mapping)
	}
	const secret = `hunter"2 \x`
	f := same.Hide(capture.Finding{Subject: secret, Text: fmt.Sprintf("%q and %s", secret, percentEncode(secret)), Remedy: "drop " + secret, Table: secret})
	if got := fmt.Sprint(f); strings.Contains(got, "hunter") || !strings.Contains(got, "drop …") {
		t.Errorf("the finding says %s", got)
	}
}

// TestGuestNamesNoFile: a pasted URL reads no file, and what is said tells of none.
func TestGuestNamesNoFile(t *testing.T) {
	t.Parallel()
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, []byte("not a certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	const force = `source: {type: postgres, url: "postgres://rowhook@127.0.0.1:1/library"}
mapping: {public.loans: {}}
profiles: {desk: {url: "https://desk.example.org/", signature: none}}
`
	mysql := strings.NewReplacer("postgres", "mysql", "public.", "library.").Replace(force)
	for from, all := range map[string][]string{
		force: {"?sslrootcert=", "?sslmode=verify-full&sslrootcert=", "?sslcert=K&sslkey=", "?passfile=", "?service=x&servicefile="},
		mysql: {"?ca=", "?cert=K&key="},
	} {
		c := parseForce(t, from)
		for _, one := range all {
			answers := map[string]bool{}
			for _, path := range []string{there, filepath.Join(filepath.Dir(there), "absent"), t.TempDir()} {
				guest, err := c.ParseGuest([]byte(strings.Replace(from, "/library\"", "/library"+strings.ReplaceAll(one, "K", there)+path+"\"", 1)))
				if err != nil {
					t.Errorf("%s%s: %v", one, path, err)
					continue
				}
				found := fmt.Sprint(guest.GuestFindings())
				answers[found] = true
				if !strings.Contains(found, "source.url differs") {
					t.Errorf("that the URL was not looked at is not said: %s", found)
				}
			}
			if len(answers) > 1 {
				t.Errorf("%s tells which files there are: %v", one, answers)
			}
		}
		if guest, err := c.ParseGuest([]byte(strings.Replace(from, "url:", "slot: \"No Slot\", url:", 1))); from == force && err == nil {
			t.Errorf("other settings of the source are not looked at: %v", guest.Source)
		}
	}
	// A log, or a secret, that is pasted is not looked for either.
	c := parseForce(t, force)
	guest, err := c.ParseGuest([]byte(force + "log: {deliveries: " + filepath.Dir(there) + "}\n"))
	if err != nil || strings.Contains(fmt.Sprint(guest.GuestFindings()), "a directory") {
		t.Errorf("the guest is told what a path is: %v, %v", err, guest.GuestFindings())
	}
}
