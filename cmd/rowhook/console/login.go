package console

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// sendToLogin asks who it is, and comes back afterwards.
func (c *Console) sendToLogin(w http.ResponseWriter, r *http.Request) {
	back := strings.TrimPrefix(r.URL.RequestURI(), prefix)
	if len(back) > maxLogin/4 {
		back = "/" // it would not fit the form
	}
	http.Redirect(w, r, prefix+"/login?back="+url.QueryEscape(back), http.StatusSeeOther)
}

// fromElsewhere reports whether a link of another site, or of a mail that is read in the browser, led
// here. A session's cookie does not come with it (SameSite=Strict).
func fromElsewhere(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

// comeAgain has the browser ask once more, from a page of ours, for the cookie to come along.
func (v *visit) comeAgain() {
	v.show(http.StatusOK, page{Title: v.t("One moment"), Template: "again", Again: true})
}

// loginPage asks for a token. Whoever is logged in may go on.
func (c *Console) loginPage(w http.ResponseWriter, r *http.Request) {
	v := &visit{Console: c, w: w, r: r, lang: language(r)}
	if one := c.sessions.find(r, true); one != nil {
		if name, admin, ok := c.options.Holder(one.token); ok {
			v.session, v.name, v.admin = one, name, admin
		}
	}
	v.showLogin(http.StatusOK, local(r.URL.Query().Get("back")), "")
}

func (v *visit) showLogin(status int, back, problem string) {
	v.show(status, page{
		Title: v.t("Log in"), Template: "login", Plain: !encrypted(v.r) && !fromHere(v.r),
		Data: map[string]string{"Back": back, "Problem": problem},
	})
}

// fromHere reports whether a request comes from this machine.
func fromHere(r *http.Request) bool {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// login begins a session for the holder of a token.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	v := &visit{Console: c, w: w, r: r, lang: language(r)}
	if err := readForm(r); err != nil {
		v.fail(err)
		return
	}
	back := local(r.PostFormValue("back"))
	token := strings.TrimSpace(r.PostFormValue("token"))
	name, _, ok := c.options.Holder(token)
	if !ok {
		if wait := c.attempts.take(r); wait > 0 {
			seconds := int(wait/time.Second) + 1
			w.Header().Set("Retry-After", strconv.Itoa(seconds))
			v.showLogin(http.StatusTooManyRequests, back, v.t("Too many wrong tokens: try again in %d seconds.", seconds))
			return
		}
		c.options.Logger.Warn("a wrong token was given to the console", "from", r.RemoteAddr)
		v.showLogin(http.StatusForbidden, back, v.t("That is none of the config's tokens."))
		return
	}
	if old := c.sessions.find(r, false); old != nil {
		c.sessions.end(old)
	}
	one := c.sessions.begin(token)
	c.options.Logger.Info("somebody logged in to the console", "token", name, "from", r.RemoteAddr)
	setCookie(w, r, c.sessions.cookie, one.id, sessionLife)
	http.Redirect(w, r, prefix+back, http.StatusSeeOther)
}

// logout ends the session.
func (v *visit) logout() error {
	v.sessions.end(v.session)
	setCookie(v.w, v.r, v.sessions.cookie, "", 0)
	return v.redirect("/login")
}
