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

// LookupConfig is one entry of the config's `lookups` section: a table whose rows are kept, so that
// events of other tables can say what stands in them.
type LookupConfig struct {
	Name    string   `yaml:",key"`
	Table   string   `yaml:"table" doc:"schema.table"`
	Key     []string `yaml:"key,oneormany" doc:"the table's key"`
	Columns []string `yaml:"columns,oneormany" doc:"columns that are kept"`
}

// LookupUse has an entry see a row of a looked-up table, as alias.column.
type LookupUse struct {
	Name string   `yaml:",key"`
	From string   `yaml:"from" doc:"a name under lookups"`
	By   []string `yaml:"by,oneormany" doc:"columns that hold the row's key: of the entry's table, or alias.column of another row that it looks up"`
	// MaxTouched is what a rule's touch asks for.
	MaxTouched int `yaml:"max_touched" doc:"rows of the entry that one change of the looked-up row may touch, 10000 at most. Default: 1000. Where more refer to it, none is told, and a dead letter of the source is"`
}

// LookedUp is a table whose rows are to be kept, and which of its columns.
type LookedUp struct {
	Table   string
	Key     []string // that rows are looked up by; empty where none are
	Columns []string
	All     bool       // of its columns
	By      [][]string // what rows are found by besides their key
}

// Lookups is where a mapper finds rows of other tables, as they are when the change's transaction
// is committed.
type Lookups interface {
	// LookUp finds the table's row that has the key which is given in row, and fills in what is kept of
	// it; the rest stays unknown. There is none where exists is false. Where known is false, nobody can
	// tell. Texts are valid until the change is mapped.
	LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error)
	// Parts gives take the table's rows that have the values which are given in row, in the columns by, in
	// the order of their keys, until it returns false: so many at most; more says that there are others.
	// What is not kept of them is unknown. Where known is false, nobody can tell. Texts are valid until the
	// change is mapped, rows until take returns.
	Parts(of *capture.Table, by []int, row capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error)
	// LookUpBefore is LookUp of the row as it was before the change's transaction.
	LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error)
	// Referring gives take the rows that Parts would, all of them, until it returns false or an error. take
	// may call the other methods, for which the row need not stay as it is. Its texts do until the change
	// is mapped.
	Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (more bool, err error)) (known bool, err error)
}

// lookup is one use of a looked-up table by an entry.
type lookup struct {
	alias string
	path  path
	by    []string
	of    *lookedUp
	// touches says that a rule is asked about changes of its row, and most how many rows each may touch.
	touches bool
	most    int
}

// lookedUp is a looked-up table.
type lookedUp struct {
	LookupConfig
	path    path
	columns []string // the key's, and the others
}

var aliasName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// compileLookedUp checks the section.
func compileLookedUp(list []LookupConfig) (tables map[string]*lookedUp, errs []error) {
	tables = map[string]*lookedUp{}
	for _, cfg := range list {
		l := &lookedUp{LookupConfig: cfg, path: path{"lookups", cfg.Name}}
		if _, _, ok := capture.ParseTable(cfg.Table); !ok || strings.Contains(cfg.Table, "*") {
			errs = append(errs, l.path.at("table").err(fmt.Sprintf("%q is not a table", cfg.Table), "write schema.table"))
		}
		if len(cfg.Key) == 0 {
			errs = append(errs, l.path.err("key is missing", "name the column that identifies a row"))
		}
		if len(cfg.Columns) == 0 {
			errs = append(errs, l.path.err("columns is missing", "name the columns that events say"))
		}
		errs = append(errs, checkColumns(cfg.Key, l.path.at("key")), checkColumns(cfg.Columns, l.path.at("columns")))
		l.columns = slices.Clone(cfg.Key)
		for _, c := range cfg.Columns {
			if !slices.Contains(l.columns, c) {
				l.columns = append(l.columns, c)
			}
		}
		tables[cfg.Name] = l
	}
	return tables, errs
}

// compileLookups ties the entry's look-ups to their tables, and refuses what they cannot be used for.
func (e *entry) compileLookups(tables map[string]*lookedUp) error {
	var errs []error
	for _, use := range e.Lookup {
		at := e.path.at("lookup", use.Name)
		of := tables[use.From]
		switch {
		case !aliasName.MatchString(use.Name):
			errs = append(errs, at.err(fmt.Sprintf("%q is no name for a row", use.Name), "use letters, digits and _"))
		case e.wildcard():
			errs = append(errs, at.err("an entry for a whole schema looks up no rows", "write an entry for the table"))
		case of == nil:
			names := make([]string, 0, len(tables))
			for name := range tables {
				names = append(names, name)
			}
			slices.Sort(names)
			errs = append(errs, at.at("from").err(fmt.Sprintf("there is no %q under lookups", use.From), didYouMean(use.From, names)))
		case len(use.By) != len(of.Key):
			errs = append(errs, at.at("by").err(fmt.Sprintf("the key of %s has %d columns, by names %d", use.From, len(of.Key), len(use.By)), ""))
		default:
			errs = append(errs, checkColumns(use.By, at.at("by")))
			e.lookups = append(e.lookups, &lookup{alias: use.Name, path: at, by: use.By, of: of, most: use.MaxTouched})
		}
	}
	if errors.Join(errs...) == nil {
		if errs = append(errs, e.chainLookups()); errors.Join(errs...) == nil {
			errs = append(errs, e.compileTouches())
		}
	}
	return errors.Join(append(errs, e.refuseLookedUp()...)...)
}

// chainLookups puts each look-up behind those whose columns it is found by, however they are written.
func (e *entry) chainLookups() error {
	named := map[string]*lookup{}
	for _, l := range e.lookups {
		named[l.alias] = l
	}
	var ordered []*lookup
	at := map[*lookup]bool{} // false while it is being placed, true when it is
	var place func(l *lookup) error
	place = func(l *lookup) error {
		if placed, met := at[l]; placed {
			return nil
		} else if met {
			return l.path.at("by").err(fmt.Sprintf("%q is looked up by itself in the end", l.alias), "look one of the rows up by the entry's own columns")
		}
		at[l] = false
		for _, c := range l.by {
			other := named[e.lookedUpBy(c)]
			if other == nil {
				continue
			}
			if _, name, _ := strings.Cut(c, "."); !slices.Contains(other.of.columns, name) {
				return l.path.at("by").err(fmt.Sprintf("lookups keeps no column %q of %s", name, other.of.Name), "name it under lookups."+other.of.Name+".columns")
			}
			if err := place(other); err != nil {
				return err
			}
		}
		at[l] = true
		ordered = append(ordered, l)
		return nil
	}
	for _, l := range e.lookups {
		if err := place(l); err != nil {
			return err
		}
	}
	e.lookups = ordered
	return nil
}

// lookedUpBy returns the alias that a column's name begins with; empty for a column of the row.
func (e *entry) lookedUpBy(column string) string {
	alias, _, dotted := strings.Cut(column, ".")
	if dotted && slices.ContainsFunc(e.Lookup, func(u LookupUse) bool { return u.Name == alias }) {
		return alias
	}
	return ""
}

// refuseLookedUp refuses looked-up columns where old values count, or a row's identity: what is
// looked up is as of the commit, and may be another row for another change. Where a looked-up row changes
// itself, both are known.
func (e *entry) refuseLookedUp() (errs []error) {
	refuse := func(at path, columns []string, what, hint string) {
		for _, c := range columns {
			if e.lookedUpBy(c) != "" {
				errs = append(errs, at.err(fmt.Sprintf("%s takes no looked-up column: %q", what, c), hint))
			}
		}
	}
	const hint = "looked-up values are those at the commit: only where and if see them, or a rule with touch"
	own := "name a column of the table itself"
	refuse(e.path.at("key"), e.Key, "key", own)
	refuse(e.path.at("order_by"), e.OrderBy, "order_by", own)
	refuse(e.path.at("actor"), []string{e.Actor.ID, e.Actor.Name}, "actor", own)
	refuse(e.path.at("operation"), []string{e.Operation}, "operation", own)
	for _, ev := range e.events {
		for _, r := range ev.rules {
			if len(r.Touch) > 0 {
				errs = append(errs, e.refuseUntouched(r)...)
				continue
			}
			refuse(r.path.at("set"), []string{r.Set}, "set", hint)
			refuse(r.path.at("cleared"), []string{r.Cleared}, "cleared", hint)
			refuse(r.path.at("changed"), r.Changed, "changed", hint)
			refuse(r.path.at("becomes"), columnsOf(r.Becomes), "becomes", hint)
			if r.cond == nil {
				continue
			}
			for _, ref := range r.cond.columns {
				if ref.side == sideOld {
					refuse(r.path.at("if"), []string{ref.name}, "old", "write "+"new."+ref.name+": looked-up values are those at the commit")
				}
			}
		}
	}
	return errs
}

// columnsOf are the columns that conditions name.
func columnsOf(w delivery.Where) []string {
	list := make([]string, len(w))
	for i := range w {
		list[i] = w[i].Column
	}
	return list
}

// aliases are the names of the entry's looked-up rows.
func (c *EntryConfig) aliases() []string {
	names := make([]string, len(c.Lookup))
	for i := range c.Lookup {
		names[i] = c.Lookup[i].Name
	}
	return names
}

// LookedUp lists the tables whose rows the mapping's entries look up, or have touched, each once with all
// of its columns.
func (r *Rules) LookedUp() []LookedUp {
	var list []LookedUp
	add := func(table string, columns []string) *LookedUp {
		i := slices.IndexFunc(list, func(k LookedUp) bool { return k.Table == table })
		if i < 0 {
			i = len(list)
			list = append(list, LookedUp{Table: table})
		}
		for _, c := range columns {
			if !slices.Contains(list[i].Columns, c) {
				list[i].Columns = append(list[i].Columns, c)
			}
		}
		return &list[i]
	}
	for _, e := range r.looking {
		for _, l := range e.lookups {
			add(l.of.Table, l.of.columns).Key = l.of.Key
		}
		for _, p := range e.parts {
			of := add(p.Table, p.columns())
			if !slices.ContainsFunc(of.By, func(by []string) bool { return slices.Equal(by, p.by) }) {
				of.By = append(of.By, p.by)
			}
		}
		e.keepTouching(add)
	}
	for i := range list {
		slices.SortFunc(list[i].By, slices.Compare)
	}
	return list
}

// boundLookup is a look-up tied to two tables.
type boundLookup struct {
	*lookup
	by    []int          // in the entry's extended table
	table *capture.Table // nil while nobody has described it
	cols  []int          // in table, of the columns that the entry sees
	first int            // of these, in the entry's extended table
	row   capture.Row
	used  []bool // which of the columns the entry says or asks about
	found Found  // of the change at hand
	// behind is the place of the look-up that finds what this one is found by; none where that is the
	// entry's row.
	behind int
	// kept says that the row at hand refers to the same row as before the transaction, unsure that it does
	// as far as is known, and touched that this row has changed.
	kept, unsure, touched bool
}

// Found is what came of a look-up.
type Found uint8

// What may come of a look-up.
const (
	NotLookedUp Found = iota // no rule is for the change
	RowFound
	NoRow      // there is none of that key
	NullKey    // there is none, since the key is NULL
	UnknownRow // nobody can tell: its key is not known, its table is not loaded, and the like
)

// unseen is the type of a looked-up column while nobody has described its table.
var unseen = &capture.Type{Name: "unknown", Kind: capture.Untyped, AppendJSON: func(dst, text []byte) ([]byte, bool) {
	return appendString(dst, text), false
}}

// extend gives the entry's table the looked-up columns too, by the names alias.column.
func (b *binder) extend(tables map[string]*capture.Table) {
	own := b.table
	b.own = len(own.Columns)
	if len(b.entry.lookups) == 0 {
		return
	}
	extended := *own
	extended.Columns = slices.Clone(own.Columns)
	b.table = &extended
	for _, l := range b.entry.lookups {
		bound := boundLookup{lookup: l, table: tables[l.of.Table], first: len(extended.Columns), used: make([]bool, len(l.of.columns)),
			behind: slices.IndexFunc(b.lookups, func(o boundLookup) bool { return o.alias == b.lookedUpBy(l.by[0]) })}
		if own.Column(l.alias) >= 0 {
			b.problem(l.path, fmt.Sprintf("table %s has a column %q, too", own, l.alias), "give the looked-up row another name")
		}
		bound.by = b.columnsOf(l.by, l.path.at("by"))
		for _, name := range l.of.columns {
			typ := unseen
			if bound.table != nil {
				col := b.lookedUpColumn(&bound, name)
				bound.cols = append(bound.cols, col)
				typ = typeOf(bound.table, col)
			}
			extended.Columns = append(extended.Columns, capture.Column{Name: l.alias + "." + name, Type: typ})
		}
		if bound.table != nil {
			b.checkLookup(&bound)
			bound.row = make(capture.Row, len(bound.table.Columns))
		}
		b.lookups = append(b.lookups, bound)
	}
}

// use notes that the entry says or asks about a column.
func (be *boundEntry) use(col int) {
	for i := range be.lookups {
		if l := &be.lookups[i]; col >= l.first && col < l.first+len(l.used) {
			l.used[col-l.first] = true
		}
	}
}

// lookedUpColumn finds a column of the looked-up table, or notes that it is missing.
func (b *binder) lookedUpColumn(l *boundLookup, name string) int {
	if col := l.table.Column(name); col >= 0 {
		return col
	}
	names := make([]string, len(l.table.Columns))
	for i := range l.table.Columns {
		names[i] = l.table.Columns[i].Name
	}
	b.problem(l.of.path, fmt.Sprintf("table %s has no column %q", l.table, name), didYouMean(name, names))
	return 0
}

// typeOf is a column's type; unseen in a table without columns.
func typeOf(t *capture.Table, col int) *capture.Type {
	if col < len(t.Columns) {
		return t.Columns[col].Type
	}
	return unseen
}

// checkLookup looks whether a row can be found by its key at all.
func (b *binder) checkLookup(l *boundLookup) {
	key := rowKey(l.table)
	same := len(key) == len(l.by)
	for i := range l.by {
		same = same && slices.Contains(key, l.cols[i])
	}
	if !same {
		var names []string
		for _, col := range key {
			names = append(names, l.table.Columns[col].Name)
		}
		hint := "add a primary key"
		if len(names) > 0 {
			hint = "its rows are told apart by " + strings.Join(names, ", ")
		}
		b.problem(l.of.path.at("key"), fmt.Sprintf("%s is not the key of table %s", strings.Join(l.of.Key, ", "), l.table), hint)
		return
	}
	for i, col := range l.by {
		own, other := b.table.Columns[col].Type, l.table.Columns[l.cols[i]].Type
		if own != unseen && !keysCompare(own, other) {
			b.problem(l.path.at("by"), fmt.Sprintf("column %q is %s, and %s.%s is %s: equal keys may be written in different ways, so that no row could be found by them",
				b.table.Columns[col].Name, own.Name, l.table, l.of.Key[i], other.Name), "look rows up by columns of one type, such as integers")
		}
	}
}

// notKept tells why rows of a table that is there cannot be looked up, as rows are kept; at is where the
// config names the table.
func notKept(t *capture.Table, at path, columns []string) []problem {
	if why := t.Unfollowed(); why != "" {
		return []problem{{at.at("table"), fmt.Sprintf("rows of table %s cannot be looked up: %s", t, why), unfollowedRemedy(t)}}
	}
	var list []problem
	if t.Unread != "" {
		list = append(list, problem{at.at("table"), fmt.Sprintf("rows of table %s cannot be looked up, since they cannot be read first: %s", t, t.Unread), t.UnreadRemedy})
	}
	if t.Filtered {
		list = append(list, problem{at.at("table"),
			fmt.Sprintf("the publication has a row filter for table %s: nobody knows whether a row outside it is there, nor what it holds", t),
			"publish the table without its filter: see row_filter"})
	}
	for _, name := range columns {
		if i := t.Column(name); i >= 0 && t.Columns[i].Omitted != "" {
			list = append(list, problem{at.at("columns"), fmt.Sprintf("column %q of table %s cannot be looked up: updates come without it, changed or not", name, t), t.Columns[i].Omitted})
		}
	}
	return list
}

// keysCompare reports whether two types write equal values as equal texts.
func keysCompare(a, b *capture.Type) bool {
	whole := func(t *capture.Type) bool { return t.Kind == capture.Integer || t.Kind == capture.Bigint }
	plain := func(t *capture.Type) bool { return t.Base == "text" || t.Base == "varchar" }
	switch {
	case whole(a) || whole(b):
		return whole(a) && whole(b)
	case folds(a) || folds(b):
		return false
	case plain(a) && plain(b):
		return true
	}
	switch a.Kind {
	case capture.Text, capture.Date, capture.Bool, capture.Bytes:
		return a.Base == b.Base && (a.Name == b.Name || a.Base != "" && a.Base != "enum") // each has labels of its own
	}
	return false
}

// folds reports whether texts of a type may be equal though they are not the same.
func folds(t *capture.Type) bool {
	if t.Base == "enum" { // whose labels are spelled in one way
		return false
	}
	sense := senseOf(t)
	return t.Folds || sense == delivery.SensePadded || sense == delivery.SenseFolded
}

// LookIn has the mapper look rows up in l. It is called before the first change.
func (m *Mapper) LookIn(l Lookups) { m.lookups = l }

// Describe tells what a looked-up table looks like, until it is told again.
func (m *Mapper) Describe(t *capture.Table) {
	name := t.String()
	if known := m.described[name]; known != nil && alike(known, t) || !slices.Contains(m.rules.LooksUp(""), name) {
		return
	}
	m.described[name] = t
	for of, b := range m.bindings {
		if b.looks {
			delete(m.bindings, of)
			if m.bound == b {
				m.bound = nil
			}
		}
	}
}

// DescribeAs tells what another mapper was told of looked-up tables.
func (m *Mapper) DescribeAs(other *Mapper) {
	for _, t := range other.described {
		m.Describe(t)
	}
}

// alike reports whether two descriptions of a table say the same of its rows.
func alike(a, b *capture.Table) bool {
	return a == b || a.Version == b.Version && a.Identity == b.Identity && a.Silent == b.Silent &&
		slices.Equal(a.Key, b.Key) && slices.Equal(a.Columns, b.Columns)
}

// LooksUp lists the tables that an entry looks rows up in, with its own where these touch its rows; an
// empty name is all entries.
func (r *Rules) LooksUp(entry string) (tables []string) {
	for _, e := range r.looking {
		for _, l := range e.lookups {
			if (entry == "" || e.Name == entry) && !slices.Contains(tables, l.of.Table) {
				tables = append(tables, l.of.Table)
			}
		}
		for _, p := range e.parts {
			if (entry == "" || e.Name == entry) && !slices.Contains(tables, p.Table) {
				tables = append(tables, p.Table)
			}
		}
		if own := e.schema + "." + e.table; (entry == "" || e.Name == entry) && e.touching() && !slices.Contains(tables, own) {
			tables = append(tables, own)
		}
	}
	return tables
}

// lookUp extends the rows of the change at hand with what the entry looks up. An update's old row has
// nothing of it: what is looked up is as of the commit.
func (m *Mapper) lookUp(be *boundEntry) error {
	for i := range be.lookups {
		be.lookups[i].found = NotLookedUp
	}
	r := &m.eval.rows
	if !r.extend(be) {
		return nil
	}
	to := r.new
	if r.op == capture.Delete {
		to = r.old
	}
	for i := range be.lookups { // each behind those that it is found by
		l := &be.lookups[i]
		var err error
		if l.found, err = m.find(l, to[l.first:l.first+len(l.of.columns)], m.eval.current, false); err != nil {
			return err
		}
	}
	return nil
}

// extend makes room for what the entry looks up, of which nothing is known. It reports whether there
// are rows: a change that is not what its table says has none, which is told as the entry is mapped.
func (r *rows) extend(be *boundEntry) bool {
	if r.check() != nil {
		return false
	}
	if r.table = be.table; r.op == capture.Truncate {
		return false
	}
	more := len(be.table.Columns) - be.own
	if r.old != nil {
		be.old = append(append(be.old[:0], r.old...), make(capture.Row, more)...)
		r.old = be.old
	}
	if r.new != nil {
		be.new = append(append(be.new[:0], r.new...), make(capture.Row, more)...)
		r.new = be.new
	}
	return true
}

// find looks one row up, by the values that it is found by, as of the commit or as it was before the
// transaction. Where there is none its columns are NULL, as in a LEFT JOIN.
func (m *Mapper) find(l *boundLookup, to capture.Row, value func(int) capture.Value, before bool) (Found, error) {
	if m.lookups == nil || l.table == nil || m.trusted.early && m.trusted.blind {
		return UnknownRow, nil
	}
	isNull := false
	clear(l.row)
	for i, col := range l.by {
		v := value(col)
		if !known(v) || m.eval.untyped(v, col) {
			return UnknownRow, nil
		}
		l.row[l.cols[i]], isNull = v, isNull || v.State == capture.Null
	}
	if isNull {
		for i := range to {
			to[i].State = capture.Null
		}
		return NullKey, nil
	}
	if m.trusted.early {
		m.trusted.note(l.table, rowKey(l.table), l.row)
	}
	look := m.lookups.LookUp
	if before {
		look = m.lookups.LookUpBefore
	}
	exists, known, err := look(l.table, l.row)
	if err != nil || !known || !exists && l.table.Filtered { // it may be there, and outside the filter
		return UnknownRow, err
	}
	if !exists {
		for i := range to {
			to[i].State = capture.Null
		}
		return NoRow, nil
	}
	for i := range to {
		to[i] = l.row[l.cols[i]]
	}
	return RowFound, nil
}

// looksIn reports whether rows of a table are looked up.
func (r *Rules) looksIn(table string) bool {
	return slices.ContainsFunc(r.looking, func(e *entry) bool {
		return slices.ContainsFunc(e.lookups, func(l *lookup) bool { return l.of.Table == table })
	})
}

// ErrEarly says that a row was looked up before a change of the same transaction: the transaction is
// too large to be held to its end. Nothing of it counts. If it comes again, behind [Mapper.Distrust],
// what it looks up too early is not known.
var ErrEarly = errors.New("a row was changed after it was looked up in the same transaction")

// mostTrusted is how many rows are noted that were looked up early; with more, all were.
const mostTrusted = 1 << 16

// Seen is a table as an entry sees it: with the columns that it looks up, where the tables have them.
func (r *Rules) Seen(entry string, t *capture.Table, tables []*capture.Table) *capture.Table {
	for _, e := range r.entriesOf(t) {
		if e.Name == entry && len(e.lookups) > 0 {
			return bindEntry(e, t, ByName(tables)).table
		}
	}
	return t
}
