package format

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	"rowhook/delivery"
)

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
		return nil, &configError{
			path: []string{"profiles", cfg.Code, "unit"},
			text: fmt.Sprintf("unit %s does not go with cloudevents in binary mode, which has one event a request", cfg.Unit),
			hint: "write cloudevents: {mode: structured}, or unit: record",
		}
	}
	return c, nil
}

// Head returns the body's media type, and the attributes in binary mode.
func (c *cloudEvents) Head(ev *delivery.Event) delivery.Head {
	if !c.binary {
		return delivery.Head{ContentType: "application/cloudevents+json; charset=utf-8"}
	}
	head := delivery.Head{ContentType: "application/json", Header: make([]delivery.HeaderConfig, 0, 12)}
	attributes(ev, func(name, value string) {
		head.Header = append(head.Header, delivery.HeaderConfig{Name: "ce-" + name, Value: headerValue(value)})
	})
	return head
}

// AppendBody appends the whole event, or its data alone in binary mode.
func (c *cloudEvents) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	if c.binary {
		return c.appendData(dst, ev)
	}
	start := len(dst)
	dst = append(dst, '{')
	attributes(ev, func(name, value string) {
		dst = append(append(append(dst, '"'), name...), `":`...)
		if name == "rowhookseq" {
			dst = append(dst, value...) // an Integer, which JSON has as a number
		} else {
			dst = delivery.AppendJSONString(dst, value)
		}
		dst = append(dst, ',')
	})
	dst, err := c.appendData(append(dst, `"datacontenttype":"application/json","data":`...), ev)
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
	buf := []byte{'['}
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if len(buf) != 1 {
			buf = append(buf[:0], ',')
		}
		if buf, err = c.AppendBody(buf, ev); err != nil {
			return err
		}
		if _, err = w.Write(buf); err != nil {
			return err
		}
	}
	if len(buf) != 1 {
		buf = buf[:0]
	}
	_, err := w.Write(append(buf, ']'))
	return err
}

// attributes calls yield for each context attribute but datacontenttype, in order. Attributes without a value are left out, as the
// specification asks.
func attributes(ev *delivery.Event, yield func(name, value string)) {
	var buf [64]byte
	yield("specversion", "1.0")
	yield("id", ev.ID)
	yield("source", eventSource(&ev.Origin))
	yield("type", ev.Type)
	yield("time", unquoted(delivery.AppendJSONTime(buf[:0], ev.Time)))
	for _, a := range [...]struct{ name, value string }{
		{"subject", subject(ev.Key)},
		{"partitionkey", ev.OrderKey},
		{"rowhookposition", ev.Origin.Position},
		{"rowhooktransaction", ev.Origin.Transaction},
		{"rowhookseq", strconv.Itoa(ev.Origin.Seq)},
		{"rowhookop", ev.Origin.Op},
	} {
		if a.value != "" {
			yield(a.name, a.value)
		}
	}
}

// eventSource is a URI: of a signal, which comes from no table, the source's name alone.
func eventSource(o *delivery.Origin) string {
	source := "rowhook:" + url.PathEscape(o.Source)
	if o.Table != "" {
		source += "/" + url.PathEscape(o.Table)
	}
	return source
}

// subject is the values of a key, as their text.
func subject(key []byte) string {
	var text []byte
	err := eachMember(key, func(_, value []byte) {
		if len(text) > 0 {
			text = append(text, '/')
		}
		text = append(text, unquoted(value)...)
	})
	if err != nil {
		return ""
	}
	return string(text)
}

// appendData appends what is no attribute.
func (c *cloudEvents) appendData(dst []byte, ev *delivery.Event) ([]byte, error) {
	start := len(dst)
	dst = append(dst, '{')
	if ev.Actor != (delivery.Actor{}) {
		dst = append(appendActor(append(dst, `"actor":`...), &ev.Actor), ',')
	}
	for _, m := range [...]struct{ name, value string }{{`"operation":`, ev.Operation}, {`"link":`, ev.Link}} {
		if m.value != "" {
			dst = append(delivery.AppendJSONString(append(dst, m.name...), m.value), ',')
		}
	}
	dst, err := c.values.appendValues(dst, ev)
	if err != nil {
		return dst[:start], err
	}
	return append(dst, '}'), nil
}

// headerValue percent-encodes as the HTTP protocol binding says (3.1.3.2): space, quote, percent, and every byte of what is not
// printable ASCII.
func headerValue(s string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	n := 0
	for i := range len(s) {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return string(b)
}
