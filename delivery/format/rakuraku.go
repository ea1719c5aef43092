package format

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/delivery"
)

// rakurakuProduct is RakuRaku WebDatabase, which sends once, and tries again three times whatever
// the answer was.
func rakurakuProduct() delivery.Product {
	return delivery.Product{
		Name: "rakuraku",
		Preset: func(c *delivery.ProfileConfig) {
			c.Timeout = 10 * time.Second
			c.Signature = "none"
			c.Success = []string{"200", "201"}
			c.Retry.Schedule = []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}
			c.Replies = nil
			for _, status := range []string{"1xx", "2xx", "3xx", "4xx", "5xx"} {
				c.Replies = append(c.Replies, delivery.ReplyConfig{Status: status, Action: "retry"})
			}
			c.Alert.On, c.Alert.Text = "final", "rakuraku"
		},
		Section: func(c *delivery.ProfileConfig) {
			c.Rakuraku = delivery.RakurakuConfig{
				Timezone: "Asia/Tokyo", AppCodeField: "appCode", NullValue: "empty",
				DateFormat: "YYYY-MM-DD", DatetimeFormat: "YYYY-MM-DD hh:mm:ss",
			}
		},
		Units: delivery.UnitRule{
			Only:   []string{delivery.UnitRecord, delivery.UnitType},
			Text:   "rakuraku knows records and operations",
			Remedy: "write record, or type for what one transaction did of one kind",
		},
		Keyed:       true,
		Formatter:   func(c delivery.ProfileConfig) (delivery.Formatter, error) { return newRakuraku(c) },
		Whole:       true,
		Schema:      rakurakuRecordSchema,
		GroupSchema: rakurakuGroupSchema,
		Mail:        rakurakuMail,
		Items: func(p *delivery.ProfileConfig, entries map[string]delivery.RakurakuEntry) {
			p.Rakuraku.Entries = entries
		},
		Check:    checkRakuraku,
		Findings: findInRakuraku,
	}
}

// checkRakuraku refuses what one request cannot say, and names of items that would break the
// promise of canonical JSON, as [checkAlma] does.
func checkRakuraku(p *delivery.ProfileConfig, events []delivery.EventType) []*delivery.ConfigError {
	var wrong []*delivery.ConfigError
	if p.Unit == delivery.UnitType {
		wrong = checkOperations(p, events)
	}
	for _, e := range events {
		for _, item := range p.Rakuraku.Entries[e.Entry].Items {
			if fault := nameFault(item.ID); fault != "" {
				wrong = append(wrong, &delivery.ConfigError{
					Path: []string{"mapping", e.Entry, "rakuraku", "items", item.Member, "id"},
					Text: fmt.Sprintf("%q %s", item.ID, fault), Remedy: "item ids of RakuRaku look like rakwdb_app20_main_1",
				})
			}
		}
	}
	return wrong
}

// checkOperations refuses what the one type of a request with several records cannot name: changes
// of several kinds, and several steps of a workflow.
func checkOperations(p *delivery.ProfileConfig, events []delivery.EventType) []*delivery.ConfigError {
	var wrong []*delivery.ConfigError
	refuse := func(text, remedy string) {
		wrong = append(wrong, &delivery.ConfigError{Path: []string{"profiles", p.Code, "unit"}, Text: text, Remedy: remedy})
	}
	for _, e := range events {
		if p.Rakuraku.Entries[e.Entry].Workflow.Given() {
			refuse(fmt.Sprintf("type puts several steps of %s into one request, which tells one workflow", e.Entry), "write unit: record")
			break
		}
		if len(e.Unnamed) > 1 {
			refuse(fmt.Sprintf("type puts all %s of a transaction into one request, but they come from %s, which format rakuraku tells apart",
				e.Type, strings.Join(e.Unnamed, " and ")),
				"give each its own event type, or the rules a name with as: {event: …}, or write unit: record")
		}
	}
	return wrong
}

// findInRakuraku tells where the receiver can do nothing with a message: changes of rows without
// their app and data, and permalinks without a host. Each entry is named once.
func findInRakuraku(p *delivery.ProfileConfig, events []delivery.EventType) []delivery.ProductFinding {
	var found []delivery.ProductFinding
	var told []string
	tell := func(entry, code, text, remedy string, path ...string) {
		told = append(told, entry)
		found = append(found, delivery.ProductFinding{Code: code, ConfigError: delivery.ConfigError{Path: path, Text: text, Remedy: remedy}})
	}
	for _, e := range events {
		if e.Entry == "" || slices.Contains(told, e.Entry) {
			continue
		}
		linked := p.Rakuraku.URLBase != "" || e.Link != "" || p.Unit == delivery.UnitType ||
			!slices.Contains(e.Ops, "insert") && !slices.Contains(e.Ops, "update") && !slices.Contains(e.Ops, "read")
		switch {
		case e.Code == "" && len(e.Unnamed) > 0:
			tell(e.Entry, "rakuraku_code",
				fmt.Sprintf("profile %s gets %s of %s, which has no code: its messages have neither appName, appCode nor data", p.Code, e.Type, e.Entry),
				"give the entry a code such as APP_0200; or name the event with as: {event: LOGIN}, if it is about no record", "mapping", e.Entry)
		case e.Code != "" && !linked:
			tell(e.Entry, "rakuraku_url",
				fmt.Sprintf("profile %s gets %s of %s, and url will have no host: there is neither rakuraku.url_base nor a link of the entry", p.Code, e.Type, e.Entry),
				"write rakuraku: {url_base: https://db.example.jp} in the profile, or link in the entry", "profiles", p.Code)
		}
	}
	return found
}

// rakurakuMail is the mail of a RakuRaku WebDatabase webhook.
func rakurakuMail(m delivery.FailureMail) (subject, text string) {
	f := m.Failure
	var l letter
	l.line("<< このメールは rowhook が自動発信しています >>")
	l.line("")
	l.line("Webhook送信でエラーが発生しました。")
	l.line("送信に失敗したWebhookは、Webhook管理画面 から確認してください。")
	if manage := m.Profile.Alert.ManageURL; manage != "" {
		mark := "?"
		if strings.Contains(manage, "?") {
			mark = "&"
		}
		l.line("%s%srkwa_appcode=%s", manage, mark, f.Code)
	}
	l.line("")
	at := f.Time.In(mailZone(m.Profile))
	l.line("送信日時:%d/%d/%d %d:%02d:%02d", at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second())
	l.line("送信先URL:%s", f.URL)
	l.line("レスポンスステータス:%s", rakurakuStatus(f))
	l.line("種別:%s", rakurakuKind(f))
	l.line("アプリコード:%s", f.Code)
	l.line("アプリ名:%s", f.Title)
	if m.Left > 0 {
		l.line("通知を省略したエラー:%d", m.Left)
	}
	return "[rowhook] Webhook送信エラー " + f.Title, l.String()
}

// mailZone is the time zone that the profile's bodies tell times in, too.
func mailZone(c *delivery.ProfileConfig) *time.Location {
	zone, err := time.LoadLocation(c.Rakuraku.Timezone)
	if err != nil {
		return time.UTC // a name that is no zone's, which the formats that have times of their own refuse
	}
	return zone
}

// rakurakuStatus is the status, or what there was instead.
func rakurakuStatus(f *delivery.Failure) string {
	switch {
	case f.Status != 0:
		return strconv.Itoa(f.Status)
	case f.Reason == delivery.ReasonTimeout:
		return "タイムアウト"
	}
	return "接続エラー"
}

func rakurakuKind(f *delivery.Failure) string {
	switch f.Op {
	case "insert", "read":
		return "データ登録"
	case "update":
		return "データ更新"
	case "delete", "truncate":
		return "データ削除"
	}
	return f.Type
}
