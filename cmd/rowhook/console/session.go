package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	sessionCookie  = "rowhook_session"
	languageCookie = "rowhook_language"

	// A session ends when nobody has asked for sessionIdle, and in any case after sessionLife.
	sessionIdle = 2 * time.Hour
	sessionLife = 12 * time.Hour
	// maxSessions bounds memory: the one that was idle longest gives way.
	maxSessions = 64
	// maxQueries is how many searches a session remembers.
	maxQueries = 20
	// maxFlashes is how much waits to be said on a session's next page.
	maxFlashes = 20
	// maxOfToken is how many sessions one token has: the one that was idle longest gives way.
	maxOfToken = 8
)

// session is somebody who logged in. Its fields are guarded by the sessions' lock, but for those
// that never change.
type session struct {
	id    string
	token string // of the config, which says who it is and what they may
	csrf  string
	began time.Time

	seen    time.Time
	flashes []flash
	queries []storedQuery
}

// storedQuery is what was searched for, so that no URL has to hold it.
type storedQuery struct {
	id    string
	terms any
}

// flash is said once, on the next page.
type flash struct {
	Kind   string // ok, warn or bad
	Text   string
	Remedy string
	Detail string // what a receiver answered
}

// sessions are those who are logged in. It is safe for concurrent use.
type sessions struct {
	now    func() time.Time
	cookie string // its name
	mu     sync.Mutex
	all    map[[sha256.Size]byte]*session // by the digest of the id, so that a look-up tells nothing of it
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: map[[sha256.Size]byte]*session{}}
}

// begin makes a session for the holder of a token.
func (s *sessions) begin(token string) *session {
	now := s.now()
	one := &session{id: rand.Text() + rand.Text(), token: token, csrf: rand.Text(), began: now, seen: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if own := func(o *session) bool { return o.token == token }; s.count(own) >= maxOfToken {
		s.dropIdlest(own)
	}
	if len(s.all) >= maxSessions {
		s.dropIdlest(func(*session) bool { return true })
	}
	s.all[sha256.Sum256([]byte(one.id))] = one
	return one
}

// find returns the session of a request; nil without one. A look that nobody made, of a page that
// updates itself, keeps no session alive.
func (s *sessions) find(r *http.Request, looked bool) *session {
	cookie, err := r.Cookie(s.cookie)
	if err != nil {
		return nil
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	one := s.all[sha256.Sum256([]byte(cookie.Value))]
	if one != nil && looked {
		one.seen = now
	}
	return one
}

func (s *sessions) end(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(one.id)))
}

// expire drops the sessions that are over. The lock is held.
func (s *sessions) expire(now time.Time) {
	for key, one := range s.all {
		if now.Sub(one.seen) > sessionIdle || now.Sub(one.began) > sessionLife {
			delete(s.all, key)
		}
	}
}

// count counts sessions. The lock is held.
func (s *sessions) count(of func(*session) bool) (n int) {
	for _, one := range s.all {
		if of(one) {
			n++
		}
	}
	return n
}

// dropIdlest ends the session that was idle longest of some. The lock is held.
func (s *sessions) dropIdlest(of func(*session) bool) {
	var idlest [sha256.Size]byte
	var seen time.Time
	for key, one := range s.all {
		if of(one) && (seen.IsZero() || one.seen.Before(seen)) {
			idlest, seen = key, one.seen
		}
	}
	delete(s.all, idlest)
}

// say has something be said on the session's next page.
func (s *sessions) say(one *session, f flash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.flashes = append(one.flashes, f)
	if len(one.flashes) > maxFlashes {
		one.flashes = one.flashes[1:]
	}
}

// said takes what is to be said.
func (s *sessions) said(one *session) []flash {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := one.flashes
	one.flashes = nil
	return said
}

// remember stores what was searched for and returns its id.
func (s *sessions) remember(one *session, terms any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := strings.ToLower(rand.Text()[:10])
	one.queries = append(one.queries, storedQuery{id, terms})
	if len(one.queries) > maxQueries {
		one.queries = one.queries[1:]
	}
	return id
}

// remembered returns what was searched for under an id.
func (s *sessions) remembered(one *session, id string) (terms any, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range one.queries {
		if q.id == id {
			return q.terms, true
		}
	}
	return nil, false
}

// sameText compares in a time that tells nothing of what is compared.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// encrypted reports whether a request came by TLS, here or at a proxy before us. A false word of it
// harms only the one who says it: a cookie that does not come back.
func encrypted(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

func setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	seconds := int(age / time.Second)
	if value == "" {
		seconds = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: prefix + "/", MaxAge: seconds,
		HttpOnly: true, Secure: encrypted(r), SameSite: http.SameSiteStrictMode,
	})
}

const (
	// loginBurst is how many wrong tokens may come at once from one address, loginPace how long it
	// takes until one more may.
	loginBurst = 5
	loginPace  = 10 * time.Second
	// maxAddresses bounds memory. Beyond it all others share one account.
	maxAddresses = 1024
)

// attempts bounds how often wrong tokens are answered and noted. Guessing is hopeless by the tokens'
// length; a right one always gets in, whoever else guesses from the same address, as behind a proxy. It is safe for concurrent use.
type attempts struct {
	now func() time.Time
	mu  sync.Mutex
	// full is when an address has all its tries back.
	full map[netip.Prefix]time.Time
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{now: now, full: map[netip.Prefix]time.Time{}}
}

// take counts a wrong try. It returns how long the sender has to wait instead, when there were too many.
func (a *attempts) take(r *http.Request) time.Duration {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	key := a.account(r, now)
	full := a.full[key]
	if full.Before(now) {
		full = now
	}
	if wait := full.Sub(now) - (loginBurst-1)*loginPace; wait > 0 {
		return wait
	}
	a.full[key] = full.Add(loginPace)
	return 0
}

// account is under which an address is counted: IPv6 by the network that one customer has.
func (a *attempts) account(r *http.Request, now time.Time) netip.Prefix {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	key, _ := addr.Prefix(bits)
	if _, known := a.full[key]; !known && len(a.full) >= maxAddresses {
		for other, full := range a.full {
			if full.Before(now) {
				delete(a.full, other)
			}
		}
		if len(a.full) >= maxAddresses {
			return netip.Prefix{}
		}
	}
	return key
}
