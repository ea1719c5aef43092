package mapping_test

import (
	"fmt"
	"strconv"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// printer shows what a mapper makes.
type printer struct{}

func (printer) Event(ev *delivery.Event, _ delivery.Row) error {
	fmt.Printf("%s %s previous %s\n", ev.Type, ev.Data, ev.Previous)
	return nil
}

func (printer) Fail(f *mapping.Failure) error {
	fmt.Println(f.Reason, f.Err)
	return nil
}

func (printer) Notice(mapping.Notice) {}

// A book is returned; once as the whole old row tells it, and once as a table without
// REPLICA IDENTITY FULL does.
func Example() {
	rules, err := mapping.Compile(mapping.Config{{
		Name:   "circulation.loans",
		Events: []mapping.EventConfig{{Type: "loan.returned", Rules: []mapping.RuleConfig{{Op: []string{"update"}, Set: "returned_on"}}}},
	}}, mapping.Options{Context: mapping.DefaultContext()})
	if err != nil {
		fmt.Println(err)
		return
	}
	text := &capture.Type{Name: "text", Kind: capture.Text, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		return strconv.AppendQuote(dst, string(text)), true
	}}
	loans := &capture.Table{
		Schema: "circulation", Name: "loans", Key: []int{0}, Identity: capture.IdentityFull,
		Columns: []capture.Column{{Name: "loan_id", Type: text, Identity: true}, {Name: "returned_on", Type: text}},
	}
	present := func(s string) capture.Value { return capture.Value{State: capture.Present, Text: []byte(s)} }
	old := capture.Row{present("1000"), {State: capture.Null}}
	returned := capture.Row{present("1000"), present("2026-11-22")}

	mapper := rules.NewMapper(printer{}, mapping.Identity{Source: "library", Lineage: "7301234567890123456"})
	mapper.Begin(&capture.Transaction{ID: "745", Identity: "0/16B3748 745", Position: "0/16B3748", Time: time.Now()})
	for i, row := range []capture.Row{old, nil} {
		if err := mapper.Change(&capture.Change{Op: capture.Update, Table: loans, Old: row, New: returned, Ordinal: i}); err != nil {
			fmt.Println(err)
		}
	}
	if err := mapper.End(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// loan.returned {"loan_id":"1000","returned_on":"2026-11-22"} previous {"returned_on":null}
	// undecidable map circulation.loans: rule loan.returned, set: the old value of column "returned_on" is not in the stream
}
