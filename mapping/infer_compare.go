package mapping

import (
	"fmt"

	"rowhook/capture"
	"rowhook/delivery"
)

// comparison follows [compareValues]: a text that is written out beside a number or a time is read
// as one. That a column's text happens to be a number is not relied on: the next row's need not be.
func (in *inference) comparison(op string, a, b inferred) {
	if a.kinds == noKind || b.kinds == noKind {
		return
	}
	equality := op == "==" || op == "!=" || op == "in"
	if in.literals(op, equality, a, b) || in.literals(op, equality, b, a) || in.senses(op, equality, a, b) {
		return
	}
	for _, k := range []kinds{kindNumber, kindText, kindTime, kindDuration} {
		if a.has(k) && b.has(k) {
			return
		}
	}
	if a.readsAs(b.kinds) || b.readsAs(a.kinds) {
		return
	}
	switch {
	case equality && a.has(b.kinds):
	case equality && (a.isText() && b.has(kindNumber|kindTime) || b.isText() && a.has(kindNumber|kindTime)):
	case equality:
		in.faults = append(in.faults, fault{text: fmt.Sprintf("%s compares %s with %s, which are never equal", op, a, b), remedy: in.remedy(a, b), idle: true})
	default:
		in.faults = append(in.faults, fault{text: fmt.Sprintf("%s compares %s with %s", op, a, b), remedy: in.remedy(a, b)})
	}
}

// literals judges texts that are written out beside columns with a sense of their own: one that has
// no place in the order of a column, or all of them where none can ever be equal. It reports whether
// something was said.
func (in *inference) literals(op string, equality bool, columns, texts inferred) bool {
	var first *fault
	for _, column := range columns.choices() {
		for _, text := range texts.choices() {
			f := unfit(op, equality, column, text)
			switch {
			case f == nil && equality:
				return false
			case f != nil && first == nil:
				first = f
			}
		}
	}
	if first != nil {
		in.faults = append(in.faults, *first)
	}
	return first != nil
}

// unfit is what is wrong with a text that is written out beside a column; nil for nothing, and
// where they are something else.
func unfit(op string, equality bool, column, text inferred) *fault {
	if column.column == nil || text.literal == nil || column.kinds != kindText {
		return nil
	}
	why, remedy := NeverHolds(column.column, delivery.Literal{Text: *text.literal})
	if why == "" {
		return nil
	}
	if _, readable := senseOf(column.column).Compare(*text.literal, *text.literal); !equality && readable {
		return nil
	}
	return &fault{text: fmt.Sprintf("%s compares %s with %s: %s", op, column, text, why), remedy: remedy, idle: equality}
}

// senses judges two texts by what their columns' values mean, whichever they are: what fails before
// what only never tells rows apart. It reports whether something was said.
func (in *inference) senses(op string, equality bool, a, b inferred) bool {
	var worst *fault
	for _, x := range a.choices() {
		for _, y := range b.choices() {
			if both := x.kinds & y.kinds; !both.has(kindText) || both.has(kindNumber) {
				continue
			}
			judge := order
			if equality {
				judge = unlike
			}
			if f := judge(op, x, y); f != nil && (worst == nil || worst.idle && !f.idle) {
				worst = f
			}
		}
	}
	if worst != nil {
		in.faults = append(in.faults, *worst)
	}
	return worst != nil
}

// unlike says why two columns' texts cannot be equal; nil where they can.
func unlike(op string, a, b inferred) *fault {
	if a.column == nil || b.column == nil || a.kinds != kindText || b.kinds != kindText {
		return nil
	}
	x, y := senseOf(a.column), senseOf(b.column)
	_, joint := jointly(x, y)
	switch {
	case zoneless(x, y) && op != "in":
		return &fault{text: fmt.Sprintf("%s compares %s with %s: one has a zone and one has none, which takes the session's zone", op, a, b)}
	case !joint && x != delivery.SenseText && y != delivery.SenseText:
		return &fault{text: fmt.Sprintf("%s compares %s with %s, which are of two kinds", op, a, b), idle: true}
	}
	return nil
}

// order says what is wrong with asking which of two texts comes first; nil for nothing.
func order(op string, a, b inferred) *fault {
	var sense delivery.Sense
	var column *inferred
	for _, v := range []*inferred{&a, &b} {
		if v.column == nil || v.kinds != kindText {
			continue
		}
		of := senseOf(v.column)
		if !of.Ordered() {
			return &fault{text: fmt.Sprintf("%s compares %s with %s by their order, which is not known", op, a, b), remedy: orderRemedy(v.column)}
		}
		if column == nil {
			column, sense = v, of
			continue
		}
		joint, ok := jointly(sense, of)
		if !ok {
			return &fault{text: fmt.Sprintf("%s compares %s with %s, which are of two kinds", op, a, b)}
		}
		if of != delivery.SenseText && joint != delivery.SenseText {
			column = v
		}
	}
	if column == nil || !collated(column.column) {
		return nil
	}
	return &fault{text: fmt.Sprintf("%s compares %s with %s letter by letter as they are encoded, A to Z before a to z, and not in the order of a collation", op, a, b),
		remedy: "have the table keep what decides in a column of its own", idle: true}
}

// orderRemedy says what to do about a type whose order is not known.
func orderRemedy(t *capture.Type) string {
	if t.Base == "enum" {
		return `name the labels: new.column in ["first", "second"]`
	}
	return "have the table keep what decides in a column of its own"
}

// collated reports whether the database sorts the type's values by a collation.
func collated(t *capture.Type) bool {
	switch t.Base {
	case "text", "varchar", padded, "citext":
		return true
	}
	return t.Folds
}

// isText reports whether the part is a text that differs from row to row.
func (v inferred) isText() bool { return v.literal == nil && v.has(kindText) }

// readsAs reports whether the part is a text that is written out and can be read as one of the
// kinds.
func (v inferred) readsAs(k kinds) bool {
	if v.literal == nil {
		return false
	}
	_, isNumber := parseNumber(*v.literal)
	_, isTime := delivery.ParseTime(*v.literal)
	return k.has(kindNumber) && isNumber || k.has(kindTime) && isTime
}

// remedy says how to compare two kinds that do not go together.
func (in *inference) remedy(a, b inferred) string {
	pair := a.kinds | b.kinds
	switch {
	case pair.has(kindBool) && pair.has(kindText):
		return "write true or false, without quotes"
	case a.literal != nil || b.literal != nil:
		if pair.has(kindTime) {
			return "write times as 2026-12-31 or 2026-12-31T15:04:05Z, in quotes"
		}
		return "write a value of the column's kind"
	case pair == kindText|kindNumber:
		text := a
		if b.isText() {
			text = b
		}
		return fmt.Sprintf("to compare texts, write the number in quotes; where the texts are numbers, write float(%s)", text.node)
	case pair == kindBool|kindNumber && (a.column == nil || a.kinds == kindBool) && (b.column == nil || b.kinds == kindBool):
		return "write true or false"
	case pair == kindBool|kindNumber:
		return "the database keeps this as a number: compare it with 0 or 1"
	}
	return ""
}
