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
