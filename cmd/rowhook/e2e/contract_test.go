package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"rowhook/capture/capturetest"
)

// What `rowhook schema` says is held against what the tests see: the lines of the delivery log of
// every scenario, the bodies that the library's receivers get, the answers of the admin interface.

// maxHeldLines is how many lines of one world are held to their schema: of a long run the first.
const maxHeldLines = 2000

// compile compiles a JSON Schema that stands at a place of a document.
func compile(text []byte, at string) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("contract.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("contract.json" + at)
}

// lineSchema is the schema of the delivery log's lines.
var lineSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	text, err := exec.Command(binary, "schema", "--log").Output()
	if err != nil {
		return nil, err
	}
	return compile(closed(text), "")
})

// holdLine holds a line of the delivery log to its schema.
func holdLine(tb testing.TB, text []byte) {
	tb.Helper()
	schema, err := lineSchema()
	capturetest.Must(tb, err)
	line, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = schema.Validate(line)
	}
	if err != nil {
		tb.Errorf("a line of the delivery log does not satisfy its schema: %v\n%.300s", err, text)
	}
}

// closed is a schema that allows no members but those it names, so that none is forgotten.
func closed(text []byte) []byte {
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		return text
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, named := v["properties"].(map[string]any); named && v["type"] == "object" && v["additionalProperties"] == nil {
				v["additionalProperties"] = false
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(doc)
	text, _ = json.Marshal(doc) // it was read from JSON
	return text
}

// holdToContract holds what the receivers got to what `rowhook schema --events` says they get.
func (l *library) holdToContract() {
	l.tb.Helper()
	raw, err := os.ReadFile(l.path("log/deliveries.jsonl"))
	if l.tb.Failed() || err != nil {
		return
	}
	schemas := map[string]*jsonschema.Schema{}
	held := 0
	for text := range bytes.Lines(raw) {
		holdLine(l.tb, text)
		var line struct {
			Profile, Body string
			Truncated     bool `json:"body_truncated"`
		}
		capturetest.Must(l.tb, json.Unmarshal(text, &line))
		if line.Body == "" || line.Truncated || line.Profile == "switching" { // whose format is changed on the way
			continue
		}
		schema := schemas[line.Profile]
		if schema == nil {
			r := l.rowhook("schema", "--events", "--format", "jsonschema", "--profile", line.Profile)
			if r.code != 0 {
				l.tb.Errorf("schema --events --profile %s: exit %d\n%s", line.Profile, r.code, r.stderr)
				return
			}
			schema, err = compile(closed([]byte(r.stdout)), "")
			capturetest.Must(l.tb, err)
			schemas[line.Profile] = schema
			if !strings.Contains(r.stdout, "what the profile's template writes") && schema.Validate(map[string]any{"nothing": "of this kind"}) == nil {
				l.tb.Errorf("the schema of profile %s takes anything", line.Profile)
			}
		}
		var body any = line.Body
		if strings.HasPrefix(line.Body, "{") || strings.HasPrefix(line.Body, "[") {
			body, err = jsonschema.UnmarshalJSON(strings.NewReader(line.Body))
			capturetest.Must(l.tb, err)
		}
		held++
		if err := schema.Validate(body); err != nil {
			l.tb.Errorf("a body of profile %s does not satisfy its schema: %v\n%s", line.Profile, err, line.Body)
		}
	}
	l.tb.Logf("%d bodies satisfy their schemas", held)
}

// The bodies of every format and unit satisfy the schemas, for every operation.
func TestBodiesSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) {
		w.conf.mapping = `  proof.rows:
    title: Rows
    code: ROWS
    events:
      row.created: {op: insert}
      row.changed: [{op: update}, {op: delete, where: {seq: 2}}]
      row.deleted: {op: delete}
  ledger:
    table: proof.ledger
    object: ledger
    fields:
      place: {column: place, type: string}
      where: {id: id, op: op, kind: {const: 7}}
      twice: {expr: row.seq * 2}
`
		profiles := map[string]string{
			"native": "", "natives": "unit: transaction", "types": "unit: type", "batch": "unit: batch\n    batch: {max: 10, wait: 200ms}",
			"text": "bigint: string", "cloud": "format: cloudevents", "binary": "format: cloudevents\n    cloudevents: {mode: binary}",
			"clouds": "format: cloudevents\n    unit: transaction", "chat": "format: slack", "alma": "format: alma\n    challenge: none\n    message_type: json",
			"almaxml": "format: alma\n    challenge: none\n    message_type: xml", "rakuraku": "format: rakuraku\n    success: [204]", "operations": "format: rakuraku\n    success: [204]\n    unit: type\n    subscriptions: [{events: [row.created, row.deleted]}]",
			"xml": "message_type: xml", "mine": "format: template\n    template: '{\"type\":{{json .type}}}'",
		}
		for code, more := range profiles {
			w.conf.profiles += w.usualProfile(code)
			if more != "" {
				w.conf.profiles += "    " + more + "\n"
			}
		}
		w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  body: 100000\n"
		if w.server.kind() == "postgres" {
			w.exec(`grant select on proof.ledger to rowhook`, `alter publication rowhook add table proof.ledger`)
		} else {
			w.exec(`grant select on proof.ledger to rowhook`)
		}
		a := w.begin()
		w.exec(`insert into proof.rows values (1, 1, 'a')`, `insert into proof.rows values (2, 1, 'b'), (9007199254740993, 3, 'c')`,
			`update proof.rows set seq = 2 where id = 1`, `delete from proof.rows where id = 1`, `delete from proof.rows where id = 2`,
			`insert into proof.ledger (id, seq, op) values (1, 1, 'i')`, `update proof.ledger set op = 'u'`, `delete from proof.ledger`)
		w.confirmed(patience)
		for code := range profiles {
			w.hook.wait(t, code, 1, patience)
			if r := w.rowhook("profile", "test", code); r.code != 0 {
				t.Errorf("test of %s: %+v", code, r)
			}
		}
		l := &library{tb: t, dir: w.dir}
		eventually(t, patience, "nothing waits", func() bool {
			return !slices.ContainsFunc(l.profiles(), func(p listed) bool { return p.Backlog > 0 })
		})
		l.holdToContract()
		a.term()
	})
}

// Bodies with lists of rows satisfy the schemas in every format: with no rows, with NULLs, with more
// than a list may have, and with a value that is too large to be kept; shaped by items, and masked.
func TestListsSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) {
		w.hook.keepBodies = true
		words, moment, raw := "longtext", "timestamp null", "varbinary(20)"
		if w.server.kind() == "postgres" {
			words, moment, raw = "text", "timestamptz", "bytea"
		}
		w.exec("create table proof.orders (order_id bigint primary key, n bigint not null)",
			"create table proof.order_lines (line_id bigint primary key, order_id bigint, amount decimal(10, 2), note "+words+", paid boolean not null, weight double precision, made "+moment+", due date, extra json, raw "+raw+")",
			`insert into proof.order_lines values (21, 2, 12.50, 'late', true, 0.5, '2026-11-22 01:02:03', '2026-12-01', '{"a": [1, null]}', 'ab'), (22, 2, null, null, false, null, null, null, null, null)`,
			"insert into proof.order_lines select 9007199254740990 + g, 3, g, concat('line ', g), false, g, null, null, '[]', null from "+numbers(5),
			`insert into proof.order_lines (line_id, order_id, note, paid) values (41, 4, '`+strings.Repeat("x", 40_000)+`', true)`,
			"update proof.order_lines set note = repeat(note, 8) where order_id = 4", // which is not kept
			"insert into proof.orders values (1, 1), (2, 1), (3, 1), (4, 1)")
		if w.server.kind() == "postgres" {
			w.exec("grant select on proof.orders, proof.order_lines to rowhook", "alter publication rowhook add table proof.orders, proof.order_lines")
		} else {
			w.exec("grant select on proof.orders to rowhook@'%'", "grant select on proof.order_lines to rowhook@'%'")
		}
		w.conf.mapping = `  proof.orders:
    title: Orders
    code: ORDERS
    columns: {mask: [secrets.note], mask_key_file: mask.key}
    parts:
      lines: {table: proof.order_lines, by: order_id, columns: [line_id, amount, note, paid, weight, made, due, extra, raw], max: 3}
      secrets: {table: proof.order_lines, by: {order_id: order_id}, columns: [line_id, note]}
      sums: {table: proof.order_lines, by: order_id, columns: [line_id, amount]}
    fields:
      id: order_id
      lines: lines
      of: {secrets: secrets}
      sums: {column: sums, items: {id: line_id, sum: amount, currency: {const: EUR}}}
    events:
      order.changed: {op: update}
`
		capturetest.Must(t, os.WriteFile(w.path("mask.key"), bytes.Repeat([]byte("k"), 32), 0o600))
		profiles := map[string]string{
			"native": "", "natives": "unit: transaction", "text": "bigint: string", "cloud": "format: cloudevents", "clouds": "format: cloudevents\n    unit: transaction",
			"alma": "format: alma\n    challenge: none\n    message_type: json", "almaxml": "format: alma\n    challenge: none\n    message_type: xml",
			"rakuraku": "format: rakuraku\n    success: [204]", "xml": "message_type: xml",
		}
		for code, more := range profiles {
			w.conf.profiles += w.usualProfile(code)
			if more != "" {
				w.conf.profiles += "    " + more + "\n"
			}
		}
		w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  body: 100000\n"
		a := w.begin()
		w.loads(1)
		for order := range 4 {
			w.exec(fmt.Sprintf("update proof.orders set n = 2 where order_id = %d", order+1))
		}
		w.hook.wait(t, "native", 4, patience)
		for code := range profiles {
			w.hook.wait(t, code, 1, patience) // some get groups
		}
		l := &library{tb: t, dir: w.dir}
		eventually(t, patience, "nothing waits", func() bool {
			return !slices.ContainsFunc(l.profiles(), func(p listed) bool { return p.Backlog > 0 })
		})
		l.holdToContract()
		w.holdListsToOpenAPI()
		for _, arrived := range w.hook.all("text") {
			var body struct {
				Data struct{ Sums []struct{ ID any } }
			}
			capturetest.Must(t, json.Unmarshal(arrived.body, &body))
			for _, sum := range body.Data.Sums {
				if _, ok := sum.ID.(string); !ok {
					t.Errorf("a 64-bit integer is no text in %s", arrived.body)
				}
			}
		}
		a.term()
	})
}

// holdListsToOpenAPI holds what the profile native got to the OpenAPI document, and that there were
// lists of each kind.
func (w *world) holdListsToOpenAPI() {
	w.tb.Helper()
	r := w.rowhook("schema", "--events", "--profile", "native")
	if r.code != 0 {
		w.tb.Fatalf("schema --events: %+v", r)
	}
	schema, err := compile(closed([]byte(r.stdout)), "#/components/schemas/native.order.changed")
	capturetest.Must(w.tb, err)
	var got []string
	for _, arrived := range w.hook.all("native") {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(arrived.body))
		capturetest.Must(w.tb, err)
		if err := schema.Validate(value); err != nil {
			w.tb.Errorf("a body does not satisfy the OpenAPI document: %v\n%.2000s", err, arrived.body)
		}
		var body struct {
			Data struct {
				ID    int
				Lines []json.RawMessage
			}
			Unavailable []string
		}
		capturetest.Must(w.tb, json.Unmarshal(arrived.body, &body))
		got = append(got, fmt.Sprintf("order %d has %d lines and lacks %s", body.Data.ID, len(body.Data.Lines), strings.Join(body.Unavailable, " ")))
	}
	slices.Sort(got)
	want := []string{
		"order 1 has 0 lines and lacks ", "order 2 has 2 lines and lacks ", "order 3 has 3 lines and lacks lines[3:]",
		"order 4 has 1 lines and lacks lines[0].note of.secrets[0].note",
	}
	if !slices.Equal(got, want) {
		w.tb.Errorf("got %q, want %q", got, want)
	}
}

// The admin interface answers as its OpenAPI document says.
func TestAdminAnswersAsItsContractSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	address := free.Addr().String()
	free.Close()
	capturetest.Must(t, os.WriteFile(w.path("token"), []byte("an admin's token, long enough\n"), 0o600))
	w.conf.top = "admin: {listen: '" + address + "', tokens: [{name: it, file: ./token, role: admin}]}\n"
	a := w.begin()
	r := command(t, nil, "schema", "--admin")
	if r.code != 0 {
		t.Fatalf("schema --admin: %+v", r)
	}
	for _, test := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/healthz", "", 200},
		{"GET", "/readyz", "", 200},
		{"GET", "/status", "", 200},
		{"POST", "/reload", "", 401},
		{"POST", "/reload", "an admin's token, long enough", 200},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+address+test.path, nil)
		capturetest.Must(t, err)
		if test.token != "" {
			request.Header.Set("Authorization", "Bearer "+test.token)
		}
		answer, err := http.DefaultClient.Do(request)
		capturetest.Must(t, err)
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		capturetest.Must(t, err)
		if answer.StatusCode != test.status {
			t.Errorf("%s %s: %d, want %d: %s", test.method, test.path, answer.StatusCode, test.status, body)
		}
		at := "#/paths/" + strings.ReplaceAll(test.path, "/", "~1") + "/" + strings.ToLower(test.method) +
			"/responses/" + answer.Status[:3] + "/content/application~1json/schema"
		schema, err := compile(closed([]byte(r.stdout)), at)
		capturetest.Must(t, err)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		capturetest.Must(t, err)
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s %s: %v\n%s", test.method, test.path, err, body)
		}
	}
	a.term()
}
