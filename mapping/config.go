package mapping

import "rowhook/delivery"

// Config is the config's `mapping` section: the entries in the order written.
type Config []EntryConfig

// EntryConfig maps one table, or a whole schema, to events. Of a schema's tables, those that lack a
// column named under link, actor, operation or columns do without; what rules, where, key, order_by
// and fields name, each must have.
type EntryConfig struct {
	Name       string            `yaml:",key" doc:"a table as schema.table, or any name with table:"`
	Table      string            `yaml:"table" doc:"schema.table, or schema.* for the tables without an entry of their own; default: the entry's name"`
	Title      string            `yaml:"title" doc:"people's name of the table, as check --events shows it"`
	Code       string            `yaml:"code" doc:"the table's short code, for formats that send one (rakuraku: appCode)"`
	Object     string            `yaml:"object" doc:"the payload's name in formats that give it one (alma: item_loan)"`
	Where      delivery.Where    `yaml:"where" doc:"rows this entry is about"`
	Key        []string          `yaml:"key,oneormany" doc:"columns that identify a row in payloads; default: the primary key"`
	OrderBy    []string          `yaml:"order_by,oneormany" doc:"columns of the ordering key; default: key"`
	OrderGroup string            `yaml:"order_group" doc:"entries with the same group share their ordering keys; their columns are of the same types"`
	Link       string            `yaml:"link" doc:"URL with {column} places, whose values are percent-encoded"`
	Actor      ActorConfig       `yaml:"actor" doc:"columns that say who made the change"`
	Operation  string            `yaml:"operation" doc:"column that says by which operation the change was made"`
	Operations []EventOperations `yaml:"operations" doc:"closed lists: the operations that an event can come from"`
	Columns    ColumnsConfig     `yaml:"columns" doc:"which columns are sent, and how"`
	Lookup     []LookupUse       `yaml:"lookup" doc:"rows of other tables, whose columns are then alias.column: in fields, link, where and if"`
	Parts      []PartUse         `yaml:"parts" doc:"rows of other tables that belong to the entry's row, as lists that fields name"`
	Fields     []FieldConfig     `yaml:"fields" doc:"the payload's shape; default: every column by its name"`
	Coalesce   string            `yaml:"coalesce" enum:"transaction" doc:"transaction: the changes of one row in a transaction become one, from what was before the first to what is after the last; an insert and a delete cancel out"`
	Memory     MemoryConfig      `yaml:"memory" doc:"columns whose last values are remembered, so that rules know old values without REPLICA IDENTITY FULL or full row images: {columns: [...]}, or all"`
	Rules      string            `yaml:"rules" enum:"all,first" doc:"every rule whose conditions hold makes an event, or only the first of them"`
	Events     []EventConfig     `yaml:"events" doc:"event type to its rules; default: record.inserted, record.updated, record.deleted, record.read"`

	Rakuraku delivery.RakurakuEntry `yaml:"rakuraku" doc:"ids and types of the items, for format rakuraku"`

	_ struct{} `later:"backfill lookups trigger"`
}

// ActorConfig names the columns that tell the actor. The transaction's own context wins.
type ActorConfig struct {
	ID       string `yaml:"id" doc:"column of the actor's id"`
	Name     string `yaml:"name" doc:"column of the actor's name"`
	OnDelete bool   `yaml:"on_delete" doc:"use the actor and operation columns for deletes too, though they name the last editor"`
}

// EventOperations is the closed list of operations of one event.
type EventOperations struct {
	Event      string   `yaml:",key"`
	Operations []string `yaml:",value,oneormany"`
}

// ColumnsConfig says which columns are sent, and how.
type ColumnsConfig struct {
	Exclude []string       `yaml:"exclude,oneormany" doc:"columns that are never sent"`
	Rename  []ColumnRename `yaml:"rename" doc:"column to its name in payloads"`
	Mask    []string       `yaml:"mask,oneormany" doc:"columns sent as a keyed hash, so that only equality can be seen"`
	// The key is per entry: two entries whose hashes should be comparable name the same file.
	MaskKeyFile string `yaml:"mask_key_file" path:"file" doc:"file that holds the key of the hash, at least 16 bytes"`
}

// ColumnRename gives a column another name in payloads.
type ColumnRename struct {
	Column string `yaml:",key"`
	To     string `yaml:",value"`
}

// FieldConfig is one member of the payload's shape. A scalar names a column. A map with `column`,
// `const` or `expr` is an operator (with `type`, `format`, `zone` and `items` beside them); any
// other map nests. All keys come as Members, in order, since only the whole map tells an operator
// from a nested member that happens to be called type.
type FieldConfig struct {
	Name    string        `yaml:",key"`
	Value   FieldValue    `yaml:",scalar"`
	Members []FieldConfig `yaml:",rest"`
}

// FieldValue is a scalar as written. Quotes tell a text from a number, true, false or null.
type FieldValue struct {
	Text   string
	Null   bool
	Quoted bool
}

// UnmarshalScalar takes the scalar as written; null is YAML's null.
func (v *FieldValue) UnmarshalScalar(text string, null bool) error {
	v.Text, v.Null = text, null
	return nil
}

// SetQuoted is told whether the scalar stands in quotes.
func (v *FieldValue) SetQuoted(quoted bool) { v.Quoted = quoted }

// EventConfig is one event type with its rules, any of which makes it fire, once a change.
type EventConfig struct {
	Type  string       `yaml:",key"`
	Rules []RuleConfig `yaml:",value,oneormany"`
}

// RuleConfig is a rule: it fires when all that is given holds.
type RuleConfig struct {
	Op      []string       `yaml:"op,oneormany" enum:"insert,update,delete,truncate,read" doc:"default: insert, update and delete; read is a row that rowhook backfill reads"`
	Set     string         `yaml:"set" doc:"column that was NULL and has a value now"`
	Cleared string         `yaml:"cleared" doc:"column that had a value and is NULL now"`
	Changed []string       `yaml:"changed,oneormany" doc:"columns of which any differs"`
	Becomes delivery.Where `yaml:"becomes" doc:"values that hold now and did not before"`
	Where   delivery.Where `yaml:"where" doc:"values of the new row (of the old one for a delete)"`
	If      string         `yaml:"if" doc:"expression over old, new, row, op, actor and operation"`
	Touch   []string       `yaml:"touch,oneormany" doc:"looked-up rows of the entry: the rule is about their changes alone, each an update of every row that refers to them"`
	As      AsConfig       `yaml:"as" doc:"names of the event in formats with a vocabulary of their own"`

	_ struct{} `later:"lookup lookups memory parts"`
}

// AsConfig names an event for formats with a vocabulary of their own. What is not given follows
// from the event type: loan.returned is action LOAN, event LOAN_RETURNED, desc "Loan returned".
type AsConfig struct {
	Action AsName `yaml:"action" doc:"alma: action; null leaves it out"`
	Event  AsName `yaml:"event" doc:"alma: event.value; rakuraku: type; null leaves it out"`
	Desc   AsName `yaml:"desc" doc:"alma: event.desc; null leaves it out"`
}

// AsName is one name, as written.
type AsName struct {
	Given, Null bool
	Text        string
}

// UnmarshalScalar takes the scalar as written; null is YAML's null.
func (n *AsName) UnmarshalScalar(text string, null bool) error {
	*n = AsName{Given: true, Null: null, Text: text}
	return nil
}

// names are the names that are given; nil when none is.
func (c *AsConfig) names() map[string]*string {
	var names map[string]*string
	for _, n := range []struct {
		key  string
		name *AsName
	}{{"action", &c.Action}, {"event", &c.Event}, {"desc", &c.Desc}} {
		if !n.name.Given {
			continue
		}
		if names == nil {
			names = map[string]*string{}
		}
		names[n.key] = nil
		if !n.name.Null {
			names[n.key] = &n.name.Text
		}
	}
	return names
}

// ContextConfig is the config's `source.context`: where actor and operation come from.
type ContextConfig struct {
	Message  string          `yaml:"message" doc:"postgres: prefix of pg_logical_emit_message that tells the context; empty is off"`
	Comment  bool            `yaml:"comment" doc:"mysql: take actor_id, actor_name and operation from the sqlcommenter tags in a statement's comment"`
	Table    string          `yaml:"table" doc:"schema.table whose inserted rows (actor_id, actor_name, operation) tell the context"`
	Defaults ContextDefaults `yaml:"defaults" doc:"actor and operation of changes without context"`
}

// DefaultContext returns what holds where the config says nothing.
func DefaultContext() ContextConfig { return ContextConfig{Message: "rowhook"} }

// ContextDefaults is the context that is assumed when none is told.
type ContextDefaults struct {
	Actor     ActorDefault `yaml:"actor" doc:"assumed actor"`
	Operation string       `yaml:"operation" doc:"assumed operation; counts as not known in filters"`
}

// ActorDefault is the assumed actor.
type ActorDefault struct {
	ID   string `yaml:"id" doc:"assumed actor's id"`
	Name string `yaml:"name" doc:"assumed actor's name"`
}

// SignalsConfig is the config's `source.signals`: events that the application tells
// outright. It is off while neither a message nor a table is given.
type SignalsConfig struct {
	Message string         `yaml:"message" doc:"postgres: prefix of pg_logical_emit_message that carries a signal"`
	Table   string         `yaml:"table" doc:"schema.table whose inserted rows (type, key, data) are signals"`
	Types   []SignalConfig `yaml:"types" doc:"the event types that are taken; others are logged"`
}

// SignalConfig is one type of signal that is taken.
type SignalConfig struct {
	Type  string `yaml:",key"`
	Title string `yaml:"title" doc:"people's name of the event, as check --events shows it"`

	Object string   `yaml:"object" doc:"the data's name in formats that give it one (alma: job_instance)"`
	As     AsConfig `yaml:"as" doc:"names of the event in formats with a vocabulary of their own"`
}
