package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminConfig is the HTTP side of a running agent.
type adminConfig struct {
	Listen string        `yaml:"listen" doc:"address of /metrics, /healthz and /readyz; off when empty"`
	Hosts  []string      `yaml:"hosts,oneormany" doc:"names by which the pages may be asked for, besides addresses and localhost; empty: by any name where others than this machine can reach the address, else by none"`
	_      struct{}      `later:"console"`
	Tokens []tokenConfig `yaml:"tokens" secret:"true" doc:"who may ask for more than these, and change something; needed where others than this machine can reach the address"`
}

// tokenConfig is a bearer token.
type tokenConfig struct {
	Name string `yaml:"name" doc:"whose it is, for the audit log"`
	File string `yaml:"file" path:"file" doc:"file that holds the token, at least 16 characters"`
	Role string `yaml:"role" enum:"admin,viewer" doc:"a viewer sees the status, an admin may change something too"`

	token string
}

const roleAdmin = "admin"

// shortestToken keeps tokens from being guessed.
const shortestToken = 16

// validateAdmin checks the section and reads the tokens.
func (c *Config) validateAdmin(readFile func(string) ([]byte, error)) configErrors {
	var errs configErrors
	refuse := func(text, hint string, path ...string) {
		errs = append(errs, c.problem(append([]string{"admin"}, path...), text, hint))
	}
	local := true
	if listen := c.Admin.Listen; listen != "" {
		host, port, err := net.SplitHostPort(listen)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 && port != "0" {
			refuse("expected an address and a port, such as 127.0.0.1:8642", "", "listen")
		}
		local = err != nil || isLoopback(host)
	}
	names := map[string]bool{}
	for i := range c.Admin.Tokens {
		t, at := &c.Admin.Tokens[i], strconv.Itoa(i)
		data, err := readFile(t.File)
		t.token = strings.TrimSpace(string(data))
		line, column := c.locate("admin", "tokens", at, "file")
		c.hidden, c.secrets = append(c.hidden, t.token), append(c.secrets, readFrom{line, column, t.File})
		switch {
		case t.Name == "" || names[t.Name]:
			refuse("a token needs a name of its own", "the audit log shows it", "tokens", at, "name")
		case t.Role == "":
			refuse("missing; expected admin or viewer", "", "tokens", at, "role")
		case t.File == "":
			refuse("missing; expected the file that holds the token", "", "tokens", at, "file")
		case err != nil:
			refuse("cannot read the file: "+cause(err).Error(), "", "tokens", at, "file")
		case len(t.token) < shortestToken:
			refuse(fmt.Sprintf("the token has fewer than %d characters", shortestToken), "make one with: openssl rand -hex 32", "tokens", at, "file")
		}
		names[t.Name] = true
	}
	if !local && len(c.Admin.Tokens) == 0 {
		refuse("others than this machine can reach this address, and there is no token", "add admin.tokens, or listen on 127.0.0.1", "listen")
	}
	return errs
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// adminServer answers on admin.listen. Metrics and the two health pages are for everybody; the rest needs a token, for looking only
// where others than this machine can reach it, for changing something everywhere.
type adminServer struct {
	agent   *agent
	metrics http.Handler
	local   bool
}

func newAdminServer(a *agent) *adminServer {
	host, _, _ := net.SplitHostPort(a.config().Admin.Listen)
	registry := newRegistry(a)
	return &adminServer{
		agent: a, local: isLoopback(host),
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelError), Registry: prometheus.NewRegistry()}),
	}
}

// serveAdmin answers until ctx ends; at once when nothing is to be listened on.
func (a *agent) serveAdmin(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		return nil
	}
	server := &http.Server{
		Handler: newAdminServer(a), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		server.Close() // a scrape can be repeated
	}()
	err := server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve admin.listen: %w", err)
}

// listenAdmin opens admin.listen; nil when it is off.
func (c *Config) listenAdmin() (net.Listener, error) {
	if c.Admin.Listen == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", c.Admin.Listen)
	if err != nil {
		return nil, c.problem([]string{"admin", "listen"}, fmt.Sprintf("cannot listen: %v", err), "choose another port, or stop what listens there")
	}
	return listener, nil
}

// ServeHTTP implements [http.Handler].
func (s *adminServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	route := r.Method + " " + r.URL.Path
	if r.Method == http.MethodHead {
		route = http.MethodGet + " " + r.URL.Path
	}
	if page := s.open(route); page != nil {
		if !s.askedByName(r) && s.token(r) == nil {
			writeControl(w, http.StatusMisdirectedRequest, &controlFailure{Message: "this page is not asked for by that name",
				Remedy: "use the address, list the name in admin.hosts, or send a token"})
			return
		}
		page(w, r)
		return
	}
	who, ok := s.allow(w, r)
	if !ok {
		return
	}
	var answer any
	var err error
	switch route {
	case "GET /status":
		answer, err = s.agent.status(r.Context())
	case "POST /reload":
		answer, err = s.agent.reload(r.Context(), reloadRequest{User: who, By: reloadByCommand})
	default:
		writeControl(w, http.StatusNotFound, &controlFailure{Message: "there is no such page", Remedy: "GET /metrics, /healthz, /readyz, /status; POST /reload"})
		return
	}
	if err != nil {
		writeControl(w, http.StatusUnprocessableEntity, &controlFailure{Message: err.Error(), Remedy: hintOf(err)})
		return
	}
	writeControl(w, http.StatusOK, answer)
}

// open returns the page of a route that needs no token; nil for any other.
func (s *adminServer) open(route string) http.HandlerFunc {
	switch route {
	case "GET /metrics":
		return s.metrics.ServeHTTP
	case "GET /healthz":
		return func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, s.agent.health(time.Now())) }
	case "GET /readyz":
		return func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, s.agent.readiness(time.Now())) }
	}
	return nil
}

// token returns the token that a request carries, nil for none of ours. Schemes know no case.
func (s *adminServer) token(r *http.Request) *tokenConfig {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	tokens := s.agent.config().Admin.Tokens
	for i := range tokens {
		if subtle.ConstantTimeCompare([]byte(tokens[i].token), []byte(given)) == 1 {
			return &tokens[i]
		}
	}
	return nil
}

// askedHost is the host that a request is for, as its sender calls it.
func askedHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.Trim(host, "[]")
}

// askedByName reports whether a request calls us by an address or a name of ours. A page of another site, whose name is made to
// lead here (DNS rebinding), calls us by its own. Where others than this machine may ask, names are only looked at when some are
// listed: which ones monitoring uses cannot be known.
func (s *adminServer) askedByName(r *http.Request) bool {
	host, hosts := askedHost(r), s.agent.config().Admin.Hosts
	if _, err := netip.ParseAddr(host); err == nil || host == "" || isLoopback(host) || !s.local && len(hosts) == 0 {
		return true
	}
	return slices.ContainsFunc(hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// allow reports whether a request may see what is not for everybody, or with POST change it, and who asks. It
// answers when it may not.
func (s *adminServer) allow(w http.ResponseWriter, r *http.Request) (who string, ok bool) {
	change := r.Method != http.MethodGet && r.Method != http.MethodHead
	// A page of another site cannot ask by a name of its own.
	if r.Header.Get("Authorization") == "" && !change && s.local && isLoopback(askedHost(r)) {
		return "", true
	}
	if t := s.token(r); t != nil {
		if change && t.Role != roleAdmin {
			writeControl(w, http.StatusForbidden, &controlFailure{Message: "the token of " + t.Name + " is a viewer's", Remedy: "changes need a token with role: admin"})
			return "", false
		}
		return "token " + t.Name, true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="rowhook"`)
	writeControl(w, http.StatusUnauthorized, &controlFailure{Message: "a token is needed", Remedy: "Authorization: Bearer and one of admin.tokens"})
	return "", false
}

// health is what /healthz and /readyz answer.
type health struct {
	Status  string          `json:"status"` // ok or failing
	Reasons []healthProblem `json:"reasons,omitempty"`
}

// healthProblem is one thing that is not as it should be. Reason is one of a closed set.
type healthProblem struct {
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

func (h *health) add(reason, format string, args ...any) {
	h.Status = "failing"
	h.Reasons = append(h.Reasons, healthProblem{reason, fmt.Sprintf(format, args...)})
}

func writeHealth(w http.ResponseWriter, h health) {
	status := http.StatusOK
	if len(h.Reasons) > 0 {
		status = http.StatusServiceUnavailable
	}
	raw, err := json.Marshal(h)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"status":"failing"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n'))
}
