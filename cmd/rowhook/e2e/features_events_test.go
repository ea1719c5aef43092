package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// everything is a receiver of all events besides those of the example. As it gets one at a time,
// only an event that waits for another of its key comes later than its place in commit order.
const everything = `
  everything:
    url: https://everything.example.org/hook
    signature: none
    concurrency: 1
`

// withProfiles adds profiles to the example's.
func withProfiles(profiles string) map[string]string {
	const end = "\n# --- what is written down"
	return map[string]string{end: profiles + end}
}

// watcher commits changes and tells what events came of them.
type watcher struct {
	*library
	profile string
	seen    int
	marks   int
}

// events commits statements in one transaction and returns the events that came of them, in order.
// A signal behind them tells that all were taken in, and the backlog when all were sent: one behind
// another of its key may be overtaken by the signal.
func (w *watcher) events(statements ...string) []*request {
	w.tb.Helper()
	w.exec(statements...)
	w.marks++
	mark := fmt.Sprintf(`"mark-%d"`, w.marks)
	w.exec(w.signal(`{"job":` + mark + `}`))
	w.await(w.profile, 1, "the mark", posted(mark))
	w.delivered(w.profile)
	all := w.got(w.profile, nil)
	got := all[w.seen:]
	w.seen = len(all)
	return slices.DeleteFunc(got, posted(`"mark-`))
}

// types are the events' types, in order.
func types(tb testing.TB, events []*request) string {
	tb.Helper()
	var list []string
	for _, e := range events {
		list = append(list, fmt.Sprint(e.at(tb, "type")))
	}
	return strings.Join(list, " ")
}

// step is a change and the types of the events that must come of it, in order.
type step struct{ what, sql, want string }

func (w *watcher) steps(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if got := types(t, w.events(s.sql)); got != s.want {
			t.Errorf("%s: got %q, want %q", s.what, got, s.want)
		}
	}
}

const (
	aBib    = `insert into catalog.bibs (mms_id, title) values ('9912345', '図書館の話')`
	anItem  = `insert into catalog.items (item_pid, title, barcode) values ('2312345', '図書館の話', 'B0001')`
	aMember = `insert into circulation.members (member_id, name, branch, primary_id, user_group) values (1, 'Ada', 'MAIN', 'u-1', 'STAFF')`
	aRole   = `insert into circulation.member_roles (member_id, primary_id, user_group, role) values (1, 'u-1', 'STAFF', 'PATRON')`
	aLoan   = `insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, due_at) values (%d, '2312345', 1, 'MAIN', 'Main Library', '2026-12-01 00:00:00')`
)

// TestFeatureEvents makes every change of the library that the Alma page names, and those that must
// stay silent.
func TestFeatureEvents(t *testing.T) {
	t.Parallel()
	onLibraries(t, true, withProfiles(everything), testFeatureEvents)
}

func testFeatureEvents(t *testing.T, l *library) {
	w := &watcher{library: l.open(), profile: "everything"}
	w.steps(t, []step{
		//
		{"a record is made", aBib, "bib.created"},
		{"it changes", `update catalog.bibs set title = 'T'`, "bib.updated"},
		{"only the search index touches it", `update catalog.bibs set indexed_at = now()`, ""},
		{"nothing changes", `update catalog.bibs set title = title`, ""},
		{"it is deleted", `delete from catalog.bibs`, "bib.deleted"},
		//
		{"an item is made", anItem, "item.created"},
		{"it changes", `update catalog.items set location = 'UG'`, "item.updated"},
		{"one is deleted", `insert into catalog.items (item_pid, title) values ('x', 'x'); delete from catalog.items where item_pid = 'x'`, "item.created item.deleted"},
		//
		{"a person is made", aMember, "user.created"},
		{"changes", `update circulation.members set email = 'ada@example.org'`, "user.updated"},
		{"is only seen", `update circulation.members set last_seen_at = now()`, ""},
		{"a job changes two", `insert into circulation.members (member_id, name, branch) values (2, 'B', 'EAST'); update circulation.members set user_group = 'ALUMNI'`,
			"user.created user.updated user.updated"},
		{"is deleted", `delete from circulation.members where member_id = 2`, "user.deleted"},
		// the person's parts are tables of their own
		{"gets a role", aRole, "user.updated"},
		{"another one", `update circulation.member_roles set role = 'CATALOGER'`, "user.updated"},
		{"none any more", `delete from circulation.member_roles`, "user.updated"},
		// A-09, E-06
		{"a loan", fmt.Sprintf(aLoan, 1), "loan.created"},
		{"is renewed", `update circulation.loans set renewals = 1, due_at = '2026-12-08 00:00:00'`, "loan.renewed"},
		{"has another due date", `update circulation.loans set due_at = '2026-12-09 00:00:00'`, "loan.due_date"},
		{"is said to be returned", `update circulation.loans set status = 'CLAIMED_RETURN'`, "loan.claimed_returned"},
		{"is lost", `update circulation.loans set status = 'LOST'`, "loan.lost"},
		{"is lost already", `update circulation.loans set status = 'LOST', internal_note = 'n'`, ""},
		{"is returned and renewed at once", `update circulation.loans set status = 'RETURNED', returned_at = now(), renewals = 2`, "loan.returned"},
		{"is deleted when it is over", `delete from circulation.loans`, "loan.deleted"},
		{"is deleted while it is open", fmt.Sprintf(aLoan, 2) + `; delete from circulation.loans`, "loan.created loan.returned"},
		// A-08, E-07
		{"requests of all five kinds", `insert into circulation.requests (request_type, primary_id)
			select kind, 'u-1' from ` + each("kind", "HOLD", "BOOKING", "MOVE", "DIGITIZATION", "WORK_ORDER", "RECALL"), strings.TrimSpace(strings.Repeat("request.created ", 5))},
		{"one is on the shelf", `update circulation.requests set status = 'ON_HOLD_SHELF' where request_type = 'HOLD'`, "request.placed_on_shelf"},
		{"closed", `update circulation.requests set status = 'CLOSED' where request_type = 'HOLD'`, "request.closed"},
		{"canceled", `update circulation.requests set status = 'CANCELED' where request_type = 'MOVE'`, "request.canceled"},
		{"gone", `delete from circulation.requests where request_type in ('BOOKING', 'RECALL')`, "request.closed"},
		// a one-time order says nothing
		{"lines are ordered", `insert into acquisition.receipts (receipt_id, po_line, po_line_type, mms_id) values (1, 'P1', 'CONTINUOUS', '9'), (2, 'P2', 'ONE_TIME', '9')`, ""},
		{"and received", `update acquisition.receipts set arrived_on = current_date`, "receive.continuous"},
		{"one is here at once", `insert into acquisition.receipts (receipt_id, po_line, po_line_type, mms_id, arrived_on) values (3, 'P3', 'CONTINUOUS', '9', current_date)`, "receive.continuous"},
		// nobody hears of lending
		{"another library is asked", `insert into sharing.requests (request_id, direction, status) values ('1', 'BORROWING', 'NEW'), ('2', 'LENDING', 'NEW')`, "borrowing.created"},
		{"it answers", `update sharing.requests set status = 'SHIPPED'`, "borrowing.updated"},
		{"only a note changes", `update sharing.requests set title = 'T'`, ""},
		{"that is over", `delete from sharing.requests`, "borrowing.deleted"},
		// A-05, E-08: whoever started it, and however it ends
		{"a job runs", `insert into app.job_runs (run_id, job_id, name) values (1, 'S12', 'Export'), (2, 'S12', 'Export')`, ""},
		{"ends", `update app.job_runs set status = 'COMPLETED_SUCCESS', submitted_by = 'API' where run_id = 1`, "job.ended"},
		{"fails", `update app.job_runs set status = 'COMPLETED_FAILED' where run_id = 2`, "job.ended"},
		{"is told once it is over", `insert into app.job_runs (run_id, job_id, name, status) values (3, 'S13', 'Import', 'COMPLETED_SUCCESS')`, "job.ended"},
		// a letter is sent, on the channel WEBHOOK
		{"letters wait", `insert into app.letters (letter, channel) select letter, channel from ` + each("letter", "FulCancelRequestLetter", "FulUserBorrowingActivityLetter",
			"FulItemChangeDueDateLetter", "FulPlaceOnHoldShelfLetter", "ExportInvtLetter") + `, ` + each("channel", "EMAIL", "WEBHOOK"), ""},
		{"and are sent", `update app.letters set status = 'sent', sent_at = now()`,
			"letter.request_canceled letter.borrowing_activity letter.due_date_changed letter.on_hold_shelf"},
		// B-01, B-08
		{"somebody logs in", `insert into app.sessions (session_id, user_id, user_name) values ('s', 'aa', 'A'), ('r', 'bb', 'B')`, "session.login session.login"},
		{"and out", `update app.sessions set ended_at = now() where session_id = 's'`, "session.logout"},
		{"or is thrown out", `delete from app.sessions`, "session.logout"},
		{"a workflow", `insert into app.plans (plan_id, title, department) values (1, 'Journals', 'OTHER');
			insert into app.approvals (plan_id, step, status, user_id, user_name) select 1, step, 'done', 'aa', 'A'
			from ` + each("step", "apply", "approve", "reject", "send_back", "withdraw", "complete"),
			"plan.inserted workflow.apply workflow.approve workflow.reject workflow.send_back workflow.withdraw workflow.complete"},
	})
	// B-02: what is rolled back is never sent.
	capture := l.got("everything", nil)
	if err := l.db.exec(t.Context(), "begin; "+aBib+"; rollback"); err != nil {
		t.Fatal(err)
	}
	if more := w.events(`select 1`); len(more) != 0 || len(l.got("everything", nil)) != len(capture)+1 {
		t.Errorf("work that was rolled back was sent: %s", types(t, more))
	}
	w.shapes(t)
	w.catalogue(t)
}

// catalogue holds what check lists to what came: every event that was made is listed with its
// table, and every one listed was made.
func (w *watcher) catalogue(t *testing.T) {
	t.Helper()
	// Those that no step above makes.
	w.events(fmt.Sprintf(aLoan, 5000), `update circulation.loans set returned_at = now() where loan_id = 5000`,
		`update circulation.loans set returned_at = null where loan_id = 5000`,
		`insert into app.plans (plan_id, title) values (5000, 'Maps')`, `update app.plans set amount = 2 where plan_id = 5000`, `delete from app.plans where plan_id = 5000`)
	var listed []struct{ Type, Table string }
	r := w.rowhook("check", "--events", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &listed); err != nil {
		t.Fatalf("check --events: %v: %+v", err, r)
	}
	var want, got []string
	for _, e := range listed {
		want = append(want, e.Type+" "+e.Table)
	}
	for _, e := range w.got(w.profile, nil) {
		table, _ := e.at(t, "source", "table").(string)
		got = append(got, fmt.Sprint(e.at(t, "type"), " ", table))
	}
	slices.Sort(want)
	slices.Sort(got)
	want, got = slices.Compact(want), slices.Compact(got)
	if !slices.Equal(got, want) {
		t.Errorf("check --events lists\n%q\nand there came\n%q", want, got)
	}
}

// shapes looks at the payloads that fields make, which the formats write in their own ways.
func (w *watcher) shapes(t *testing.T) {
	t.Helper()
	w.events(`delete from circulation.members`, `delete from catalog.items`, anItem, aMember)
	loan := w.events(`insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, due_at, loaned_at, title, publication_year)
		values (1001, '2312345', 1, 'MAIN', 'Main Library', '2026-01-20 14:00:00.123456', '2025-12-20 08:08:54.624', '図書館の話', '2000')`)[0]
	for path, want := range map[string]any{
		"loan_id": "1001", "due_date": "2026-01-20T14:00:00Z", "loan_date": "2025-12-20T08:08:54.624Z", "return_date": nil,
		"library.value": "MAIN", "library.desc": "Main Library", "loan_status": "ACTIVE", "process_status": "NORMAL",
		"publication_year": "2000", "title": "図書館の話", "renewable": true, "returned_by.link": nil,
	} {
		if got := loan.at(t, append([]string{"data"}, strings.Split(path, ".")...)...); got != want {
			t.Errorf("loan: %s is %v, want %v", path, got, want)
		}
	}
	job := w.events(`insert into app.job_runs (run_id, job_id, name, status, ended_at, progress, counters) values (4, 'S12', 'Export', 'COMPLETED_SUCCESS',
		'2026-01-02 03:10:00', 100.3, '[{"type":{"value":"label.new","desc":"New"},"value":12}]')`)[0]
	if got, _ := json.Marshal(job.at(t, "data", "counter")); string(got) != `[{"type":{"desc":"New","value":"label.new"},"value":"12"}]` {
		t.Errorf("counters %s", got)
	}
	if job.at(t, "data", "status_date") != "2026-01-02Z" || job.at(t, "data", "end_time") != "2026-01-02T03:10:00.000Z" ||
		job.at(t, "data", "progress") != 100.3 || job.at(t, "data", "job_info", "link") != "/almaws/v1/conf/jobs/S12" {
		t.Errorf("job %s", job.body)
	}
	bib := w.events(`insert into catalog.bibs (mms_id, title, record, network_numbers, suppressed) values ('99', 'T', '<record/>', ` + w.texts("(OCoLC)1") + `, true)`)[0]
	if got, _ := json.Marshal([]any{bib.at(t, "data", "anies"), bib.at(t, "data", "network_number"), bib.at(t, "data", "suppress_from_publishing"),
		bib.at(t, "data", "linked_record_id")}); string(got) != `[["\u003crecord/\u003e"],["(OCoLC)1"],"true",{"value":""}]` {
		t.Errorf("bib %s", got)
	}
	member := w.events(`update circulation.members set identifiers = '[{"value":"20001"}]'`)[0]
	if got, _ := json.Marshal(member.at(t, "data", "user", "contact_info")); string(got) != `{"address":[],"email":[],"phone":[]}` ||
		member.at(t, "data", "method") != "UPDATE" {
		t.Errorf("member %s", member.body)
	}
}
