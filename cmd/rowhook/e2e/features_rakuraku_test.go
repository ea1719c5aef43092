package e2e_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// rakurakus are two webhooks of one app, by record and by operation, besides a receiver of
// everything.
const rakurakus = everything + `
  record-hook:
    url: https://record.example.org/hook
    format: rakuraku
    identification_key: PLANKEY_1
    rakuraku: {url_base: https://db.example.jp}
    concurrency: 1
    subscriptions: [{tables: [app.plans, app.sessions]}]

  operation-hook:
    url: https://operation.example.org/hook
    format: rakuraku
    unit: type
    concurrency: 1
    subscriptions: [{tables: [app.plans]}]

  sub-app-hook:
    url: https://subapp.example.org/hook
    format: rakuraku
    rakuraku: {url_base: https://db.example.jp, app_code_field: appcode, timezone: UTC, null_value: omit, date_format: YYYY/MM/DD}
    concurrency: 1
    subscriptions: [{tables: [library-plans]}]

  linking-hook:
    url: https://linking.example.org/hook
    format: rakuraku
    rakuraku: {app_code_field: appcode, timezone: UTC, null_value: omit, date_format: YYYY/MM/DD}
    concurrency: 1
    subscriptions: [{tables: [app.plans]}]
`

// TestFeatureRakuraku: a webhook's messages are those of the app: its members in order, url, key
// and data where they belong, one a record or one an operation.
func TestFeatureRakuraku(t *testing.T) {
	t.Parallel()
	changes := withProfiles(rakurakus)
	changes["    rakuraku:\n      app_id: rakwdb_app1234 "] = "    link: https://plans.example.jp/show/{plan_id}?from=hook\n    rakuraku:\n      app_id: rakwdb_app1234 "
	onLibraries(t, true, changes, testFeatureRakuraku)
}

func testFeatureRakuraku(t *testing.T, l *library) {
	l.presets()
	l.open()
	w := &watcher{library: l, profile: "everything"}
	who := l.as("aa010001", "住友 太郎", "insert.bulk")
	w.events(who, `insert into app.plans (plan_id, title, amount, department, wanted_by, note) values (1, '図書館の話', 12.50, 'OTHER', '2026-01-02', null), (2, 'B', 1, 'OTHER', null, 'n')`)
	w.events(who, `update app.plans set title = 'C' where plan_id = 1`)
	w.events(who, `delete from app.plans`)
	w.events(`insert into app.sessions (session_id, user_id, user_name) values ('s', 'bb', 'B')`)
	w.events(`delete from app.sessions`)

	records := l.await("record", 7, "all records", posted(""))
	record := func(kind, url, data string) *regexp.Regexp {
		return regexp.MustCompile(`^\{"appName":"Purchase plans","execUserName":"住友 太郎","execUserId":"aa010001","appCode":"APP_0100","type":"` + kind + `",` +
			url + `"eventTime":"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d","key":"PLANKEY_1","data":` + data + `\}$`)
	}
	url := func(key string) string {
		return regexp.QuoteMeta(`"url":"https://db.example.jp/RakWDB/top/rakwdb_app1234?np=19&rkwa_primarykey_field=rakwdb_app1234_main_primarykey&rakwdb_app1234_main_primarykey=` + key + `",`)
	}
	whole := func(key, title string) string {
		return `\{"rakwdb_app1234_main_primarykey":\{"type":"id","value":"` + key + `"\},"rakwdb_app1234_main_0":\{"type":"text(area)?","value":"` + title + `"\},.*\}`
	}
	for i, want := range []*regexp.Regexp{
		record("APP_DATA_INSERT", url("1"), whole("1", "図書館の話")), record("APP_DATA_INSERT", url("2"), whole("2", "B")),
		record("APP_DATA_UPDATE", url("1"), whole("1", "C")),
		record("APP_DATA_DELETE", "", `\{"rakwdb_app1234_main_primarykey":\{"type":"id","value":"[12]"\}\}`),
		record("APP_DATA_DELETE", "", `\{"rakwdb_app1234_main_primarykey":\{"type":"id","value":"[12]"\}\}`),
		regexp.MustCompile(`^\{"execUserName":"B","execUserId":"bb","type":"LOGIN","eventTime":"[^"]*","key":"PLANKEY_1"\}$`),
		regexp.MustCompile(`^\{"execUserName":"B","execUserId":"bb","type":"LOGOUT","eventTime":"[^"]*","key":"PLANKEY_1"\}$`),
	} {
		if !want.Match(records[i].body) {
			t.Errorf("record %d: %s\nwant %s", i, records[i].body, want)
		}
	}
	for _, item := range []string{`{"type":"number","value":"12.50"}`, `{"type":"date","value":"2026-01-02"}`, `{"type":"checkbox","value":"0"}`} {
		if !strings.Contains(string(records[0].body), item) {
			t.Errorf("no item %s in %s", item, records[0].body)
		}
	}
	operations := l.await("operation", 3, "all operations", posted(""))
	for i, want := range []struct {
		kind string
		n    int
	}{{"APP_DATA_INSERT", 2}, {"APP_DATA_UPDATE", 1}, {"APP_DATA_DELETE", 2}} {
		got := operations[i]
		list, _ := got.at(t, "data").([]any)
		if got.at(t, "type") != want.kind || len(list) != want.n || got.at(t, "url") != nil || got.at(t, "key") != nil {
			t.Errorf("operation %d: %s", i, got.body)
		}
		for _, one := range list {
			if members, _ := one.(map[string]any); want.kind == "APP_DATA_DELETE" && len(members) != 1 {
				text, _ := json.Marshal(one)
				t.Errorf("a deleted record has more than its key: %s", text)
			}
		}
	}
	tellsTime(t, records[0], "Asia/Tokyo")
	linked(t, w)
	subApp(t, w)
}

// tellsTime holds eventTime to when the change was committed, which was just before the request, in
// the profile's time zone.
func tellsTime(t *testing.T, r *request, zone string) {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := r.at(t, "eventTime").(string)
	if at, err := time.ParseInLocation(time.DateTime, text, location); err != nil || r.came.Sub(at) < -time.Second || r.came.Sub(at) > patience {
		t.Errorf("eventTime %s in %s (%v), of a request at %s", text, zone, err, r.came)
	}
}

// linked looks at a webhook with other names and forms, whose URLs are the application's own
// permalinks.
func linked(t *testing.T, w *watcher) {
	t.Helper()
	got := w.await("linking", 5, "all records", posted(""))
	first := string(got[0].body)
	for _, has := range []string{`"url":"https://plans.example.jp/show/1?from=hook"`, `"appcode":"APP_0100"`, `{"type":"date","value":"2026/01/02"}`, `{"type":"checkbox","value":"0"}`} {
		if !strings.Contains(first, has) {
			t.Errorf("no %s in %s", has, first)
		}
	}
	for i, has := range []bool{true, true, true, false, false} {
		if url := got[i].at(t, "url"); (url != nil) != has {
			t.Errorf("url %v in %s", url, got[i].body)
		}
	}
	if strings.Contains(first, "appCode") || strings.Contains(first, `"key"`) || strings.Contains(first, "null") {
		t.Errorf("%s", first)
	}
	tellsTime(t, got[0], "UTC")
}

// subApp changes rows of a sub-app, which is some rows and columns of an app: it has updates only,
// and a row that leaves it was updated in the app.
func subApp(t *testing.T, w *watcher) {
	t.Helper()
	for _, s := range []step{
		{"a row of the sub-app is made", `insert into app.plans (plan_id, title, amount) values (7, 'Maps', 3)`, "plan.inserted"},
		{"it changes", `update app.plans set amount = 4 where plan_id = 7`, "plan.updated library_plan.updated"},
		{"it leaves the sub-app", `update app.plans set department = 'OTHER' where plan_id = 7`, "plan.updated"},
		{"it changes there", `update app.plans set amount = 5 where plan_id = 7`, "plan.updated"},
		{"it comes back", `update app.plans set department = 'LIBRARY' where plan_id = 7`, "plan.updated library_plan.updated"},
		{"it is deleted", `delete from app.plans where plan_id = 7`, "plan.deleted"},
	} {
		if got := types(t, w.events(w.as("aa010001", "住友 太郎", "update.single"), s.sql)); got != s.want {
			t.Errorf("%s: got %q, want %q", s.what, got, s.want)
		}
	}
	got := w.await("subapp", 2, "both changes", posted(""))
	want := regexp.MustCompile(`^\{"appName":"The library's plans","execUserName":"住友 太郎","execUserId":"aa010001","appcode":"APP_0101","type":"APP_DATA_UPDATE",` +
		regexp.QuoteMeta(`"url":"https://db.example.jp/RakWDB/top/rakwdb_app1235?np=19&rkwa_primarykey_field=rakwdb_app1235_main_primarykey&rakwdb_app1235_main_primarykey=7",`) +
		`"eventTime":"[^"]*","data":\{"rakwdb_app1235_main_primarykey":\{"type":"id","value":"7"\},"rakwdb_app1235_main_0":\{"type":"text(area)?","value":"Maps"\},` +
		`"rakwdb_app1235_main_1":\{"type":"number","value":"4.00"\}\}\}$`)
	if !want.Match(got[0].body) {
		t.Errorf("the sub-app's message is %s\nwant %s", got[0].body, want)
	}
}
