package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"rowhook/capture"
	"rowhook/cmd/rowhook/account"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/mapping"
)

// An explanation puts together what is known of a row's changes: the account, which has all of them
// but not for long; the spool, which has the events; the delivery log, which has what became of
// these; and what still waits.

const (
	// explainMost is how many changes are told where nothing else is asked for.
	explainMost = 1000
	// explainPerhaps is how many changes are told that may be of the row.
	explainPerhaps = 20
	// explainAttempts is how many lines of the delivery log are told of one delivery.
	explainAttempts = 50
)

// accountDir is where a config's account is.
func accountDir(c *config.Config) string { return filepath.Join(c.State, "account") }

// openAccount begins the account of the changes that are to come. Nothing rests on it: an agent that
// cannot keep one goes on without. Where none is kept, what was there goes: it may have row data, and
// would pass for all that there was.
func (w *workspace) openAccount() {
	c := w.config()
	if c.Account.MaxSize == 0 {
		if err := account.Remove(accountDir(c)); err != nil {
			w.logger.Warn("what was kept of changes cannot be removed", "err", err)
		}
		return
	}
	kept, err := account.Open(account.Options{Dir: accountDir(c), MaxSize: c.Account.MaxSize, Values: c.Log.Body > 0, Logger: w.logger})
	if err != nil {
		w.logger.Warn("no account is kept of what becomes of changes", "err", err)
		return
	}
	w.account = kept
}

// explain tells what became of changes, an agent's that runs.
func (a *Agent) explain(ctx context.Context, r operation.ExplainRequest) (*operation.Explanation, error) {
	if t := a.term.Load(); t != nil && a.account != nil {
		t.pipe.SettleAccount()
		a.account.Flush()
	}
	return a.workspace.explain(ctx, r)
}

// explain tells what became of a row's changes, or of the change that made an event.
func (w *workspace) explain(ctx context.Context, r operation.ExplainRequest) (*operation.Explanation, error) {
	if r.Most < 0 {
		return nil, &control.Failure{Message: "fewer than no changes are asked for", Remedy: "give a positive limit", Exit: exitOfUsage}
	}
	x := &explainer{
		workspace: w, ctx: ctx, request: r, config: w.config(),
		changes: map[changePlace]*operation.ExplainedChange{}, perhaps: map[changePlace]operation.ExplainedChange{}, events: map[string]*operation.ExplainedChange{},
	}
	x.request.Most = cmp.Or(r.Most, explainMost)
	if r.Event == "" {
		var err error
		if x.row, err = newSoughtRow(&r, x.config); err != nil {
			return nil, err
		}
	}
	for _, step := range []func() error{x.readAccount, x.readSpool, x.readKept, x.readParked, x.readLog, x.readWaiting} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(x.list) == 0 && x.row != nil {
		if err := x.row.unknown(); err != nil {
			return nil, err
		}
	}
	return x.finish(), nil
}

// changePlace is a change of an entry in the stream.
type changePlace struct {
	transaction, position string
	ordinal               int
	entry                 string
}

// explainer is one question on its way.
type explainer struct {
	*workspace
	ctx     context.Context // the question's
	request operation.ExplainRequest
	config  *config.Config
	row     *soughtRow // nil where an event is asked about
	told    operation.Explanation

	list    []*operation.ExplainedChange
	changes map[changePlace]*operation.ExplainedChange
	perhaps map[changePlace]operation.ExplainedChange // that may be of the row
	events  map[string]*operation.ExplainedChange     // by the events that they made
}

// add adds a change that is not there yet, or returns the one that is.
func (x *explainer) add(c operation.ExplainedChange) *operation.ExplainedChange {
	place := changePlace{c.Transaction, c.Position, c.Ordinal, c.Entry}
	if there := x.changes[place]; there != nil && c.Position != "" {
		return there
	}
	added := &c
	x.list, x.changes[place] = append(x.list, added), added
	return added
}

// event returns an event of a change, which it adds if need be.
func (x *explainer) event(c *operation.ExplainedChange, id, typ string) *operation.ExplainedEvent {
	x.events[id] = c
	for i := range c.Events {
		if c.Events[i].ID == id {
			return &c.Events[i]
		}
	}
	c.Events = append(c.Events, operation.ExplainedEvent{ID: id, Type: typ})
	return &c.Events[len(c.Events)-1]
}

// profile returns an event's way to a profile, which it adds if need be.
func profileOf(e *operation.ExplainedEvent, code string) *operation.ExplainedProfile {
	for i := range e.Profiles {
		if e.Profiles[i].Profile == code {
			return &e.Profiles[i]
		}
	}
	e.Profiles = append(e.Profiles, operation.ExplainedProfile{Profile: code})
	return &e.Profiles[len(e.Profiles)-1]
}

// within bounds a step that reads much.
func (x *explainer) within() (context.Context, context.CancelFunc) {
	if x.request.Within <= 0 {
		return x.ctx, func() {}
	}
	return context.WithTimeout(x.ctx, x.request.Within/2)
}

// partly reports whether a step ended since its time was over, which is no error.
func (x *explainer) partly(err error) bool {
	if err == nil || x.ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	x.told.History.Partly = true
	return true
}

// readAccount takes what the account has.
func (x *explainer) readAccount() error {
	q := account.Query{Event: x.request.Event, Since: x.request.Since, Most: x.request.Most, Live: x.account != nil}
	if x.row != nil {
		q.Keys, q.Table = x.row.spellings, x.row.mayBeOf
	}
	ctx, done := x.within()
	defer done()
	found := &account.Found{}
	if x.told.History.Off = x.config.Account.MaxSize == 0; !x.told.History.Off {
		var err error
		if found, err = account.Read(ctx, accountDir(x.config), q); err != nil && !x.partly(err) {
			return err
		}
	}
	for i := range found.Changes {
		x.takeAccount(&found.Changes[i])
	}
	for i := range found.Passed {
		x.takePassed(&found.Passed[i])
	}
	x.told.More, x.told.Unclean, x.told.Damaged, x.told.Unkeyed = found.More, found.Unclean, found.Damaged, found.Unkeyed
	x.told.History.Changes = found.Begins
	for _, l := range found.LeftOut {
		x.told.LeftOut = append(x.told.LeftOut, operation.ExplainedLack{Entry: l.Entry, From: l.From, To: l.To, Events: l.Eventful, Eventless: l.Uneventful})
	}
	return nil
}

// takePassed takes a change that could not be decoded, or was read past.
func (x *explainer) takePassed(c *account.PassedChange) {
	told := operation.ExplainedChange{
		Time: c.Time, Transaction: c.Transaction, Position: c.Position, Ordinal: c.Ordinal, Table: c.Table, From: "account",
		Parked: &operation.ExplainedParked{Reason: c.Reason, Error: c.Error},
	}
	if c.Keyed {
		x.add(told)
		return
	}
	x.perhaps[changePlace{c.Transaction, c.Position, c.Ordinal, ""}] = told
}

func (x *explainer) takeAccount(c *account.Change) {
	told := operation.ExplainedChange{
		Time: c.Time, Transaction: c.Transaction, Position: c.Position, Ordinal: c.Ordinal, Op: c.Op.String(),
		Entry: c.Plan.Entry, Table: c.Plan.Table, Moved: c.Moved, Operation: c.Operation, From: "account",
	}
	if slices.ContainsFunc(c.Lookups, func(l account.Lookup) bool { return l.Touched }) {
		told.Op = mapping.OpTouch
	}
	if c.Actor != (delivery.Actor{}) {
		told.Actor = &c.Actor
	}
	if c.About != nil {
		about := explainVerdict(c.About, c.Plan.Where, told.Op)
		told.About = &about
	}
	for i := range c.Verdicts {
		v := &c.Verdicts[i]
		rule := &c.Plan.Events[v.Event].Rules[v.Rule]
		verdict := explainVerdict(v, rule.Clauses, told.Op)
		verdict.Event, verdict.Rule = c.Plan.Events[v.Event].Type, rule.Name
		if v.Standing == mapping.ForOtherOps {
			verdict.Ops = rule.Ops
			verdict.Put(told.Op)
		}
		told.Rules = append(told.Rules, verdict)
	}
	told.Folded, told.Lookups, told.Parts = explainFolded(c.Folded), explainLookups(c), explainLists(c)
	if c.Reason != "" {
		told.Parked = &operation.ExplainedParked{Reason: c.Reason, Error: c.Error}
	}
	added := x.add(told)
	for i := range c.Events {
		x.takeAnswers(added, c, &c.Events[i])
	}
}

func explainFolded(f *account.Folded) *operation.ExplainedFolded {
	if f == nil {
		return nil
	}
	told := &operation.ExplainedFolded{Count: f.Count, Nothing: f.Nothing}
	for _, p := range f.Changes {
		told.Changes = append(told.Changes, operation.ExplainedPart{Op: p.Op.String(), Ordinal: p.Ordinal})
	}
	told.Put()
	return told
}

// lookupStandings are the words of what came of a look-up.
var lookupStandings = [...]string{
	mapping.NotLookedUp: "", mapping.RowFound: operation.LookupFound, mapping.NoRow: operation.LookupNone,
	mapping.NullKey: operation.LookupNull, mapping.UnknownRow: operation.LookupUnknown,
}

func explainLookups(c *account.Change) (list []operation.ExplainedLookup) {
	for i := range c.Lookups {
		l, of := &c.Lookups[i], &c.Plan.Lookups[i]
		told := operation.ExplainedLookup{Name: of.Name, Table: of.Table, Standing: lookupStandings[l.Found], Touched: l.Touched}
		for k := range l.By {
			told.By = append(told.By, explainValue(&l.By[k]))
		}
		for k := range l.Values {
			told.Values = append(told.Values, explainValue(&l.Values[k]))
		}
		told.Put()
		list = append(list, told)
	}
	return list
}

func explainLists(c *account.Change) (lists []operation.ExplainedList) {
	for i := range c.Lists {
		l, of := &c.Lists[i], &c.Plan.Parts[i]
		if !l.Told {
			continue
		}
		told := operation.ExplainedList{Name: of.Name, Table: of.Table, Standing: operation.ListWhole, Rows: l.Rows}
		switch {
		case !l.Known:
			told.Standing = operation.ListUnknown
		case l.More:
			told.Standing = operation.ListCut
		}
		for k := range l.By {
			told.By = append(told.By, explainValue(&l.By[k]))
		}
		told.Put()
		lists = append(lists, told)
	}
	return lists
}

// takeAnswers tells what each profile answered to an event. Of the others nobody wrote down more than
// that they did not subscribe to its type, or were not there.
func (x *explainer) takeAnswers(to *operation.ExplainedChange, c *account.Change, e *account.Event) {
	event := x.event(to, e.ID, c.Plan.Events[e.Place].Type)
	for i, code := range c.Plan.Profiles[e.Place] {
		p := profileOf(event, code)
		answer := &e.Answers[i]
		if p.Match = [...]string{delivery.False: "no", delivery.True: "yes", delivery.Undecidable: "undecided"}[answer.Match]; p.Match == "yes" {
			continue
		}
		p.Why = "operation"
		if answer.Value.Name != "" {
			value := explainValue(&answer.Value)
			p.Why, p.Value = "where", &value
		}
	}
	for i := range x.config.Profiles {
		if code := x.config.Profiles[i].Code; !slices.Contains(c.Plan.Profiles[e.Place], code) {
			p := profileOf(event, code)
			p.Match, p.Why = "no", "type"
		}
	}
}

// The words of standings and reasons.
var (
	standings = [...]string{
		mapping.Holds: operation.StandingHolds, mapping.Fails: operation.StandingFails, mapping.Undecided: operation.StandingUndecided,
		mapping.ForOtherOps: operation.StandingOtherOp, mapping.NotAsked: operation.StandingNotAsked,
	}
	reasons = [...]string{
		mapping.NoReason: "", mapping.OtherValue: "other_value", mapping.WasSet: "was_set", mapping.WasNull: "was_null",
		mapping.IsNull: "is_null", mapping.IsSet: "is_set", mapping.Unchanged: "unchanged", mapping.HeldBefore: "held_before",
		mapping.WrongOp: "wrong_op", mapping.False: "false", mapping.Unknown: "unknown", mapping.Untyped: "untyped", mapping.Fault: "fault",
	}
)

func explainVerdict(v *account.Verdict, clauses []mapping.Clause, op string) operation.ExplainedRule {
	told := operation.ExplainedRule{Standing: standings[v.Standing], Reason: reasons[v.Reason], Old: v.Old}
	if v.Clause >= 0 {
		told.Clause, told.Columns = clauses[v.Clause].String(), clauses[v.Clause].Columns
	}
	for i := range v.Values {
		told.Values = append(told.Values, explainValue(&v.Values[i]))
	}
	told.Put(op)
	return told
}

func explainValue(v *account.Value) operation.ExplainedValue {
	told := operation.ExplainedValue{Column: v.Name, Masked: v.Masked, Withheld: v.Hidden, Cut: v.Cut, Unknown: v.Known == delivery.ValueUnknown}
	if v.Known == delivery.ValuePresent && !v.Hidden {
		told.Value = &v.Text
	}
	return told
}

// readSpool takes the events that the spool has.
func (x *explainer) readSpool() error {
	ctx, done := x.within()
	defer done()
	err := x.eachEvent(ctx, func(e *delivery.Entry) {
		ev := e.Event
		if x.told.History.Events.IsZero() {
			x.told.History.Events = ev.Time
		}
		if x.events[ev.ID] != nil || x.seeks(ev) {
			x.takeEvent(ev)
		}
	})
	if x.partly(err) {
		err = nil
	}
	return err
}

// readKept takes the events of deliveries that have a record: those that were given up or wait for
// long are kept when the spool's history of their time is gone.
func (x *explainer) readKept() error {
	ctx, done := x.within()
	defer done()
	err := x.engine.Each(ctx, false, func(w *engine.Waiting) error {
		if x.events[w.Event.ID] != nil || x.seeks(w.Event) {
			x.takeEvent(w.Event)
		}
		return nil
	})
	if x.partly(err) {
		err = nil
	}
	return err
}

// seeks reports whether an event is one that is asked about.
func (x *explainer) seeks(ev *delivery.Event) bool {
	if ev.Time.Before(x.request.Since) {
		return false
	}
	if x.row == nil {
		return ev.ID == x.request.Event
	}
	return x.row.isOf(ev.Entry, ev.Table) && x.row.has(ev.Entry, ev.Key)
}

// eachEvent calls fn for every event that the spool has.
func (x *explainer) eachEvent(ctx context.Context, fn func(*delivery.Entry)) error {
	profiles, err := x.spool.Profiles()
	if err != nil || len(profiles) == 0 {
		return err
	}
	var entries []delivery.Entry
	for next, end := delivery.Seq(0), false; !end; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("search the spool: %w", err)
		}
		if entries, next, end, err = x.spool.History(profiles[0].ID, next, entries[:0], 1000, 1<<20); err != nil {
			return fmt.Errorf("search the spool: %w", err)
		}
		for i := range entries {
			fn(&entries[i])
		}
	}
	return nil
}

// takeEvent adds an event of the spool to its change.
func (x *explainer) takeEvent(ev *delivery.Event) {
	c := x.events[ev.ID]
	if c == nil {
		told := operation.ExplainedChange{
			Time: ev.Time, Transaction: ev.Transaction, Position: ev.Position, Ordinal: ev.Ordinal, Op: ev.Op,
			Entry: ev.Entry, Table: ev.Table, Operation: ev.Operation, From: "spool",
		}
		if ev.Actor != (delivery.Actor{}) {
			told.Actor = &ev.Actor
		}
		if c = x.add(told); len(c.Rules) == 0 {
			x.oldest()
		}
	}
	if len(ev.Key) > 0 {
		c.Key = slices.Clone(ev.Key)
	}
	x.event(c, ev.ID, ev.Type)
}

// oldest lets the oldest changes go when there are far more than are asked for.
func (x *explainer) oldest() {
	if len(x.list) <= 2*x.request.Most {
		return
	}
	x.sort()
	over := len(x.list) - x.request.Most
	for _, c := range x.list[:over] {
		delete(x.changes, changePlace{c.Transaction, c.Position, c.Ordinal, c.Entry})
		for i := range c.Events {
			delete(x.events, c.Events[i].ID)
		}
	}
	x.list, x.told.More = slices.Clone(x.list[over:]), true
}

func (x *explainer) sort() {
	slices.SortStableFunc(x.list, func(a, b *operation.ExplainedChange) int { return inOrder(*a, *b) })
}

// inOrder compares changes by their places in the stream.
func inOrder(a, b operation.ExplainedChange) int {
	if order := a.Time.Compare(b.Time); order != 0 || a.Transaction != b.Transaction {
		return order
	}
	return cmp.Or(cmp.Compare(a.Ordinal, b.Ordinal), cmp.Compare(a.Entry, b.Entry))
}

// readParked tells which changes are parked now, and adds those of the row that were read past.
func (x *explainer) readParked() error {
	return x.eachParked(operation.ParkedRequest{}, func(p delivery.Parked) bool {
		parked := operation.ExplainedParked{Number: p.Seq, Profile: p.Profile, Reason: p.Reason, Error: p.Error}
		if len(p.Merged) > 0 {
			parked.Changes = 1 + len(p.Merged)
		}
		known := false
		for _, c := range x.list {
			if c.Position == p.Position && c.Transaction == p.Transaction && c.Ordinal == p.Ordinal && (p.Entry == "" || p.Entry == c.Entry) {
				c.Parked, known = &parked, true
				if len(p.Key) > 0 && c.Key == nil {
					c.Key = slices.Clone(p.Key)
				}
			}
		}
		switch {
		case x.row == nil || p.Time.Before(x.request.Since) || !x.row.isOfParked(&p):
		case len(p.Key) == 0 && !known:
			x.told.ParkedUnkeyed++
			x.perhaps[changePlace{p.Transaction, p.Position, p.Ordinal, p.Entry}] = operation.ExplainedChange{
				Time: p.Time, Transaction: p.Transaction, Position: p.Position, Ordinal: p.Ordinal, Entry: p.Entry, Table: p.Table, From: "spool", Parked: &parked,
			}
		case x.row.has(cmp.Or(p.Entry, x.row.name), p.Key):
			x.add(operation.ExplainedChange{
				Time: p.Time, Transaction: p.Transaction, Position: p.Position, Ordinal: p.Ordinal, Entry: p.Entry, Table: p.Table,
				Key: slices.Clone(p.Key), From: "spool", Parked: &parked,
			})
		}
		return x.ctx.Err() == nil
	})
}

// readWaiting tells of deliveries that have not ended what they wait for.
func (x *explainer) readWaiting() error {
	sought := map[string]*operation.ExplainedEvent{}
	for _, c := range x.list {
		for i := range c.Events {
			if e := &c.Events[i]; unended(e) {
				sought[e.ID] = e
			}
		}
	}
	if len(sought) == 0 {
		return x.ctx.Err()
	}
	ctx, done := x.within()
	defer done()
	err := x.engine.Each(ctx, true, func(w *engine.Waiting) error {
		if e := sought[w.Event.ID]; e != nil {
			if p := profileOf(e, w.Profile); open(p) {
				p.State = w.State
			}
		}
		return nil
	})
	if !x.partly(err) {
		return err
	}
	for _, e := range sought {
		stateless := func(p operation.ExplainedProfile) bool {
			return p.State == "" && p.Match != "no" && p.Match != "undecided"
		}
		if e.Unsearched = len(e.Profiles) == 0 || slices.ContainsFunc(e.Profiles, stateless); e.Unsearched {
			x.told.Unsearched++
		}
	}
	return nil
}

// unended reports whether an event may wait for a profile: one that got it, or, where nobody wrote
// down who does, any.
func unended(e *operation.ExplainedEvent) bool {
	told := false
	for i := range e.Profiles {
		p := &e.Profiles[i]
		told = told || p.Match != ""
		if p.Match != "no" && p.Match != "undecided" && open(p) {
			return true
		}
	}
	return !told
}

// open reports whether what is known of a delivery is not its end. A dead letter may have been
// retried.
func open(p *operation.ExplainedProfile) bool {
	return p.State == "" || p.State == string(delivery.OutcomeDead) || !delivery.Outcome(p.State).Terminal()
}

// finish puts the answer together.
func (x *explainer) finish() *operation.Explanation {
	x.sort()
	if over := len(x.list) - x.request.Most; over > 0 {
		x.list, x.told.More = x.list[over:], true
	}
	x.told.Changes = []operation.ExplainedChange{}
	for _, c := range x.list {
		if c.Op == capture.Truncate.String() {
			c.Key = nil
		}
		for i := range c.Events {
			slices.SortStableFunc(c.Events[i].Profiles, func(a, b operation.ExplainedProfile) int { return cmp.Compare(a.Profile, b.Profile) })
		}
		x.told.Changes = append(x.told.Changes, *c)
	}
	x.told.Perhaps = slices.SortedFunc(maps.Values(x.perhaps), func(a, b operation.ExplainedChange) int {
		return cmp.Or(inOrder(a, b), cmp.Compare(a.Transaction, b.Transaction))
	})
	x.told.Perhaps = x.told.Perhaps[max(len(x.told.Perhaps)-explainPerhaps, 0):]
	return &x.told
}
