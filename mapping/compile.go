package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// Options is what a mapping needs besides its own section of the config.
type Options struct {
	Context ContextConfig
	Signals SignalsConfig
	// Lookups are the tables that entries may look rows up in.
	Lookups []LookupConfig
	// DeletedRows reports whether a format sends an event's deleted rows whole: the payload's
	// shape, read from the old row (delivery.Event.Shape). Nil is never.
	DeletedRows func(eventType, entry string) bool
	// Asked lists the columns that subscriptions' conditions may name, of an entry's events. Nil is none.
	Asked func(entry string) []string
	// ReadFile reads the files that the config names (mask_key_file). It may be nil when none is
	// named.
	ReadFile func(path string) ([]byte, error)
}

// Rules is a compiled mapping. It is immutable and safe for concurrent use.
type Rules struct {
	entries []*entry
	named   map[string][]*entry // by schema.table
	schemas map[string][]*entry // wildcard entries by schema
	looking []*entry            // those that look rows up, or list some
	context ContextConfig
	signals SignalsConfig
}

// entry is one compiled entry of the mapping, not yet tied to a table.
type entry struct {
	EntryConfig
	path        path
	schema      string
	table       string // "*" for every table of the schema without an entry of its own
	events      []*event
	fields      []*field
	link        []linkPart
	maskKey     []byte
	lookups     []*lookup
	parts       []*part
	orderPrefix string   // of a group; empty for the table's own
	wholeDelete bool     // a format sends deleted rows whole
	asked       []string // columns that subscriptions' conditions name
}

func (e *entry) wildcard() bool { return e.table == "*" }

// event is an event type with its rules, any of which makes it fire.
type event struct {
	typ   string
	rules []*rule
}

// rule is one compiled rule.
type rule struct {
	RuleConfig
	name string // as errors call it: loan.returned, or loan.returned[1]
	path path
	ops  opSet // on which it can fire at all
	cond *expression
	as   map[string]*string
}

// Compile checks the config and compiles it. The error joins all faults, each with its ConfigPath.
func Compile(cfg Config, opts Options) (*Rules, error) {
	r := &Rules{
		named: map[string][]*entry{}, schemas: map[string][]*entry{},
		context: opts.Context, signals: opts.Signals,
	}
	errs := checkSource(opts)
	lookedUp, faults := compileLookedUp(opts.Lookups)
	errs = append(errs, faults...)
	for i := range cfg {
		e, err := compileEntry(cfg[i], opts, lookedUp)
		errs = append(errs, err)
		if err != nil {
			continue
		}
		r.entries = append(r.entries, e)
		if len(e.lookups)+len(e.parts) > 0 {
			r.looking = append(r.looking, e)
		}
		if e.wildcard() {
			r.schemas[e.schema] = append(r.schemas[e.schema], e)
		} else {
			name := e.schema + "." + e.table
			r.named[name] = append(r.named[name], e)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// checkSource checks the parts of the source section that mapping owns.
func checkSource(opts Options) (errs []error) {
	source := path{"source"}
	table := func(at path, name string) {
		if _, _, ok := capture.ParseTable(name); name != "" && (!ok || strings.Contains(name, "*")) {
			errs = append(errs, at.err(fmt.Sprintf("%q is not a table", name), "write schema.table"))
		}
	}
	table(source.at("context", "table"), opts.Context.Table)
	table(source.at("signals", "table"), opts.Signals.Table)
	s, at := opts.Signals, source.at("signals")
	switch on := s.Message != "" || s.Table != ""; {
	case on && len(s.Types) == 0:
		errs = append(errs, at.err("signals are on, but no type is listed", "list the event types that are taken under types"))
	case !on && len(s.Types) > 0:
		errs = append(errs, at.err("types are listed, but signals come from nowhere", "give message, a prefix, or table"))
	case s.Message != "" && s.Message == opts.Context.Message:
		errs = append(errs, at.at("message").err("context and signals have the same prefix", "use rowhook.event for signals"))
	case s.Table != "" && s.Table == opts.Context.Table:
		errs = append(errs, at.at("table").err("context and signals have the same table", ""))
	}
	for i := range s.Types {
		if err := checkType(s.Types[i].Type, at.at("types", s.Types[i].Type)); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

var eventType = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$`)

// checkType holds event types to what Standard Webhooks allows.
func checkType(typ string, at path) error {
	switch {
	case !eventType.MatchString(typ):
		return at.err(fmt.Sprintf("%q is not an event type", typ), "use letters, digits and _, in groups joined by dots, such as loan.returned")
	case typ == "rowhook" || strings.HasPrefix(typ, "rowhook."):
		return at.err(fmt.Sprintf("%q is reserved: rowhook's own events start so", typ), "")
	}
	return nil
}

func compileEntry(cfg EntryConfig, opts Options, lookedUp map[string]*lookedUp) (*entry, error) {
	e := &entry{EntryConfig: cfg, path: path{"mapping", cfg.Name}}
	if opts.Asked != nil {
		e.asked = opts.Asked(cfg.Name)
	}
	errs := []error{e.findTable(), e.compileColumns(opts), e.compileOrder(), e.compileMemory()}
	for _, list := range []struct {
		key     string
		columns []string
	}{{"key", cfg.Key}, {"order_by", cfg.OrderBy}} {
		errs = append(errs, checkColumns(list.columns, e.path.at(list.key)))
	}
	errs = append(errs, checkWhere(cfg.Where, e.path.at("where")), e.compileEvents(), e.compileLookups(lookedUp))
	var err error
	if e.link, err = parseLink(cfg.Link); err != nil {
		errs = append(errs, e.path.at("link").err(err.Error(), "write a column's name in braces: https://example.org/loans/{loan_id}"))
	}
	if e.fields, err = compileFields(cfg.Fields, e.path.at("fields"), cfg.aliases()); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, e.compileParts())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e.wholeDelete = e.sendsDeleted(opts.DeletedRows)
	return e, nil
}

func (e *entry) findTable() error {
	name, at := e.Table, e.path.at("table")
	if name == "" {
		name, at = e.Name, e.path
	}
	var ok bool
	if e.schema, e.table, ok = capture.ParseTable(name); !ok {
		return at.err(fmt.Sprintf("%q is not a table", name), "write schema.table, such as public."+name+", or give table")
	}
	if strings.ContainsAny(e.schema, "*?[") || e.table != "*" && strings.ContainsAny(e.table, "*?[") {
		return at.err(fmt.Sprintf("%q is no pattern that tables are found by", name), "write schema.table, or schema.* for the whole schema")
	}
	return nil
}

func (e *entry) compileOrder() error {
	if e.OrderGroup == "" {
		return nil
	}
	if strings.Contains(e.OrderGroup, ".") || e.OrderGroup == signalOrder {
		return e.path.at("order_group").err("an order group's name has no dot, as tables' names have, and is not "+signalOrder, "")
	}
	e.orderPrefix = e.OrderGroup
	return nil
}

// compileColumns checks the columns section and reads the mask's key.
func (e *entry) compileColumns(opts Options) error {
	c, at := e.Columns, e.path.at("columns")
	errs := []error{checkColumns(c.Exclude, at.at("exclude")), checkColumns(c.Mask, at.at("mask"))}
	for _, col := range c.Mask {
		if slices.Contains(c.Exclude, col) {
			errs = append(errs, at.at("mask").err(fmt.Sprintf("column %q is both masked and excluded", col), ""))
		}
	}
	names := map[string]string{}
	for _, r := range c.Rename {
		switch other, taken := names[r.To]; {
		case r.To == "":
			errs = append(errs, at.at("rename", r.Column).err("the new name is empty", ""))
		case taken:
			errs = append(errs, at.at("rename", r.Column).err(fmt.Sprintf("%q is already the new name of %q", r.To, other), ""))
		case slices.Contains(c.Exclude, r.Column):
			errs = append(errs, at.at("rename", r.Column).err("the column is excluded, so its new name is never seen", ""))
		}
		names[r.To] = r.Column
	}
	var err error
	if e.maskKey, err = readMaskKey(c, opts.ReadFile, at); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func checkColumns(columns []string, at path) error {
	for i, col := range columns {
		if col == "" || slices.Contains(columns[:i], col) {
			return at.at(fmt.Sprint(i)).err(fmt.Sprintf("column %q is empty or given twice", col), "")
		}
	}
	return nil
}

func checkWhere(w delivery.Where, at path) error {
	for _, c := range w {
		if len(c.Values) == 0 {
			return at.at(c.Column).err("no value is given, so nothing can match", "write null for NULL")
		}
	}
	return nil
}

// recordEvents are those of an entry that names none.
var recordEvents = []struct {
	op  capture.Op
	typ string
}{
	{capture.Insert, "record.inserted"},
	{capture.Update, "record.updated"},
	{capture.Delete, "record.deleted"},
	{capture.Read, "record.read"},
}

// compileEvents compiles the rules; without any, the record events.
func (e *entry) compileEvents() error {
	if len(e.Events) == 0 {
		for _, of := range recordEvents {
			r := &rule{name: of.typ, path: e.path, ops: 1 << of.op}
			e.events = append(e.events, &event{typ: of.typ, rules: []*rule{r}})
		}
	}
	var errs []error
	for _, cfg := range e.Events {
		at := e.path.at("events", cfg.Type)
		if err := checkType(cfg.Type, at); err != nil {
			errs = append(errs, err)
		}
		if len(cfg.Rules) == 0 {
			errs = append(errs, at.err("the event has no rule", "write {} for every insert, update and delete"))
		}
		ev := &event{typ: cfg.Type}
		for i := range cfg.Rules {
			name, at := cfg.Type, at.at(fmt.Sprint(i))
			if len(cfg.Rules) > 1 {
				name = fmt.Sprintf("%s[%d]", name, i)
			}
			r, err := compileRule(cfg.Rules[i], name, at, e.aliases())
			errs = append(errs, err)
			ev.rules = append(ev.rules, r)
		}
		e.events = append(e.events, ev)
	}
	return errors.Join(append(errs, e.checkOperations())...)
}

// sendsDeleted reports whether an event that a delete can make is asked for whole.
func (e *entry) sendsDeleted(asked func(eventType, entry string) bool) bool {
	return asked != nil && slices.ContainsFunc(e.events, func(ev *event) bool {
		return slices.ContainsFunc(ev.rules, func(r *rule) bool { return r.ops.has(capture.Delete) }) && asked(ev.typ, e.Name)
	})
}

// checkOperations: a closed list is of an event that the entry makes.
func (e *entry) checkOperations() error {
	types := make([]string, len(e.events))
	for i, ev := range e.events {
		types[i] = ev.typ
	}
	for _, o := range e.Operations {
		if !slices.Contains(types, o.Event) {
			return e.path.at("operations", o.Event).err(fmt.Sprintf("the entry has no event %q", o.Event), didYouMean(o.Event, types))
		}
	}
	return nil
}

func compileRule(cfg RuleConfig, name string, at path, aliases []string) (*rule, error) {
	r := &rule{RuleConfig: cfg, name: name, path: at, ops: rowOps, as: cfg.As.names()}
	var errs []error
	if len(cfg.Op) > 0 {
		r.ops = 0
	}
	for _, s := range cfg.Op {
		op, ok := capture.ParseOp(s)
		if !ok {
			errs = append(errs, at.at("op").err(fmt.Sprintf("%q is not an operation", s), "use insert, update, delete, truncate or read"))
			continue
		}
		r.ops |= 1 << op
	}
	if len(cfg.Touch) > 0 {
		if len(cfg.Op) > 0 && r.ops != 1<<capture.Update {
			errs = append(errs, at.at("op").err("a touch is an update of the rows that are touched", "leave op out, or give other operations a rule of their own"))
		}
		r.ops = 1 << capture.Update
	}
	errs = append(errs, checkColumns(cfg.Touch, at.at("touch")), checkColumns(cfg.Changed, at.at("changed")),
		checkWhere(cfg.Becomes, at.at("becomes")), checkWhere(cfg.Where, at.at("where")))
	if cfg.If != "" {
		var err error
		if r.cond, err = compileExpression(cfg.If, true, aliases...); err != nil {
			errs = append(errs, at.at("if").err(err.Error(), ""))
		}
	}
	return r, errors.Join(append(errs, r.narrow())...)
}

// narrow leaves the operations that the conditions allow, and refuses a rule that none is left for.
func (r *rule) narrow() error {
	onRows := len(r.Where) > 0 || r.cond != nil && r.cond.reads()
	asked := r.ops
	for _, c := range []struct {
		given bool
		on    opSet
	}{
		{r.Set != "" || len(r.Becomes) > 0, 1<<capture.Insert | 1<<capture.Update},
		{r.Cleared != "" || len(r.Changed) > 0, 1 << capture.Update},
	} {
		if c.given {
			r.ops &= c.on
			onRows = true
		}
	}
	if asked.has(capture.Truncate) && onRows {
		return r.path.at("op").err("a truncate tells no rows, so a rule for it takes no conditions on columns", "give truncate a rule of its own")
	}
	if asked.has(capture.Read) && !r.ops.has(capture.Read) {
		return r.path.at("op").err("set, cleared, changed and becomes look at a change, and a row that is read has not changed",
			"give read a rule of its own, with where or if")
	}
	if asked != 0 && r.ops == 0 {
		return r.path.err("the rule can never fire: set and becomes hold on inserts and updates, changed and cleared on updates only", "change op")
	}
	return nil
}
