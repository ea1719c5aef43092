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
	work     sync.Pool // of *almaWork
	scanners sync.Pool // of *xmlWriter, for flags
}

// almaWork is the working space of one body.
type almaWork struct {
	canon
	xml   xmlWriter
	text  []byte
	heads []*almaHead // of the events met last
	next  int         // which of them gives way
}

// almaHead is what all messages of one type have in common: what stands before the time, between it
// and the payload, and behind the payload.
type almaHead struct {
	typ, object, source  string
	fault                error // why there can be no such messages
	as                   map[string]*string
	before, between, end []byte
}

// fits reports whether the event's messages begin like this.
func (h *almaHead) fits(ev *delivery.Event) bool {
	if h.typ != ev.Type || h.object != ev.Object || h.source != ev.Source || len(h.as) != len(ev.As) {
		return false
	}
	for name, text := range ev.As {
		own, ok := h.as[name]
		if !ok || (own == nil) != (text == nil) || own != nil && *own != *text {
			return false
		}
	}
	return true
}

// manyHeads is how many types' heads are kept.
const manyHeads = 16

// head returns the event's, and makes it where it is not at hand.
func (w *almaWork) head(a *alma, ev *delivery.Event) *almaHead {
	for _, h := range w.heads {
		if h.fits(ev) {
			return h
		}
	}
	h := &almaHead{typ: ev.Type, object: ev.Object, source: ev.Source, as: ev.As}
	object := a.renamed(almaObject(ev))
	if fault := objectFault(object, a.xml); fault != "" {
		h.fault = fmt.Errorf("the payload's name %q %s: give the mapping entry another object", object, fault)
	}
	if a.xml {
		a.xmlHead(h, ev)
	} else {
		a.jsonHead(h, ev)
	}
	if len(w.heads) < manyHeads {
		w.heads = append(w.heads, h)
	} else {
		w.heads[w.next], w.next = h, (w.next+1)%manyHeads
	}
	return h
}

func newAlma(cfg delivery.ProfileConfig) (*alma, error) {
	a := &alma{
		code:     cfg.Code,
		value:    cfg.Alma.Institution.Value,
		desc:     cfg.Alma.Institution.Desc,
		explicit: cfg.Alma.NullMembers == "explicit",
		xml:      cfg.MessageType == "xml",
		scanners: sync.Pool{New: func() any { return new(xmlWriter) }},
		work: sync.Pool{New: func() any {
			return &almaWork{canon: canon{alma: true}, xml: xmlWriter{alma: true}}
		}},
	}
	for _, n := range cfg.Alma.Names {
		if a.names == nil {
			a.names = map[string]string{}
		}
		if n.To == "" {
			return nil, &delivery.ConfigError{
				Path:   []string{"profiles", cfg.Code, "alma", "names", n.Name},
				Text:   "the other name is empty",
				Remedy: "to leave a name out of an event, write null in the event's `as`",
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
	w := a.work.Get().(*almaWork)
	defer a.work.Put(w)
	start, head := len(dst), w.head(a, ev)
	if head.fault != nil {
		return dst, fmt.Errorf("format event %s: %w", ev.ID, head.fault)
	}
	if a.xml {
		dst = append(dst, almaXML...)
	} else {
		dst = append(dst, `{"id":"`...)
	}
	dst = appendAlmaID(dst, ev.ID, a.code)
	dst = append(dst, head.before...)
	dst = appendMilliseconds(dst, ev.Time)
	dst = append(dst, head.between...)
	var err error
	if a.xml {
		if w.text, err = w.payload(w.text[:0], ev); err == nil {
			dst, err = w.xml.inside(dst, w.text)
		}
	} else {
		dst, err = w.payload(dst, ev)
	}
	if err != nil {
		return dst[:start], fmt.Errorf("format event %s: %w", ev.ID, err)
	}
	return append(dst, head.end...), nil
}

// jsonHead makes the head of JSON messages.
func (a *alma) jsonHead(h *almaHead, ev *delivery.Event) {
	dst := []byte{'"'}
	if action := a.renamed(ownAction(ev)); action != "" {
		dst = append(dst, `,"action":`...)
		dst = appendCanonicalString(dst, action)
	}
	if event := a.renamed(ownEvent(ev)); event != "" {
		dst = appendCodedJSON(append(dst, `,"event":`...), event, eventDesc(ev))
	} else if a.explicit {
		dst = append(dst, `,"event":null`...)
	}
	dst = appendCodedJSON(append(dst, `,"institution":`...), a.institution(ev), a.desc)
	h.before = append(dst, `,"time":"`...)
	object := a.renamed(almaObject(ev))
	h.between = append(appendCanonicalString([]byte(`",`), object), ':')
	for _, name := range [...]string{"bib", "holding", "item", "portfolio", "representation"} {
		if a.explicit && object != name {
			h.end = append(append(append(h.end, `,"`...), name...), `":null`...)
		}
	}
	h.end = append(h.end, '}')
}

// appendCodedJSON appends a coded value: a code, and its text if there is one.
func appendCodedJSON(dst []byte, value, desc string) []byte {
	dst = appendCanonicalString(append(dst, `{"value":`...), value)
	if desc != "" {
		dst = appendCanonicalString(append(dst, `,"desc":`...), desc)
	}
	return append(dst, '}')
}

// institution is the institution's code.
func (a *alma) institution(ev *delivery.Event) string {
	if a.value != "" {
		return a.value
	}
	return ev.Source
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

// appendAlmaID appends the message's id, which is the same for each attempt: a random-looking
// positive number of 63 bits and 19 digits, of a hash of the event's id and the profile's code. A
// number with fewer digits gives way to the hash's next.
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
