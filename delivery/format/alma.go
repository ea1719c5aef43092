package format

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"

	"rowhook/delivery"
)

// alma speaks as the webhooks of the library system Alma do, so that listeners written for it take the messages. Members are in
// the order that Alma has had since 2024:
//
//	{"id","action","event":{"value","desc"},"institution":{"value","desc"},"time","<object>":{…}}
//
// JSON bodies are canonical (see [canon]): some listeners sign what they re-serialise. The object is the payload's whole
// shape, for a deleted record too. What an event does not say follows from its type: loan.returned is action LOAN,
// event LOAN_RETURNED, desc "Loan returned". The XML is told at [almaXML].
type alma struct {
	code     string
	value    string // of the institution; empty is the source's name
	desc     string
	explicit bool
	xml      bool
	names    map[string]string
	canons   sync.Pool // of *almaWork
}

// almaWork is the working space of one body.
type almaWork struct {
	canon
	xml  xmlWriter
	text []byte
	name []byte
}

func newAlma(cfg delivery.ProfileConfig) (*alma, error) {
	a := &alma{
		code:     cfg.Code,
		value:    cfg.Alma.Institution.Value,
		desc:     cfg.Alma.Institution.Desc,
		explicit: cfg.Alma.NullMembers == "explicit",
		xml:      cfg.MessageType == "xml",
		canons:   sync.Pool{New: func() any { return &almaWork{canon: canon{alma: true}} }},
	}
	for _, n := range cfg.Alma.Names {
		if a.names == nil {
			a.names = map[string]string{}
		}
		if n.To == "" {
			return nil, &configError{
				path: []string{"profiles", cfg.Code, "alma", "names", n.Name},
				text: "the other name is empty",
				hint: "to leave a name out of an event, write null in the event's `as`",
			}
		}
		a.names[n.Name] = n.To
	}
	return a, nil
}

// Head returns the body's media type. Without the charset, servlets would read it as ISO-8859-1.
func (a *alma) Head(*delivery.Event) delivery.Head {
	if a.xml {
		return delivery.Head{ContentType: "application/xml;charset=UTF-8"}
	}
	return delivery.Head{ContentType: "application/json;charset=UTF-8"}
}

// AppendBody appends the event's message to dst.
func (a *alma) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	w := a.canons.Get().(*almaWork)
	defer a.canons.Put(w)
	start := len(dst)
	var err error
	if a.xml {
		dst, err = a.appendXML(dst, ev, w)
	} else {
		dst, err = a.appendJSON(dst, ev, w)
	}
	if err != nil {
		return dst[:start], fmt.Errorf("format event %s: %w", ev.ID, err)
	}
	return dst, nil
}

func (a *alma) appendJSON(dst []byte, ev *delivery.Event, w *almaWork) ([]byte, error) {
	dst = append(dst, `{"id":"`...)
	dst = appendAlmaID(dst, ev.ID, a.code)
	dst = append(dst, '"')
	if w.name = a.appendAction(w.name[:0], ev); len(w.name) > 0 {
		dst = append(dst, `,"action":`...)
		dst = appendCanonicalString(dst, w.name)
	}
	if w.name = a.appendEventName(w.name[:0], ev); len(w.name) > 0 {
		dst = append(dst, `,"event":{"value":`...)
		dst = appendCanonicalString(dst, w.name)
		if w.name = appendDesc(w.name, ev); len(w.name) > 0 {
			dst = append(dst, `,"desc":`...)
			dst = appendCanonicalString(dst, w.name)
		}
		dst = append(dst, '}')
	} else if a.explicit {
		dst = append(dst, `,"event":null`...)
	}
	dst = append(dst, `,"institution":{"value":`...)
	dst = appendCanonicalString(dst, a.institution(ev))
	if a.desc != "" {
		dst = append(dst, `,"desc":`...)
		dst = appendCanonicalString(dst, a.desc)
	}
	dst = append(dst, `},"time":"`...)
	dst = appendMilliseconds(dst, ev.Time)
	dst = append(dst, `",`...)
	w.name = a.appendObject(w.name[:0], ev)
	dst = appendCanonicalString(dst, w.name)
	dst = append(dst, ':')
	dst, err := w.append(dst, content(ev), ev.Kinds)
	if err != nil {
		return dst, err
	}
	if a.explicit {
		for _, name := range [...]string{"bib", "holding", "item", "portfolio", "representation"} {
			if string(w.name) != name {
				dst = append(append(append(dst, `,"`...), name...), `":null`...)
			}
		}
	}
	return append(dst, '}'), nil
}

// institution is the institution's code.
func (a *alma) institution(ev *delivery.Event) string {
	if a.value != "" {
		return a.value
	}
	return ev.Origin.Source
}

// content is the payload's whole shape.
func content(ev *delivery.Event) []byte {
	switch {
	case ev.Shape != nil:
		return ev.Shape
	case len(ev.Data) > 0:
		return ev.Data
	}
	return []byte("{}")
}

// appendAlmaID appends the message's id, which is the same for each attempt: a random-looking positive number of 63
// bits and 19 digits, of a hash of the event's id and the profile's code. A number with fewer digits gives way to the hash's next.
func appendAlmaID(dst []byte, event, profile string) []byte {
	const least = 1_000_000_000_000_000_000
	var room [128]byte
	sum := sha256.Sum256(append(append(append(room[:0], event...), 0), profile...))
	var id uint64
	for word := sum[:]; len(word) > 0 && id < least; word = word[8:] {
		id = binary.BigEndian.Uint64(word) >> 1
	}
	if id < least {
		id += least
	}
	return strconv.AppendUint(dst, id, 10)
}
