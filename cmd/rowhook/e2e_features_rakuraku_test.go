package main_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// rakurakus are two webhooks of one app, by record and by operation, besides a receiver of everything.
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
`

// TestFeatureRakuraku: a webhook's messages are those of the app: its members in order, url, key and data where they
// belong, one a record or one an operation.
func TestFeatureRakuraku(t *testing.T) {
	t.Parallel()
	onLibraries(t, true, withProfiles(rakurakus), testFeatureRakuraku)
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

	records := l.await("record", 6, "all records", posted(""))
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
}
