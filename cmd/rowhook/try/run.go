package try

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/mapping"
)

// noColumn is what the mapping says of a column that a table does not have.
var noColumn = regexp.MustCompile(`has no column "([^"]+)"`)

// defaultTime is when transactions that do not say it were committed.
var defaultTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// hiddenKey stands for a profile's identification key in bodies.
const hiddenKey = "HIDDEN"

// trial puts recorded changes through the mapping.
type trial struct {
	config   *config.Config
	tables   *tableSet
	mapper   *mapping.Mapper
	kept     *keptRows
	router   *delivery.Router
	profiles []receiver

	results  []resultLine
	problems bool

	at            string       // the line at hand, or the one that what is made comes from
	lines         []string     // of the transaction's changes and messages
	quiet         []resultLine // lines of changes that are held, should nothing come of them
	first         int          // of results, the transaction's first
	tx            string       // the transaction at hand; empty for one without a name
	open          bool
	number        int // of transactions
	ordinal       int
	began         time.Time
	position      string
	closed        map[string]bool
	to, undecided []delivery.ProfileID
}

// receiver is a profile with what its next requests carry.
type receiver struct {
	config    *delivery.ProfileConfig
	formatter delivery.Formatter
	waiting   []triedEvent
}

type triedEvent struct {
	at    string
	event *delivery.Event
}

var _ mapping.Output = (*trial)(nil)

// unsent is a sender where nothing is sent.
type unsent struct{}

func (unsent) Send(context.Context, *delivery.Request) delivery.Reply { return delivery.Reply{} }
func (unsent) Describe() (method, url string)                         { return "POST", "" }

// Run puts changes through the config's mapping. source is its source's name in payloads, live are
// the tables that the database was asked about: other tables have what the changes name.
func Run(c *config.Config, source string, changes Changes, live []*capture.Table) (*Results, error) {
	t, err := newTrial(c, source, changes, live)
	if err == nil {
		err = t.run(changes)
	}
	if err != nil {
		return nil, err
	}
	return &Results{list: t.results, problems: t.problems}, nil
}

func newTrial(c *config.Config, source string, lines []*recorded, live []*capture.Table) (*trial, error) {
	t := &trial{config: c, closed: map[string]bool{}}
	var err error
	if t.tables, err = gatherTables(c.Source.Type, lines, live); err != nil {
		return nil, err
	}
	if err := t.readProfiles(); err != nil {
		return nil, err
	}
	t.mapper = c.Rules().NewMapper(t, mapping.Identity{Source: source, Lineage: "try"})
	t.kept = newKeptRows(c.Rules().LookedUp())
	t.mapper.LookIn(t.kept)
	for _, l := range c.Rules().LookedUp() {
		if described := t.tables.tables[l.Table]; described != nil {
			t.mapper.Describe(described.table)
		}
	}
	return t, nil
}

// readProfiles makes the profiles, as they are in this environment.
func (t *trial) readProfiles() error {
	var ready []*engine.Profile
	for i := range t.config.Profiles {
		p := t.config.Profiles[i]
		if t.config.Sandboxed(nil) && p.Sandbox.URL != "" {
			var err error
			if p, err = config.InSandbox(t.config.Products(), p, p.Sandbox); err != nil {
				return err
			}
		}
		if p.IdentificationKey != "" {
			p.IdentificationKey = hiddenKey
		}
		formatter, err := t.config.Products().Formatter(p)
		if err != nil {
			return err
		}
		profile, err := engine.NewProfile(p, t.config.Products().Of(p.Format), unsent{}, formatter)
		if err != nil {
			return err
		}
		ready = append(ready, profile)
		t.profiles = append(t.profiles, receiver{config: &p, formatter: formatter})
	}
	t.router = engine.RouterOf(ready)
	return nil
}

// run puts all lines through.
func (t *trial) run(lines []*recorded) error {
	for _, line := range lines {
		if err := t.line(line); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	for i := range t.profiles {
		if err := t.group(&t.profiles[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) line(line *recorded) error {
	if err := t.reach(line); err != nil {
		return err
	}
	t.at = line.at
	before := len(t.results)
	if line.Context != nil {
		if err := t.context(line); err != nil {
			return err
		}
	}
	if line.Signal != nil {
		return t.signal(line)
	}
	table := t.tables.tables[line.Table]
	absent := capture.Unknown
	if line.op == capture.Update {
		absent = capture.Unchanged
	}
	change := &capture.Change{
		Op: line.op, Table: table.table, Old: table.row(line.Old, capture.Unknown), New: table.row(line.New, absent), Ordinal: t.next(),
	}
	t.kept.change(change)
	err := t.mapper.Change(change)
	nothing := resultLine{Kind: kindNothing, At: line.at, Table: line.Table, Op: line.Op}
	switch {
	case err == nil && t.mapper.Holding():
		t.quiet = append(t.quiet, nothing)
	case err == nil && len(t.results) == before:
		t.results = append(t.results, nothing)
	}
	return err
}

// tellHeld puts what was held to the end of the transaction in the order of its lines, and tells the
// changes that nothing came of.
func (t *trial) tellHeld() {
	if len(t.quiet) == 0 {
		return
	}
	place := map[string]int{}
	for i, at := range t.lines {
		place[at] = i
	}
	told := map[string]bool{}
	for _, r := range t.results[t.first:] {
		told[r.At] = true
	}
	for _, r := range t.quiet {
		if !told[r.At] {
			t.results = append(t.results, r)
		}
	}
	t.quiet = nil
	slices.SortStableFunc(t.results[t.first:], func(a, b resultLine) int { return cmp.Compare(place[a.At], place[b.At]) })
}

// reach opens the line's transaction, unless it is open.
func (t *trial) reach(line *recorded) error {
	same := t.open && line.Transaction != "" && line.Transaction == t.tx
	switch {
	case same && !line.Time.IsZero() && !line.Time.Equal(t.began):
		return &recordedError{line.at, fmt.Errorf("time: transaction %s has another in its first line", t.tx)}
	case same && line.Position != "" && line.Position != t.position:
		return &recordedError{line.at, fmt.Errorf("position: transaction %s has another in its first line", t.tx)}
	case same:
		return nil
	}
	if err := t.end(); err != nil {
		return err
	}
	if line.Transaction != "" && t.closed[line.Transaction] {
		return &recordedError{line.at, fmt.Errorf("transaction: the lines of %s do not stand together", line.Transaction)}
	}
	t.number++
	t.open, t.tx, t.began, t.position, t.ordinal = true, line.Transaction, line.Time, line.Position, 0
	t.closed[t.tx] = true
	tx := capture.Transaction{ID: t.tx, Identity: "named " + t.tx, Position: capture.Position(t.position), Time: t.began.UTC()}
	if t.tx == "" {
		tx.ID = fmt.Sprint(t.number)
		tx.Identity = "unnamed " + tx.ID
	}
	if t.position == "" {
		tx.Position = capture.Position(fmt.Sprintf("0/%X", t.number))
	}
	if t.began.IsZero() {
		t.began, tx.Time = defaultTime, defaultTime
	}
	t.lines, t.first = t.lines[:0], len(t.results)
	t.mapper.Begin(&tx)
	t.kept.begin()
	return nil
}

// end closes the open transaction, and with it the groups that it makes.
func (t *trial) end() error {
	if !t.open {
		return nil
	}
	t.open = false
	if err := t.mapper.End(); err != nil {
		return err
	}
	t.tellHeld()
	for i := range t.profiles {
		if t.profiles[i].config.Unit == "batch" {
			continue
		}
		if err := t.group(&t.profiles[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) next() int {
	t.ordinal++
	t.lines = append(t.lines, t.at)
	return t.ordinal - 1
}

// context tells the mapper who makes the changes that follow, as an application does by a message.
func (t *trial) context(line *recorded) error {
	prefix := t.config.Source.Context.Message
	if prefix == "" {
		return &recordedError{line.at, errors.New("context: the config takes none by message (source.context.message)")}
	}
	return t.mapper.Message(&capture.Message{Prefix: prefix, Content: line.Context, Ordinal: t.next()})
}

// signal tells the mapper of a signal, in the config's way.
func (t *trial) signal(line *recorded) error {
	signals := t.config.Source.Signals
	if signals.Message != "" {
		return t.mapper.Message(&capture.Message{Prefix: signals.Message, Content: line.Signal, Ordinal: t.next()})
	}
	if signals.Table == "" {
		t.problem(resultLine{Reason: "signals_off", Error: "the config takes no signals (source.signals)"})
		return nil
	}
	var row members
	if err := json.Unmarshal(line.Signal, &row); err != nil {
		return &recordedError{line.at, errors.New("signal: expected an object")}
	}
	for _, name := range []string{"type", "key", "data"} {
		if row.values[name] == nil {
			row.names = append(row.names, name)
			row.values[name] = json.RawMessage("null")
		}
	}
	one := &recorded{Table: signals.Table, New: &row, at: line.at, op: capture.Insert}
	own, err := gatherTables(t.config.Source.Type, []*recorded{one}, nil)
	if err != nil {
		return err
	}
	table := own.tables[signals.Table]
	return t.mapper.Change(&capture.Change{Op: capture.Insert, Table: table.table, New: table.row(&row, capture.Unknown), Ordinal: t.next()})
}

// Event implements [mapping.Output].
func (t *trial) Event(ev *delivery.Event, row delivery.Row) error {
	t.at = t.lines[ev.Ordinal]
	t.to, t.undecided = t.router.Match(ev, row, t.to[:0], t.undecided[:0])
	codes := []string{}
	for _, id := range t.to {
		codes = append(codes, t.profiles[id].config.Code)
	}
	result := resultLine{
		Kind: kindEvent, At: t.at, Type: ev.Type, Entry: ev.Entry, Table: ev.Table, Op: ev.Op, Key: ev.Key,
		Operation: ev.Operation, ID: ev.ID, Profiles: &codes,
	}
	if ev.Actor != (delivery.Actor{}) {
		result.Actor = &ev.Actor
	}
	t.results = append(t.results, result)
	for _, id := range t.undecided {
		t.problem(resultLine{
			Table: ev.Table, Entry: ev.Entry, Profile: t.profiles[id].config.Code,
			Reason: string(delivery.OutcomeUndecidable), Error: pipeline.ErrUndecidable.Error(),
		})
	}
	for _, id := range t.to {
		p := &t.profiles[id]
		if p.config.Unit == "record" {
			t.request(p, t.at, ev)
			continue
		}
		p.waiting = append(p.waiting, triedEvent{t.at, ev})
		if p.config.Unit == "batch" && len(p.waiting) >= p.config.Batch.Max {
			if err := t.group(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Fail implements [mapping.Output].
func (t *trial) Fail(f *mapping.Failure) error {
	if note, ordinal := t.mapper.Touch(); note != nil {
		t.at = t.lines[ordinal]
	} else {
		changes := t.mapper.Changes()
		t.at = t.lines[changes[len(changes)-1].Ordinal]
	}
	result := resultLine{Table: f.Table, Entry: f.Entry, Reason: string(f.Reason), Error: f.Err.Error()}
	if table := t.tables.tables[f.Table]; table != nil && !table.live {
		if missing := noColumn.FindStringSubmatch(result.Error); missing != nil {
			result.Remedy = fmt.Sprintf(`the lines name no such column: add "types":{%q:"text"} to one, with its type, or have --from-database ask the database`, missing[1])
		}
	}
	t.problem(result)
	return nil
}

// Notice implements [mapping.Output]. That a receiver may round a number is `rowhook run`'s to say.
func (t *trial) Notice(n mapping.Notice) {
	if n.Kind == mapping.BigintRounded {
		return
	}
	t.at = t.lines[n.Ordinal]
	text := map[mapping.NoticeKind]string{
		mapping.ContextMalformed: "the context is left out",
		mapping.SignalMalformed:  "the signal is left out",
		mapping.SignalUnlisted:   fmt.Sprintf("the signal is left out: source.signals.types has no %q", n.Type),
	}[n.Kind]
	if n.Err != nil {
		text += ": " + n.Err.Error()
	}
	t.problem(resultLine{Reason: string(n.Kind), Error: text})
}

func (t *trial) problem(r resultLine) {
	r.Kind, r.At = kindProblem, t.at
	t.problems = true
	t.results = append(t.results, r)
}

// request renders the request of one event.
func (t *trial) request(p *receiver, at string, ev *delivery.Event) {
	body, err := p.formatter.AppendBody(nil, ev)
	t.rendered(p, resultLine{At: at, ID: ev.ID}, body, p.formatter.Head(ev), err)
}

// group renders the groups that the profile's waiting events make: one, or with unit type one for
// each.
func (t *trial) group(p *receiver) error {
	waiting := p.waiting
	p.waiting = nil
	for len(waiting) > 0 {
		first := waiting[0]
		var events []*delivery.Event
		var rest []triedEvent
		for _, w := range waiting {
			if p.config.Unit == "type" && (w.event.Type != first.event.Type || w.event.Entry != first.event.Entry) {
				rest = append(rest, w)
				continue
			}
			events = append(events, w.event)
		}
		waiting = rest
		formatter, ok := p.formatter.(delivery.GroupFormatter)
		if !ok {
			return fmt.Errorf("format %s has no requests with several events", p.config.Format)
		}
		g := delivery.NewGroup(p.config.Unit, events)
		result := resultLine{At: first.at, ID: g.ID, Unit: g.Unit, Type: g.Type}
		for _, ev := range events {
			result.Events = append(result.Events, ev.ID)
		}
		var body bytes.Buffer
		err := formatter.WriteGroup(&body, g)
		t.rendered(p, result, body.Bytes(), formatter.GroupHead(g), err)
	}
	return nil
}

// rendered adds a request, or says why there is none.
func (t *trial) rendered(p *receiver, r resultLine, body []byte, head delivery.Head, err error) {
	if err != nil {
		t.problem(resultLine{Profile: p.config.Code, Reason: string(delivery.ReasonFormat), Error: err.Error()})
		return
	}
	r.Kind, r.Profile, r.Body, r.text = kindRequest, p.config.Code, bodyJSON(body), string(body)
	r.Headers = map[string]string{"content-type": head.ContentType}
	for _, h := range head.Header {
		r.Headers[strings.ToLower(h.Name)] = h.Value
	}
	t.results = append(t.results, r)
}
