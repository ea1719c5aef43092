package mapping

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// MemoryConfig says which columns' last values are remembered, so that rules know old values which
// the stream does not carry. Whoever runs the mapper fills them in; the mapper does not know.
type MemoryConfig struct {
	All     string   `yaml:",scalar" enum:"all"`
	Columns []string `yaml:"columns,oneormany" doc:"columns whose last values are remembered"`
}

// given reports whether anything is to be remembered.
func (m *MemoryConfig) given() bool { return m.All != "" || len(m.Columns) > 0 }

// Memory is what is to be remembered of a table: some columns, or all of them.
type Memory struct {
	Table   string // schema.table
	Columns []string
	All     bool
	// By are columns by which rows are found besides their key, each list of its own.
	By [][]string
	// LookedUp says that no entry wants it for old values: the rows are looked up, or touched, alone.
	LookedUp bool
}

// Memory lists what all entries want to be remembered, by table: their own last values, and the rows
// that they look up.
func (r *Rules) Memory() []Memory {
	var list []Memory
	for _, e := range r.entries {
		if !e.Memory.given() {
			continue
		}
		name := e.schema + "." + e.table
		at := slices.IndexFunc(list, func(m Memory) bool { return m.Table == name })
		if at < 0 {
			at = len(list)
			list = append(list, Memory{Table: name})
		}
		m := &list[at]
		m.All = m.All || e.Memory.All != ""
		for _, column := range e.Memory.Columns {
			if !slices.Contains(m.Columns, column) {
				m.Columns = append(m.Columns, column)
			}
		}
	}
	for _, l := range r.LookedUp() {
		at := slices.IndexFunc(list, func(m Memory) bool { return m.Table == l.Table })
		if at < 0 {
			at = len(list)
			list = append(list, Memory{Table: l.Table, LookedUp: true})
		}
		list[at].By, list[at].All = l.By, list[at].All || l.All
		for _, column := range l.Columns {
			if !slices.Contains(list[at].Columns, column) {
				list[at].Columns = append(list[at].Columns, column)
			}
		}
	}
	for i := range list {
		slices.Sort(list[i].Columns)
	}
	return list
}

// compileMemory checks what an entry wants to be remembered.
func (e *entry) compileMemory() error {
	at := e.path.at("memory")
	switch {
	case !e.Memory.given():
		return nil
	case e.wildcard():
		return at.err("memory is of one table, and the entry is about a whole schema", "give the table an entry of its own")
	}
	return checkColumns(e.Memory.Columns, at.at("columns"))
}

// bindMemory notes which old values are known although the stream does not carry them.
func (b *binding) bindMemory() {
	remembered := make([]bool, len(b.table.Columns))
	for _, be := range b.entries {
		be.remembered = remembered
		for i := range remembered {
			name := b.table.Columns[i].Name
			remembered[i] = remembered[i] || be.Memory.All != "" || slices.Contains(be.Memory.Columns, name)
		}
	}
	if b.table.Unfollowed() != "" {
		clear(remembered)
	}
}

// checkMemory tells why an entry's memory does not work, or is for nothing; empty where it is fine.
func (be *boundEntry) checkMemory() (severity capture.Severity, text, remedy string) {
	t := be.table
	if !be.Memory.given() {
		return 0, "", ""
	}
	if why := t.Unfollowed(); why != "" {
		return capture.Error, "memory cannot work: " + why, strings.TrimSuffix("take memory out of the entry, or "+unfollowedRemedy(t), ", or ")
	}
	if t.Unread != "" {
		return capture.Error, "memory cannot work, since the rows cannot be read first: " + t.Unread, strings.TrimSuffix("take memory out of the entry, or "+t.UnreadRemedy, ", or ")
	}
	for _, name := range be.Memory.Columns {
		if i := t.Column(name); i >= 0 && t.Columns[i].Omitted != "" {
			return capture.Error, fmt.Sprintf("memory cannot know column %q: updates come without it, changed or not", name), t.Columns[i].Omitted
		}
	}
	if t.Identity == capture.IdentityFull && t.WholeRows == "" {
		return capture.Info, "memory is not needed: old rows come whole", ""
	}
	return 0, "", ""
}

// unfollowedRemedy is what makes a table's rows be told apart; empty where nothing does.
func unfollowedRemedy(t *capture.Table) string {
	switch {
	case t.Silent != "":
		return ""
	case t.KeyDeferred && t.Identity == capture.IdentityFull:
		return "declare the primary key anew, NOT DEFERRABLE"
	}
	return wholeRows(t)
}

// offerMemory proposes memory beside whole old rows, with the price of both; empty where it would
// not work.
func (be *boundEntry) offerMemory(needs []Need) string {
	if be.wildcard() || be.table.Unfollowed() != "" {
		return ""
	}
	var columns []string
	for _, n := range needs {
		if !slices.Contains(columns, n.Column) {
			columns = append(columns, n.Column)
		}
	}
	for _, name := range be.Memory.Columns {
		if !slices.Contains(columns, name) {
			columns = append(columns, name)
		}
	}
	first := ""
	if be.table.Unread != "" {
		first = ", once the table can be read (" + be.table.Unread + ")"
	}
	return fmt.Sprintf("; `memory: {columns: [%s]}` in the entry does without%s: it costs the database one reading of the table, "+
		"and rowhook's disk the columns of each row, where whole old rows cost its log the old row at each update and delete", strings.Join(columns, ", "), first)
}
