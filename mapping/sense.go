package mapping

import (
	"fmt"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// senseOf is how a column's values compare with those that conditions name.
func senseOf(t *capture.Type) delivery.Sense {
	switch t.Kind {
	case capture.Integer, capture.Bigint, capture.Decimal, capture.Float:
		return delivery.SenseNumber
	case capture.Instant, capture.DateTime, capture.Date:
		return delivery.SenseTime
	case capture.Time:
		return delivery.SenseClock
	case capture.JSON:
		return delivery.SenseJSON
	}
	switch t.Name {
	case padded:
		return delivery.SensePadded
	case "uuid", "macaddr", "macaddr8", "inet", "cidr", "inet6", "citext":
		return delivery.SenseFolded
	}
	return delivery.SenseText
}

// padded is PostgreSQL's text of a fixed length. The server fills it up with spaces, and takes them
// for nothing where it compares it or turns it into another text. MySQL's comes without.
const padded = "bpchar"

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
	case capture.Time:
		if !strings.Contains(v, ":") {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), "write it as 15:04:05"
		}
	case capture.JSON:
		if _, err := decodeJSON([]byte(v)); err != nil {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), `write JSON, a text with its quotes: '"text"'`
		}
	case capture.List, capture.Bytes, capture.Other:
		// What is sent has another form than the database's text, which is what is compared.
		if _, ok := t.AppendJSON(nil, []byte(v)); !ok && len(t.Labels) == 0 {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), "write the database's own text, or an `if`"
		}
	}
	switch t.Name {
	case "bit", "varbit":
		if strings.Trim(v, "01") != "" {
			return fmt.Sprintf("the column is a %s and never %q", t.Name, v), `write its digits in quotes: "1"`
		}
	case "uuid":
		if strings.Count(v, "-") != 4 || len(v) != len("00000000-0000-0000-0000-000000000000") {
			return fmt.Sprintf("the column is a uuid and never %q", v), "write it with its four hyphens"
		}
	case "money":
		if _, ok := parseNumber(v); ok {
			return fmt.Sprintf("the column is money and never %q", v), "write it as the server prints it, such as $$1,234.50"
		}
	case "interval":
		if !strings.HasPrefix(strings.TrimPrefix(v, "-"), "P") {
			return fmt.Sprintf("the column is an interval and never %q", v), "write it as payloads have it: P1DT2H"
		}
	}
	return "", ""
}

// dateShaped reports whether a text begins as dates do, among them MySQL's that are none, such as
// 2024-00-00.
func dateShaped(s string) bool {
	return len(s) >= len("0000-00-00") && s[4] == '-' && s[7] == '-' && strings.Trim(s[:4]+s[5:7]+s[8:10], "0123456789") == ""
}
