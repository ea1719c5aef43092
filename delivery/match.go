package delivery

import (
	"slices"
	"strings"
)

// subscription is a compiled [SubscriptionConfig].
type subscription struct {
	events, tables []string // globs; none means all
	where          Where
	only, not      []string // globs over the operation
}

// Subscriptions are a profile's, compiled. None at all take every event.
type Subscriptions []subscription

// CompileSubscriptions compiles the subscriptions of a config that is valid, in its order.
func CompileSubscriptions(configs []SubscriptionConfig) Subscriptions {
	compiled := make(Subscriptions, 0, len(configs))
	for _, c := range configs {
		compiled = append(compiled, subscription{
			events: c.Events, tables: c.Tables, where: c.Where, only: c.Operations.Only, not: c.Operations.Not,
		})
	}
	return compiled
}

// names reports whether type and mapping entry fit. The rest hangs on the single event.
func (s *subscription) names(eventType, entry string) bool {
	return anyGlob(s.events, eventType) && anyGlob(s.tables, entry)
}

// operation filters by operation. One that is not known passes {not: …} and fails a list.
func (s *subscription) operation(ev *Event) bool {
	if ev.Operation == "" || ev.Assumed {
		return len(s.only) == 0
	}
	if len(s.not) > 0 && anyGlob(s.not, ev.Operation) {
		return false
	}
	return anyGlob(s.only, ev.Operation)
}

// anyGlob reports whether any of the globs matches; no globs match everything.
func anyGlob(globs []string, name string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, glob := range globs {
		if MatchGlob(glob, name) {
			return true
		}
	}
	return false
}

// MatchGlob reports whether a glob of a subscription matches a whole name: * stands for any
// characters, dots included, also none; ? for one byte. It takes time in proportion to the two
// lengths' product at worst, and never recurses.
func MatchGlob(glob, name string) bool {
	star, resume := -1, 0
	g, n := 0, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, resume = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			resume++
			g, n = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// Names reports whether there is a subscription for events of that type and mapping entry, its
// conditions on rows and operations aside.
func (s Subscriptions) Names(eventType, entry string) bool {
	return len(s) == 0 || slices.ContainsFunc(s, func(one subscription) bool { return one.names(eventType, entry) })
}

// MatchHistory decides about an event whose row is gone: what hangs on the row is undecidable.
func (s Subscriptions) MatchHistory(ev *Event) Truth {
	if len(s) == 0 {
		return True
	}
	answer := False
	for i := range s {
		switch one := &s[i]; {
		case !one.names(ev.Type, ev.Entry) || !one.operation(ev):
		case len(one.where) == 0:
			return True
		default:
			answer = Undecidable
		}
	}
	return answer
}

// Router decides which profiles get an event. The globs over types and mapping entries are
// evaluated once for each pair of them; what is left for each event are the conditions on row and
// operation.
//
// A Router is for one goroutine at a time.
type Router struct {
	targets []Target
	routes  map[routeKey]*routes
	seen    seenRow
}

// seenRow is a row whose columns are looked up once, however many profiles have conditions on them.
type seenRow struct {
	row     Row
	columns []seenColumn
}

type seenColumn struct {
	name, text string
	known      Known
	sense      Sense
	ok         bool
}

// maxSeen bounds the columns that are remembered: profiles mostly filter by the same few.
const maxSeen = 8

// Column implements [Row].
func (s *seenRow) Column(name string) (text string, known Known, sense Sense, ok bool) {
	for i := range s.columns {
		if c := &s.columns[i]; c.name == name {
			return c.text, c.known, c.sense, c.ok
		}
	}
	text, known, sense, ok = s.row.Column(name)
	if len(s.columns) < maxSeen {
		s.columns = append(s.columns, seenColumn{name, text, known, sense, ok})
	}
	return text, known, sense, ok
}

// Target is a profile as a router sees it.
type Target struct {
	ID            ProfileID
	Subscriptions Subscriptions
}

type routeKey struct{ eventType, entry string }

// route is what is left to decide for one profile.
type route struct {
	id ProfileID
	// always is set when nothing is left; otherwise subscriptions has those
	// whose globs matched, in the config's order.
	always        bool
	subscriptions []*subscription
}

// maxRoutes bounds the cache of decisions. Types and entries come from the config, so that the
// bound is only met by a config beyond all measure; then the cache starts anew.
const maxRoutes = 1 << 16

// NewRouter makes a router for profiles.
func NewRouter(targets []Target) *Router {
	return &Router{targets: targets, routes: make(map[routeKey]*routes)}
}

// Match appends to dst the profiles that get the event, each once, and to undecided those whose
// conditions hang on a value that the stream did not carry. The row is the changed row, nil when
// there is none; it is asked only by profiles that have conditions.
//
// The first subscription that matches settles a profile. A later one that matches outright wins
// over an earlier one that cannot be decided.
func (r *Router) Match(ev *Event, row Row, dst, undecided []ProfileID) (recipients, undecidable []ProfileID) {
	routes := r.lookup(ev.Type, ev.Entry)
	row = r.remember(row)
	for _, i := range routes.candidates(row) {
		switch to := &routes.all[i]; to.match(ev, row) {
		case True:
			dst = append(dst, to.id)
		case Undecidable:
			undecided = append(undecided, to.id)
		}
	}
	return dst, undecided
}

func (r *Router) lookup(eventType, entry string) *routes {
	key := routeKey{eventType, entry}
	routes, ok := r.routes[key]
	if !ok {
		if len(r.routes) >= maxRoutes {
			clear(r.routes)
		}
		routes = newRoutes(r.routesFor(eventType, entry))
		// The strings may be cut from a larger buffer, which the cache must not hold on to.
		r.routes[routeKey{strings.Clone(eventType), strings.Clone(entry)}] = routes
	}
	return routes
}

func (r *Router) routesFor(eventType, entry string) []route {
	var routes []route
	for _, t := range r.targets {
		candidate := route{id: t.ID, always: len(t.Subscriptions) == 0}
		for i := range t.Subscriptions {
			s := &t.Subscriptions[i]
			if !s.names(eventType, entry) {
				continue
			}
			candidate.subscriptions = append(candidate.subscriptions, s)
			if len(s.where) == 0 && len(s.only) == 0 && len(s.not) == 0 {
				candidate.always = true
				break
			}
		}
		if candidate.always || len(candidate.subscriptions) > 0 {
			routes = append(routes, candidate)
		}
	}
	return routes
}

func (r *route) match(ev *Event, row Row) Truth {
	if r.always {
		return True
	}
	answer := False
	for _, s := range r.subscriptions {
		if !s.operation(ev) {
			continue
		}
		switch s.matchRow(row) {
		case True:
			return True
		case Undecidable:
			answer = Undecidable
		}
	}
	return answer
}

func (s *subscription) matchRow(row Row) Truth {
	if len(s.where) == 0 {
		return True
	}
	if row == nil {
		return False
	}
	return s.where.Match(row)
}

// Matching is how one profile's subscriptions stand to an event.
type Matching struct {
	ID     ProfileID
	Answer Truth
	// Column is the one whose value did not fit, or is not known. It is empty where the event's
	// operation did not fit, or everything did.
	Column string
}

// Named appends the profiles that have a subscription for events of that type and mapping entry, its
// conditions on rows and operations aside.
func (r *Router) Named(eventType, entry string, dst []ProfileID) []ProfileID {
	for _, route := range r.lookup(eventType, entry).all {
		dst = append(dst, route.id)
	}
	return dst
}

// remember returns the row as one that looks each column up once, whatever the number of profiles;
// nil if there is none.
func (r *Router) remember(row Row) Row {
	if row == nil {
		return nil
	}
	r.seen.row, r.seen.columns = row, r.seen.columns[:0]
	return &r.seen
}

// Explain appends how the profiles that [Router.Named] names stand to the event, in its order. The
// answers are Match's.
func (r *Router) Explain(ev *Event, row Row, dst []Matching) []Matching {
	routes := r.lookup(ev.Type, ev.Entry).all
	row = r.remember(row)
	for i := range routes {
		m := Matching{ID: routes[i].id, Answer: routes[i].match(ev, row)}
		if m.Answer != True {
			m.Column = routes[i].column(ev, row, m.Answer)
		}
		dst = append(dst, m)
	}
	return dst
}

// column is the column that kept the first subscription for the event's operation from matching.
func (r *route) column(ev *Event, row Row, answer Truth) string {
	for _, s := range r.subscriptions {
		if row == nil || !s.operation(ev) {
			continue
		}
		for i := range s.where {
			if s.where[i].match(row) == answer {
				return s.where[i].Column
			}
		}
	}
	return ""
}
