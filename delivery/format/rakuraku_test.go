package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rowhook/delivery"
)

// rakurakuEvents are the kinds of messages: what happened to a record, steps of a workflow, and
// logins, which have no app.
func rakurakuEvents() map[string]*delivery.Event {
	at := time.Date(2026, 1, 2, 3, 4, 5, 999e6, time.UTC)
	event := func(op, key, data string) *delivery.Event {
		return &delivery.Event{
			Making: &delivery.Making{
				Type: "record." + op, Entry: "circulation.loans", Source: "library", Table: "circulation.loans", Op: op,
				Title: "貸出管理", Code: "APP_0200",
			},
			Commit: &delivery.Commit{Time: at, Actor: delivery.Actor{ID: "aa010001", Name: "住友 太郎"}},
			ID:     "evt_" + op, Key: []byte(key), Data: []byte(data),
		}
	}
	insert := event("insert", `{"loan_id":57}`, `{"loan_id":57,"title":"図書館の話","note":"a\nb\u2028<&>","copies":3,"isbn":9007199254740993,"fee":"12.50","weight":0.5,"renewable":true,`+
		`"due":"2026-01-20T14:00:00.000000Z","made":"2026-01-20T14:00:00.000000","day":"2026-01-20","at":"14:00:01.500000","facts":{"a": [1, "x"]},"tags":["a",2,null,true,{"b":1}],"photo":"AAEC","gone":null,"other":"x"}`)
	insert.Kinds = "IsSiInfbztdhjlosx"
	update := event("update", `{"loan_id":57}`, `{"loan_id":57,"title":"図書館の話"}`)
	update.Kinds = "Is"
	unknown := event("update", `{"loan_id":57}`, `{"loan_id":57,"title":"t","due":"infinity"}`)
	unknown.Kinds = "Is-z"
	remove := event("delete", `{"loan_id":57}`, `{"loan_id":57}`)
	remove.Shape, remove.Kinds = []byte(`{"loan_id":57,"title":"図書館の話"}`), "Is"
	composite := event("update", `{"branch":"a b","no":-7}`, `{"branch":"a b","no":-7,"title":"t"}`)
	composite.Kinds = "sis"
	step := event("update", `{"loan_id":57}`, `{"loan_id":57,"title":"t"}`)
	step.As = map[string]*string{"event": text("APP_WORKFLOW_APPROVE")}
	login := event("signal", `{"user":"u"}`, `{"a":1}`)
	login.Type, login.Title, login.Code, login.As = "user.login", "", "", map[string]*string{"event": text("LOGIN")}
	nobody := event("insert", `{"loan_id":1}`, `{"loan_id":1}`)
	nobody.Actor, nobody.Title = delivery.Actor{}, `"\<&>`
	truncate := event("truncate", `{}`, ``)
	return map[string]*delivery.Event{
		"insert": insert, "update": update, "unknown": unknown, "delete": remove, "composite": composite,
		"workflow": step, "login": login, "nobody": nobody, "truncate": truncate,
	}
}

func rakurakuConfig(change func(*delivery.ProfileConfig)) delivery.ProfileConfig {
	cfg := Products().Defaults("rakuraku")
	cfg.Code, cfg.IdentificationKey = "desk", "LOANKEY_1"
	cfg.Rakuraku.AppID, cfg.Rakuraku.URLBase = "rakwdb_app20", "https://db.example.jp"
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func renderGroup(t testing.TB, cfg delivery.ProfileConfig, events ...*delivery.Event) []byte {
	t.Helper()
	f, err := Products().Formatter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := &delivery.Group{ID: "grp_1", Unit: "type", Count: len(events), First: events[0], Events: func(yield func(*delivery.Event, error) bool) {
		for _, ev := range events {
			if !yield(ev, nil) {
				return
			}
		}
	}}
	var out bytes.Buffer
	if err := f.(delivery.GroupFormatter).WriteGroup(&out, g); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRakurakuGolden compares each kind, as a record and as an operation with two of them, with its
// golden file: one line each.
func TestRakurakuGolden(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	for name, ev := range rakurakuEvents() {
		other := *ev
		record := mustRender(t, rakurakuConfig(nil), ev)
		operation := renderGroup(t, rakurakuConfig(nil), ev, &other)
		goldenLines(t, filepath.Join("rakuraku", name+".txt"), record, operation)
		engine.fixedPoint(t, record)
		engine.fixedPoint(t, operation)
	}
}

// TestRakurakuExamples: the bodies that the format was specified by come out as they are.
func TestRakurakuExamples(t *testing.T) {
	t.Parallel()
	all := rakurakuEvents()
	const update = `{"appName":"貸出管理","execUserName":"住友 太郎","execUserId":"aa010001","appCode":"APP_0200","type":"APP_DATA_UPDATE",` +
		`"url":"https://db.example.jp/RakWDB/top/rakwdb_app20?np=19&rkwa_primarykey_field=rakwdb_app20_main_primarykey&rakwdb_app20_main_primarykey=57",` +
		`"eventTime":"2026-01-02 12:04:05","key":"LOANKEY_1",` +
		`"data":{"rakwdb_app20_main_primarykey":{"type":"id","value":"57"},"rakwdb_app20_main_0":{"type":"text","value":"図書館の話"}}}`
	if got := string(mustRender(t, rakurakuConfig(nil), all["update"])); got != update {
		t.Errorf("got\n%s\nwant\n%s", got, update)
	}
	const remove = `{"appName":"貸出管理","execUserName":"住友 太郎","execUserId":"aa010001","appCode":"APP_0200","type":"APP_DATA_DELETE",` +
		`"eventTime":"2026-01-02 12:04:05",` +
		`"data":[{"rakwdb_app20_main_primarykey":{"type":"id","value":"57"}},{"rakwdb_app20_main_primarykey":{"type":"id","value":"58"}}]}`
	second := *all["delete"]
	second.Key = []byte(`{"loan_id":58}`)
	unkeyed := rakurakuConfig(func(c *delivery.ProfileConfig) { c.IdentificationKey = "" })
	if got := string(renderGroup(t, unkeyed, all["delete"], &second)); got != remove {
		t.Errorf("got\n%s\nwant\n%s", got, remove)
	}
}

// TestRakurakuPresence: url for a single record that was inserted or updated and for nothing else;
// key where there is one.
func TestRakurakuPresence(t *testing.T) {
	t.Parallel()
	for op, ev := range rakurakuEvents() {
		for _, group := range []bool{false, true} {
			for _, key := range []string{"", "K_1"} {
				cfg := rakurakuConfig(func(c *delivery.ProfileConfig) { c.IdentificationKey = key })
				body := mustRender(t, cfg, ev)
				if group {
					body = renderGroup(t, cfg, ev)
				}
				var members map[string]json.RawMessage
				if err := json.Unmarshal(body, &members); err != nil {
					t.Fatal(err)
				}
				app := ev.Code != ""
				want := map[string]bool{
					"appName": app, "appCode": app, "data": app, "execUserName": true, "execUserId": true, "type": true, "eventTime": true,
					"url": app && !group && hasItems(ev), "key": key != "",
				}
				for name, there := range want {
					if _, ok := members[name]; ok != there {
						t.Errorf("%s, group %v, key %q: %s is there: %v", op, group, key, name, ok)
					}
				}
				if app && (members["data"][0] == '[') != group {
					t.Errorf("%s, group %v: %s", op, group, body)
				}
			}
		}
	}
}

func TestRakurakuSettings(t *testing.T) {
	t.Parallel()
	ev := rakurakuEvents()["insert"]
	linked := *ev
	linked.Link = "https://ils.example.org/loans/57"
	for _, test := range []struct {
		name   string
		ev     *delivery.Event
		change func(*delivery.RakurakuConfig)
		want   []string
	}{
		{"field", ev, func(c *delivery.RakurakuConfig) { c.AppCodeField = "appcode" }, []string{`"appcode":"APP_0200"`}},
		{"zone", ev, func(c *delivery.RakurakuConfig) { c.Timezone = "UTC" }, []string{`"eventTime":"2026-01-02 03:04:05"`, `"value":"2026-01-20 14:00:00"`}},
		{"formats", ev, func(c *delivery.RakurakuConfig) {
			c.DateFormat, c.DatetimeFormat = "YYYY年M月D日", "YY/MM/DD hh:mm"
		}, []string{`{"type":"date","value":"2026年1月20日"}`, `{"type":"datetime","value":"26/01/20 23:00"}`, `"eventTime":"2026-01-02 12:04:05"`}},
		{"null", ev, func(c *delivery.RakurakuConfig) { c.NullValue = "null" }, []string{`"rakwdb_app20_main_14":{"type":"text","value":null}`}},
		{"omit", ev, func(c *delivery.RakurakuConfig) { c.NullValue = "omit" }, []string{`"rakwdb_app20_main_13":{"type":"file","value":""},"rakwdb_app20_main_15"`}},
		{"link", &linked, func(c *delivery.RakurakuConfig) { c.URLBase = "" }, []string{`"url":"https://ils.example.org/loans/57"`}},
		{"no link for this record", ev, func(c *delivery.RakurakuConfig) {
			c.URLBase, c.Entries = "", map[string]delivery.RakurakuEntry{"circulation.loans": {Linked: true}}
		}, []string{`"url":"",`}},
		{"neither", ev, func(c *delivery.RakurakuConfig) { c.URLBase = "" }, []string{`"url":"/RakWDB/top/`}},
		{"base before link", &linked, nil, []string{`"url":"https://db.example.jp/RakWDB`}},
		{"no app id", ev, func(c *delivery.RakurakuConfig) { c.AppID = "" }, []string{`"APP_0200_main_0"`}},
		{"entry", ev, func(c *delivery.RakurakuConfig) {
			c.Entries = map[string]delivery.RakurakuEntry{"circulation.loans": {AppID: "rakwdb_app7", Items: []delivery.RakurakuItem{
				{Member: "title", ID: "rakwdb_app7_title"}, {Member: "copies", Type: "user"}, {Member: "due", Type: "date"},
			}}}
		}, []string{`top/rakwdb_app7?`, `"rakwdb_app7_main_primarykey"`, `"rakwdb_app7_title":{"type":"text"`, `"rakwdb_app7_main_2":{"type":"user","value":"3"}`, `{"type":"date","value":"2026-01-20"}`}},
	} {
		body := string(mustRender(t, rakurakuConfig(func(c *delivery.ProfileConfig) {
			if test.change != nil {
				test.change(&c.Rakuraku)
			}
		}), test.ev))
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in %s", test.name, want, body)
			}
		}
	}
}

func TestRakurakuRefuses(t *testing.T) {
	t.Parallel()
	for key, change := range map[string]func(*delivery.RakurakuConfig){
		"timezone":        func(c *delivery.RakurakuConfig) { c.Timezone = "Mars/Olympus" },
		"date_format":     func(c *delivery.RakurakuConfig) { c.DateFormat = "yyyy-mm-dd" },
		"datetime_format": func(c *delivery.RakurakuConfig) { c.DatetimeFormat = "2006-01-02" },
		"null_value":      func(c *delivery.RakurakuConfig) { c.NullValue = "nil" },
	} {
		_, err := Products().Formatter(rakurakuConfig(func(c *delivery.ProfileConfig) { change(&c.Rakuraku) }))
		var e *delivery.ConfigError
		if !errors.As(err, &e) || !slices.Equal(e.ConfigPath(), []string{"profiles", "desk", "rakuraku", key}) || e.RemedyText() == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestPlainNumbers(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"1": "1", "-12.50": "-12.50", "1e3": "1000", "-1.5E2": "-150", "1.25e1": "12.5", "12e-4": "0.0012", "0e5": "0e5", "1e9999": "1e9999", "1.20e0": "1.2",
	} {
		got, err := appendPlainNumber(nil, []byte(number))
		if err != nil || string(got) != `"`+want+`"` {
			t.Errorf("%s: %s, %v", number, got, err)
		}
	}
}

// TestRakurakuProperty: whatever a record holds, in any kind, the body is a fixed point of
// JavaScript. TestRakurakuAfterReload: a formatter outlives a reload of the mapping, which may give
// an entry another key or shape.
func TestRakurakuAfterReload(t *testing.T) {
	t.Parallel()
	f, err := Products().Formatter(rakurakuConfig(nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, parts := range [][2]string{
			{`{"a":"1"}`, `{"a":"1","b":"2","c":"3"}`}, {`{"a":"1","b":"2"}`, `{"a":"1","b":"2","c":"3"}`}, {`{"b":"2"}`, `{"a":"1","b":"2","c":"3"}`},
			{`{"a":"1"}`, `{"a":"1","x":"2","c":"3"}`}, {`{"a":"1"}`, `{"a":"1","b":"2","c":"3"}`}, {`{}`, `{"a":"1","b":"2","c":"3"}`}, {`{"a":"1"}`, `{"c":"3","a":"1","b":"2"}`},
			{`{"a":"1"}`, `{"a":"1","b":"2"}`},
		} {
			ev := &delivery.Event{
				Making: &delivery.Making{Type: "a.b", Entry: "app.a", Code: "A", Op: "update"},
				Commit: &delivery.Commit{},
				ID:     "evt_1", Key: []byte(parts[0]), Data: []byte(parts[1]), Kinds: "sss",
			}
			want := mustRender(t, rakurakuConfig(nil), ev)
			ev.Marks = []byte{}
			if got, err := f.AppendBody(nil, ev); err != nil || !bytes.Equal(got, want) {
				t.Errorf("key %s, data %s: got\n%s (%v)\nwant\n%s", parts[0], parts[1], got, err, want)
			}
		}
	}
}

// TestNestedTexts holds that lists and objects become the strings that encoding/json's compact form
// is.
func TestNestedTexts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.TrimSpace(jsonText(rt, 3))
		if text[0] != '[' && text[0] != '{' {
			text = "[ " + text + "\n]"
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(text)); err != nil {
			rt.Fatal(err)
		}
		got, want := appendNestedText([]byte("kept"), []byte(text)), appendCanonicalString([]byte("kept"), compact.Bytes())
		if !bytes.Equal(got, want) {
			rt.Fatalf("%q became %s, not %s", text, got, want)
		}
	})
}

func TestRakurakuProperty(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	rapid.Check(t, func(rt *rapid.T) {
		var members []string
		for _, name := range []string{"a", "b", "c"} {
			members = append(members, `"`+name+`":`+strings.TrimSpace(jsonText(rt, 2)))
		}
		ev := &delivery.Event{
			Making: &delivery.Making{Type: "record.updated", Code: "A", Title: rapid.String().Draw(rt, "title"), Op: "update"},
			Commit: &delivery.Commit{},
			ID:     "evt_1", Key: []byte(`{"id":` + jsonString(rt) + `}`), Data: []byte("{" + strings.Join(members, ",") + "}"),
			Kinds: rapid.StringMatching(`[xsSiInfbztdhjlom]{3}`).Draw(rt, "kinds"),
		}
		rt.Logf("key %s data %s kinds %s", ev.Key, ev.Data, ev.Kinds)
		body := mustRender(rt, rakurakuConfig(nil), ev)
		if js := engine.restringify(t, body); !bytes.Equal(js, body) {
			rt.Fatalf("JavaScript makes\n%s\nof\n%s", js, body)
		}
	})
}

// TestRakurakuWorkflow: a row that is a step of a workflow names its record by the key, and the
// step's members are no items.
func TestRakurakuWorkflow(t *testing.T) {
	t.Parallel()
	step := *rakurakuEvents()["workflow"]
	step.Op, step.Key = "insert", []byte(`{"plan_id":5}`)
	step.Data = []byte(`{"plan_id":5,"step":"approve","by":"Oe","status":"done","comment":null}`)
	workflow := delivery.RakurakuWorkflow{Step: "step", Status: "status", Comment: "comment"}
	const head = `,"data":{"rakwdb_app20_main_primarykey":{"type":"id","value":"5"},"rakwdb_app20_main_0":{"type":"text","value":"Oe"}}`
	for name, tt := range map[string]struct {
		workflow  delivery.RakurakuWorkflow
		nullValue string
		want      string
	}{
		"all":          {workflow, "", head + `,"workflow":{"step":"approve","status":"done","comment":""}}`},
		"null":         {workflow, "null", head + `,"workflow":{"step":"approve","status":"done","comment":null}}`},
		"omit":         {workflow, "omit", head + `,"workflow":{"step":"approve","status":"done"}}`},
		"without note": {delivery.RakurakuWorkflow{Step: "step", Status: "status"}, "omit", head + `,"workflow":{"step":"approve","status":"done"}}`},
	} {
		cfg := rakurakuConfig(func(c *delivery.ProfileConfig) {
			c.Rakuraku.NullValue = tt.nullValue
			c.Rakuraku.Entries = map[string]delivery.RakurakuEntry{"circulation.loans": {Workflow: tt.workflow}}
		})
		marked := step
		marked.Kinds = "Issss"
		marked.Marks = marks(t, &marked)
		for _, ev := range []*delivery.Event{&step, &marked} {
			if got := string(mustRender(t, cfg, ev)); !strings.HasSuffix(got, tt.want) {
				t.Errorf("%s:\n got %s\nwant ...%s", name, got, tt.want)
			}
		}
	}
	cfg := rakurakuConfig(func(c *delivery.ProfileConfig) {
		c.Rakuraku.Entries = map[string]delivery.RakurakuEntry{"circulation.loans": {Workflow: delivery.RakurakuWorkflow{Step: "stage"}}}
	})
	f, err := Products().Formatter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := f.AppendBody(nil, &step); err == nil || !strings.Contains(err.Error(), `rakuraku.workflow.step: the payload has no "stage"`) {
		t.Errorf("a member that is not there: %s, %v", body, err)
	}
}

// TestCheckRakuraku: what one request cannot say of the events that a profile gets is refused at
// its place.
func TestCheckRakuraku(t *testing.T) {
	t.Parallel()
	returned := delivery.EventType{Type: "loan.returned", Entry: "loans", Ops: []string{"update"}, Unnamed: []string{"update"}}
	mixed := delivery.EventType{Type: "loan.changed", Entry: "loans", Unnamed: []string{"insert", "update"}}
	step := map[string]delivery.RakurakuEntry{"loans": {Workflow: delivery.RakurakuWorkflow{Step: "step"}}}
	index := map[string]delivery.RakurakuEntry{"loans": {Items: []delivery.RakurakuItem{{Member: "id", ID: "7"}}}}
	for _, tt := range []struct {
		name    string
		unit    string
		entries map[string]delivery.RakurakuEntry
		events  []delivery.EventType
		want    string // paths
	}{
		{"nothing", "type", nil, []delivery.EventType{returned}, ""},
		{"two kinds of change", "type", nil, []delivery.EventType{returned, mixed}, "profiles.desk.unit"},
		{"one request each", "record", nil, []delivery.EventType{mixed}, ""},
		{"steps of a workflow", "type", step, []delivery.EventType{mixed, returned}, "profiles.desk.unit"},
		{"one step", "record", step, []delivery.EventType{returned}, ""},
		{"an item like an index", "record", index, []delivery.EventType{returned}, "mapping.loans.rakuraku.items.id.id"},
	} {
		c := rakurakuConfig(nil)
		c.Code, c.Unit, c.Rakuraku.Entries = "desk", tt.unit, tt.entries
		var got []string
		for _, wrong := range checkRakuraku(&c, tt.events) {
			got = append(got, strings.Join(wrong.Path, "."))
			if wrong.Text == "" || wrong.Remedy == "" {
				t.Errorf("%s: %+v", tt.name, wrong)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %s", tt.name, got)
		}
	}
}

// TestFindInRakuraku: an entry without a code, and one without a link, are named once each.
func TestFindInRakuraku(t *testing.T) {
	t.Parallel()
	insert := []string{"insert"}
	events := []delivery.EventType{
		{Type: "job.finished", Ops: []string{"signal"}},
		{Type: "user.login", Entry: "logins", Ops: insert},
		{Type: "loan.created", Entry: "loans", Ops: insert, Unnamed: insert},
		{Type: "loan.renewed", Entry: "loans", Ops: insert, Unnamed: insert},
		{Type: "item.created", Entry: "items", Ops: insert, Unnamed: insert, Code: "ITEMS"},
		{Type: "item.linked", Entry: "linked", Ops: insert, Unnamed: insert, Code: "LINKED", Link: "https://db.example.jp/{id}"},
		{Type: "bib.deleted", Entry: "bibs", Ops: []string{"delete"}, Unnamed: []string{"delete"}, Code: "BIBS"},
	}
	c := rakurakuConfig(nil)
	c.Code, c.Unit, c.Rakuraku.URLBase = "desk", "record", ""
	var got []string
	for _, f := range findInRakuraku(&c, events) {
		got = append(got, f.Code+" "+strings.Join(f.Path, "."))
	}
	if want := "rakuraku_code mapping.loans, rakuraku_url profiles.desk"; strings.Join(got, ", ") != want {
		t.Errorf("found %s", got)
	}
	c.Rakuraku.URLBase = "https://db.example.jp"
	if found := findInRakuraku(&c, events); len(found) != 1 {
		t.Errorf("with url_base: %+v", found)
	}
}
