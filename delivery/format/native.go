package format

import (
	"fmt"
	"strconv"
	"sync"

	"rowhook/delivery"
)

// nativeProduct is rowhook's own format.
func nativeProduct() delivery.Product {
	return delivery.Product{
		Name: delivery.DefaultFormat,
		Formatter: func(c delivery.ProfileConfig) (delivery.Formatter, error) {
			if c.MessageType == "xml" {
				return newNativeXML(), nil
			}
			return newNative(c)
		},
		XML:         true,
		Bigints:     true,
		Schema:      nativeSchema,
		GroupSchema: nativeGroupSchema,
	}
}

// native is rowhook's own JSON: one object on one line, members in a fixed order, and
// what is empty left out, except key and data, which are always there.
type native struct {
	bigintStrings bool
	quoters       sync.Pool // of *quoter, which would be an allocation a body
	pieces        sync.Pool // of *[]byte, likewise for groups
}

func newNative(cfg delivery.ProfileConfig) (*native, error) {
	switch cfg.Bigint {
	case "", "number", "string":
		return &native{
			bigintStrings: cfg.Bigint == "string",
			quoters:       sync.Pool{New: func() any { return new(quoter) }},
			pieces:        sync.Pool{New: func() any { return new([]byte) }},
		}, nil
	}
	return nil, &delivery.ConfigError{
		Path:   []string{"profiles", cfg.Code, "bigint"},
		Text:   fmt.Sprintf("bigint %q is neither number nor string", cfg.Bigint),
		Remedy: "number keeps 64-bit integers as JSON numbers, string writes them in quotes",
	}
}

// Head returns the body's media type.
func (n *native) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: "application/json"}
}

// Copies implements [delivery.Copier].
func (n *native) Copies(ev *delivery.Event) bool { return !n.bigintStrings || len(ev.Bigints) == 0 }

// AppendBody appends the event's body to dst.
func (n *native) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	start := len(dst)
	dst, err := n.appendValues(append(appendHead(dst, ev), ','), ev)
	if err != nil {
		return dst[:start], err
	}
	return append(dst, '}'), nil
}

// appendValues appends the members that hold the row's values: key and data always, previous and
// unavailable where there are any.
func (n *native) appendValues(dst []byte, ev *delivery.Event) ([]byte, error) {
	var q *quoter // nil copies objects as they are
	if n.bigintStrings && len(ev.Bigints) > 0 {
		q = n.quoters.Get().(*quoter)
		defer n.quoters.Put(q)
	}
	var err error
	for _, part := range [...]struct {
		member string
		value  []byte
		always bool
	}{
		{`"key":`, ev.Key, true},
		{`,"data":`, ev.Data, true},
		{`,"previous":`, ev.Previous, false},
	} {
		if len(part.value) <= len("{}") && !part.always {
			continue
		}
		dst = append(dst, part.member...)
		if dst, err = appendObject(dst, part.value, q, ev.Bigints); err != nil {
			return dst, fmt.Errorf("format event %s: %w", ev.ID, err)
		}
	}
	if len(ev.Unavailable) > 0 {
		dst = append(dst, `,"unavailable":[`...)
		for i, name := range ev.Unavailable {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = delivery.AppendJSONString(dst, name)
		}
		dst = append(dst, ']')
	}
	return dst, nil
}

// appendHead appends everything before the row's values.
func appendHead(dst []byte, ev *delivery.Event) []byte {
	dst = append(dst, `{"id":`...)
	dst = delivery.AppendJSONString(dst, ev.ID)
	dst = append(dst, `,"type":`...)
	dst = delivery.AppendJSONString(dst, ev.Type)
	dst = append(dst, `,"timestamp":`...)
	dst = delivery.AppendJSONTime(dst, ev.Time)
	dst = append(dst, `,"source":`...)
	dst = appendSource(dst, ev)
	if ev.Actor != (delivery.Actor{}) {
		dst = append(dst, `,"actor":`...)
		dst = appendActor(dst, &ev.Actor)
	}
	dst = appendMember(dst, `,"operation":`, ev.Operation)
	return appendMember(dst, `,"link":`, ev.Link)
}

func appendSource(dst []byte, ev *delivery.Event) []byte {
	dst = append(dst, `{"name":`...)
	dst = delivery.AppendJSONString(dst, ev.Source)
	dst = appendMember(dst, `,"table":`, ev.Table)
	dst = append(dst, `,"op":`...)
	dst = delivery.AppendJSONString(dst, ev.Op)
	dst = appendMember(dst, `,"position":`, ev.Position)
	dst = appendMember(dst, `,"transaction":`, ev.Transaction)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendInt(dst, int64(ev.Ordinal), 10)
	return append(dst, '}')
}

func appendActor(dst []byte, a *delivery.Actor) []byte {
	if a.ID == "" {
		dst = append(dst, `{"name":`...)
		dst = delivery.AppendJSONString(dst, a.Name)
		return append(dst, '}')
	}
	dst = append(dst, `{"id":`...)
	dst = delivery.AppendJSONString(dst, a.ID)
	dst = appendMember(dst, `,"name":`, a.Name)
	return append(dst, '}')
}

// appendMember appends a string member, or nothing when it is empty.
func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, name...)
	return delivery.AppendJSONString(dst, value)
}

// appendObject appends a ready JSON object, with its 64-bit integers as strings if there is a
// quoter.
func appendObject(dst, object []byte, q *quoter, bigints []string) ([]byte, error) {
	switch {
	case len(object) == 0:
		return append(dst, '{', '}'), nil
	case q == nil:
		return append(dst, object...), nil
	}
	return q.quote(dst, object, bigints)
}
