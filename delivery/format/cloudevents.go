package format

import (
	"fmt"
	"io"
	"strconv"

	"rowhook/delivery"
)

// cloudEventsProduct is what takes CloudEvents.
func cloudEventsProduct() delivery.Product {
	return delivery.Product{
		Name:      "cloudevents",
		Section:   func(c *delivery.ProfileConfig) { c.CloudEvents.Mode = "structured" },
		Formatter: func(c delivery.ProfileConfig) (delivery.Formatter, error) { return newCloudEvents(c) },
		Bigints:   true,
		Schema:    cloudEventsSchema,
		GroupSchema: func(_ *delivery.ProfileConfig, _ []delivery.EventShape, ref []delivery.Schema) delivery.Schema {
			return delivery.Schema{"type": "array", "minItems": 1, "items": eitherSchema(ref)}
		},
	}
}

// cloudEvents writes CloudEvents 1.0.2 (https://github.com/cloudevents/spec, JSON event format and HTTP protocol binding). The
// context attributes are:
//
//	id               the event's, the same whenever it is sent again
//	source           rowhook:NAME/SCHEMA.TABLE, percent-encoded
//	type, time       the event's
//	subject          the key's values, joined by slashes
//	partitionkey     the ordering key (extension "partitioning")
//	rowhookposition, rowhooktransaction, rowhookseq, rowhookop
//	                 where in the stream it comes from
//
// and data is an object with the members that native has besides: actor, operation, link, key, data, previous, unavailable.
type cloudEvents struct {
	values *native
	binary bool
}

func newCloudEvents(cfg delivery.ProfileConfig) (*cloudEvents, error) {
	values, err := newNative(cfg)
	if err != nil {
		return nil, err
	}
	c := &cloudEvents{values: values, binary: cfg.CloudEvents.Mode == "binary"}
	if c.binary && cfg.Unit != "" && cfg.Unit != "record" {
		return nil, &delivery.ConfigError{
			Path:   []string{"profiles", cfg.Code, "unit"},
			Text:   fmt.Sprintf("unit %s does not go with cloudevents in binary mode, which has one event a request", cfg.Unit),
			Remedy: "write cloudevents: {mode: structured}, or unit: record",
		}
	}
	return c, nil
}

// Head returns the body's media type, and the attributes in binary mode.
func (c *cloudEvents) Head(ev *delivery.Event) delivery.Head {
	if !c.binary {
		return delivery.Head{ContentType: "application/cloudevents+json; charset=utf-8"}
	}
	// What has to be put together is put into one text.
	var room [192]byte
	b := appendSourceURI(room[:0], ev)
	source := len(b)
	b = delivery.AppendJSONTime(b, ev.Time)
	time := len(b)
	b = appendSubject(b, ev.Key)
	subject := len(b)
	all := string(strconv.AppendInt(b, int64(ev.Ordinal), 10))

	header := make([]delivery.HeaderConfig, 0, 11)
	add := func(name, value string) {
		if value != "" {
			header = append(header, delivery.HeaderConfig{Name: name, Value: headerValue(value)})
		}
	}
	header = append(header, delivery.HeaderConfig{Name: "ce-specversion", Value: "1.0"})
	add("ce-id", ev.ID)
	add("ce-source", all[:source])
	add("ce-type", ev.Type)
	header = append(header, delivery.HeaderConfig{Name: "ce-time", Value: all[source+1 : time-1]})
	add("ce-subject", all[time:subject])
	add("ce-partitionkey", ev.OrderKey)
	add("ce-rowhookposition", ev.Position)
	add("ce-rowhooktransaction", ev.Transaction)
	header = append(header, delivery.HeaderConfig{Name: "ce-rowhookseq", Value: all[subject:]})
	add("ce-rowhookop", ev.Op)
	return delivery.Head{ContentType: "application/json", Header: header}
}

// Copies implements [delivery.Copier].
func (c *cloudEvents) Copies(ev *delivery.Event) bool { return c.values.Copies(ev) }

// AppendBody appends the whole event, or its data alone in binary mode. Attributes without a value
// are left out, as the specification asks.
func (c *cloudEvents) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	if c.binary {
		return c.appendData(dst, ev)
	}
	start := len(dst)
	dst = delivery.AppendJSONString(append(dst, `{"specversion":"1.0","id":`...), ev.ID)
	dst = append(appendSourceURI(append(dst, `,"source":"`...), ev), '"')
	dst = delivery.AppendJSONString(append(dst, `,"type":`...), ev.Type)
	dst = delivery.AppendJSONTime(append(dst, `,"time":`...), ev.Time)
	var room [128]byte
	if subject := appendSubject(room[:0], ev.Key); len(subject) > 0 {
		dst = delivery.AppendJSONString(append(dst, `,"subject":`...), subject)
	}
	dst = appendMember(dst, `,"partitionkey":`, ev.OrderKey)
	dst = appendMember(dst, `,"rowhookposition":`, ev.Position)
	dst = appendMember(dst, `,"rowhooktransaction":`, ev.Transaction)
	dst = strconv.AppendInt(append(dst, `,"rowhookseq":`...), int64(ev.Ordinal), 10)
	dst = appendMember(dst, `,"rowhookop":`, ev.Op)
	dst, err := c.appendData(append(dst, `,"datacontenttype":"application/json","data":`...), ev)
	if err != nil {
		return dst[:start], err
	}
	return append(dst, '}'), nil
}

// GroupHead returns the media type of a batch.
func (c *cloudEvents) GroupHead(*delivery.Group) delivery.Head {
	return delivery.Head{ContentType: "application/cloudevents-batch+json; charset=utf-8"}
}

// WriteGroup writes a batch: an array of events.
func (c *cloudEvents) WriteGroup(w io.Writer, g *delivery.Group) error {
	kept := c.values.pieces.Get().(*[]byte)
	defer c.values.pieces.Put(kept)
	b := append((*kept)[:0], '[')
	comma := false
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		if b, err = c.AppendBody(b, ev); err != nil {
			return err
		}
		if len(b) < groupPiece {
			continue
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = append(b, ']')
	if cap(b) <= 4*groupPiece {
		*kept = b
	}
	_, err := w.Write(b)
	return err
}

// appendSourceURI appends the event's source, which is a URI: of a signal, which comes from no
// table, the source's name alone.
func appendSourceURI(dst []byte, ev *delivery.Event) []byte {
	dst = appendPathEscaped(append(dst, "rowhook:"...), ev.Source)
	if ev.Table != "" {
		dst = appendPathEscaped(append(dst, '/'), ev.Table)
	}
	return dst
}

// inPath says which bytes stand for themselves in a segment of a URI's path (RFC 3986, as
// url.PathEscape has it).
var inPath = func() (plain [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+=:@") {
		plain[c] = true
	}
	return plain
}()

func appendPathEscaped(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; inPath[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return dst
}

// appendSubject appends the values of a key, as their texts.
func appendSubject(dst, key []byte) []byte {
	out, err := appendTexts(dst, key, '/')
	if err != nil {
		return dst
	}
	return out
}

// appendData appends what is no attribute.
func (c *cloudEvents) appendData(dst []byte, ev *delivery.Event) ([]byte, error) {
	start := len(dst)
	dst = append(dst, '{')
	if ev.Actor != (delivery.Actor{}) {
		dst = append(appendActor(append(dst, `"actor":`...), &ev.Actor), ',')
	}
	if ev.Operation != "" {
		dst = append(delivery.AppendJSONString(append(dst, `"operation":`...), ev.Operation), ',')
	}
	if ev.Link != "" {
		dst = append(delivery.AppendJSONString(append(dst, `"link":`...), ev.Link), ',')
	}
	dst, err := c.values.appendValues(dst, ev)
	if err != nil {
		return dst[:start], err
	}
	return append(dst, '}'), nil
}

// inHeader says which bytes stand for themselves in a header: printable ASCII but space, quote and
// percent.
var inHeader = func() (plain [256]bool) {
	for c := '!'; c < 0x7f; c++ {
		plain[c] = c != '"' && c != '%'
	}
	return plain
}()

// headerValue percent-encodes as the HTTP protocol binding says (3.1.3.2): space, quote, percent,
// and every byte of what is not printable ASCII.
func headerValue(s string) string {
	const hex = "0123456789ABCDEF"
	plain := 0
	for plain < len(s) && inHeader[s[plain]] {
		plain++
	}
	if plain == len(s) {
		return s
	}
	b := append(make([]byte, 0, 3*len(s)), s[:plain]...)
	for i := plain; i < len(s); i++ {
		if c := s[i]; inHeader[c] {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return string(b)
}
