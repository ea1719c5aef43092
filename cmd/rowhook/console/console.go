package console

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

// prefix is where the console's pages are.
const prefix = "/console"

//go:embed static
var staticFiles embed.FS

// Options are what the console needs besides the agent.
type Options struct {
	// Holder tells who holds a token and whether the holder may change something.
	Holder func(token string) (name string, admin, ok bool)
	// Hosts are names by which the console may be asked for, besides addresses and localhost.
	Hosts  func() []string
	Logger *slog.Logger
	// Mark tells the cookies of agents on one machine apart: browsers do not, by their ports.
	Mark string
	// Now is the clock; nil for the system's.
	Now func() time.Time
}

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	agent    Agent
	options  Options
	now      func() time.Time
	sessions *sessions
	attempts *attempts
	mux      *http.ServeMux
	origin   *http.CrossOriginProtection
	pages    pages
	glance   glance
	kept     kept
	watchers watchers
	tasks    tasks
	// Who may do something at once: search the spool, search the log, check a pasted config.
	searches, logSearches, checks turns
}

// New returns a console of an agent. It does nothing until it is asked.
func New(agent Agent, o Options) *Console {
	c := &Console{agent: agent, options: o, now: o.Now, origin: http.NewCrossOriginProtection()}
	if c.now == nil {
		c.now = time.Now
	}
	c.searches, c.logSearches, c.checks = make(turns, 1), make(turns, 2), make(turns, 1)
	c.tasks.ending, c.tasks.end = context.WithCancel(context.Background())
	c.sessions, c.attempts = newSessions(c.now), newAttempts(c.now)
	c.sessions.cookie = sessionCookie
	if o.Mark != "" {
		c.sessions.cookie += "_" + o.Mark
	}
	c.routes()
	return c
}

// turns let so many do something at once.
type turns chan struct{}

// take waits for a turn, and not for longer than patience.
func (t turns) take(ctx context.Context, patience time.Duration) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Stop ends what was begun for people who look, and returns when it is over. What was taken in hand
// by then is done.
func (c *Console) Stop() {
	c.tasks.end()
	c.tasks.running.Wait()
}

// Serves reports whether a path is the console's: its pages, and the way there.
func Serves(path string) bool {
	return path == "/" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

// policy lets pages use what is ours, without inline scripts and styles, and be framed by nobody.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// How large a form may be: the one to log in, which anybody can send, a config that is pasted, and
// any other.
const (
	maxLogin = 4 << 10
	maxPaste = 1 << 20
	maxForm  = 64 << 10
)

// formLimit is how large a form to a path may be.
func formLimit(path string) int64 {
	switch path {
	case prefix + "/login":
		return maxLogin
	case prefix + "/config/check":
		return maxPaste
	}
	return maxForm
}

// readForm reads the form that a request brings.
func readForm(r *http.Request) error {
	if r.Method != http.MethodPost {
		return nil
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	if err := r.ParseMultipartForm(maxPaste); !errors.Is(err, http.ErrNotMultipart) {
		return err
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Referrer-Policy", "same-origin") // without one, browsers send forms with no origin
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if !c.askedByName(r) {
		http.Error(w, "The console is not asked for by that name. Use the address, or list the name in admin.hosts.", http.StatusMisdirectedRequest)
		return
	}
	if err := c.origin.Check(r); err != nil {
		http.Error(w, "The form comes from another site.", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, formLimit(r.URL.Path))
	c.mux.ServeHTTP(w, r)
}

// askedByName reports whether a request calls us by an address or a name of ours. A page of another
// site, whose name is made to lead here (DNS rebinding), calls us by its own.
func (c *Console) askedByName(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	return host != "" && c.options.Hosts != nil &&
		slices.ContainsFunc(c.options.Hosts(), func(name string) bool { return strings.EqualFold(name, host) })
}

// routes says which page is where.
func (c *Console) routes() {
	c.mux = http.NewServeMux()
	open := func(pattern string, do http.HandlerFunc) {
		method, path, _ := strings.Cut(pattern, " ")
		c.mux.HandleFunc(method+" "+prefix+path, do)
	}
	look := func(pattern string, do func(*visit) error) { open(pattern, c.visited(do, false)) }
	act := func(pattern string, do func(*visit) error) { open(pattern, c.visited(do, true)) }

	open("GET /static/{file}", c.static)
	open("GET /login", c.loginPage)
	open("POST /login", c.login)
	open("GET /language/{language}", c.language)
	look("POST /logout", (*visit).logout)

	look("GET /{$}", (*visit).overview)
	look("GET /live/{page}", (*visit).live)
	look("GET /profiles", (*visit).profiles)
	look("GET /profiles/{code}", (*visit).profile)
	act("POST /profiles/{code}/{act}", (*visit).profileAct)
	look("GET /deliveries", (*visit).deliveries)
	look("POST /deliveries", (*visit).searchDeliveries)
	look("GET /deliveries/{profile}/{event}", (*visit).delivery)
	look("GET /deliveries/{profile}/{event}/body", (*visit).wholeBody)
	act("POST /deliveries/{profile}/{event}/{act}", (*visit).deliveryAct)
	look("GET /explain", (*visit).explain)
	look("POST /explain", (*visit).searchRow)
	look("GET /explain/{event}", (*visit).explainEvent)
	look("GET /failed", (*visit).failed)
	look("POST /failed", (*visit).searchFailed)
	act("POST /failed/act", (*visit).failedAct)
	act("POST /failed/source", (*visit).parkedAct)
	look("GET /backfills", (*visit).backfills)
	act("POST /backfills/start", (*visit).backfillStart)
	act("POST /backfills/row", (*visit).backfillRow)
	act("POST /backfills/{id}/{act}", (*visit).backfillAct)
	look("GET /tasks/{id}", (*visit).task)
	look("GET /events", (*visit).events)
	look("GET /events/{type}", (*visit).event)
	look("GET /config", (*visit).config)
	act("POST /config/check", (*visit).checkConfig)
	act("POST /config/reload", (*visit).reload)
	look("GET /audit", (*visit).audit)
	c.mux.Handle("GET /{$}", http.RedirectHandler(prefix+"/", http.StatusSeeOther))
	c.mux.Handle("GET "+prefix, http.RedirectHandler(prefix+"/", http.StatusSeeOther))
	open("GET /", c.visited(func(v *visit) error {
		return &pageError{Status: http.StatusNotFound, Text: v.t("There is no such page.")}
	}, false))
}

// static serves the style sheet and the script.
func (c *Console) static(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, staticFiles, "static/"+r.PathValue("file"))
}

// visit is one request of somebody who is logged in.
type visit struct {
	*Console
	w       http.ResponseWriter
	r       *http.Request
	session *session
	name    string // the token's
	admin   bool
	lang    string
}

// user is who acts, as the audit log names the holders of tokens.
func (v *visit) user() string { return "token " + v.name }

// t translates a text.
func (v *visit) t(text string, args ...any) string { return v.pages.words(v.lang).say(text, args...) }

// patience is how long whoever asks waits for an answer.
const patience = 2 * time.Minute

// visited asks who it is before a page, and whether they may before an act. Every form has to bring
// its session's token.
func (c *Console) visited(do func(*visit) error, changes bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Console: c, w: w, r: r, lang: language(r)}
		// An endpoint or a database may take its time to answer, longer than a page does.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
		live := strings.HasPrefix(r.URL.Path, prefix+"/live/")
		v.session = c.sessions.find(r, !live)
		if v.session != nil {
			var ok bool
			if v.name, v.admin, ok = c.options.Holder(v.session.token); !ok { // it is no longer in the config
				c.sessions.end(v.session)
				v.session = nil
			}
		}
		var unread error
		if v.session != nil {
			unread = readForm(r)
		}
		switch {
		case unread != nil:
			v.fail(unread)
		case v.session == nil && (live || r.Method != http.MethodGet && r.Method != http.MethodHead):
			v.fail(&pageError{Status: http.StatusForbidden, Text: v.t("You are not logged in, or not any more."),
				Remedy: v.t("Log in and do it again. Nothing was changed.")})
		case v.session == nil && fromElsewhere(r):
			v.comeAgain()
		case v.session == nil:
			c.sendToLogin(w, r)
		case r.Method == http.MethodPost && !sameText(r.PostFormValue("csrf"), v.session.csrf):
			c.options.Logger.Warn("a form of another session was sent to the console", "token", v.name, "path", r.URL.Path, "from", r.RemoteAddr)
			v.fail(&pageError{Status: http.StatusForbidden, Text: v.t("The form is not of this session."),
				Remedy: v.t("Open the page again and repeat it. Nothing was changed.")})
		case changes && !v.admin:
			c.options.Logger.Warn("a viewer's token was to change something", "token", v.name, "path", r.URL.Path, "from", r.RemoteAddr)
			v.fail(&pageError{Status: http.StatusForbidden, Text: v.t("The token of %s is a viewer's.", v.name),
				Remedy: v.t("Changes need a token with role: admin. Nothing was changed.")})
		default:
			if err := do(v); err != nil {
				if changes {
					c.options.Logger.Warn("what was asked for in the console failed", "token", v.name, "path", r.URL.Path, "err", err)
				}
				v.fail(err)
			}
		}
	}
}

// pageError is an error with its HTTP status, in words for the page.
type pageError struct {
	Status int
	Text   string
	Remedy string
}

func (e *pageError) Error() string { return e.Text }

// RemedyText returns the remedy.
func (e *pageError) RemedyText() string { return e.Remedy }

// fail shows an error as a page.
func (v *visit) fail(err error) {
	status := http.StatusUnprocessableEntity
	var own *pageError
	if errors.As(err, &own) {
		status = cmp.Or(own.Status, status)
	}
	if v.r.Context().Err() != nil {
		return // nobody waits for it
	}
	text, remedy := err.Error(), capture.Remedy(err)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status, text = http.StatusRequestEntityTooLarge, v.t("The form is too large.")
	}
	v.show(status, page{Title: v.t("That did not work"), Template: "error", Data: errorData{text, remedy, own == nil}})
}

// errorData is an error on its page. A foreign one is in the agent's own words.
type errorData struct {
	Text, Remedy string
	Foreign      bool
}

// call asks the agent.
func (v *visit) call(operation string, request, answer any) error {
	return v.agent.Call(v.r.Context(), operation, request, answer)
}

// redirect sends on to a page after a form, so that a reload repeats nothing.
func (v *visit) redirect(path string) error {
	http.Redirect(v.w, v.r, prefix+path, http.StatusSeeOther)
	return nil
}

// say has something be said on the next page.
func (v *visit) say(kind, text string, more ...string) {
	f := flash{Kind: kind, Text: text}
	if len(more) > 0 {
		f.Remedy = more[0]
	}
	if len(more) > 1 {
		f.Detail = more[1]
	}
	v.sessions.say(v.session, f)
}

// page is what is shown.
type page struct {
	Title    string
	Nav      string // the part of the console that it belongs to
	Template string
	Live     string // what updates its live part, which is all of it
	Below    string // the template of what stands behind the live part
	Data     any

	Lang    string
	Path    string // to come back to
	Name    string
	Admin   bool
	CSRF    string
	Flashes []flash
	In      bool
	Source  string
	Plain   bool // of a page before the login: it came without TLS from another machine
	Again   bool // the browser asks for the page once more
}

// show writes a page.
func (v *visit) show(status int, p page) {
	p.Lang = v.lang
	p.Path = strings.TrimPrefix(v.r.URL.RequestURI(), prefix)
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		p.Path = "/" + p.Nav
	}
	if v.session != nil {
		p.In, p.Name, p.Admin, p.CSRF = true, v.name, v.admin, v.session.csrf
		p.Flashes = v.sessions.said(v.session)
		p.Source = v.glance.source()
	}
	var out bytes.Buffer
	if err := v.pages.render(&out, &p); err != nil {
		v.options.Logger.Error("a page of the console cannot be shown", "page", p.Template, "err", err)
		http.Error(v.w, "The page cannot be shown: see the agent's own log.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(visible(out.Bytes())) // who asked may have gone
}

// ok shows a page where nothing went wrong.
func (v *visit) ok(p page) error {
	v.show(http.StatusOK, p)
	return nil
}

// glance keeps the agent's status for a moment, so that many who look cost the database no more
// than one.
type glance struct {
	mu   sync.Mutex
	at   time.Time // when the last answer came
	last *status
	err  error

	name atomic.Pointer[string] // the source's
}

const glanceFor = 2 * time.Second

// status returns how the agent stands, now or a moment ago.
func (c *Console) status(ctx context.Context) (*status, error) {
	g := &c.glance
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := c.now(); g.at.IsZero() || now.Sub(g.at) > glanceFor || now.Before(g.at) {
		// The answer is for everybody who looks, so whoever asked first may leave. The agent bounds by
		// itself how long it takes; those who waited meanwhile take this answer, too.
		s := new(status)
		err := c.agent.Call(context.WithoutCancel(ctx), "status", operation.None{}, s)
		if err != nil {
			s, err = nil, fmt.Errorf("ask the agent how it stands: %w", err)
		} else {
			g.name.Store(&s.Source.Name)
		}
		g.at, g.last, g.err = c.now(), s, err
	}
	return g.last, g.err
}

// forget has the next look ask again, after something was changed.
func (g *glance) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at = time.Time{}
}

// source is the source's name, as it was last seen.
func (g *glance) source() string {
	if name := g.name.Load(); name != nil {
		return *name
	}
	return ""
}

// language is which one a request wants: the cookie's, or the browser's.
func language(r *http.Request) string {
	if cookie, err := r.Cookie(languageCookie); err == nil && slices.Contains(languages, cookie.Value) {
		return cookie.Value
	}
	return accepted(r.Header.Get("Accept-Language"))
}

// accepted is the language that an Accept-Language header prefers.
func accepted(header string) string {
	best, weight := languages[0], 0.0
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		q := 1.0
		if value, given := strings.CutPrefix(strings.TrimSpace(params), "q="); given {
			if _, err := fmt.Sscan(value, &q); err != nil {
				q = 0
			}
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if slices.Contains(languages, primary) && q > weight {
			best, weight = primary, q
		}
	}
	return best
}

// language switches the language and goes back to where the link was.
func (c *Console) language(w http.ResponseWriter, r *http.Request) {
	to := r.PathValue("language")
	if !slices.Contains(languages, to) {
		http.NotFound(w, r)
		return
	}
	setCookie(w, r, languageCookie, to, 365*24*time.Hour)
	http.Redirect(w, r, prefix+local(r.URL.Query().Get("back")), http.StatusSeeOther)
}

// local is a path of the console that a link may lead back to, and no other place.
func local(back string) string {
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n") {
		return "/"
	}
	return cmp.Or(back, "/")
}
