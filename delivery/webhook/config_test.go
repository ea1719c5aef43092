package webhook

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

// explained is what every complaint about a setting offers.
type explained interface {
	error
	ConfigPath() []string
	RemedyText() string
}

func complaints(t *testing.T, err error) []explained {
	t.Helper()
	if err == nil {
		return nil
	}
	var all []explained
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined", err)
	}
	for _, one := range joined.Unwrap() {
		var e explained
		if !errors.As(one, &e) || e.RemedyText() == "" {
			t.Fatalf("%v explains nothing", one)
		}
		all = append(all, e)
	}
	return all
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	const secretURL = "https://user:hunter2@desk.example.org/hooks?token=hunter2"
	change := func(f func(*delivery.ProfileConfig)) delivery.ProfileConfig {
		cfg := profile("https://desk.example.org/hooks")
		f(&cfg)
		return cfg
	}
	for _, test := range []struct {
		name string
		cfg  delivery.ProfileConfig
		path string
	}{
		{"no url", change(func(c *delivery.ProfileConfig) { c.URL = "" }), "url"},
		{"not a url", change(func(c *delivery.ProfileConfig) { c.URL = "https://hunter2%zz@x/" }), "url"},
		{"scheme", change(func(c *delivery.ProfileConfig) { c.URL = "ftp://hunter2@desk.example.org" }), "url"},
		{"no scheme", change(func(c *delivery.ProfileConfig) { c.URL = "desk.example.org/hunter2" }), "url"},
		{"no host", change(func(c *delivery.ProfileConfig) { c.URL = "https:///hunter2" }), "url"},
		{"port", change(func(c *delivery.ProfileConfig) { c.URL = "https://desk.example.org:70000/hunter2" }), "url"},
		{"port text", change(func(c *delivery.ProfileConfig) { c.URL = "https://desk.example.org:hunter2/" }), "url"},
		{"http to anybody", change(func(c *delivery.ProfileConfig) { c.URL, c.AllowNetworks = "http://desk.example.org", nil }), "url"},
		{"http to a public address", change(func(c *delivery.ProfileConfig) { c.URL = "http://93.184.216.34/" }), "url"},
		{"network", change(func(c *delivery.ProfileConfig) { c.AllowNetworks = []string{"loopback", "10.0.0.0/33"} }), "allow_networks.1"},
		{"success", change(func(c *delivery.ProfileConfig) { c.Success = []string{"200", "2000"} }), "success.1"},
		{"success backwards", change(func(c *delivery.ProfileConfig) { c.Success = []string{"299-200"} }), "success.0"},
		{"reply", change(func(c *delivery.ProfileConfig) { c.Replies = []delivery.ReplyConfig{{Status: "6xx", Action: "dead"}} }), "replies.6xx"},
		{"reply's action", change(func(c *delivery.ProfileConfig) { c.Replies = []delivery.ReplyConfig{{Status: "404", Action: "drop"}} }), "replies.404"},
		{"signature", change(func(c *delivery.ProfileConfig) { c.Signature = "gitlab" }), "signature"},
		{"secret", change(func(c *delivery.ProfileConfig) { c.Secret = "whsec_hunter2!" }), "secret"},
		{"empty whsec", change(func(c *delivery.ProfileConfig) { c.Secret = "whsec_" }), "secret"},
		{"secrets", change(func(c *delivery.ProfileConfig) { c.Secrets = []delivery.SecretConfig{{Secret: "whsec_hunter2!"}} }), "secrets.0"},
		{"empty secret", change(func(c *delivery.ProfileConfig) { c.Secrets = []delivery.SecretConfig{{}} }), "secrets.0"},
		{"header name", change(func(c *delivery.ProfileConfig) { c.Headers = headers("x team", "hunter2") }), "headers"},
		{"header without name", change(func(c *delivery.ProfileConfig) { c.Headers = headers("", "hunter2") }), "headers"},
		{"header value", change(func(c *delivery.ProfileConfig) { c.Headers = headers("x-team", "hunter2\r\nx: y") }), "headers.x-team"},
		{"our header", change(func(c *delivery.ProfileConfig) { c.Headers = headers("webhook-ID", "hunter2") }), "headers.webhook-ID"},
		{"http's header", change(func(c *delivery.ProfileConfig) { c.Headers = headers("transfer-encoding", "chunked") }), "headers.transfer-encoding"},
		{"own signature", change(func(c *delivery.ProfileConfig) { c.Headers = headers("x-hub-signature-256", "hunter2") }), "headers.x-hub-signature-256"},
		{"Alma's signature", change(func(c *delivery.ProfileConfig) { c.Headers = headers("X-Exl-Signature", "hunter2") }), "headers.X-Exl-Signature"},
		{"hidden repetition", change(func(c *delivery.ProfileConfig) { c.Headers = headers("Idempotency-Key", "hunter2") }), "headers.Idempotency-Key"},
		{"twice", change(func(c *delivery.ProfileConfig) { c.Headers = headers("x-team", "a", "X-Team", "b") }), "headers.X-Team"},
		{"two credentials", change(func(c *delivery.ProfileConfig) {
			c.URL, c.Headers = secretURL, headers("Authorization", "Bearer hunter2")
		}), "url"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := New(test.cfg, Options{Products: format.Products()})
			all := complaints(t, err)
			if len(all) != 1 {
				t.Fatalf("complaints: %v", err)
			}
			want := "profiles.desk." + test.path
			if got := strings.Join(all[0].ConfigPath(), "."); got != want {
				t.Errorf("path %q, want %q", got, want)
			}
			if strings.Contains(err.Error()+all[0].RemedyText(), "hunter2") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
}

func headers(pairs ...string) []delivery.HeaderConfig {
	var all []delivery.HeaderConfig
	for pair := range slices.Chunk(pairs, 2) {
		all = append(all, delivery.HeaderConfig{Name: pair[0], Value: pair[1]})
	}
	return all
}

func TestNewTellsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(delivery.ProfileConfig{Code: "desk", Success: []string{"x"}, AllowNetworks: []string{"y"}}, Options{Products: format.Products()})
	if all := complaints(t, err); len(all) != 3 {
		t.Errorf("%d complaints: %v", len(all), err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 65)
	for _, test := range []struct {
		name      string
		signature string
		secret    string
		secrets   []delivery.SecretConfig
		want      []string
	}{
		{"good", "standard", testSecret, nil, nil},
		{"no secret", "standard", "", nil, []string{"profiles.desk"}},
		{"unsigned on purpose", "none", "", nil, nil},
		{"short", "", "hello", nil, []string{"profiles.desk.secret"}},
		{"long", "", long, nil, []string{"profiles.desk.secret"}},
		{"short in a list", "standard", testSecret, []delivery.SecretConfig{{Secret: testSecret}, {Secret: "short", NotAfter: time.Now()}},
			[]string{"profiles.desk.secrets.1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := profile("https://desk.example.org")
			cfg.Signature, cfg.Secret, cfg.Secrets = test.signature, test.secret, test.secrets
			s, err := New(cfg, Options{Products: format.Products()})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range complaints(t, errors.Join(s.Warnings()...)) {
				got = append(got, strings.Join(w.ConfigPath(), "."))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("warnings %q, want %q", got, test.want)
			}
		})
	}
}

func TestWarnsOfGuardedAddresses(t *testing.T) {
	t.Parallel()
	for url, warned := range map[string]bool{
		"http://127.0.0.1:8080/": false, "http://localhost/": false, "http://desk.example.org/": false, "https://desk.example.org/": false,
		"https://[::1]/": false, "http://10.0.0.1/": true, "https://10.0.0.1/": true, "https://169.254.169.254/": true, "https://93.184.216.34/": false,
	} {
		s, err := New(profile(url), Options{Products: format.Products()})
		if err != nil {
			t.Fatal(url, err)
		}
		if got := len(s.Warnings()) == 1; got != warned {
			t.Errorf("%s: %v", url, s.Warnings())
		}
	}
}

func TestDescribeMasksCredentials(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://desk.example.org":                                  "https://desk.example.org",
		"https://desk.example.org:8443/a%2Fb/c":                     "https://desk.example.org:8443/a%2Fb/c",
		"https://hunter2@desk.example.org/x":                        "https://***@desk.example.org/x",
		"https://user:hunter2@desk.example.org/x?a=hunter2&hunter2": "https://***@desk.example.org/x?a=***&***",
		"https://desk.example.org/x?a=1&b=&c#hunter2":               "https://desk.example.org/x?a=***&b=***&***",
	} {
		s, err := New(profile(url), Options{Products: format.Products()})
		if err != nil {
			t.Fatal(err)
		}
		if method, got := s.Describe(); method != "POST" || got != want {
			t.Errorf("%s %s, want %s", method, got, want)
		}
	}
}

func FuzzRedactText(f *testing.F) {
	f.Add("https://u:hunter2@host/path?x=hunter2#hunter2")
	f.Add("//hunter2@host")
	f.Add("mailto:hunter2@host")
	f.Add("/login?next=hunter2")
	f.Fuzz(func(t *testing.T, text string) {
		// Whatever stands in the query's values never comes out.
		got := redactText(text)
		if before, after, ok := strings.Cut(got, "?"); ok {
			for part := range strings.SplitSeq(after, "&") {
				if _, value, has := strings.Cut(part, "="); has && value != masked && !strings.HasSuffix(value, "…") {
					t.Errorf("%q: value %q in %q after %q", text, value, got, before)
				}
			}
		}
	})
}
