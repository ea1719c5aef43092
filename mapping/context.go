package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"rowhook/capture"
	"rowhook/delivery"
)

// told is what a transaction, a row or the config says about who made a change and by
// which operation. What is empty was not told.
type told struct {
	actor     delivery.Actor
	operation string
}

func (t *told) knowsActor() bool { return t.actor != delivery.Actor{} }

// fill takes what was not told from the next source in the order of precedence.
func (t *told) fill(next *told) {
	if !t.knowsActor() {
		t.actor = next.actor
	}
	if t.operation == "" {
		t.operation = next.operation
	}
}

// or returns t, filled.
func (t told) or(next told) told {
	t.fill(&next)
	return t
}

// contexts is what holds for the changes of the open transaction. Each message or row replaces the
// one before it whole; a comment holds for its statement's changes.
type contexts struct {
	message told
	table   told
	comment told
	// trigger is what a trigger of rowhook's (`setup --context-trigger`) told of the session. It
	// holds for its statement alone, where the source numbers statements.
	trigger   told
	statement int
	defaults  told
	// lastContent and lastMessage save decoding a message that says the same again.
	lastContent []byte
	lastMessage told
	lastTrigger bool
	lastComment []byte
	lastTold    told
}

// transaction is what the transaction told, by precedence.
func (c *contexts) transaction() told {
	t := c.message
	for _, next := range [...]*told{&c.table, &c.comment, &c.trigger} {
		t.fill(next)
	}
	return t
}

// begin forgets what the transaction before told.
func (c *contexts) begin() {
	c.message, c.table, c.comment, c.trigger = told{}, told{}, told{}, told{}
}

// reach is told of each change's statement, with whose beginning the trigger's word for another
// ends.
func (c *contexts) reach(statement int) {
	if statement != c.statement {
		c.trigger, c.statement = told{}, statement
	}
}

// told is who made the change, without the config's defaults.
func (e *evaluation) toldOutright() told {
	t := e.context.transaction()
	if e.entry == nil || e.touched || e.op == capture.Truncate || e.op == capture.Delete && !e.entry.Actor.OnDelete {
		return t
	}
	if !t.knowsActor() {
		t.actor = delivery.Actor{ID: e.columnText(e.entry.actorID), Name: e.columnText(e.entry.actor)}
	}
	if t.operation == "" {
		t.operation = e.columnText(e.entry.opColumn)
	}
	return t
}

// told is who made the change, the config's defaults included.
func (e *evaluation) told() told { return e.toldOutright().or(e.context.defaults) }

// columnText is a column's text in the current row; empty when it is NULL or unknown.
func (e *evaluation) columnText(col int) string {
	if col == none {
		return ""
	}
	v := e.current(col)
	if v.State != capture.Present || e.untyped(v, col) {
		return ""
	}
	return string(plainText(v, e.table.Columns[col].Type.Kind))
}

// take decodes a context message and makes it hold.
func (c *contexts) take(content []byte) error {
	if !bytes.Equal(content, c.lastContent) || c.lastContent == nil {
		t, trigger, err := decodeContext(content)
		if err != nil {
			return err
		}
		c.lastContent, c.lastMessage, c.lastTrigger = append(c.lastContent[:0], content...), t, trigger
	}
	if c.lastTrigger {
		c.trigger = c.lastMessage
	} else {
		c.message = c.lastMessage
	}
	return nil
}

// decodeContext reads {"actor":{"id":…,"name":…},"operation":…}. Ids may be numbers. "trigger":true
// marks what a trigger says. Further members are left alone.
func decodeContext(content []byte) (t told, trigger bool, err error) {
	var m struct {
		Actor struct {
			ID   scalar `json:"id"`
			Name scalar `json:"name"`
		} `json:"actor"`
		Operation scalar `json:"operation"`
		Trigger   bool   `json:"trigger"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return told{}, false, errors.New(`context message is not of the form {"actor":{"id":"…","name":"…"},"operation":"…"}`)
	}
	return told{delivery.Actor{ID: string(m.Actor.ID), Name: string(m.Actor.Name)}, string(m.Operation)}, m.Trigger, nil
}

// scalar is a JSON string or number, as text; null is empty.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		*s = ""
	case b[0] == '"':
		return json.Unmarshal(b, (*string)(s))
	case isJSONNumber(b):
		*s = scalar(b)
	default:
		return errors.New("neither a string nor a number")
	}
	return nil
}

// contextColumns are the columns of the context table; none where it lacks one.
type contextColumns struct {
	actorID, actorName, operation int
	source                        int // tells whether a trigger wrote the row
}

func bindContext(t *capture.Table) *contextColumns {
	return &contextColumns{t.Column("actor_id"), t.Column("actor_name"), t.Column("operation"), t.Column("source")}
}

// problem says what the context table lacks; empty when it will do.
func (c *contextColumns) problem(name string) string {
	if c.actorID == none && c.actorName == none && c.operation == none {
		return fmt.Sprintf("context table %s has none of the columns actor_id, actor_name and operation", name)
	}
	return ""
}

// takeRow makes an inserted row of the context table hold.
func (c *contexts) takeRow(columns *contextColumns, e *evaluation) {
	t := told{
		actor:     delivery.Actor{ID: e.columnText(columns.actorID), Name: e.columnText(columns.actorName)},
		operation: e.columnText(columns.operation),
	}
	if e.columnText(columns.source) == capture.TriggerSource {
		c.trigger = t
	} else {
		c.table = t
	}
}
