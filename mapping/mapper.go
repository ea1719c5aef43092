package mapping

import (
	"fmt"
	"slices"

	"rowhook/capture"
	"rowhook/delivery"
)

// Output takes what a [Mapper] makes, in commit order. An error ends the mapping of the change and
// is returned from it.
type Output interface {
	// Event takes an event, which is the receiver's to keep. The row is valid until the call
	// returns.
	Event(ev *delivery.Event, row delivery.Row) error
	// Fail takes a change that could not be mapped for one entry; [Mapper.Changes] tells the raw
	// change to keep.
	Fail(f *Failure) error
	// Notice takes word of what somebody should know; no change is lost by it.
	Notice(n Notice)
}

// Failure is a change that could not be mapped for one entry, or of which some of the entry's rules
// could not be decided.
type Failure struct {
	Table string
	Entry string
	// Made are the types of the entry's events that the other rules made of the change all the
	// same.
	Made   []string
	Reason delivery.Outcome // undecidable or unmapped
	Err    error            // names table, column and rule; never holds row data
	// Actor and Operation are what the transaction itself told, to be given to [Mapper.Remap].
	Actor     delivery.Actor
	Operation string
	// Key is the row's, as events would have it; nil where it is not known.
	Key []byte
	// Rows says that it is a touch, of rows which nobody knows or which are too many.
	Rows bool
}

// NoticeKind says what a notice is about.
type NoticeKind string

// The kinds of notices.
const (
	NotTransactional NoticeKind = "not_transactional" // a context message or signal told outside a transaction, which a rollback would not undo
	ContextMalformed NoticeKind = "context_malformed" // a context message that does not parse: the context before it still holds; or a comment: it holds for nothing
	SignalMalformed  NoticeKind = "signal_malformed"  // a signal that does not parse
	SignalUnlisted   NoticeKind = "signal_unlisted"   // a signal of a type that source.signals.types does not list
	BigintRounded    NoticeKind = "bigint_rounded"    // a number that JavaScript rounds; said once a column
)

// Notice is word of a message that was left out, or of a value that receivers may misread.
type Notice struct {
	Kind     NoticeKind
	Type     string // of an unlisted signal
	Entry    string // of a rounded number
	Column   string // likewise: schema.table.column
	Position capture.Position
	Ordinal  int
	Err      error
}

// Identity names the source in events.
type Identity struct {
	Source  string // source.name, as payloads show it
	Lineage string // what event ids are hashed with: the system identifier, the server UUID
}

// Mapper maps the transactions of one stream. It is used by one goroutine.
type Mapper struct {
	rules       *Rules
	out         Output
	source      string
	lineage     string
	signalTypes map[string]signalType

	lookups   Lookups
	described map[string]*capture.Table // looked-up tables, by name
	trusted   trusted                   // rows that were looked up before the open transaction's end
	touching  touching                  // looked-up rows that it changed, and that touch others
	touched   touchedRow                // the row at hand that is touched

	bindings map[*capture.Table]*binding
	bound    *binding // of the change at hand, or of the last one
	tx       capture.Transaction
	commit   *delivery.Commit // of the transaction's last event
	contexts contexts
	held     heldDelete
	window   window
	changes  []*capture.Change
	merged   bool            // changes are those of a row that became one
	nothing  bool            // they came to nothing
	whole    *capture.Change // the change at hand as rules see it

	watcher   Watcher   // nil while nobody asks for verdicts
	judgement Judgement // of the entry that was mapped last

	eval     evaluation
	fired    []firing
	made     []string // types of events that the change made before it was parked
	renderer renderer
	text     []byte
}

// NewMapper returns a mapper that gives what it makes to out.
func (r *Rules) NewMapper(out Output, id Identity) *Mapper {
	m := &Mapper{
		rules: r, out: out, source: id.Source, lineage: id.Lineage,
		signalTypes: map[string]signalType{}, bindings: map[*capture.Table]*binding{}, described: map[string]*capture.Table{},
		window: window{most: windowBytes, rows: map[*capture.Table]*rowGroups{}, relations: map[*capture.Table][]byte{}},
	}
	for _, s := range r.signals.Types {
		m.signalTypes[s.Type] = signalType{s, s.As.names()}
	}
	d := r.context.Defaults
	m.contexts.defaults = told{delivery.Actor{ID: d.Actor.ID, Name: d.Actor.Name}, d.Operation}
	return m
}

// SetIdentity replaces the names that are known only once the source is connected. It
// is called between transactions.
func (m *Mapper) SetIdentity(id Identity) { m.source, m.lineage = id.Source, id.Lineage }

// Begin opens a transaction.
func (m *Mapper) Begin(tx *capture.Transaction) {
	m.tx, m.commit = *tx, nil
	m.contexts.begin()
	m.Abort()
}

// Abort forgets the open transaction.
func (m *Mapper) Abort() {
	m.held.on = false
	m.trusted.reset()
	m.touching.reset()
	m.touched = touchedRow{}
	if m.window.on() {
		m.window.reset()
	}
}

// End closes the transaction, and maps what was held for it.
func (m *Mapper) End() error {
	if m.window.on() {
		if err := m.empty(); err != nil {
			return err
		}
	}
	if err := m.flush(); err != nil {
		return err
	}
	return m.mapTouches()
}

// Changes returns the raw changes at hand, for parking: one, the delete and the insert that a
// row's move between partitions consists of, or, where Merged says so, all of a row that became
// one. It is valid inside Output's methods; empty for messages.
func (m *Mapper) Changes() []*capture.Change { return m.changes }

// Change maps one change, or holds it for the transaction's end.
func (m *Mapper) Change(c *capture.Change) error {
	b := m.bound
	if b == nil || b.table != c.Table {
		b = m.bind(c.Table)
	}
	if m.trusted.early && (b.lookedUp != nil || len(b.partsBy) > 0) {
		if err := m.trusted.changed(b, c); err != nil {
			return err
		}
	}
	if b.merging != 0 || b.looks || m.window.on() {
		return m.hold(b, c)
	}
	return m.now(b, c)
}

// now maps one change for the entries that take each as it comes.
func (m *Mapper) now(b *binding, c *capture.Change) error {
	if len(b.touches) > 0 {
		m.touch(b, c)
	}
	if m.held.on {
		if m.held.movedBy(c, b.moveKey) {
			return m.mapMove(b, c)
		}
		if err := m.flush(); err != nil {
			return err
		}
	}
	if !b.ops.has(c.Op) {
		if b.watched {
			m.passOver(b, c)
		}
		return nil
	}
	if c.Op == capture.Delete && m.held.take(c, b.moveKey) {
		return nil
	}
	m.changes = append(m.changes[:0], c)
	return m.mapChange(b, c, false)
}

// bind finds the table's binding, making it when the table is new, in place of the one
// that the same table had before it was altered.
func (m *Mapper) bind(t *capture.Table) *binding {
	b := m.bindings[t]
	if b == nil {
		for old := range m.bindings {
			if old.Schema == t.Schema && old.Name == t.Name {
				delete(m.bindings, old)
				delete(m.window.rows, old)
			}
		}
		m.Describe(t) // before it is bound: it may look rows up in itself
		b = m.rules.bind(t, m.described)
		if m.watcher != nil {
			b.watch(m.watcher)
		}
		m.bindings[t] = b
	}
	m.bound = b
	return b
}

// flush maps the held delete for what it is.
func (m *Mapper) flush() error {
	if !m.held.on {
		return nil
	}
	m.held.on = false
	c := &m.held.change
	m.changes = append(m.changes[:0], c)
	b := m.bound
	defer func() { m.bound = b }()
	return m.mapChange(m.bind(c.Table), c, false)
}

// mapMove maps a delete and an insert of one key as the update that they are.
func (m *Mapper) mapMove(b *binding, c *capture.Change) error {
	m.held.on = false
	m.changes = append(m.changes[:0], &m.held.change, c)
	return m.mapChange(b, &capture.Change{
		Op: capture.Update, Table: c.Table, Old: m.held.change.Old, New: c.New, Ordinal: c.Ordinal,
	}, false)
}

// mapChange maps a change for the entries of its table: those that take each change as it comes, or
// those that take what a row's changes come to.
func (m *Mapper) mapChange(b *binding, c *capture.Change, merging bool) error {
	m.bound, m.whole = b, c
	m.contexts.reach(c.Statement)
	m.eval = evaluation{rows: newRows(c), at: m.commitTime(), context: &m.contexts}
	for _, be := range b.entries {
		if be.merges != merging {
			continue
		}
		own, asked := m.eval.rows, be.ops.has(c.Op)
		if asked && len(be.lookups) > 0 && len(be.problems) == 0 {
			if err := m.lookUp(be); err != nil {
				return err
			}
		}
		if asked {
			if err := m.mapEntry(be); err != nil {
				return err
			}
		}
		if be.observer != nil {
			m.tell(be, asked)
		}
		m.eval.rows = own
	}
	if c.Op != capture.Insert || merging {
		return nil
	}
	m.eval.entry = nil
	if b.context != nil {
		m.contexts.takeRow(b.context, &m.eval)
	}
	if b.signal != nil {
		s, err := b.signal.fromRow(&m.eval)
		return m.signal(&s, err, c.Ordinal)
	}
	return nil
}

// mapEntry decides which of the entry's events fire, and makes them. What cannot be decided is
// parked, for the events that may come of it; the others do not wait for it.
func (m *Mapper) mapEntry(be *boundEntry) error {
	m.eval.entry, m.eval.blame, m.eval.cost = be, blame{}, cost{}
	be.forgetParts()
	if len(be.problems) > 0 {
		p := &be.problems[0]
		return m.fail(be, delivery.OutcomeUnmapped, &capture.OperatorError{
			Err: fmt.Errorf("map %s: %s", be.table, p), Remedy: p.remedy,
		})
	}
	if err := m.eval.check(); err != nil {
		return m.fail(be, delivery.OutcomeUnmapped, err)
	}
	fired, decided := m.decide(be)
	blame := m.eval.blame
	if len(fired) > 0 {
		if err := m.findParts(be); err != nil {
			return err
		}
		shared, err := m.render(be)
		if err == nil && m.eval.cost.err != nil {
			return m.fail(be, delivery.OutcomeUnmapped, fmt.Errorf("map %s: %w", be.table, m.eval.cost.err))
		}
		if err != nil {
			return m.fail(be, delivery.OutcomeUndecidable, err)
		}
		for _, f := range fired {
			if slices.Contains(m.made, be.events[f.event].typ) {
				continue
			}
			ev := m.event(be, f, &shared, m.whole.Ordinal)
			if err := m.out.Event(ev, changeRow{m}); err != nil {
				return err
			}
		}
	}
	if decided {
		return nil
	}
	made := slices.Clone(m.made)
	for _, f := range fired {
		if typ := be.events[f.event].typ; !slices.Contains(made, typ) {
			made = append(made, typ)
		}
	}
	if blame.err != nil {
		return m.fail(be, delivery.OutcomeUnmapped, fmt.Errorf("map %s: rule %s, %w", be.table, blame.rule, blame.err), made...)
	}
	return m.fail(be, delivery.OutcomeUndecidable, be.undecidable(blame), made...)
}

// firing is an event that fires, and the rule that made it, as indexes.
type firing struct{ event, rule int }

// signalType is a type of signal that is taken.
type signalType struct {
	SignalConfig
	as map[string]*string
}

// decide returns the events that certainly fire, and whether these are all.
func (m *Mapper) decide(be *boundEntry) (fired []firing, decided bool) {
	e := &m.eval
	about := delivery.True
	if e.op != capture.Truncate {
		if about = e.where(be.where); about == delivery.False {
			return nil, true
		}
	}
	m.fired = m.fired[:0]
	decided = true
	for i := range be.events {
		ev := &be.events[i]
		if !ev.ops.has(e.op) && !e.touched {
			continue
		}
		switch answer, rule := ev.fires(e); answer {
		case delivery.True:
			m.fired = append(m.fired, firing{i, rule})
		case delivery.Undecidable:
			decided = false
		default:
			continue
		}
		if be.Rules == "first" {
			break
		}
	}
	if about == delivery.Undecidable { // whether the entry is about the row at all
		return nil, decided && len(m.fired) == 0
	}
	return m.fired, decided
}

// fires answers whether any of the event's rules holds, and which.
func (ev *boundEvent) fires(e *evaluation) (answer delivery.Truth, rule int) {
	answer = delivery.False
	for i := range ev.rules {
		r := &ev.rules[i]
		if !e.asks(r) {
			continue
		}
		switch r.fires(e) {
		case delivery.True:
			return delivery.True, i
		case delivery.Undecidable:
			answer = delivery.Undecidable
		}
	}
	return answer, 0
}

// fail hands out a failure.
func (m *Mapper) fail(be *boundEntry, reason delivery.Outcome, err error, made ...string) error {
	t := m.contexts.transaction()
	f := &Failure{
		Table: m.bound.name, Entry: be.Name, Made: made, Reason: reason, Err: err,
		Actor: t.actor, Operation: t.operation,
	}
	if be.keySound && m.eval.check() == nil {
		if key, ok := be.appendKey(nil, &m.eval, false); ok {
			f.Key = key
		}
	}
	if be.observer != nil {
		m.judgement.failure = f
	}
	return m.out.Fail(f)
}

// passOver tells of a change that no rule is for, of those that are asked about each.
func (m *Mapper) passOver(b *binding, c *capture.Change) {
	m.bound, m.whole, m.changes = b, c, append(m.changes[:0], c)
	for _, be := range b.entries {
		if be.observer != nil && !be.merges {
			m.tell(be, false)
		}
	}
}

// tell tells an entry's observer of the change at hand. ready says that it has been evaluated.
func (m *Mapper) tell(be *boundEntry, ready bool) {
	m.judgement.be, m.judgement.ready, m.judgement.mapped = be, ready, ready
	be.observer.Mapped(&m.judgement)
	m.judgement.failure = nil
}

// Message takes a logical message or a statement's comment: context, a signal, or somebody else's.
func (m *Mapper) Message(msg *capture.Message) error {
	r := m.rules
	ours := msg.Prefix == capture.CommentPrefix && r.context.Comment || m.Listens(msg.Prefix)
	if !ours {
		return nil
	}
	if m.window.on() {
		return m.holdMessage(msg)
	}
	return m.message(msg)
}

// message takes a message of ours when its turn has come.
func (m *Mapper) message(msg *capture.Message) error {
	if msg.Prefix == capture.CommentPrefix {
		return m.comment(msg)
	}
	if err := m.flush(); err != nil {
		return err
	}
	if msg.Prefix == m.rules.context.Message {
		if err := m.contexts.take(msg.Content); err != nil {
			m.notice(ContextMalformed, "", msg.Ordinal, err)
		}
		return nil
	}
	m.changes = m.changes[:0]
	s, err := decodeSignal(msg.Content)
	return m.signal(&s, err, msg.Ordinal)
}

// Ignored is told of a message that was left out, since it was told outside a transaction.
func (m *Mapper) Ignored(prefix string) {
	if prefix != "" && (prefix == m.rules.context.Message || prefix == m.rules.signals.Message) {
		m.notice(NotTransactional, "", 0, nil)
	}
}

// comment takes the comment of the statement that made the changes which follow.
func (m *Mapper) comment(msg *capture.Message) error {
	if err := m.flush(); err != nil {
		return err
	}
	if err := m.contexts.takeComment(msg.Content); err != nil {
		m.notice(ContextMalformed, "", msg.Ordinal, err)
	}
	return nil
}

// signal hands out a signal's event, if its type is listed.
func (m *Mapper) signal(s *signal, err error, ordinal int) error {
	if err != nil {
		m.notice(SignalMalformed, "", ordinal, err)
		return nil
	}
	if _, listed := m.signalTypes[s.typ]; !listed {
		m.notice(SignalUnlisted, s.typ, ordinal, nil)
		return nil
	}
	row, err := s.row()
	if err != nil {
		m.notice(SignalMalformed, s.typ, ordinal, err)
		return nil
	}
	return m.out.Event(m.signalEvent(s, ordinal), row)
}

func (m *Mapper) notice(kind NoticeKind, typ string, ordinal int, err error) {
	m.out.Notice(Notice{Kind: kind, Type: typ, Position: m.tx.Position, Ordinal: ordinal, Err: err})
}
