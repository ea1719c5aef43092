package kept

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// Want says what is to be kept of a table.
type Want struct {
	Table   string   // schema.table
	Columns []string // by name; all of them where All is set
	All     bool
	// By are columns by which rows are found besides their key, each list by an index of its own. They
	// are among Columns, or part of the key.
	By [][]string
	// LookedUp says that the rows are looked up alone: they are nobody's old values.
	LookedUp bool
}

// remedy is what makes nobody want a table's rows any more.
func (w *Want) remedy() string {
	if w.LookedUp {
		return "take the table out of lookups and parts, and what is looked up in it, or touches it, out of the mapping; `rowhook check` tells what else there is"
	}
	return "take memory out of the table's mapping entry"
}

// state is what is kept about a table itself. It moves with the rows.
type state struct {
	ID         uint32 `json:"id"`
	Generation uint32 `json:"generation"`
	// Keeps says that the table's rows are kept; Loaded that all are there that the table has.
	Keeps  bool `json:"keeps,omitempty"`
	Loaded bool `json:"loaded,omitempty"`
	// Full says that there is no room for the rows.
	Full bool `json:"full,omitempty"`
	// Definition is what the table looked like when its load began. Another one begins another
	// generation.
	Definition string `json:"definition,omitempty"`
	Lineage    string `json:"lineage,omitempty"`
	// Columns, All and By are what was wanted then.
	Columns []string   `json:"columns,omitempty"`
	All     bool       `json:"all,omitempty"`
	By      [][]string `json:"by,omitempty"`
	// Vague says that an index may have rows that do not tell the index's columns.
	Vague bool `json:"vague,omitempty"`
	// Moved are the keys that rows took while the table was read and not all of them was known: they
	// may stand now where has been read already.
	Moved [][][]byte `json:"moved,omitempty"`
	// Reason is why nothing is known of the table.
	Reason string `json:"reason,omitempty"`
}

// current reports whether what is kept of a table is what is wanted.
func (t *table) current(s *state) bool {
	return s.Keeps && t.want.Table != "" && s.All == t.want.All && (s.All || slices.Equal(s.Columns, t.want.Columns)) &&
		slices.EqualFunc(s.By, t.want.By, slices.Equal)
}

// table is one whose rows are kept.
type table struct {
	want    Want
	name    string
	now     state // with the open transaction's changes
	settled state // as of the last complete one
	size    int64 // on disk, as it was measured last
	filled  int64 // values that were filled in
	unknown int64 // rows that were looked for and not known
}

// binding ties a table to what the stream says it looks like now.
type binding struct {
	*table
	of      *capture.Table
	key     []int // the columns that tell rows apart, of of
	columns []int // the kept ones, of of
	indexes []index
	// definition is empty where the table's rows cannot be kept; refused says why.
	definition string
	refused    string
}

// bind finds a table's columns.
func (t *table) bind(of *capture.Table) *binding {
	b := &binding{table: t, of: of}
	b.key = of.RowIdentity()
	if b.refused = of.Unfollowed(); b.refused != "" {
		return b
	}
	if t.want.All {
		for i := range of.Columns {
			if of.Columns[i].Omitted == "" && !slices.Contains(b.key, i) {
				b.columns = append(b.columns, i)
			}
		}
	}
	for _, name := range t.want.Columns {
		i := of.Column(name)
		if i < 0 || of.Columns[i].Omitted != "" {
			continue // the mapping's check tells of it
		}
		if !slices.Contains(b.key, i) && !slices.Contains(b.columns, i) {
			b.columns = append(b.columns, i)
		}
	}
	b.bindIndexes()
	b.definition = b.describe()
	return b
}

// describe writes down what, if it is another, makes the kept rows worthless.
func (b *binding) describe() string {
	var d strings.Builder
	d.WriteString(b.of.Version)
	for _, list := range [...][]int{b.key, b.columns} {
		d.WriteByte('|')
		for _, i := range list {
			c := &b.of.Columns[i]
			fmt.Fprintf(&d, "%q %q %d;", c.Name, c.Type.Name, c.Number)
		}
	}
	if len(b.want.By) > 0 {
		fmt.Fprintf(&d, "|%q", b.want.By)
	}
	return d.String()
}

// prefixBytes is how long it is that the keys of a generation's rows begin with.
const prefixBytes = 9

// appendPrefix writes what the keys of a generation's rows begin with.
func appendPrefix(dst []byte, id, generation uint32) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, keyRow), id)
	return binary.BigEndian.AppendUint32(dst, generation)
}

// appendKey writes a row's key; ok is false where part of it is not known.
func (b *binding) appendKey(dst []byte, row capture.Row) (key []byte, ok bool) {
	if row == nil {
		return dst, false
	}
	dst = appendPrefix(dst, b.now.ID, b.now.Generation)
	for _, i := range b.key {
		if row[i].State != capture.Present {
			return dst, false
		}
		dst = appendPart(dst, row[i].Text)
	}
	return dst, true
}

// appendPart writes one column of a key.
func appendPart(dst, text []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

func (s *state) encode() []byte {
	raw, _ := json.Marshal(s) // numbers and texts
	return raw
}

func decodeState(raw []byte) (s state, err error) {
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("state of a table's kept rows: %w", err)
	}
	return s, nil
}
