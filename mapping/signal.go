package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// signal is an event that the application tells outright.
type signal struct {
	typ       string
	key, data []byte // JSON objects on one line
}

// decodeSignal reads {"type":"…","key":{…},"data":{…}}. Errors hold no data.
func decodeSignal(content []byte) (signal, error) {
	var m struct {
		Type string          `json:"type"`
		Key  json.RawMessage `json:"key"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return signal{}, errors.New(`signal is not of the form {"type":"…","key":{…},"data":{…}}`)
	}
	return newSignal(m.Type, m.Key, m.Data)
}

func newSignal(typ string, key, data []byte) (s signal, err error) {
	s.typ = typ
	if s.key, err = compactObject(key); err != nil {
		return s, errors.New("the signal's key is not a JSON object")
	}
	if s.data, err = compactObject(data); err != nil {
		return s, errors.New("the signal's data is not a JSON object")
	}
	return s, nil
}

// compactObject puts an object on one line, every digit kept. Nothing and null are an empty one.
func compactObject(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || string(text) == "null" {
		return []byte("{}"), nil
	}
	if text[0] != '{' {
		return nil, errors.New("not an object")
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, err
	}
	return bytes.ToValidUTF8(out.Bytes(), []byte("\uFFFD")), nil
}

// signalOrder is what the ordering keys of signals begin with. Tables' have a dot there.
const signalOrder = "signal"

// orderKey makes signals about one thing arrive in order, whatever their types: the key with its
// members sorted. Signals without a key share one lane.
func (s *signal) orderKey() string {
	key, err := decodeJSON(s.key)
	if err != nil || len(s.key) == len("{}") {
		return signalOrder
	}
	return signalOrder + "/" + string(appendValue(nil, key))
}

// row shows the members of the signal's data to subscriptions.
func (s *signal) row() (delivery.Row, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(s.data, &members); err != nil {
		return nil, fmt.Errorf("the signal's data is not a JSON object")
	}
	return signalRow(members), nil
}

// signalRow is a signal's data as subscriptions' conditions see it.
type signalRow map[string]json.RawMessage

// Column returns a member: texts plain, numbers by value, anything else as its JSON.
func (r signalRow) Column(name string) (text string, known delivery.Known, sense delivery.Sense, ok bool) {
	v, ok := r[name]
	if !ok {
		return "", delivery.ValueUnknown, delivery.SenseText, false
	}
	if string(v) == "null" {
		return "", delivery.ValueNull, delivery.SenseText, true
	}
	if s, isText := unquote(v); isText {
		return s, delivery.ValuePresent, delivery.SenseText, true
	}
	if isJSONNumber(v) {
		return string(v), delivery.ValuePresent, delivery.SenseNumber, true
	}
	return string(v), delivery.ValuePresent, delivery.SenseJSON, true
}

// signalColumns are the columns of the signal table; none where it lacks one.
type signalColumns struct {
	typ, key, data int
}

func bindSignals(t *capture.Table) *signalColumns {
	return &signalColumns{t.Column("type"), t.Column("key"), t.Column("data")}
}

// problem says what the signal table lacks; empty when it will do.
func (c *signalColumns) problem(name string) string {
	var missing []string
	for _, column := range []struct {
		name string
		at   int
	}{{"type", c.typ}, {"key", c.key}, {"data", c.data}} {
		if column.at == none {
			missing = append(missing, column.name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("signal table %s lacks the columns %s", name, strings.Join(missing, ", "))
}

// fromRow reads a signal from an inserted row of the signal table.
func (c *signalColumns) fromRow(e *evaluation) (signal, error) {
	var texts [3][]byte
	for i, col := range [3]int{c.typ, c.key, c.data} {
		if col == none {
			continue
		}
		if v := e.after(col); v.State == capture.Present {
			texts[i] = v.Text
		}
	}
	return newSignal(string(texts[0]), texts[1], texts[2])
}
