// Package draft writes a first config from what a database's catalog says of its tables. It is pure:
// `rowhook init` asks the database and writes the files.
//
// What must hold:
//
//   - The config passes `rowhook check` against the same database, but for what `rowhook setup`
//     cures. What cannot be mapped stands at the end, as a comment with the reason.
//   - Each row change makes an event of the kind record.*. What a column's name and type suggest
//     beyond that is a proposal: an indented line that begins with #. Each is valid as soon as its #
//     is taken away, alone and with all others, and nothing else is an indented comment of its own.
//   - Columns that hold secrets by their names are left out of payloads until somebody says
//     otherwise: a first run must not send them.
//   - Names and labels are whatever the database allows, and stand in the file as YAML takes them
//     back. Comments quote them too, so that none ends a comment's line.
package draft

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// Database is what a config is drafted for.
type Database struct {
	// Product names the server, such as PostgreSQL 15.14; Type is the config's source.type.
	Product, Type string
	// URL is source.url, without a password unless one is referred to as ${NAME}.
	URL string
	// Password is the key of source that gives the password and its value; empty where none is
	// needed.
	Password Setting
	// Name is source.name; empty where the URL names a database.
	Name string
}

// Place is where the agent writes; empty members are the config's defaults.
type Place struct {
	// Deliveries is the file of the delivery log.
	Deliveries string
}

// Setting is a key of the config with its value.
type Setting struct{ Key, Value string }

// Receiver is where the drafted profile sends to.
type Receiver struct {
	Code, URL string
	// Secret is the key that gives the secret and its value.
	Secret Setting
	// Networks are those that the profile may dial beside public ones.
	Networks []string
	// Note stands beside the profile's code.
	Note string
}

// Choice parts tables into those that a config maps and those that it leaves out.
type Choice struct {
	Mapped, Left []capture.Listing
	// Context and Signals are the tables in which the application tells them, where there are any.
	Context, Signals string
}

// Choose decides which tables are mapped. Where they were not named, those that our account may not
// read are left out, unless it may read none: then somebody still has to give it its rights.
func Choose(list []capture.Listing, named bool) Choice {
	readable := slices.ContainsFunc(list, func(l capture.Listing) bool { return l.Left == "" && !l.Denied && told(l.Table) == "" })
	var c Choice
	for _, l := range list {
		switch own := told(l.Table); {
		case l.Left != "":
		case own != "":
			if own == contextTable && has(l.Table, "actor_id", "actor_name", "operation") {
				c.Context = l.Table.String()
			}
			if own == signalTable && has(l.Table, "type", "key", "data") {
				c.Signals = l.Table.String()
			}
			l.Left, l.Remedy = "is for rowhook itself", ""
		case l.Denied && readable && !named:
			l.Left = "may not be read by rowhook's account"
		default:
			c.Mapped = append(c.Mapped, l)
			continue
		}
		c.Left = append(c.Left, l)
	}
	return c
}

// The tables that are rowhook's own by their names, see docs/operating.md.
const (
	contextTable     = "rowhook_context"
	signalTable      = "rowhook_signal"
	environmentTable = "rowhook.environment"
)

// told returns which of rowhook's own tables a table is; empty for the application's.
func told(t *capture.Table) string {
	if t.Name == contextTable || t.Name == signalTable {
		return t.Name
	}
	if t.String() == environmentTable {
		return environmentTable
	}
	return ""
}

func has(t *capture.Table, columns ...string) bool {
	return !slices.ContainsFunc(columns, func(name string) bool { return t.Column(name) < 0 })
}

// Config writes the config.
func Config(db Database, c Choice, to Receiver, at Place) []byte {
	w := &writer{}
	partial := slices.ContainsFunc(c.Mapped, func(l capture.Listing) bool {
		return len(propose(l).events) > 0 && l.Table.Identity != capture.IdentityFull
	})
	w.line(0, "# Written by rowhook init for %s.", comment(db.Product))
	w.line(0, "# It is yours to change: docs/configuration.md has every key, `rowhook check` says what is amiss.")
	w.line(0, "# Indented lines that begin with # are proposals: take the # away from those that you want.")
	if partial {
		w.line(0, "# Where whole old rows are needed, `rowhook setup` then sets REPLICA IDENTITY FULL, which costs WAL.")
	}
	w.line(0, "")
	w.line(0, "source:")
	w.line(1, "type: %s", db.Type)
	w.line(1, "url: %s", value(db.URL))
	if db.Password.Key != "" {
		w.line(1, "%s: %s", db.Password.Key, value(db.Password.Value))
	}
	if db.Name != "" {
		w.line(1, "name: %s", text(db.Name))
	}
	if c.Context != "" {
		w.noted(1, "# context: {table: "+scalar(c.Context)+"}", "rows in which the application tells who changes what")
	}
	if c.Signals != "" {
		w.noted(1, "# signals: {table: "+scalar(c.Signals)+", types: {job.finished: {}}}", "events that the application tells outright, by type")
	}
	w.line(0, "")
	w.line(0, "mapping:")
	for _, l := range c.Mapped {
		w.entry(l)
	}
	w.left(c.Left)
	w.line(0, "")
	w.line(0, "profiles:")
	w.noted(1, to.Code+":", to.Note)
	w.line(2, "url: %s", value(to.URL))
	if len(to.Networks) > 0 {
		w.line(2, "allow_networks: [%s]", strings.Join(to.Networks, ", "))
	}
	w.line(2, "%s: %s", to.Secret.Key, value(to.Secret.Value))
	w.noted(2, "# subscriptions: [{events: [record.*]}]", "without: every event")
	if at.Deliveries != "" {
		w.line(0, "")
		w.line(0, "log:")
		w.line(1, "deliveries: %s", value(at.Deliveries))
	}
	return w.Bytes()
}

// writer writes YAML by lines.
type writer struct{ bytes.Buffer }

func (w *writer) line(depth int, format string, args ...any) {
	line := strings.Repeat("  ", depth) + fmt.Sprintf(format, args...)
	w.WriteString(line + "\n")
}

// noted writes a line with a comment beside it.
func (w *writer) noted(depth int, line, note string) {
	if note == "" {
		w.line(depth, "%s", line)
		return
	}
	w.line(depth, "%-*s # %s", 40-2*depth, line, note)
}

// entry writes a table's part of the mapping.
func (w *writer) entry(l capture.Listing) {
	t := l.Table
	w.noted(1, text(t.String())+":", describe(t))
	for _, warning := range l.Warnings {
		w.line(0, "# check warns of it: %s", comment(warning))
	}
	p := propose(l)
	if p.actor != "" {
		w.noted(2, "# actor: "+p.actor, "who changed the row last")
	}
	if p.operation != "" {
		w.noted(2, "# operation: "+scalar(p.operation), "by which operation")
	}
	w.columns(p)
	w.line(2, "events:")
	for _, op := range [][2]string{{"inserted", "insert"}, {"updated", "update"}, {"deleted", "delete"}} {
		w.line(3, "record.%s: {op: %s}", op[0], op[1])
	}
	w.noted(3, "record.read: {op: read}", "rows that are there already, by rowhook backfill")
	for _, e := range p.events {
		w.noted(3, "# "+e.typ+": "+e.rule, e.note)
	}
}

// describe tells how the stream tells the table's rows apart, and what it has of old ones.
func describe(t *capture.Table) string {
	var key []string
	for _, i := range t.Key {
		key = append(key, comment(t.Columns[i].Name))
	}
	note := "key " + strings.Join(key, ", ")
	switch {
	case t.Identity == capture.IdentityFull && t.WholeRows == "":
		note += "; old rows come whole"
	default:
		note += "; of old rows the key comes"
	}
	if t.Partitioned {
		note += "; partitions count as this table"
	}
	return note
}

// columns writes which columns are not sent.
func (w *writer) columns(p proposals) {
	if len(p.secret) == 0 {
		if len(p.personal) > 0 {
			w.noted(2, "# columns: {exclude: ["+list(p.personal)+"]}", "personal, by the names")
		}
		return
	}
	w.line(2, "columns:")
	w.line(3, "exclude:")
	for _, column := range p.secret {
		w.noted(4, "- "+scalar(column), "a secret, by its name: not sent")
	}
	for _, column := range p.personal {
		w.noted(4, "# - "+scalar(column), "personal, by its name")
	}
}

// left writes the tables that are not mapped, with the reasons.
func (w *writer) left(left []capture.Listing) {
	if len(left) == 0 {
		return
	}
	w.line(0, "")
	w.line(0, "# Left out:")
	for _, l := range left {
		w.line(0, "#   %s %s", comment(l.Table.String()), comment(l.Left))
		if l.Remedy != "" {
			w.line(0, "#     %s", comment(l.Remedy))
		}
	}
}
