package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/console"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
)

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// adminServer answers on admin.listen. Metrics and the two health pages are for everybody; the rest
// needs a token, for looking only where others than this machine can reach it, for changing
// something everywhere.
type adminServer struct {
	agent   *Agent
	metrics http.Handler
	console *console.Console
	local   bool
}

func newAdminServer(a *Agent) *adminServer {
	host, _, _ := net.SplitHostPort(a.config().Admin.Listen)
	registry := newRegistry(a)
	return &adminServer{
		agent: a, local: isLoopback(host), console: newConsole(a),
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(a.logger.Handler(), slog.LevelError), Registry: prometheus.NewRegistry()}),
	}
}

// serveAdmin answers until ctx ends; at once when nothing is to be listened on.
func (a *Agent) serveAdmin(ctx context.Context, listener net.Listener) error {
	if listener == nil {
		return nil
	}
	pages := newAdminServer(a)
	defer pages.console.Stop()
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
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
func listenAdmin(c *config.Config) (net.Listener, error) {
	if c.Admin.Listen == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", c.Admin.Listen)
	if err != nil {
		return nil, c.Problem([]string{"admin", "listen"}, fmt.Sprintf("cannot listen: %v", err), "choose another port, or stop what listens there")
	}
	return listener, nil
}

// ServeHTTP implements [http.Handler].
func (s *adminServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if s.agent.config().Admin.Console && console.Serves(r.URL.Path) {
		s.console.ServeHTTP(w, r)
		return
	}
	route := r.Method + " " + r.URL.Path
	if r.Method == http.MethodHead {
		route = http.MethodGet + " " + r.URL.Path
	}
	if page := s.open(route); page != nil {
		if _, _, known := s.token(r); !known && !s.askedByName(r) {
			control.WriteAnswer(w, http.StatusMisdirectedRequest, &control.Failure{Message: "this page is not asked for by that name",
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
		answer, err = s.agent.reloadFor(r.Context(), operation.ReloadRequest{User: who, By: operation.ReloadByCommand})
	default:
		control.WriteAnswer(w, http.StatusNotFound, &control.Failure{Message: "there is no such page", Remedy: "GET /metrics, /healthz, /readyz, /status; POST /reload"})
		return
	}
	if err != nil {
		control.WriteAnswer(w, http.StatusUnprocessableEntity, &control.Failure{Message: err.Error(), Remedy: capture.Remedy(err)})
		return
	}
	control.WriteAnswer(w, http.StatusOK, answer)
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

// token returns whose token a request carries, and whether its holder may change something; ok is
// false for none of ours. Schemes know no case.
func (s *adminServer) token(r *http.Request) (name string, admin, ok bool) {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false, false
	}
	return s.agent.config().Admin.Holder(given)
}

// askedHost is the host that a request is for, as its sender calls it.
func askedHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.Trim(host, "[]")
}

// askedByName reports whether a request calls us by an address or a name of ours. A page of another
// site, whose name is made to lead here (DNS rebinding), calls us by its own. Where others than
// this machine may ask, names are only looked at when some are listed: which ones monitoring uses
// cannot be known.
func (s *adminServer) askedByName(r *http.Request) bool {
	host, hosts := askedHost(r), s.agent.config().Admin.Hosts
	if _, err := netip.ParseAddr(host); err == nil || host == "" || isLoopback(host) || !s.local && len(hosts) == 0 {
		return true
	}
	return slices.ContainsFunc(hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// allow reports whether a request may see what is not for everybody, or with POST change it, and
// who asks. It answers when it may not.
func (s *adminServer) allow(w http.ResponseWriter, r *http.Request) (who string, ok bool) {
	change := r.Method != http.MethodGet && r.Method != http.MethodHead
	// A page of another site cannot ask by a name of its own.
	if r.Header.Get("Authorization") == "" && !change && s.local && isLoopback(askedHost(r)) {
		return "", true
	}
	if name, admin, ok := s.token(r); ok {
		if change && !admin {
			control.WriteAnswer(w, http.StatusForbidden, &control.Failure{Message: "the token of " + name + " is a viewer's", Remedy: "changes need a token with role: admin"})
			return "", false
		}
		return "token " + name, true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="rowhook"`)
	control.WriteAnswer(w, http.StatusUnauthorized, &control.Failure{Message: "a token is needed", Remedy: "Authorization: Bearer and one of admin.tokens"})
	return "", false
}

func writeHealth(w http.ResponseWriter, h operation.Health) {
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
