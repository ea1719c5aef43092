package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// listeners are receivers written for Alma, in JSON and in XML, besides one of everything.
const listeners = everything + `
  listener:
    url: https://listener.example.org/hook?institution=X
    secret: ${ALMA_SECRET}
    format: alma
    alma: {institution: {value: 99ROW_INST, desc: Rowhook Library}}
    headers: {X-Custom: "a value"}
    concurrency: 1
    retry: {schedule: [10ms, 10ms, 10ms]}
    subscriptions:
      - tables: [circulation.loans, circulation.requests, catalog.*, acquisition.receipts, sharing.requests, app.letters, app.job_runs]
      - {tables: [circulation.members], operations: {not: ['api*']}}

  xml-listener:
    url: https://xml.example.org/hook
    secret: ${ALMA_SECRET}
    format: alma
    message_type: xml
    alma: {institution: {value: 99ROW_INST, desc: Rowhook Library}}
    concurrency: 1

  closed-listener:
    url: http://127.0.0.1:9/hook
    secret: ${ALMA_SECRET}
    format: alma
`

// TestFeatureListener: a listener written for Alma takes each family's messages: challenge,
// signature, envelope, codes, member, and what a deleted record last was; once, or again by the
// schedule with the same bytes.
func TestFeatureListener(t *testing.T) {
	t.Parallel()
	onLibraries(t, false, withProfiles(listeners), testFeatureListener)
}

func testFeatureListener(t *testing.T, l *library) {
	l.presets()
	l.open()
	w := &watcher{library: l, profile: "everything"}
	asked := l.await("listener", 1, "the challenge", nil)[0]
	if asked.method != http.MethodGet || !strings.HasPrefix(asked.path, "hook?institution=X&challenge=") || asked.header.Get("X-Custom") != "a value" ||
		asked.header.Get("X-Exl-Signature") != "" {
		t.Errorf("challenge %s %s %v", asked.method, asked.path, asked.header)
	}
	l.await("xml", 1, "the challenge", nil)
	eventually(t, patience, "the listeners are active", func() bool {
		r := l.rowhook("profile", "list")
		return regexp.MustCompile(`(?m)^listener .*active`).MatchString(r.stdout) && regexp.MustCompile(`(?m)^xml-listener .*active`).MatchString(r.stdout)
	})
	n := 0
	for _, tt := range []struct{ sql, action, event, desc, object, has string }{
		{aBib, "BIB", "BIB_CREATED", "BIB record created", "bib", `"title":"図書館の話"`},
		{`update catalog.bibs set title = 'T'`, "BIB", "BIB_UPDATED", "BIB record updated", "bib", `"title":"T"`},
		{`delete from catalog.bibs`, "BIB", "BIB_DELETED", "BIB record deleted", "bib", `"title":"T"`},
		{anItem, "ITEM", "ITEM_CREATED", "Item created", "item", `"barcode":"B0001"`},
		{`update catalog.items set location = 'UG'`, "ITEM", "ITEM_UPDATED", "Item updated", "item", `"location":{"value":"UG"`},
		{aMember, "USER", "", "", "webhook_user", `"method":"CREATE"`},
		{`update circulation.members set email = 'a'`, "USER", "", "", "webhook_user", `"method":"UPDATE"`},
		{fmt.Sprintf(aLoan, 1), "LOAN", "LOAN_CREATED", "Loan created", "item_loan", `"loan_id":"1"`},
		{`update circulation.loans set status = 'LOST'`, "LOAN", "LOAN_LOST", "Loan lost", "item_loan", `"process_status":"LOST"`},
		{`update circulation.loans set returned_at = now(), status = 'RETURNED'`, "LOAN", "LOAN_RETURNED", "Loan returned", "item_loan", `"loan_status":"COMPLETE"`},
		{`insert into circulation.requests (request_id, request_type, primary_id) values (77, 'HOLD', 'u-1')`, "REQUEST", "REQUEST_CREATED", "Request created", "user_request", `"request_type":"HOLD"`},
		{`update circulation.requests set status = 'ON_HOLD_SHELF'`, "REQUEST", "REQUEST_PLACED_ON_SHELF", "Request placed on shelf", "user_request", `"request_status":"ON_HOLD_SHELF"`},
		{`update circulation.requests set status = 'CANCELED'`, "REQUEST", "REQUEST_CANCELED", "Request canceled", "user_request", `"request_id":"77"`},
		{`delete from circulation.requests`, "REQUEST", "REQUEST_CLOSED", "Request closed", "user_request", `"user_primary_id":"u-1"`},
		{`insert into acquisition.receipts (po_line, po_line_type, mms_id, arrived_on) values ('P', 'CONTINUOUS', '9', '2026-01-02')`, "RECEIVE", "RECEIVE_CONTINUOUS", "Item received", "item", `"arrival_date":"2026-01-02Z"`},
		{`insert into sharing.requests (request_id, direction, status) values ('1', 'BORROWING', 'NEW')`, "RS_BORROWING_REQUEST", "RS_REQUEST_CREATED", "", "user_resource_sharing_request", `"request_id":"1"`},
		{`insert into app.job_runs (job_id, name, status) values ('S12', 'Export', 'COMPLETED_SUCCESS')`, "JOB_END", "", "", "job_instance", `"counter":[]`},
		{`insert into app.letters (letter, status) values ('FulCancelRequestLetter', 'sent')`, "NOTIFICATION", "FulCancelRequestLetter", "Request cancellation letter", "webhook_notification", `"channel":"WEBHOOK"`},
		{`insert into app.letters (letter_id, letter, status) values (2, 'FulUserBorrowingActivityLetter', 'sent')`, "NOTIFICATION", "FulUserBorrowingActivityLetter", "Borrowing activity letter", "webhook_notification", ""},
		{`insert into app.letters (letter_id, letter, status) values (3, 'FulItemChangeDueDateLetter', 'sent')`, "NOTIFICATION", "FulItemChangeDueDateLetter", "Loan status notice", "webhook_notification", ""},
		{`insert into app.letters (letter_id, letter, status) values (4, 'FulPlaceOnHoldShelfLetter', 'sent')`, "NOTIFICATION", "FulPlaceOnHoldShelfLetter", "On hold shelf letter", "webhook_notification", ""},
		{`delete from circulation.loans; delete from circulation.members`, "USER", "", "", "webhook_user", `"method":"DELETE"`},
	} {
		w.events(tt.sql)
		n++
		if strings.HasPrefix(tt.sql, "delete from circulation.loans") {
			n++ // the loan's own deletion
		}
		got := l.await("listener", n, tt.sql, posted(""))[n-1]
		body := string(got.body)
		if got.at(t, "action") != tt.action || !strings.Contains(body, tt.has) || got.at(t, tt.object) == nil {
			t.Errorf("%s: %s", tt.sql, body)
		}
		if event := got.at(t, "event", "value"); tt.event == "" && event != nil || tt.event != "" && event != tt.event {
			t.Errorf("%s: event %v", tt.sql, event)
		}
		if desc := got.at(t, "event", "desc"); tt.desc != "" && desc != tt.desc {
			t.Errorf("%s: desc %v", tt.sql, desc)
		}
		envelope := regexp.MustCompile(`^\{"id":"\d{19}","action":"[A-Z_]+",("event":\{[^}]*\},)?"institution":\{"value":"99ROW_INST","desc":"Rowhook Library"\},"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","` + tt.object + `":\{`)
		if !envelope.MatchString(body) || strings.ContainsAny(body, "\n\r") {
			t.Errorf("%s: envelope %.300s", tt.sql, body)
		}
		if !signedForAlma(got) || got.header.Get("X-Custom") != "a value" || got.header.Get("Content-Type") != "application/json;charset=UTF-8" {
			t.Errorf("%s: %v", tt.sql, got.header)
		}
	}
	for _, got := range l.got("xml", posted("")) {
		if !signedForAlma(got) || !strings.HasPrefix(string(got.body), `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><webhook><id>`) ||
			got.header.Get("Content-Type") != "application/xml;charset=UTF-8" {
			t.Errorf("xml: %s", got.body)
		}
	}
	l.await("xml", 1, "the loan in XML", posted(`<action>LOAN</action><event desc="Loan returned">LOAN_RETURNED</event><institution desc="Rowhook Library">99ROW_INST</institution>`))
	if r := l.rowhook("profile", "list"); !regexp.MustCompile(`(?m)^closed-listener .*pending`).MatchString(r.stdout) {
		t.Errorf("profile list: %s", r.stdout)
	}
	w.events(l.as("a", "A", "api"), strings.Replace(aMember, "(1,", "(9,", 1))
	if got := l.got("listener", posted("")); len(got) != n {
		t.Errorf("a change of a person by the API was sent: %s", got[n].body)
	}
	answersOf(t, w, n)
}

// presets leaves it to each format's preset how its profiles behave: the example writes all
// defaults out.
func (l *library) presets() {
	l.tb.Helper()
	defaults := regexp.MustCompile(`(?s)\ndefaults:\n.*?\nprofiles:\n`)
	l.config = defaults.ReplaceAllString(l.config, "\ndefaults: {allow_networks: [loopback]}\nprofiles:\n")
	l.save()
}

// answersOf holds the answers of listeners to Alma's table.
func answersOf(t *testing.T, w *watcher, n int) {
	t.Helper()
	status := http.StatusOK
	w.answers(func(r *request) int {
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.profile == "listener" {
			return status
		}
		return http.StatusOK
	})
	for i, tt := range []struct{ status, tries int }{{201, 1}, {202, 1}, {204, 1}, {400, 1}, {401, 1}, {404, 1}, {410, 1}, {302, 1}, {500, 4}, {503, 4}} {
		if tt.status == 410 {
			continue // switches the profile off: TestGone
		}
		w.mu.Lock()
		status = tt.status
		w.mu.Unlock()
		w.events(fmt.Sprintf(`insert into catalog.bibs (mms_id, title) values ('answer-%d', 'T')`, i))
		mark := posted(fmt.Sprintf(`"answer-%d"`, i))
		w.await("listener", tt.tries, fmt.Sprint(tt.status), mark)
		w.events(`select 1`)
		got := w.got("listener", mark)
		if len(got) != tt.tries {
			t.Errorf("%d: %d tries, want %d", tt.status, len(got), tt.tries)
		}
		for _, r := range got {
			if string(r.body) != string(got[0].body) || r.header.Get("X-Exl-Signature") != got[0].header.Get("X-Exl-Signature") {
				t.Errorf("%d: a retry differs", tt.status)
			}
		}
	}
}

// signedForAlma reports whether the request has the right X-Exl-Signature.
func signedForAlma(r *request) bool {
	mac := hmac.New(sha256.New, []byte(librarySecret))
	mac.Write(r.body)
	return r.header.Get("X-Exl-Signature") == base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
