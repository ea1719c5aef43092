package oracle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rowhook/capture"
)

// finishTable gets a row whenever all that was written before it must have come.
const finishTable = "finish"

// settle waits until capture has read all that was written, and compares it.
func (r *Runner) settle() {
	r.finished++
	number := strconv.Itoa(r.finished)
	r.must("INSERT INTO " + finishTable + " VALUES (" + number + ")")
	got, err := r.Sink.await(finishTable, number)
	if err != nil {
		r.fatal("%v", err)
	}
	if !r.broken {
		r.compare(got, r.due)
	}
	r.due = nil
	for _, t := range r.tables {
		t.pending = nil
	}
}

// compare takes what came one by one. Where the catalog no longer tells what a table's rows are,
// they may be parked, alone or as a whole event, and rows that are no changes with them: nothing
// more is said about these.
func (r *Runner) compare(got []*delivered, due []*change) {
	parked := map[string]error{}
	for _, d := range got {
		if d.parked != nil {
			parked[d.table] = d.parked
		}
	}
	for table, why := range parked {
		if !slices.ContainsFunc(due, func(c *change) bool { return c.table == table && c.loose }) {
			r.fail("a change of %q was parked: %v", table, why)
		}
		r.Report.Flagged++
	}
	got = slices.DeleteFunc(got, func(d *delivered) bool { return parked[d.table] != nil })
	due = slices.DeleteFunc(due, func(c *change) bool { return parked[c.table] != nil })
	for i, c := range due {
		if i >= len(got) {
			r.fail("%s of %q is due, and did not come;%s", c.op, c.table, c.about)
			return
		}
		if got[i].table != c.table || got[i].op != c.op {
			r.fail("%s of %q is due, and came as %s of %q;%s", c.op, c.table, got[i].op, got[i].table, c.about)
			return
		}
		r.compareChange(got[i], c)
	}
	if len(got) > len(due) {
		r.fail("%s of %q came, and nothing is due", got[len(due)].op, got[len(due)].table)
	}
}

func (r *Runner) compareChange(got *delivered, c *change) {
	r.Report.Rows++
	if c.op == capture.Truncate {
		return
	}
	var names, types []string
	for _, e := range c.fields {
		names, types = append(names, e.name), append(types, shorten(e.sql))
	}
	if !slices.Equal(got.columns, names) {
		r.fail("%s of %q has the columns %q, want %q: %s", c.op, c.table, got.columns, names, strings.Join(types, "; "))
		return
	}
	if !slices.Equal(got.key, c.key) && !c.looseKey {
		r.fail("%s of %q has the key %q, want %q; %s: %s", c.op, c.table, got.key, c.key, c.about, strings.Join(types, "; "))
	}
	for i, e := range c.fields {
		for _, side := range []struct {
			name string
			row  []cell
			due  *value
			may  bool
		}{{"old", got.old, e.old, e.oldMay}, {"new", got.new, e.new, e.newMay}} {
			if why := r.compareValue(side.row, i, side.due, side.may, e.form, c.loose); why != "" {
				r.fail("%s of %q: column %d of %d, %s, %s row: %s; the table is%s, with the columns %s",
					c.op, c.table, i+1, len(c.fields), shorten(e.sql), side.name, why, c.about, strings.Join(types, "; "))
			}
		}
	}
}

// compareValue says what is wrong with a value; empty is nothing.
func (r *Runner) compareValue(row []cell, i int, due *value, may bool, form Form, loose bool) string {
	if due == nil || row == nil {
		if due != nil && !may {
			return "there is no row"
		}
		if row != nil && row[i].state > capture.Unchanged {
			return "there is a row where none is due"
		}
		return ""
	}
	r.Report.Values++
	switch c := row[i]; c.state {
	case capture.Null:
		if !due.null {
			return fmt.Sprintf("is null, the server says %s", short(due.text))
		}
	case capture.Present:
		if !c.fits && form == String && strings.Contains(due.text, "?") {
			return "" // bytes that the server has no character for
		}
		if !c.fits && due.fits {
			r.Report.Flagged++
		}
		got, err := parse([]byte(c.json))
		if err != nil {
			return fmt.Sprintf("is no JSON: %q: %v", short(c.json), err)
		}
		if !c.fits && loose {
			return ""
		}
		if due.null {
			return fmt.Sprintf("is %s, the server says NULL", short(c.json))
		}
		if due.fits && !form.same(got, due.json) {
			return fmt.Sprintf("is %s (%s), the server says %s", short(c.json), c.typ, short(due.text))
		}
		if c.fits != due.fits {
			return fmt.Sprintf("is flagged: %t, which should be otherwise: %s (%s)", !c.fits, short(c.json), c.typ)
		}
	default:
		if !may {
			return fmt.Sprintf("is absent, the server says %s", short(due.text))
		}
	}
	return ""
}

func short(s string) string {
	if len(s) > 200 {
		return s[:100] + "…" + s[len(s)-100:] + fmt.Sprintf(" (%d bytes)", len(s))
	}
	return s
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:30] + "…" + s[len(s)-20:]
	}
	return s
}
