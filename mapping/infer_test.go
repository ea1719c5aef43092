package mapping

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// kindsTable has a column of each kind that expressions tell apart, and kindsRow a value in each.
func kindsTable() *capture.Table {
	return table("shop.kinds", capture.IdentityFull,
		"id bigint key", "int int", "numeric numeric", "float float", "text text", "bool bool", "time time", "date date",
		"local local", "clock clock", "list list", "json json", "other other", "bytes bytes")
}

func kindsRow() capture.Row {
	return row("1", "12", "12.50", "0.5", "EUR", "t", "2026-12-01 14:00:00+00", "2026-12-01", "2026-12-01 14:00:00",
		"10:00:00", `["a","b"]`, `{"a":1}`, "10.0.0.1", `\x6869`)
}

// TestInferenceFollowsTheMachine tries every operator, and the functions and methods, on columns of
// every pair of kinds: what is inferred to fail fails on a row, and nothing else does.
func TestInferenceFollowsTheMachine(t *testing.T) {
	t.Parallel()
	kinds := kindsTable()
	var texts []string
	for _, a := range kinds.Columns {
		if a.Name == "json" { // any kind
			continue
		}
		for _, b := range kinds.Columns {
			for _, op := range []string{"<", "<=", ">", ">=", "in", "contains", "startsWith", "matches", "and", "+", "-", "*"} {
				if b.Name == "json" {
					continue
				}
				texts = append(texts, fmt.Sprintf("new.%s %s new.%s", a.Name, op, b.Name))
			}
		}
		for _, literal := range []string{"1000", "2.5", "true", `"EUR"`, `"12"`, `"2026-12-01"`, `duration("1h")`, "[1]", "nil"} {
			for _, op := range []string{"<", ">=", "+", "contains"} {
				texts = append(texts, fmt.Sprintf("new.%s %s %s", a.Name, op, literal))
			}
		}
		for _, call := range []string{
			"trim(x)", "upper(x)", "len(x)", "abs(x)", "round(x)", "string(x)", "join(x)", "all(x, # != 'a')", "filter(x, # != 'a')", "any(x, len(#))",
			"x.Year()", "x.Before(new.time)", "x.member", "x[0:1]", "not x", "-x", "x ? 1 : 2", "x ?? 1", "min(x, 1)", "now() > x",
		} {
			texts = append(texts, strings.ReplaceAll(call, "x", "new."+a.Name))
		}
	}
	tried := 0
	for _, text := range texts {
		x, err := compileExpression(text, false)
		if err != nil {
			continue // the library knows that much itself
		}
		tried++
		b := binder{&boundEntry{entry: &entry{schema: "shop", table: "kinds"}, table: kinds}}
		bound := b.expression(x, nil)
		change := &capture.Change{Op: capture.Update, Table: kinds, Old: kindsRow(), New: kindsRow()}
		_, _, err = bound.value(&evaluation{rows: newRows(change), at: testTransaction.Time, context: &contexts{}})
		faults := slices.DeleteFunc(inferFaults(x, kinds, false), func(f fault) bool { return f.idle })
		if failed, inferred := err != nil, len(faults) > 0; failed != inferred {
			t.Errorf("%s: the machine says %v, inferred is %v", text, err, faults)
		}
	}
	if tried < 2500 {
		t.Errorf("tried %d expressions of %d only", tried, len(texts))
	}
}

// TestConditionFaults fixes what check says about conditions that do not fit the columns, and
// where.
func TestConditionFaults(t *testing.T) {
	t.Parallel()
	orders := ordersTable()
	for name, of := range map[string]*capture.Type{
		"levels": {Name: "level[]", Kind: capture.List, Elem: testTypes["enum"], AppendJSON: testTypes["list"].AppendJSON},
		"spans":  {Name: "interval[]", Kind: capture.List, Elem: testTypes["interval"], AppendJSON: testTypes["list"].AppendJSON},
		"shuts":  testTypes["timetz"], "alias": testTypes["citext"],
	} {
		orders.Columns = append(orders.Columns, capture.Column{Name: name, Type: of, Identity: true})
	}
	for text, want := range map[string]string{
		"new.currency > 1000": `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.currency (text) with 1000` +
			` / to compare texts, write the number in quotes; where the texts are numbers, write float(new.currency)`,
		"float(new.currency) > 1000":                     "",
		`new.currency > "1000"`:                          `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.currency (text) with the text "1000" letter by letter as they are encoded, A to Z before a to z, and not in the order of a collation / have the table keep what decides in a column of its own`,
		`new.total > "1000"`:                             "",
		`new.total > "12 EUR"`:                           `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.total (numeric) with the text "12 EUR" / write a value of the column's kind`,
		`new.placed_at > "2026-12-01"`:                   "",
		`new.placed_at > "yesterday"`:                    `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.placed_at (timestamp with time zone) with the text "yesterday" / write times as 2026-12-31 or 2026-12-31T15:04:05Z, in quotes`,
		`new.placed_at - old.placed_at > 3`:              `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.placed_at - old.placed_at, a duration, with 3`,
		`new.placed_at - old.placed_at > duration("3h")`: "",
		"new.paid == 1":                                  `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.paid (boolean) with 1, which are never equal / write true or false`,
		"new.amount == true":                             `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.amount (integer) with true, which are never equal / the database keeps this as a number: compare it with 0 or 1`,
		`new.paid == "true"`:                             `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.paid (boolean) with the text "true", which are never equal / write true or false, without quotes`,
		"new.paid and new.currency == 'EUR'":             "",
		"new.currency and new.paid":                      `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: and does not go with new.currency (text): it takes a boolean`,
		"new.extra.level > 3 and len(new.tags) > 1":      "",
		"'a' in new.currency":                            `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: in does not go with new.currency (text): it takes a list or an object`,
		"any(new.tags, # contains 'x')":                  "",
		"let d = new.total - old.total; d > 10":          "",
		"let d = new.currency; d > 10":                   `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares d (text) with 10 / to compare texts, write the number in quotes; where the texts are numbers, write float(d)`,
		"new.placed_at.Hour() > 18":                      "",
		"upper(new.total) == 'X'":                        `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: upper does not go with new.total (numeric): it takes a text`,
		"actor.id == 'batch' or op == 'insert'":          "",
		"new.currency == nil or new.total != nil":        "",
		`new.span == "P1D"`:                              "",
		`new.span > "P1D"`:                               "",
		`new.span > "1 day"`:                             `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.span (interval) with the text "1 day": the column is an interval and never "1 day" / write it as payloads have it: P1DT2H`,
		`new.sum > "$1"`:                                 `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.sum (money) with the text "$1" by their order, which is not known / have the table keep what decides in a column of its own`,
		`new.sum == "$1.00"`:                             "",
		`new.level >= "high"`:                            `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: >= compares new.level (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`new.span > new.opens`:                           `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.span (interval) with new.opens (time), which are of two kinds`,
		`let l = new.level; l >= "high"`:                 `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: >= compares l (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`(new.level ?? "low") >= "high"`:                 `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: >= compares new.level (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`(new.paid ? new.status : new.level) < "high"`:   `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: < compares new.level (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`new.levels[0] < "high"`:                         `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: < compares new.levels[0] (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`any(new.levels, # < "high")`:                    `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: < compares # (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`first(uniq(new.levels)) < "high"`:               `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: < compares first(uniq(new.levels)) (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`sort(new.spans)[0] == "P1D"`:                    `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: sort puts new.spans (interval) in the order of its texts, and not in that of the database`,
		`any([new.level], # < "high")`:                   `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: < compares new.level (level) with the text "high" by their order, which is not known / name the labels: new.column in ["first", "second"]`,
		`new.level in ["low", "high"]`:                   "",
		`"high" in new.levels`:                           "",
		`new.span in ["1 day"]`:                          `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.span (interval) with the text "1 day": the column is an interval and never "1 day" / write it as payloads have it: P1DT2H`,
		`new.span in ["P1D", "1 day"]`:                   `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.span (interval) with the text "1 day": the column is an interval and never "1 day" / write it as payloads have it: P1DT2H`,
		`let l = ["1 day"]; not (new.span in l)`:         `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.span (interval) with the text "1 day": the column is an interval and never "1 day" / write it as payloads have it: P1DT2H`,
		`"1 day" in new.spans`:                           `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.spans (interval) with the text "1 day": the column is an interval and never "1 day" / write it as payloads have it: P1DT2H`,
		`(new.span ?? "1 day") == "1 day"`:               "",
		`(new.span ?? "P1D") == "1 day"`:                 "",
		`(new.span ?? nil) == "1 day"`:                   `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.span (interval) with the text "1 day": the column is an interval and never "1 day" / write it as payloads have it: P1DT2H`,
		`let m = "1000"; new.total > m`:                  "",
		`new.amount in [1, "2"]`:                         "",
		`new.amount in ["one"]`:                          `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.amount (integer) with the text "one", which are never equal / write a value of the column's kind`,
		`new.paid in [0, 1]`:                             "warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.paid (boolean) with 0, which are never equal / write true or false\nwarning mapping.shop.orders.events.order.big.0.if: rule order.big, if: in compares new.paid (boolean) with 1, which are never equal / write true or false",
		`new.opens == new.shuts`:                         `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.opens (time) with new.shuts (time with time zone): one has a zone and one has none, which takes the session's zone`,
		`new.span == new.opens`:                          `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.span (interval) with new.opens (time), which are of two kinds`,
		`new.alias < new.currency`:                       `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: < compares new.alias (citext) with new.currency (text) letter by letter as they are encoded, A to Z before a to z, and not in the order of a collation / have the table keep what decides in a column of its own`,
		`new.opens > "soon"`:                             `error mapping.shop.orders.events.order.big.0.if: rule order.big, if: > compares new.opens (time) with the text "soon": the column is a time and never "soon" / write it as 15:04:05`,
		`new.opens == "soon"`:                            `warning mapping.shop.orders.events.order.big.0.if: rule order.big, if: == compares new.opens (time) with the text "soon": the column is a time and never "soon" / write it as 15:04:05`,
	} {
		rules, err := Compile(Config{{Name: "shop.orders", Events: []EventConfig{{"order.big", []RuleConfig{{Op: []string{"update"}, If: text}}}}}}, Options{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var said []string
		for _, f := range rules.Check(orders, nil) {
			line := fmt.Sprintf("%s %s: %s", f.Severity, strings.Join(f.Path, "."), f.Text)
			if f.Remedy != "" {
				line += " / " + f.Remedy
			}
			said = append(said, line)
		}
		if got := strings.Join(said, "\n"); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func ordersTable() *capture.Table {
	return table("shop.orders", capture.IdentityFull, "id bigint key", "status text", "currency text", "total numeric",
		"amount int", "placed_at time", "paid bool", "extra json", "tags list", "span interval", "sum money", "level enum", "opens clock")
}

// TestOneRuleAtFault: a rule that cannot be decided parks what may come of it. The events of the
// other rules are made at once, and not again when the parked change is retried.
func TestOneRuleAtFault(t *testing.T) {
	t.Parallel()
	placed := EventConfig{"order.placed", []RuleConfig{{Op: []string{"update"}, Becomes: where("status=placed")}}}
	before, after := row("1", "cart", "EUR", "5", "1", null, "f", null, null, null, null, null, null), row("1", "placed", "EUR", "5", "1", null, "f", null, null, null, null, null, null)
	for name, tt := range map[string]struct {
		broken, mended RuleConfig
		says           string
	}{
		"unfit kinds": {
			RuleConfig{Op: []string{"update"}, If: "new.currency > 1000"}, RuleConfig{Op: []string{"update"}, If: `new.currency > "1000"`},
			"map shop.orders: rule order.big, if: > compares a text with a number",
		},
		"missing column": {
			RuleConfig{Op: []string{"update"}, Changed: []string{"state"}}, RuleConfig{Op: []string{"update"}, Changed: []string{"status"}},
			`map shop.orders: rule order.big, mapping.shop.orders.events.order.big.0.changed.0: table shop.orders has no column "state"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := func(r RuleConfig) Config {
				return Config{{Name: "shop.orders", Events: []EventConfig{placed, {"order.big", []RuleConfig{r}}}}}
			}
			change := &capture.Change{Op: capture.Update, Table: ordersTable(), Old: before, New: after, Ordinal: 3}
			m, out := setup(t, config(tt.broken), Options{})
			if err := m.Change(change); err != nil {
				t.Fatal(err)
			}
			if out.types() != "order.placed" || len(out.failures) != 1 {
				t.Fatalf("made %q and parked %+v", out.types(), out.failures)
			}
			f := out.failures[0]
			if fmt.Sprint(f.Made) != "[order.placed]" || f.Reason != delivery.OutcomeUnmapped || f.Err.Error() != tt.says {
				t.Errorf("parked as %+v", f)
			}
			again, mended := setup(t, config(tt.mended), Options{})
			if mapped, err := again.Remap(&Parked{Transaction: testTransaction, Entry: f.Entry, Made: f.Made}, change); !mapped || err != nil {
				t.Fatal(mapped, err)
			}
			if mended.types() != "order.big" || len(mended.failures) > 0 {
				t.Errorf("the retry made %q and failed with %+v", mended.types(), mended.failures)
			}
			still, failing := setup(t, config(tt.broken), Options{})
			if _, err := still.Remap(&Parked{Transaction: testTransaction, Entry: f.Entry, Made: f.Made}, change); err != nil {
				t.Fatal(err)
			}
			if failing.types() != "" || len(failing.failures) != 1 || fmt.Sprint(failing.failures[0].Made) != "[order.placed]" {
				t.Errorf("a vain retry made %q and failed with %+v", failing.types(), failing.failures)
			}
		})
	}
}
