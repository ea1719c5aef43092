package agent

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"rowhook/cmd/rowhook/account"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/mapping"
)

// soughtRow is the row that somebody asks about: an entry, or a table, and the values of the key.
type soughtRow struct {
	name   string // of the entry or the table
	parts  []operation.KeyPart
	config *config.Config
	// others are keys of the entry that have other columns than were asked for.
	others [][]mapping.KeyColumn
	met    bool // the key is one of the entry's
}

// newSoughtRow checks the question.
func newSoughtRow(r *operation.ExplainRequest, c *config.Config) (*soughtRow, error) {
	row := &soughtRow{name: r.Entry, parts: r.Key, config: c}
	if len(r.Key) == 0 {
		return nil, &control.Failure{Message: "which row?", Remedy: "name the columns of its key with their values, such as loan_id=1000", Exit: exitOfUsage}
	}
	for i, part := range r.Key {
		if slices.ContainsFunc(r.Key[:i], func(other operation.KeyPart) bool { return other.Name == part.Name }) {
			return nil, &control.Failure{Message: fmt.Sprintf("column %s is named twice", part.Name), Exit: exitOfUsage}
		}
	}
	return row, nil
}

// isOf reports whether an entry of a table is the one that is asked about.
func (r *soughtRow) isOf(entry, table string) bool { return r.name == entry || r.name == table }

// mayBeOf reports whether changes of a table may be of the row. An empty name is any table.
func (r *soughtRow) mayBeOf(table string) bool { return r.isOfParked(&delivery.Parked{Table: table}) }

// isOfParked reports whether a parked change may be one that is asked about. Those that could not be
// decoded, or were read past, are of no entry.
func (r *soughtRow) isOfParked(p *delivery.Parked) bool {
	if p.Entry != "" || p.Table == r.name {
		return r.isOf(p.Entry, p.Table)
	}
	for i := range r.config.Mapping {
		e := &r.config.Mapping[i]
		if e.Name == r.name {
			return p.Table == "" || delivery.MatchGlob(cmp.Or(e.Table, e.Name), p.Table)
		}
	}
	return p.Table == ""
}

// entryOf is the entry that is asked about and makes events of a type of a table's changes.
func (r *soughtRow) entryOf(table, eventType string) (entry string, ok bool) {
	for _, info := range r.config.Rules().Events() {
		if info.Type == eventType && delivery.MatchGlob(info.Table, table) && r.isOf(info.Entry, table) {
			return info.Entry, true
		}
	}
	return "", false
}

// column is a part's column in the table, and its name in an entry's payloads.
func (r *soughtRow) column(entry string, part *operation.KeyPart) (column, name string) {
	for i := range r.config.Mapping {
		if r.config.Mapping[i].Name != entry {
			continue
		}
		for _, rename := range r.config.Mapping[i].Columns.Rename {
			if rename.Column == part.Name || rename.To == part.Name {
				return rename.Column, rename.To
			}
		}
	}
	return part.Name, part.Name
}

// spellings are the key of the row as a plan's events may have it; none when the plan is about
// other rows.
func (r *soughtRow) spellings(p *account.Plan) [][]byte {
	if !r.isOf(p.Entry, p.Table) {
		return nil
	}
	if len(p.Key) != len(r.parts) {
		r.others = append(r.others, p.Key)
		return nil
	}
	keys := [][]byte{[]byte("{")}
	for i, column := range p.Key {
		at := slices.IndexFunc(r.parts, func(part operation.KeyPart) bool { return part.Name == column.Column || part.Name == column.Name })
		if at < 0 {
			r.others = append(r.others, p.Key)
			return nil
		}
		label := append(delivery.AppendJSONString(nil, column.Name), ':')
		if i > 0 {
			label = append([]byte{','}, label...)
		}
		var longer [][]byte
		for _, key := range keys {
			for _, value := range r.values(p.Entry, column.Column, r.parts[at].Value) {
				longer = append(longer, slices.Concat(key, label, value))
			}
		}
		keys = longer
	}
	r.met = true
	for i := range keys {
		keys[i] = append(keys[i], '}')
	}
	return keys
}

// values are how payloads may write a value: as a text, as what it is if that is JSON, and masked.
func (r *soughtRow) values(entry, column, text string) [][]byte {
	list := [][]byte{delivery.AppendJSONString(nil, text)}
	if json.Valid([]byte(text)) && !strings.ContainsAny(text[:1], `"{[n `) {
		list = append(list, []byte(text))
	}
	if masked, ok := r.config.Rules().Masked(entry, column, text); ok {
		list = append(list, delivery.AppendJSONString(nil, masked))
	}
	return list
}

// has reports whether an event's key is the row's.
func (r *soughtRow) has(entry string, key []byte) bool {
	names, values, ok := keyValues(key)
	if !ok || len(names) != len(r.parts) {
		return false
	}
	for i := range r.parts {
		column, name := r.column(entry, &r.parts[i])
		at := slices.IndexFunc(names, func(n string) bool { return n == name || n == r.parts[i].Name })
		if at < 0 {
			return false
		}
		if values[at] == r.parts[i].Value {
			continue
		}
		if masked, ok := r.config.Rules().Masked(entry, column, r.parts[i].Value); !ok || masked != values[at] {
			return false
		}
	}
	return true
}

// keyValues takes a key apart; ok is false for what is no flat object.
func keyValues(key []byte) (names, values []string, ok bool) {
	d := json.NewDecoder(bytes.NewReader(key))
	d.UseNumber()
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, nil, false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, false
		}
		value, err := d.Token()
		if err != nil {
			return nil, nil, false
		}
		if _, nested := value.(json.Delim); nested {
			return nil, nil, false
		}
		names, values = append(names, fmt.Sprint(name)), append(values, fmt.Sprint(value))
	}
	return names, values, true
}

// unknown says that nothing is known of such a row, if the question cannot have an answer.
func (r *soughtRow) unknown() error {
	if !r.met && len(r.others) > 0 {
		var names []string
		for _, column := range r.others[len(r.others)-1] {
			names = append(names, column.Name)
		}
		return &control.Failure{
			Message: fmt.Sprintf("the key of %s is not of these columns", r.name),
			Remedy:  fmt.Sprintf("it has %s", strings.Join(names, ", ")), Exit: exitOfUsage,
		}
	}
	var names []string
	for i := range r.config.Mapping {
		e := &r.config.Mapping[i]
		table := e.Table
		if table == "" {
			table = e.Name
		}
		if r.name == e.Name || delivery.MatchGlob(table, r.name) {
			return nil
		}
		names = append(names, e.Name)
	}
	return &control.Failure{
		Message: fmt.Sprintf("nothing is known of an entry or a table %s%s", r.name, spelling.DidYouMean(r.name, names)),
		Remedy:  "the mapping has " + strings.Join(names, ", "), Exit: exitOfUsage,
	}
}
