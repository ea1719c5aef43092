package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// people and things that the feature tests are about.
var libraryRows = []string{
	`insert into catalog.bibs (mms_id, title) values ('9912345', '図書館の話')`,
	`insert into catalog.items (item_pid, title, mms_id, barcode) values ('2312345', '図書館の話', '9912345', 'B0001')`,
	`insert into circulation.members (member_id, name, primary_id, branch, user_group) values (1, 'Ada', 'u-1', 'MAIN', 'STUDENT')`,
}

// rowChange is a row change, and what of it a listener for Alma gets.
type rowChange struct {
	name string // the items that it is about
	sql  []string
	want []string // action, event and more of each request, in order; none: nothing is sent
}

// word is what a request is about in one line: its action, its event, and of some objects what
// tells them apart.
func word(body map[string]any) string {
	at := func(path ...string) string {
		var v any = body
		for _, name := range path {
			object, _ := v.(map[string]any)
			v = object[name]
		}
		text, _ := v.(string)
		return text
	}
	parts := []string{
		at("action"), at("event", "value"), at("webhook_user", "method"), at("webhook_user", "user", "primary_id"),
		at("user_request", "request_type"), at("item", "item_data", "pid"), at("bib", "mms_id"), at("item_loan", "loan_id"),
		at("job_instance", "status", "value"), at("user_resource_sharing_request", "request_id"), at("webhook_notification", "recipient", "primary_id"),
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// almaChanges are all the event families of Alma's page.
var almaChanges = []rowChange{
	{"A-05 A-32 E-08 job end", []string{
		`insert into app.job_runs (run_id, job_id, name) values (101, 'S12', 'Nightly export'), (102, 'S12', 'Nightly export')`,
		`update app.job_runs set progress = 50 where run_id = 101`,
		`update app.job_runs set status = 'COMPLETED_SUCCESS', progress = 100, ended_at = now() where run_id = 101`,
		`update app.job_runs set progress = 100.3 where run_id = 101`,
		`update app.job_runs set status = 'COMPLETED_FAILED', submitted_by = 'API' where run_id = 102`,
		`insert into app.job_runs (job_id, name, status) values ('S13', 'At once', 'COMPLETED_SUCCESS')`,
	}, []string{"JOB_END COMPLETED_SUCCESS", "JOB_END COMPLETED_FAILED", "JOB_END COMPLETED_SUCCESS"}},
	{"A-06 A-37 A-39 users", []string{
		`insert into circulation.members (member_id, name, primary_id, branch, user_group) values (10, 'Mina', 'u-10', 'MAIN', 'STAFF'), (11, 'Otto', 'u-11', 'MAIN', 'PUBLIC')`,
		`update circulation.members set last_seen_at = now()`,
		`update circulation.members set name = concat(name, '!')`,
		`delete from circulation.members where member_id in (10, 11)`,
	}, []string{"USER CREATE u-10", "USER UPDATE u-10", "USER DELETE u-10"}},
	{"A-06 A-39 what belongs to users", []string{
		`insert into circulation.members (member_id, name, primary_id, branch, user_group) values (20, 'Mina', 'u-20', 'MAIN', 'STAFF'), (21, 'Otto', 'u-21', 'MAIN', 'PUBLIC')`,
		`insert into circulation.member_roles (role_id, member_id, primary_id, user_group, role) values (1, 20, 'u-20', 'STAFF', 'PATRON'), (2, 21, 'u-21', 'PUBLIC', 'PATRON')`,
		`update circulation.member_roles set status = 'INACTIVE'`,
		`update circulation.member_roles set status = 'ACTIVE', updated_via = 'api'`,
		`delete from circulation.member_roles where role_id = 2`,
	}, []string{"USER CREATE u-20", "USER UPDATE u-20", "USER UPDATE u-20"}},
	{"A-38 users changed by API", []string{
		`insert into circulation.members (member_id, name, primary_id, branch, user_group, updated_via) values (12, 'Api', 'u-12', 'MAIN', 'STAFF', 'api')`,
		`update circulation.members set name = 'By hand', updated_via = 'web_form' where member_id = 12`,
	}, []string{"USER UPDATE u-12"}},
	{"A-07 A-15 A-33 A-36 letters", []string{
		`insert into app.letters (letter, primary_id, status) values ('FulCancelRequestLetter', 'u-1', 'pending')`,
		`insert into app.letters (letter, primary_id, status, channel) values ('FulCancelRequestLetter', 'u-2', 'sent', 'EMAIL')`,
		`insert into app.letters (letter, primary_id, status) values ('FulUserBorrowingActivityLetter', 'u-3', 'sent'), ('FulItemChangeDueDateLetter', 'u-4', 'sent'), ('FulPlaceOnHoldShelfLetter', 'u-5', 'sent')`,
		`update app.letters set status = 'sent', sent_at = now() where status = 'pending'`,
	}, []string{"NOTIFICATION FulPlaceOnHoldShelfLetter u-5", "NOTIFICATION FulCancelRequestLetter u-1"}},
	{"A-08 A-41 E-07 requests", []string{
		`insert into circulation.requests (request_id, request_type, primary_id) values
			(1, 'HOLD', 'u-1'), (2, 'BOOKING', 'u-1'), (3, 'MOVE', 'u-1'), (4, 'DIGITIZATION', 'u-1'), (5, 'WORK_ORDER', 'u-1'), (6, 'OTHER', 'u-1')`,
		`update circulation.requests set status = 'ON_HOLD_SHELF' where request_id in (1, 6)`,
		`update circulation.requests set status = 'CLOSED' where request_id = 1`,
		`update circulation.requests set status = 'CANCELED' where request_id = 2`,
		`delete from circulation.requests where request_id = 3`,
	}, []string{
		"REQUEST REQUEST_CREATED HOLD", "REQUEST REQUEST_CREATED BOOKING", "REQUEST REQUEST_CREATED MOVE", "REQUEST REQUEST_CREATED DIGITIZATION", "REQUEST REQUEST_CREATED WORK_ORDER",
		"REQUEST REQUEST_PLACED_ON_SHELF HOLD", "REQUEST REQUEST_CLOSED HOLD", "REQUEST REQUEST_CANCELED BOOKING", "REQUEST REQUEST_CLOSED MOVE",
	}},
	{"A-09 A-42 E-06 loans", []string{
		`insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, due_at) values
			(1, '2312345', 1, 'MAIN', 'Main Library', '2026-01-20 14:00:00'), (2, '2312345', 1, 'MAIN', 'Main Library', '2026-01-20 14:00:00'), (3, '2312345', 1, 'MAIN', 'Main Library', '2026-01-20 14:00:00')`,
		`update circulation.loans set renewals = renewals + 1, due_at = '2026-02-03 14:00:00' where loan_id = 1`,
		`update circulation.loans set due_at = '2026-02-04 14:00:00' where loan_id = 1`,
		`update circulation.loans set internal_note = 'no event' where loan_id = 1`,
		`update circulation.loans set returned_at = now(), status = 'RETURNED' where loan_id = 1`,
		`update circulation.loans set status = 'LOST' where loan_id = 2`,
		`update circulation.loans set status = 'CLAIMED_RETURN' where loan_id = 3`,
		`delete from circulation.loans where loan_id = 3`,
	}, []string{
		"LOAN LOAN_CREATED 1", "LOAN LOAN_CREATED 2", "LOAN LOAN_CREATED 3", "LOAN LOAN_RENEWED 1", "LOAN LOAN_DUE_DATE 1", "LOAN LOAN_RETURNED 1",
		"LOAN LOAN_LOST 2", "LOAN LOAN_CLAIMED_RETURNED 3", "LOAN LOAN_RETURNED 3",
	}},
	{"A-10 A-43 bibliographic records", []string{
		`insert into catalog.bibs (mms_id, title) values ('991', 'A')`,
		`update catalog.bibs set indexed_at = now() where mms_id = '991'`,
		`update catalog.bibs set title = 'B' where mms_id = '991'`,
		`delete from catalog.bibs where mms_id = '991'`,
	}, []string{"BIB BIB_CREATED 991", "BIB BIB_UPDATED 991", "BIB BIB_DELETED 991"}},
	{"A-11 A-44 E-09 items", []string{
		`insert into catalog.items (item_pid, title) values ('231', 'A')`,
		`update catalog.items set arrived_on = '2026-01-02' where item_pid = '231'`,
		`delete from catalog.items where item_pid = '231'`,
	}, []string{"ITEM ITEM_CREATED 231", "ITEM ITEM_UPDATED 231", "ITEM ITEM_DELETED 231"}},
	{"A-12 A-45 continuous order lines", []string{
		`insert into acquisition.receipts (po_line, po_line_type, mms_id, item_pid) values ('POL-1', 'CONTINUOUS', '991', 'r-1'), ('POL-2', 'ONE_TIME', '991', 'r-2')`,
		`update acquisition.receipts set arrived_on = '2026-01-02'`,
		`insert into acquisition.receipts (po_line, po_line_type, mms_id, item_pid, arrived_on) values ('POL-1', 'CONTINUOUS', '991', 'r-3', '2026-01-03')`,
	}, []string{"RECEIVE RECEIVE_CONTINUOUS r-1", "RECEIVE RECEIVE_CONTINUOUS r-3"}},
	{"A-46 borrowing requests", []string{
		`insert into sharing.requests (request_id, direction, status) values ('rs-1', 'BORROWING', 'SENT'), ('rs-2', 'LENDING', 'SENT')`,
		`update sharing.requests set status = 'RECEIVED'`,
		`delete from sharing.requests`,
	}, []string{"RS_BORROWING_REQUEST RS_REQUEST_CREATED rs-1", "RS_BORROWING_REQUEST RS_REQUEST_UPDATED rs-1", "RS_BORROWING_REQUEST RS_REQUEST_DELETED rs-1"}},
}

// TestFeaturesAlma makes the changes of all event families and looks at what a listener for Alma
// gets of each, in JSON and in XML.
func TestFeaturesAlma(t *testing.T) {
	t.Parallel()
	// One request at a time, so that the mark behind the changes arrives behind them.
	const line = "    message_type: json                   # or xml\n"
	onLibraries(t, true, map[string]string{line: line + "    concurrency: 1\n"}, testFeaturesAlma)
}

func testFeaturesAlma(t *testing.T, l *library) {
	l.open()
	l.exec(libraryRows...)
	sent := 2 // of the rows above: a bibliographic record and an item
	l.await("alma", sent, "the first records", posted(`"action"`))
	for _, c := range almaChanges {
		t.Run(c.name, func(t *testing.T) {
			l.tb = t
			for _, sql := range c.sql {
				l.exec(sql)
			}
			l.exec(fmt.Sprintf(`update catalog.items set title = 'mark %d' where item_pid = '2312345'`, sent)) // whose event comes after all others
			mark := fmt.Sprintf(`"title":"mark %d"`, sent)
			l.await("alma", 1, "the mark", posted(mark))
			eventually(t, patience, "what the mark has overtaken, being another key's", func() bool {
				return len(l.got("alma", posted(`"action"`))) > sent+len(c.want)
			})
			var got []string
			for _, r := range l.got("alma", posted(`"action"`))[sent:] {
				if !posted(mark)(r) {
					got = append(got, word(r.json(t)))
				}
			}
			sent += len(got) + 1
			// Keys go side by side: only a key's own events are in order.
			slices.Sort(got)
			want := slices.Sorted(slices.Values(c.want)) // the table is every database's
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
	t.Run("A-24 A-25 E-02 E-03 E-11 requests", func(t *testing.T) { l.tb = t; almaRequests(t, l) })
	t.Run("A-26 A-30 XML", func(t *testing.T) { l.tb = t; almaXML(t, l) })
	t.Run("A-47 A-13 lists", func(t *testing.T) { l.tb = t; almaLists(t, l) })
	t.Run("A-48 A-49 A-50 A-51 the log", func(t *testing.T) { l.tb = t; almaLog(t, l) })
	t.Run("E-04 answers", func(t *testing.T) { l.tb = t; almaAnswers(t, l) })
}

var (
	almaID   = regexp.MustCompile(`^[0-9]{1,19}$`)
	almaTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
)

// almaRequests looks at the requests themselves: challenge first, URL, headers, signature and
// envelope.
func almaRequests(t *testing.T, l *library) {
	all := l.got("alma", nil)
	if first := all[0]; first.method != http.MethodGet || !strings.Contains(first.path, "webhook?institution=99ROW_INST&challenge=") || first.header.Get("X-Exl-Signature") != "" {
		t.Errorf("the first request is %s %s %v", first.method, first.path, first.header)
	}
	ids := map[string]bool{}
	for _, r := range l.got("alma", posted(`"action"`)) {
		mac := hmac.New(sha256.New, []byte(librarySecret))
		mac.Write(r.body)
		if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.header.Get("X-Exl-Signature") != want {
			t.Errorf("signed %s, not %s", r.header.Get("X-Exl-Signature"), want)
		}
		if r.path != "webhook?institution=99ROW_INST" || r.header.Get("X-Library") != "main" || r.header.Get("Content-Type") != "application/json;charset=UTF-8" {
			t.Errorf("%s %v", r.path, r.header)
		}
		id, _ := r.at(t, "id").(string)
		when, _ := r.at(t, "time").(string)
		if !almaID.MatchString(id) || ids[id] || !almaTime.MatchString(when) || r.at(t, "institution", "value") != "99ROW_INST" {
			t.Errorf("envelope %s", r.body)
		}
		ids[id] = true
	}
}

// almaXML looks at the other profile, which takes the same events in XML.
func almaXML(t *testing.T, l *library) {
	n := len(l.got("alma", posted(`"action":"LOAN"`)))
	for _, r := range l.await("archive", n, "each loan", posted("<action>LOAN</action>")) {
		var body struct {
			Action string `xml:"action"`
			Event  struct {
				Value string `xml:",chardata"`
				Desc  string `xml:"desc,attr"`
			} `xml:"event"`
			Loan struct {
				ID      string `xml:"loan_id"`
				Library struct {
					Value string `xml:",chardata"`
					Desc  string `xml:"desc,attr"`
				} `xml:"library"`
			} `xml:"item_loan"`
		}
		if err := xml.Unmarshal(r.body, &body); err != nil || !strings.HasPrefix(string(r.body), "<?xml") {
			t.Fatalf("%v: %s", err, r.body)
		}
		if body.Loan.ID == "" || body.Loan.Library.Value != "MAIN" || body.Loan.Library.Desc != "Main Library" || body.Event.Desc == "" {
			t.Errorf("%s", r.body)
		}
	}
}

// almaLists looks at what the commands tell of profiles and events.
func almaLists(t *testing.T, l *library) {
	events := l.rowhook("check", "--events")
	for _, want := range []string{"loan.returned", "letter.on_hold_shelf", "receive.continuous", "alma-listener"} {
		if !strings.Contains(events.stdout, want) {
			t.Errorf("check --events lacks %s:\n%s%s", want, events.stdout, events.stderr)
		}
	}
	profiles := l.rowhook("profile", "list")
	if profiles.code != 0 || !strings.Contains(profiles.stdout, "alma-listener") || !strings.Contains(profiles.stdout, "active") {
		t.Errorf("profile list: %d\n%s%s", profiles.code, profiles.stdout, profiles.stderr)
	}
}

// almaLog sends a body of more than 4,000 characters and looks for it in the log.
func almaLog(t *testing.T, l *library) {
	note := strings.Repeat("図", 4001)
	l.exec(`insert into catalog.bibs (mms_id, title, record) values ('long', 'Long', '` + note + `')`)
	r := l.await("alma", 1, "the long record", posted(`"mms_id":"long"`))[0]
	if anies, _ := r.at(t, "bib", "anies").([]any); len(anies) != 1 || anies[0] != note {
		t.Errorf("the listener got %d bytes", len(r.body))
	}
	type line struct {
		Event     string `json:"event"`
		URL       string `json:"url"`
		Status    int    `json:"status"`
		Bytes     int    `json:"bytes"`
		Body      string `json:"body"`
		Truncated bool   `json:"body_truncated"`
	}
	var lines []line
	eventually(t, patience, "the log has the long record", func() bool {
		found := l.rowhook("log", "--json", "--profile", "alma-listener", "--url", "alma/webhook", "--payload", "bib.mms_id=long")
		lines = nil
		for text := range strings.Lines(found.stdout) {
			var one line
			if err := json.Unmarshal([]byte(text), &one); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			lines = append(lines, one)
		}
		return len(lines) == 1
	})
	if got := lines[0]; len([]rune(got.Body)) != 4000 || !got.Truncated || got.Bytes != len(r.body) || !strings.HasPrefix(string(r.body), got.Body) || got.Status != 200 {
		t.Errorf("the log has %d characters, %d bytes, %v, status %d", len([]rune(got.Body)), got.Bytes, got.Truncated, got.Status)
	}
}

// almaAnswers has the listener fail: 4xx is final, 5xx is tried again after an hour.
func almaAnswers(t *testing.T, l *library) {
	l.answers(func(r *request) int {
		switch {
		case r.profile == "alma" && strings.Contains(string(r.body), `"mms_id":"refused"`):
			return http.StatusNotFound
		case r.profile == "alma" && strings.Contains(string(r.body), `"mms_id":"broken"`):
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	defer l.answers(nil)
	l.exec(`insert into catalog.bibs (mms_id, title) values ('refused', 'A'), ('broken', 'B')`)
	type line struct {
		Outcome string    `json:"outcome"`
		Time    time.Time `json:"time"`
		Next    time.Time `json:"next_attempt"`
	}
	outcome := func(mms string) (got line) {
		eventually(t, patience, "the log has "+mms, func() bool {
			found := l.rowhook("log", "--json", "--profile", "alma-listener", "--payload", "bib.mms_id="+mms)
			return json.Unmarshal([]byte(found.stdout), &got) == nil && got.Outcome != ""
		})
		return got
	}
	if got := outcome("refused"); got.Outcome != "dead" {
		t.Errorf("404 is %s", got.Outcome)
	}
	if got := outcome("broken"); got.Outcome != "retrying" || got.Next.Sub(got.Time).Round(time.Minute) != time.Hour {
		t.Errorf("500 is %s, and tried again after %s", got.Outcome, got.Next.Sub(got.Time))
	}
}
