package mapping

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// senseOf is how a column's values compare, with each other and with those that conditions name. It is
// the one place that says so: for where and becomes, for expressions, subscriptions and ordering keys.
func senseOf(t *capture.Type) delivery.Sense {
	switch t.Kind {
	case capture.Integer, capture.Bigint, capture.Decimal, capture.Float:
		return delivery.SenseNumber
	case capture.Instant, capture.DateTime, capture.Date:
		return delivery.SenseTime
	case capture.JSON:
		return delivery.SenseJSON
	}
	if sense, ok := senses[t.Base]; ok {
		return sense
	}
	switch t.Kind {
	case capture.Text, capture.Bytes, capture.Bool:
		return delivery.SenseText
	case capture.Time:
		return delivery.SenseClock
	}
	return delivery.SenseOpaque
}

// appendOneSpelling appends a text that all writings of a value have in common which the database takes
// for equal. Under a collation that takes different texts for equal it is the text without case,
// accents and the like: more than the collation's own, so that other rows may share it.
func appendOneSpelling(dst []byte, t *capture.Type, text []byte) []byte {
	if t.Folds {
		return delivery.AppendFolded(dst, text)
	}
	return senseOf(t).AppendCanonical(dst, text)
}

// senses are those of types whose values are not what their texts are.
var senses = map[string]delivery.Sense{
	padded: delivery.SensePadded, "citext": delivery.SenseFolded,
	"timetz": delivery.SenseZoned, "interval": delivery.SenseSpan,
	"inet": delivery.SenseAddress, "cidr": delivery.SenseAddress, "inet4": delivery.SenseAddress, "inet6": delivery.SenseAddress,
	"uuid": delivery.SenseHex, "macaddr": delivery.SenseHex, "macaddr8": delivery.SenseHex, "bytea": delivery.SenseBytes,
	"mariadb.uuid": delivery.SenseHexOnly, // which sorts by the parts of a timestamp, for some versions of UUIDs
	"xid8":         delivery.SenseNumber, "pg_lsn": delivery.SenseLSN,
	"numrange": delivery.SenseRange, "nummultirange": delivery.SenseRange,
	// Labels stand in the order in which they were declared, and labels of trees part by part.
	"enum": delivery.SenseOpaque, "ltree": delivery.SenseOpaque, "xml": delivery.SenseOpaque,
}

// padded is PostgreSQL's text of a fixed length. The server fills it up with spaces, and takes them
// for nothing where it compares it or turns it into another text. MySQL's comes without.
const padded = "bpchar"

// sensed is a column's text in an expression, which may compare otherwise than as a text: beside what a
// condition names by its own sense. To functions it is a text.
type sensed struct {
	text  string
	sense delivery.Sense
	// made says that the text was computed. It is a column's where that matters, and read as whatever
	// stands beside it, like one that is written out, where it does not.
	made bool
}

// madeText is a text that was computed, and any other value as it is.
func madeText(v any) any {
	if s, ok := v.(string); ok {
		return sensed{text: s, sense: delivery.SenseText, made: true}
	}
	return v
}

// textOf returns what an expression's value says, if it is a text.
func textOf(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case sensed:
		return x.text, true
	}
	return "", false
}

// plainValue takes the sense away, for functions that know nothing of it.
func plainValue(v any) any {
	if x, ok := v.(sensed); ok {
		return x.text
	}
	return v
}

// withSense gives a text, or those of a list, a sense.
func withSense(v any, sense delivery.Sense) any {
	switch x := v.(type) {
	case string:
		return sensed{text: x, sense: sense}
	case []any:
		for i := range x {
			x[i] = withSense(x[i], sense)
		}
	}
	return v
}

// elementsSense is the sense that all texts in lists have; ok is false where they have none in common.
func elementsSense(values []any) (sense delivery.Sense, ok bool) {
	for _, v := range values {
		switch x := v.(type) {
		case string:
			return 0, false
		case []any:
			inside, some := elementsSense(x)
			if ok && some && inside != sense {
				return 0, false
			}
			if some {
				sense, ok = inside, true
			}
		case sensed:
			if ok && x.sense != sense {
				return 0, false
			}
			sense, ok = x.sense, true
		}
	}
	return sense, ok
}

// NeverHolds says why a condition's value is none that a column of the type can have, and what to
// write instead. It is empty where it can be.
func NeverHolds(t *capture.Type, value delivery.Literal) (text, remedy string) {
	v := value.Text
	if value.Null {
		return "", ""
	}
	if label, remedy := t.Unlabelled(v); label != "" {
		if meant := didYouMean(label, t.Labels); meant != "" {
			remedy = meant + " " + remedy
		}
		return fmt.Sprintf("the column never holds %q, so that the condition never holds for it", label), remedy
	}
	switch t.Kind {
	case capture.Bool:
		if v != "true" && v != "false" {
			return fmt.Sprintf("the column is a boolean and never %q", v), "write true or false"
		}
	case capture.Integer, capture.Bigint, capture.Decimal, capture.Float:
		if _, ok := parseNumber(v); !ok {
			return fmt.Sprintf("the column is a number and never %q", v), ""
		}
	case capture.Instant, capture.DateTime, capture.Date:
		if _, ok := delivery.ParseTime(v); !ok && !dateShaped(v) {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), "write it as 2026-12-31 or 2026-12-31T15:04:05Z"
		}
	case capture.JSON:
		if _, err := decodeJSON([]byte(v)); err != nil {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), `write JSON, a text with its quotes: '"text"'`
		}
	case capture.List:
		if len(t.Labels) > 0 { // a set: the server has its members in the order of their declaration
			if told := inOrder(t.Labels, v); told != v {
				return fmt.Sprintf("the column never holds %q, so that the condition never holds for it", v), fmt.Sprintf("write %q, as the database does", told)
			}
			break
		}
		fallthrough
	case capture.Bytes, capture.Other:
		if t.Base == "bytea" {
			break
		}
		// What is sent has another form than the database's text, which is what is compared.
		if _, ok := t.AppendJSON(nil, []byte(v)); !ok {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), "write the database's own text, or an `if`"
		}
	}
	if remedy, misfit := misfits(t, v); misfit {
		article := "a"
		if strings.IndexByte("aei", t.Name[0]) >= 0 { // no type begins with an o
			article = "an"
		}
		if t.Base == "money" {
			return fmt.Sprintf("the column is money and never %q", v), remedy
		}
		return fmt.Sprintf("the column is %s %s and never %q", article, t.Name, v), remedy
	}
	return "", ""
}

// misfits reports whether a text is none that a type with a sense of its own has, and what to write.
func misfits(t *capture.Type, v string) (remedy string, misfit bool) {
	sense := senseOf(t)
	readable := func() bool {
		_, ok := sense.Compare(v, v)
		return ok
	}
	digits := func(n ...int) bool {
		left := strings.NewReplacer("-", "", ":", "", ".", "", "{", "", "}", "").Replace(v)
		return slices.Contains(n, len(left)) && strings.Trim(left, "0123456789abcdefABCDEF") == ""
	}
	switch t.Base {
	case "bit", "varbit":
		return `write its digits in quotes: "1"`, strings.Trim(v, "01") != ""
	case "uuid", "mariadb.uuid":
		return "write its 32 digits", !digits(32)
	case "bytea":
		return `write its digits: \x01ff`, !readable()
	case "macaddr":
		return "write its 12 digits", !digits(12)
	case "macaddr8":
		return "write its 16 digits", !digits(16)
	case "money":
		_, isNumber := parseNumber(v)
		return "write it as the server prints it, such as $$1,234.50", isNumber
	case "interval":
		return "write it as payloads have it: P1DT2H", !readable()
	case "timetz":
		return "write it with its zone: 15:04:05+09", !readable()
	case "time":
		return "write it as 15:04:05", !readable()
	case "inet", "inet4", "inet6":
		return "write an address: 192.0.2.1", !readable()
	case "cidr":
		network, ok := delivery.ParseNetwork(v)
		return "write a whole network: 192.0.2.0/24", !ok || network != network.Masked()
	case "pg_lsn":
		return "write it as 0/16B3748", !readable()
	}
	return "", false
}

// inOrder writes a set's members as the server does: in the order of the labels, each once.
func inOrder(labels []string, set string) string {
	if set == "" {
		return ""
	}
	members := strings.Split(set, ",")
	var list []string
	for _, label := range labels {
		if slices.Contains(members, label) {
			list = append(list, label)
		}
	}
	return strings.Join(list, ",")
}

// dateShaped reports whether a text begins as dates do, among them MySQL's that are none, such as
// 2024-00-00.
func dateShaped(s string) bool {
	return len(s) >= len("0000-00-00") && s[4] == '-' && s[7] == '-' && strings.Trim(s[:4]+s[5:7]+s[8:10], "0123456789") == ""
}
