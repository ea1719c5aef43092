package catalogue_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/mysql"
	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/catalogue"
	"rowhook/cmd/rowhook/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const library = `source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library", signals: {message: rowhook.event, types: {job.finished: {title: Job}}}}
mapping:
  circulation.loans:
    title: Loans
    columns: {exclude: internal_note, rename: {user_id: user}, mask: email, mask_key_file: mask.key}
    where: {branch: [main, east]}
    events:
      loan.created: {op: insert}
      loan.returned: {op: update, set: returned_at}
      loan.lost: [{becomes: {status: lost}, if: "row.loan_id > 5"}, {cleared: returned_at}]
      loan.gone: {op: delete}
      loan.swept: {op: truncate}
  shaped:
    table: circulation.loans
    fields: {id: loan_id, who: {user: user_id, since: {column: due_at}}, kind: {const: loan}}
    events: {loan.shaped: {}}
  catalog.*: {}
profiles:
  desk: {url: "https://desk.example.org/", signature: none, subscriptions: [{events: ['loan.*']}]}
  archive: {url: "https://archive.example.org/", signature: none, unit: transaction, subscriptions: [{tables: [circulation.loans]}]}
  alma: {url: "https://alma.example.org/", signature: none, format: alma, subscriptions: [{events: [loan.returned]}]}
  discovery: {url: "https://discovery.example.org/", signature: none, format: cloudevents, subscriptions: [{tables: ['catalog.*']}]}
`

func table(named func(string) *capture.Type, name string, columns ...string) *capture.Table {
	schema, short, _ := capture.ParseTable(name)
	t := &capture.Table{Schema: schema, Name: short, Key: []int{0}, Identity: capture.IdentityFull}
	for _, column := range columns {
		name, typ, _ := strings.Cut(column, " ")
		if named(typ) == nil {
			panic("there is no type " + typ)
		}
		t.Columns = append(t.Columns, capture.Column{Name: name, Type: named(typ), Identity: true})
	}
	return t
}

// TestCatalogue holds what people are told to a golden file.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("c.yaml", []byte(library), func(string) (string, bool) { return "", false },
		func(string) ([]byte, error) { return []byte("the real key of the masks"), nil })
	if err != nil {
		t.Fatal(err)
	}
	tables := []*capture.Table{
		table(postgres.TypeNamed, "circulation.loans", "loan_id int8", "user_id text", "email text", "status text", "branch text", "due_at timestamptz",
			"returned_at timestamptz", "fee numeric", "internal_note text"),
		table(postgres.TypeNamed, "catalog.items", "barcode uuid", "tags text[]", "cover bytea", "extra jsonb", "lent bool", "on_day date", "at_time time", "from_host inet"),
	}
	all, err := catalogue.Of(c, "library", tables)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "library.json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("the catalogue differs from %s; got\n%s", path, got)
	}
}

// TestCatalogueOfEveryType makes up a value of every type, and without a database tells the rest.
func TestCatalogueOfEveryType(t *testing.T) {
	t.Parallel()
	for source, columns := range map[string][]string{
		"postgres": {"id int4", "a int8", "b numeric", "c float8", "d bool", "e timestamptz", "f timestamp", "g date", "h json", "i int4[]", "j bytea", "k time", "l interval", "m point", "n uuid", "o cidr", "p money"},
		"mysql":    {"id int", "a bigint", "b decimal", "c double", "e timestamp", "f datetime", "g date", "h json", "j blob", "k time", "l year", "m bit", "n varchar"},
	} {
		url, named := "postgres://rowhook@127.0.0.1/app", postgres.TypeNamed
		if source == "mysql" {
			url, named = "mysql://rowhook@127.0.0.1/app", mysql.TypeNamed
		}
		text := "source: {type: " + source + ", url: \"" + url + "\"}\nmapping:\n  app.rows: {}\nprofiles:\n  desk: {url: \"https://desk.example.org/\", signature: none}\n"
		c, err := config.Parse("c.yaml", []byte(text), func(string) (string, bool) { return "", false }, nil)
		if err != nil {
			t.Fatal(err)
		}
		all, err := catalogue.Of(c, "app", []*capture.Table{table(named, "app.rows", columns...)})
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range all.Events {
			if event.Type == "record.deleted" {
				continue
			}
			if len(event.Payload) != len(columns) || len(event.Examples) != 1 || !json.Valid([]byte(event.Examples[0].Body)) {
				t.Errorf("%s: %s has %d members of %d columns, %d examples", source, event.Type, len(event.Payload), len(columns), len(event.Examples))
			}
			for _, member := range event.Payload {
				if event.Type == "record.inserted" && member.JSON == "null" {
					t.Errorf("%s: no value was made up for %s %s", source, member.Name, member.Type)
				}
			}
		}
		bare, err := catalogue.Of(c, "app", nil)
		if err != nil || len(bare.Events) != len(all.Events) || bare.Events[0].Payload != nil || len(bare.Events[0].Profiles) != 1 {
			t.Errorf("without a database: %+v, %v", bare, err)
		}
	}
}

// TestCatalogueOfTouches: an event that a looked-up row makes is shown with what that had before.
func TestCatalogueOfTouches(t *testing.T) {
	t.Parallel()
	c, err := config.Parse("c.yaml", []byte(`source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library"}
lookups:
  items: {table: catalog.items, key: item_id, columns: [title, holding_id]}
  holdings: {table: catalog.holdings, key: holding_id, columns: [call_no]}
mapping:
  circulation.loans:
    lookup: {item: {from: items, by: item_id}, holding: {from: holdings, by: item.holding_id}}
    fields: {id: loan_id, title: item.title, call: holding.call_no}
    events:
      loan.moved: {touch: holding, changed: holding.call_no}
profiles:
  desk: {url: "https://desk.example.org/", signature: none}
`), func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := catalogue.Of(c, "library", []*capture.Table{
		table(postgres.TypeNamed, "circulation.loans", "loan_id int8", "item_id int8"),
		table(postgres.TypeNamed, "catalog.items", "item_id int8", "title text", "holding_id int8"),
		table(postgres.TypeNamed, "catalog.holdings", "holding_id int8", "call_no text"),
	})
	if err != nil || len(all.Events) != 1 || len(all.Events[0].Examples) != 1 {
		t.Fatalf("%+v: %v", all, err)
	}
	event := all.Events[0]
	if rule := event.Rules[0]; strings.Join(rule.Touch, " ") != "holding" || strings.Join(rule.Ops, " ") != "update" {
		t.Errorf("rule %+v", rule)
	}
	if body := event.Examples[0].Body; !strings.Contains(body, `"previous":{"call":null}`) || strings.Contains(body, "unavailable") {
		t.Errorf("example %s", body)
	}
}
