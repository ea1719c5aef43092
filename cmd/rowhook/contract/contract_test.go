package contract

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

// TestBodies: a type of several tables is any of them, a group holds all events, and a test event is
// always there.
func TestBodies(t *testing.T) {
	t.Parallel()
	shape := func(typ, table string) delivery.EventShape {
		return delivery.EventShape{EventType: delivery.EventType{Type: typ, Entry: table, Ops: []string{"insert"}}, Table: table}
	}
	products := format.Products()
	receiver := func(code, unit string, events ...delivery.EventShape) Receiver {
		p := products.Defaults("native")
		p.Code, p.Unit = code, unit
		return Receiver{Profile: &p, Product: products.Of("native"), ContentType: "application/json", Events: events}
	}
	a, b, c := shape("record.inserted", "app.a"), shape("record.inserted", "app.b"), shape("loan.created", "app.c")
	what := &Contract{Source: "library", Receivers: []Receiver{
		receiver("one", "record", a, b, c), receiver("many", "transaction", a, c), receiver("typed", "type", c), receiver("none", "record"),
	}}
	refer := func(name string) Schema { return Schema{"$ref": name} }
	all, schemas := what.bodies(refer)
	var names []string
	for _, body := range all {
		names = append(names, body.name)
		if schemas[body.name] == nil {
			t.Errorf("%s has no schema", body.name)
		}
	}
	want := "one.record.inserted one.loan.created one.rowhook.test many-group many.rowhook.test typed.loan.created-group typed.rowhook.test none.rowhook.test"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("bodies are\n%s\nwant\n%s", got, want)
	}
	if got := schemas["one.record.inserted"].(Schema)["anyOf"]; !reflect.DeepEqual(got, []Schema{refer("one.record.inserted-1"), refer("one.record.inserted-2")}) {
		t.Errorf("two tables' events are %v", got)
	}
	first, err := json.Marshal(what.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(what.OpenAPI()); err != nil || string(first) != string(second) {
		t.Errorf("the same contract has other bytes: %v", err)
	}
}

// TestSharedProfilesTellTheirEpoch: only requests of profiles that machines share have its header.
func TestSharedProfilesTellTheirEpoch(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		p := format.Products().Defaults("native")
		p.Code = "desk"
		what := &Contract{Source: "library", Receivers: []Receiver{{Profile: &p, Product: format.Products().Of("native"), ContentType: "application/json", Shared: shared}}}
		for name, document := range map[string]any{"OpenAPI": what.OpenAPI(), "AsyncAPI": what.AsyncAPI()} {
			text, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(text), `"rowhook-epoch"`); got != shared {
				t.Errorf("%s has the header: %t, want %t", name, got, shared)
			}
		}
	}
}

// TestReflection: schemas of structs are those of what encoding/json writes of them.
func TestReflection(t *testing.T) {
	t.Parallel()
	type Inner struct {
		Count int `json:"count"`
	}
	type outer struct {
		Inner
		At      time.Time      `json:"at"`
		Share   float64        `json:"share,omitempty"`
		Names   []string       `json:"names"`
		By      map[string]int `json:"by,omitzero"`
		Other   *Inner         `json:"other"`
		Hidden  string         `json:"-"`
		Plain   bool
		private int
	}
	r := &reflector{schemas: Schema{}}
	ref := r.of(reflect.TypeFor[outer]())
	got, err := json.Marshal([]any{ref, r.schemas})
	want := `[{"$ref":"#/components/schemas/contract.outer"},{"contract.Inner":{"properties":{"count":{"type":"integer"}},"required":["count"],"type":"object"},` +
		`"contract.outer":{"properties":{"Plain":{"type":"boolean"},"at":{"format":"date-time","type":"string"},"by":{"additionalProperties":{"type":"integer"},"type":["object","null"]},` +
		`"count":{"type":"integer"},"names":{"items":{"type":"string"},"type":["array","null"]},"other":{"anyOf":[{"$ref":"#/components/schemas/contract.Inner"},{"type":"null"}]},"share":{"type":"number"}},` +
		`"required":["count","at","names","other","Plain"],"type":"object"}}]`
	if err != nil || string(got) != want {
		t.Errorf("got\n%s\nwant\n%s (%v)", got, want, err)
	}
	_ = outer{}.private
}
