package oracle

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/capture"
)

// The environment variables that direct a run: the first seed, and how long it takes.
const (
	SeedVariable = "ROWHOOK_RANDOM_SEED"
	TimeVariable = "ROWHOOK_RANDOM_TIME"
)

// dialect is what a server's SQL has of its own.
type dialect interface {
	// begin returns what a round's session begins with.
	begin(g *Gen) []string
	// create draws a table and returns the statements that make it.
	create(g *Gen) (*Table, []string)
	// alter draws a change of a table's definition.
	alter(g *Gen, t *Table) alteration
	quote(name string) string
	// columnsSQL asks for the names of the columns in their order, those that are never in the
	// stream left out.
	columnsSQL(t *Table) string
	// uniqueSQL asks for the columns of the key that stands for the primary one where none is
	// declared; empty where none does.
	uniqueSQL(t *Table) string
	// known says whether old and new rows may lack a column's value.
	known(t *Table, c *change, f *Field, e *expected)
	// about says how a table and its rows are, for reports.
	about(t *Table) string
	// savepoints says that a refused statement ends its transaction.
	savepoints() bool
	// forgets says that after a change of a table's definition nothing tells what rows of a table
	// before it were, which may be the same: they may be flagged, but never wrong.
	forgets(changed, t *Table) bool
	// strict says that a column which may not be NULL and has no default must be given.
	strict() bool
	// logsUnchanged says that an UPDATE which changes nothing is in the stream.
	logsUnchanged() bool
	// definitionsCommit says that a definition ends a transaction.
	definitionsCommit() bool
}

// alteration is a change of a table's definition.
type alteration struct {
	sql   []string
	apply func()
}

// change is a change that is due.
type change struct {
	table    string
	about    string // how the table and its rows are, for reports
	op       capture.Op
	fields   []*expected
	key      []string
	loose    bool
	looseKey bool
}

// expected is a column of a change that is due.
type expected struct {
	name, sql string
	form      Form
	old, new  *value
	// oldMay and newMay say that the value may be absent.
	oldMay, newMay bool
}

// value is a column's value that is due.
type value struct {
	null bool
	fits bool // otherwise it is to be flagged
	json any
	text string
}

// Report counts what was compared.
type Report struct {
	Rounds, Tables, Alterations, Rows, Values, Flagged, Refused int
	Broken                                                      int // rounds given up since the server can no longer read its table
}

// String is the report as the test prints it.
func (r Report) String() string {
	return fmt.Sprintf("%d rounds: %d tables, %d alterations, %d rows, %d values compared, %d flagged since an ALTER overtook them, %d statements refused by the server, %d tables that the server broke",
		r.Rounds, r.Tables, r.Alterations, r.Rows, r.Values, r.Flagged, r.Refused, r.Broken)
}

// Runner compares rounds of one server.
type Runner struct {
	T       TB
	Session Session
	Sink    *Sink
	dialect dialect
	server  Server
	Report  Report

	g        *Gen
	seed     uint64
	tables   []*Table
	due      []*change
	finished int
	marker   int
	open     bool // a transaction
	broken   bool // the server can no longer read a table of this round
	wrong    int  // in this round
}

// mostWrong ends a round: what follows is the same again.
const mostWrong = 3

// Run compares rounds: as many as rounds says, or as long as the environment or soak says. It stops
// after three rounds with a fault.
func (r *Runner) Run(rounds int, soak time.Duration) {
	seed, given := uint64(r.server.Version), os.Getenv(SeedVariable)
	if os.Getenv("ROWHOOK_SOAK") == "" {
		soak = 0
	}
	if text := os.Getenv(TimeVariable); text != "" {
		var err error
		if soak, err = time.ParseDuration(text); err != nil {
			r.T.Fatalf("%s: %v", TimeVariable, err)
		}
	}
	if soak > 0 {
		seed = rand.Uint64N(1 << 40)
	}
	if given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			r.T.Fatalf("%s: %v", SeedVariable, err)
		}
	}
	until, faulty := time.Now().Add(soak), 0
	for i := 0; faulty < 3 && (soak == 0 && i < rounds || soak > 0 && time.Now().Before(until)); i++ {
		if !r.round(seed + uint64(i)) {
			faulty++
		}
	}
	r.T.Logf("%s", r.Report)
	if r.Report.Broken > 1+r.Report.Rounds/100 {
		r.T.Errorf("the server broke tables in %d of %d rounds", r.Report.Broken, r.Report.Rounds)
	}
	if r.Report.Refused > r.Report.Rows {
		r.T.Errorf("the server refused %d statements, and there were %d rows: too little was compared", r.Report.Refused, r.Report.Rows)
	}
}

func (r *Runner) round(seed uint64) bool {
	r.g, r.seed, r.tables, r.due, r.wrong, r.open = newGen(seed, r.server), seed, nil, nil, 0, false
	r.broken = false
	r.Report.Rounds++
	for _, statement := range r.dialect.begin(r.g) {
		r.must(statement)
	}
	for range r.g.Between(1, 3) {
		r.create()
	}
	for range r.g.Between(15, 45) {
		r.step(r.tables[r.g.IntN(len(r.tables))])
		if r.broken {
			r.Report.Broken++
			break
		}
	}
	r.commit()
	r.settle()
	for _, t := range r.tables {
		r.must("DROP TABLE " + r.dialect.quote(t.Name))
	}
	return r.wrong == 0
}

func (r *Runner) fail(format string, args ...any) {
	r.T.Helper()
	r.wrong++
	if r.wrong <= mostWrong {
		r.T.Errorf("%s=%d: %s", SeedVariable, r.seed, fmt.Sprintf(format, args...))
	}
}

func (r *Runner) fatal(format string, args ...any) {
	r.T.Helper()
	r.T.Fatalf("%s=%d: %s", SeedVariable, r.seed, fmt.Sprintf(format, args...))
}

func (r *Runner) must(statement string) {
	if _, err := r.Session.Exec(statement); err != nil {
		r.fatal("%s: %v", statement, err)
	}
}

// try runs a statement that the server may refuse.
func (r *Runner) try(statement string) (int64, bool) {
	guard := r.open && r.dialect.savepoints()
	if guard {
		r.must("SAVEPOINT s")
	}
	n, err := r.Session.Exec(statement)
	if err != nil {
		r.Report.Refused++
		if os.Getenv("ROWHOOK_RANDOM_REFUSED") != "" {
			r.T.Logf("%.2000s: %v", statement, err)
		}
		if guard {
			r.must("ROLLBACK TO SAVEPOINT s")
		}
		return 0, false
	}
	if guard && r.g.Chance(50) {
		r.must("RELEASE SAVEPOINT s")
	}
	return n, true
}

// create makes a table, as soon as the server takes one.
func (r *Runner) create() {
	for range 50 {
		t, statements := r.dialect.create(r.g)
		if _, ok := r.try(statements[0]); !ok {
			continue
		}
		for _, statement := range statements[1:] {
			r.try(statement)
		}
		r.Report.Tables++
		r.tables = append(r.tables, t)
		r.order(t)
		return
	}
	r.fatal("the server refused 50 tables")
}

// order gives a table's columns the server's order, and the key that the server takes for the
// primary one.
func (r *Runner) order(t *Table) {
	rows := r.query(r.dialect.columnsSQL(t))
	var fields []*Field
	for _, row := range rows {
		f := t.Field(*row[0])
		if f == nil {
			r.fatal("table %s has a column %q that was not asked for", t.Name, *row[0])
		}
		fields = append(fields, f)
	}
	t.Fields, t.Unique = fields, nil
	if sql := r.dialect.uniqueSQL(t); sql != "" && len(t.Key) == 0 {
		for _, row := range r.query(sql) {
			t.Unique = append(t.Unique, *row[0])
		}
	}
}

func (r *Runner) query(sql string) [][]*string {
	rows, err := r.Session.Query(sql)
	if err != nil {
		r.fatal("%s: %v", sql, err)
	}
	return rows
}

// step does one thing to a table.
func (r *Runner) step(t *Table) {
	switch n := r.g.IntN(100); {
	case n < 45:
		r.insert(t)
	case n < 70:
		r.update(t)
	case n < 79:
		r.delete(t)
	case n < 92:
		r.alter(t)
	case n < 94:
		r.truncate(t)
	case r.open:
		r.commit()
	default:
		r.must("BEGIN")
		r.open = true
	}
}

func (r *Runner) commit() {
	if r.open {
		r.must("COMMIT")
		r.open = false
	}
}

func (r *Runner) alter(t *Table) {
	settled := r.g.Chance(60) && (!r.open || r.dialect.definitionsCommit())
	if settled {
		r.commit()
		r.settle()
	}
	a := r.dialect.alter(r.g, t)
	if len(a.sql) == 0 {
		return
	}
	for _, statement := range a.sql {
		if r.open && r.dialect.definitionsCommit() {
			r.open = false
		}
		if _, ok := r.try(statement); !ok {
			return
		}
	}
	r.Report.Alterations++
	for _, other := range r.tables {
		for _, c := range other.pending {
			c.loose = c.loose || r.dialect.forgets(t, other)
			c.looseKey = c.looseKey || other == t
		}
	}
	a.apply()
	r.order(t)
}

func (r *Runner) truncate(t *Table) {
	if r.open && r.dialect.definitionsCommit() {
		r.commit()
	}
	if _, ok := r.try("TRUNCATE TABLE " + r.dialect.quote(t.Name)); ok {
		t.markers = nil
		r.due = append(r.due, &change{table: t.Name, op: capture.Truncate})
	}
}

func (r *Runner) insert(t *Table) {
	rows := 1
	if t.Marker != "" {
		rows = r.g.Between(1, 3)
	} else if len(t.markers) > 0 {
		return
	}
	var names []string
	var fields []*Field
	for _, f := range t.Fields {
		due := f.NotNull && f.Default == "" && r.dialect.strict()
		if f.Generated == "" && (f.Name == t.Marker || due || r.g.Chance(88)) {
			names, fields = append(names, r.dialect.quote(f.Name)), append(fields, f)
		}
	}
	if len(fields) == 0 {
		return
	}
	var lists []string
	first := r.marker + 1
	for range rows {
		r.marker++
		values := make([]string, len(fields))
		for i, f := range fields {
			values[i] = r.value(t, f)
		}
		lists = append(lists, "("+strings.Join(values, ", ")+")")
	}
	sql := "INSERT INTO " + r.dialect.quote(t.Name) + " (" + strings.Join(names, ", ") + ") VALUES " + strings.Join(lists, ", ")
	if _, ok := r.try(sql); !ok {
		return
	}
	for marker := first; marker <= r.marker; marker++ {
		t.markers = append(t.markers, marker)
		r.expect(t, capture.Insert, nil, r.row(t, marker))
	}
}

// value draws what a statement writes into a column.
func (r *Runner) value(t *Table, f *Field) string {
	switch {
	case f.Name == t.Marker:
		return strconv.Itoa(r.marker)
	case !f.NotNull && r.g.Chance(15):
		return "NULL"
	case (f.Default != "" || !f.NotNull) && r.g.Chance(6):
		return "DEFAULT"
	}
	return f.Value(r.g)
}

func (r *Runner) update(t *Table) {
	if len(t.markers) == 0 {
		return
	}
	marker := t.markers[r.g.IntN(len(t.markers))]
	var sets []string
	percent := r.g.Between(5, 70)
	for _, f := range t.Fields {
		if f.Generated == "" && f.Name != t.Marker && r.g.Chance(percent) {
			sets = append(sets, r.dialect.quote(f.Name)+" = "+r.value(t, f))
		}
	}
	if len(sets) == 0 {
		return
	}
	before := r.row(t, marker)
	n, ok := r.try("UPDATE " + r.dialect.quote(t.Name) + " SET " + strings.Join(sets, ", ") + r.where(t, marker))
	if !ok || n == 0 && !r.dialect.logsUnchanged() {
		return
	}
	r.expect(t, capture.Update, before, r.row(t, marker))
}

func (r *Runner) delete(t *Table) {
	if len(t.markers) == 0 {
		return
	}
	i := r.g.IntN(len(t.markers))
	before := r.row(t, t.markers[i])
	if _, ok := r.try("DELETE FROM " + r.dialect.quote(t.Name) + r.where(t, t.markers[i])); !ok {
		return
	}
	t.markers = append(t.markers[:i:i], t.markers[i+1:]...)
	r.expect(t, capture.Delete, before, nil)
}

func (r *Runner) where(t *Table, marker int) string {
	if t.Marker == "" {
		return ""
	}
	return fmt.Sprintf(" WHERE %s = %d", r.dialect.quote(t.Marker), marker)
}

// row asks the server for what a payload must have of a row. Some tables MariaDB 11.8 cannot read
// any more after an ALTER that it took: then it notes that the table is broken.
func (r *Runner) row(t *Table, marker int) []*value {
	wants := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		wants[i] = strings.ReplaceAll(f.Want, "§", r.dialect.quote(f.Name))
	}
	if len(wants) == 0 {
		return []*value{}
	}
	sql := "SELECT " + strings.Join(wants, ", ") + " FROM " + r.dialect.quote(t.Name) + r.where(t, marker)
	rows, err := r.Session.Query(sql)
	if err != nil && strings.Contains(err.Error(), "is corrupt; try to repair it") {
		r.T.Logf("%s=%d: the server broke its table %q: %v", SeedVariable, r.seed, t.Name, err)
		r.broken = true
		return nil
	}
	if err != nil {
		r.fatal("%s: %v", sql, err)
	}
	if len(rows) != 1 {
		r.fatal("%d rows where one is due: %s", len(rows), sql)
	}
	values := make([]*value, len(t.Fields))
	for i, text := range rows[0] {
		values[i] = &value{null: text == nil}
		if text != nil {
			var err error
			values[i].text = *text
			if values[i].json, values[i].fits, err = t.Fields[i].Form.expect(*text); err != nil {
				r.fatal("%s of %s: the server says %q: %v", wants[i], t.Fields[i].SQL, *text, err)
			}
		}
	}
	return values
}

// expect notes a change that is due.
func (r *Runner) expect(t *Table, op capture.Op, old, new []*value) {
	if r.broken { // what is due is not known
		return
	}
	c := &change{table: t.Name, about: r.dialect.about(t), op: op, key: slices.Concat(t.Key, t.Unique)}
	for i, f := range t.Fields {
		if len(t.Key) == 0 && t.Identity == Index && slices.Contains(t.ByIndex, f.Name) {
			c.key = append(c.key, f.Name) // in the table's order
		}
		e := &expected{name: f.Name, sql: f.SQL, form: f.Form}
		if f.Generated != "" {
			e.sql += " generated " + f.Generated
		}
		if old != nil {
			e.old = old[i]
		}
		if new != nil {
			e.new = new[i]
		}
		r.dialect.known(t, c, f, e)
		c.fields = append(c.fields, e)
	}
	if len(t.Key)+len(t.Unique) == 0 && len(c.key) == len(t.Fields) {
		c.key = nil // it is no key that all columns are
	}
	r.due = append(r.due, c)
	t.pending = append(t.pending, c)
}
