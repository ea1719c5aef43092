package mapping

import (
	"rowhook/capture"
	"rowhook/delivery"
)

// kindOf is the letter of a column's values in payloads.
func kindOf(t *capture.Type) delivery.Kind {
	switch t.Kind {
	case capture.Text:
		if longTexts[t.Base] {
			return delivery.KindLongText
		}
		return delivery.KindText
	case capture.Integer:
		return delivery.KindInteger
	case capture.Bigint:
		return delivery.KindBigint
	case capture.Decimal:
		return delivery.KindDecimal
	case capture.Float:
		return delivery.KindFloat
	case capture.Bool:
		return delivery.KindBool
	case capture.Instant:
		return delivery.KindInstant
	case capture.DateTime:
		return delivery.KindDateTime
	case capture.Date:
		return delivery.KindDate
	case capture.Time:
		return delivery.KindTime
	case capture.JSON:
		return delivery.KindJSON
	case capture.List:
		return delivery.KindList
	case capture.Bytes:
		return delivery.KindBytes
	}
	return delivery.KindOther
}

// longTexts are the databases' types of texts that are written in paragraphs.
var longTexts = map[string]bool{
	"text": true, "tinytext": true, "mediumtext": true, "longtext": true, "xml": true,
}

// kind is the letter of the member's values, as far as the mapping tells it.
func (b *binder) kind(m *member) delivery.Kind {
	own := delivery.KindOther
	switch {
	case m.members != nil:
		return delivery.KindNested
	case m.mask != nil:
		return delivery.KindText
	case m.part != nil:
		own = delivery.KindJSON
	case m.constant != nil:
		own = kindOfJSON(m.constant)
	case m.col != none:
		own = kindOf(b.table.Columns[m.col].Type)
	}
	if m.convert == nil {
		return own
	}
	return m.convert.kind(own)
}

// kindOfJSON is the letter of a constant.
func kindOfJSON(value []byte) delivery.Kind {
	switch c := value[0]; {
	case c == '"':
		return delivery.KindText
	case c == 't' || c == 'f':
		return delivery.KindBool
	case c == '[':
		return delivery.KindList
	case c == '{':
		return delivery.KindJSON
	case isJSONNumber(value):
		return delivery.KindDecimal
	}
	return delivery.KindOther
}

// payload writes the whole shape in the current row with its marks, and returns the kinds of its
// members.
func (w *renderer) payload(be *boundEntry) string {
	complete := len(w.unavailable)
	w.marks, w.marked = w.marks[:0], len(w.buf)
	w.object(be.shape, (*renderer).now)
	if len(w.unavailable) == complete {
		return be.kinds
	}
	kinds := []byte(be.kinds)
	for i := range be.shape {
		if m := &be.shape[i]; m.absent {
			kinds[i], m.absent = delivery.KindMissing, false
		}
	}
	return string(kinds)
}
