package webhook

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"rowhook/delivery"
)

// TestRepliesThatQuoteCredentials has receivers that answer with what they were sent: the log gets
// it without the credentials.
func TestRepliesThatQuoteCredentials(t *testing.T) {
	t.Parallel()
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		user, password, _ := r.BasicAuth()
		_, _ = fmt.Fprintf(w, "no: %s %s %s %s %s:%s", r.URL.RawQuery, r.URL.Query().Get("token"), r.Header.Get("X-Key"), r.Header.Get("Authorization"), user, password)
	})
	for name, test := range map[string]struct {
		change func(*delivery.ProfileConfig)
		want   string
	}{
		"nothing":  {func(*delivery.ProfileConfig) {}, "no:     :"},
		"query":    {func(c *delivery.ProfileConfig) { c.URL += "/?token=long%2Bsecret&a=short" }, "no: token=***&a=short ***   :"},
		"userinfo": {func(c *delivery.ProfileConfig) { c.URL = strings.Replace(c.URL, "://", "://ada:long-secret@", 1) }, "no:    Basic *** ada:***"},
		"header":   {func(c *delivery.ProfileConfig) { c.Headers = headers("X-Key", "long-secret") }, "no:   ***  :"},
		"short":    {func(c *delivery.ProfileConfig) { c.Headers = headers("X-Key", "main") }, "no:   main  :"},
		"basic": {func(c *delivery.ProfileConfig) {
			c.HTTP.BasicAuth.Username, c.HTTP.BasicAuth.Password = "ada", "long-secret"
		}, "no:    Basic *** ada:***"},
		"bearer": {func(c *delivery.ProfileConfig) { c.HTTP.Authorization.Credentials = "long-secret" }, "no:    Bearer *** :"},
		"longer one": {func(c *delivery.ProfileConfig) {
			c.URL += "/?token=long-secret"
			c.Headers = headers("X-Key", "long-secret-2")
		}, "no: token=*** *** ***  :"},
		"own setting": {func(c *delivery.ProfileConfig) { c.Headers = headers("Authorization", "long-secret") }, "no:    *** :"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := profile(server.URL)
			test.change(&cfg)
			s, _ := sender(t, cfg)
			if reply := s.Send(t.Context(), &testRequest); string(reply.Response) != test.want {
				t.Errorf("the log gets %q, want %q", reply.Response, test.want)
			}
		})
	}
}

// Of a URL that is a secret, or whose path is one, nothing behind the host is shown, whoever
// repeats it.
func TestSecretPaths(t *testing.T) {
	t.Parallel()
	const token = "aBcDeFgH12345678"
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://elsewhere.example.org"+r.URL.Path+"/now")
		w.WriteHeader(http.StatusFound)
		_, _ = fmt.Fprintf(w, "no such hook: %s", r.URL)
	})
	for name, test := range map[string]struct {
		change func(*delivery.ProfileConfig)
		shown  string
	}{
		"slack":            {func(c *delivery.ProfileConfig) { c.Format = "slack"; c.URL += "/services/T1/B2/" + token }, "/***"},
		"slack with query": {func(c *delivery.ProfileConfig) { c.Format = "slack"; c.URL += "?key=" + token }, "/***"},
		"file":             {func(c *delivery.ProfileConfig) { c.URLFile = "url"; c.URL += "/in/" + token + "?a=" + token }, "/***"},
		"file, host alone": {func(c *delivery.ProfileConfig) { c.URLFile = "url"; c.URL += "/" }, ""},
	} {
		cfg := profile(server.URL)
		test.change(&cfg)
		s, _ := sender(t, cfg)
		reply := s.Send(t.Context(), &testRequest)
		_, shown := s.Describe()
		if shown != server.URL+test.shown {
			t.Errorf("%s: shown as %s", name, shown)
		}
		for _, text := range []string{shown, reply.Error, reply.Location, string(reply.Response)} {
			if strings.Contains(text, token) {
				t.Errorf("%s: %s", name, text)
			}
		}
	}
	cfg := profile(server.URL + "/hooks/" + token)
	s, _ := sender(t, cfg)
	if _, shown := s.Describe(); shown != cfg.URL {
		t.Errorf("the path of another profile is shown as %s", shown)
	}
}

// TestReplyQuotesToken has a receiver that answers with the access token it was sent.
func TestReplyQuotesToken(t *testing.T) {
	t.Parallel()
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"t0ken-of-an-hour","token_type":"Bearer"}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "no: "+r.Header.Get("Authorization"))
	})
	cfg := profile(server.URL)
	cfg.HTTP.OAuth2 = delivery.OAuth2Config{ClientID: "rowhook", ClientSecret: "cl1ent-secret", TokenURL: server.URL + "/token"}
	s, _ := sender(t, cfg)
	if reply := s.Send(t.Context(), &testRequest); string(reply.Response) != "no: Bearer ***" {
		t.Errorf("the log gets %q", reply.Response)
	}
}

// A credential that the kept part of a reply ends in is masked, too.
func TestMaskAtTheEnd(t *testing.T) {
	t.Parallel()
	c := confidences{[]byte("long-secret")}
	for reply, want := range map[string]string{
		"no: long-secre": "no: ***", "no: long": "no: ***", "no: lon": "no: lon", "long-secret!": "***!", "": "", "so long, ": "so long, ",
	} {
		given := []byte(reply)
		if got := c.mask(given); string(got) != want || !bytes.Equal(given, []byte(reply)) {
			t.Errorf("%q became %q, want %q; what was given is %q", reply, got, want, given)
		}
	}
}
