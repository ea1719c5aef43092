package e2e_test

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// messagesGolden has the messages of all of Alma's event families that a library's life gives, but for
// their ids and times. The flat schema's mapping made them; the normalised schema's must make the same.
const messagesGolden = "../../../testdata/library/messages.golden"

var updateMessages = flag.Bool("update", false, "write testdata/library/messages.golden by the flat schema's mapping")

// libraryLife is what happens in a library, transaction by transaction, as each schema has it. LIST is
// the database's list of a text.
var libraryLife = []struct{ flat, normalised []string }{
	{[]string{ // bibliographic records
		`insert into catalog.bibs (mms_id, title, author, isbn, network_numbers, place_of_publication, date_of_publication, publisher, created_on, modified_on)
			values ('9912345', '図書館の話', 'Doe, A.', '978-4', LIST, 'Tokyo', '2000', 'Row Press', '2026-01-02', '2026-01-02'), ('991', 'Gone', null, null, LIST, null, null, null, '2026-01-02', '2026-01-02')`,
	}, []string{
		`insert into catalog.publishers values (1, 'Row Press', 'Tokyo')`,
		`insert into catalog.bibs (bib_id, mms_id, title, author, isbn, network_numbers, publisher_id, date_of_publication, created_on, modified_on)
			values (1, '9912345', '図書館の話', 'Doe, A.', '978-4', LIST, 1, '2000', '2026-01-02', '2026-01-02'), (2, '991', 'Gone', null, null, LIST, null, null, '2026-01-02', '2026-01-02')`,
	}},
	{[]string{`update catalog.bibs set title = '図書館の物語' where mms_id = '9912345'`, `delete from catalog.bibs where mms_id = '991'`},
		[]string{`update catalog.bibs set title = '図書館の物語' where bib_id = 1`, `delete from catalog.bibs where bib_id = 2`}},
	{[]string{ // items
		`insert into catalog.items (item_pid, title, author, price, barcode, mms_id, holding_id, call_number, updated_at) values ('2312345', '図書館の物語', 'Doe, A.', 12.50, 'B0001', '9912345', '2212345', 'PL 440', '2026-01-02 03:04:05')`,
	}, []string{
		`insert into catalog.holdings values (2212345, 1, 1, 'PL 4')`,
		`insert into catalog.items (item_id, item_pid, holding_id, barcode, price, status_id, material_type_id, policy_id, updated_at) values (10, '2312345', 2212345, 'B0001', 12.50, 1, 2, 3, '2026-01-02 03:04:05')`,
		`update catalog.holdings set call_number = 'PL 440'`, // looked up as of the commit
	}},
	{[]string{`update catalog.items set arrived_on = '2026-01-03' where item_pid = '2312345'`}, []string{`update catalog.items set arrived_on = '2026-01-03' where item_id = 10`}},
	{[]string{ // users
		`insert into circulation.members (member_id, name, primary_id, first_name, email, branch, user_group, user_group_name) values (1, 'Ada', 'u-1', 'Ada', 'ada@example.org', 'MAIN', 'STAFF', 'Staff'), (9, 'Otto', 'u-9', null, null, 'MAIN', 'PUBLIC', 'Public')`,
		`insert into circulation.member_roles (role_id, member_id, primary_id, user_group, role, role_name, branch) values (1, 1, 'u-1', 'STAFF', 'PATRON', 'Patron', 'MAIN')`,
	}, []string{
		`insert into circulation.members (member_id, primary_id, name, first_name, email, group_id, language_id) values (1, 'u-1', 'Ada', 'Ada', 'ada@example.org', 4, 6), (9, 'u-9', 'Otto', null, null, 5, 6)`,
		`insert into circulation.member_roles (role_id, member_id, type_id, library_id) values (1, 1, 8, 1)`,
	}},
	{[]string{`update circulation.members set last_name = 'L.' where member_id = 1`}, []string{`update circulation.members set last_name = 'L.' where member_id = 1`}},
	{[]string{ // loans
		`insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, loaned_at, due_at, barcode, mms_id, holding_id, title, author, publication_year, location, location_name, policy, policy_name, call_number)
			values (1000, '2312345', 1, 'MAIN', 'Main library', '2026-01-04 05:06:07', '2026-01-20 14:00:00', 'B0001', '9912345', '2212345', '図書館の物語', 'Doe, A.', '2000', 'OG', 'Upper floor', '01', '28 days', 'PL 440')`,
	}, []string{`insert into circulation.loans (loan_id, item_id, member_id, loaned_at, due_at, desk_id) values (1000, 10, 1, '2026-01-04 05:06:07', '2026-01-20 14:00:00', 7)`}},
	{[]string{`update circulation.loans set renewals = 1, renewed_at = '2026-01-10 00:00:00', due_at = '2026-02-03 14:00:00' where loan_id = 1000`},
		[]string{`update circulation.loans set renewals = 1, renewed_at = '2026-01-10 00:00:00', due_at = '2026-02-03 14:00:00' where loan_id = 1000`}},
	{[]string{`update circulation.loans set returned_at = '2026-02-01 08:00:00', status = 'RETURNED', return_desk = 'DEFAULT_CIRC_DESK', return_desk_name = 'Circulation desk', returned_by = 'u-9' where loan_id = 1000`},
		[]string{`update circulation.loans set returned_at = '2026-02-01 08:00:00', status = 'RETURNED', return_desk_id = 7, returned_by_id = 9 where loan_id = 1000`}},
	{[]string{ // requests
		`insert into circulation.requests (request_id, request_type, request_subtype, request_subtype_name, primary_id, mms_id, item_pid, barcode, title, author, pickup_location, pickup_library, material_type, material_type_name, requested_at, wanted_until)
			values (5, 'HOLD', 'PATRON_PHYSICAL', 'Patron physical item request', 'u-1', '9912345', '2312345', 'B0001', '図書館の物語', 'Doe, A.', 'Main library', 'MAIN', 'BOOK', 'Book', '2026-02-02 00:00:00', '2026-03-01')`,
	}, []string{
		`insert into circulation.requests (request_id, request_type, subtype_id, member_id, bib_id, item_id, pickup_library_id, requested_at, wanted_until) values (5, 'HOLD', 9, 1, 1, 10, 1, '2026-02-02 00:00:00', '2026-03-01')`,
	}},
	{[]string{`update circulation.requests set status = 'ON_HOLD_SHELF' where request_id = 5`}, []string{`update circulation.requests set status = 'ON_HOLD_SHELF' where request_id = 5`}},
	{[]string{ // receipts of a continuous order, and of one that is not
		`insert into acquisition.receipts (receipt_id, po_line, po_line_type, mms_id, title, holding_id, item_pid, barcode, branch, branch_name, arrived_on)
			values (1, 'POL-1', 'CONTINUOUS', '9912345', '図書館の物語', '2212345', '2312345', 'B0001', 'MAIN', 'Main library', '2026-02-03'), (2, 'POL-2', 'ONE_TIME', '9912345', null, null, '2312345', null, null, null, '2026-02-03')`,
	}, []string{`insert into acquisition.receipts (receipt_id, po_line_id, item_id, arrived_on) values (1, 1, 10, '2026-02-03'), (2, 2, 10, '2026-02-03')`}},
	{[]string{ // borrowing requests
		`insert into sharing.requests (request_id, direction, status, status_name, requester, partner, partner_name, title, created_at, modified_at) values ('rs-1', 'BORROWING', 'SENT', 'Request sent', 'u-1', 'NYPL', 'New York', 'Moby-Dick', '2026-02-04 00:00:00', '2026-02-04 00:00:00')`,
	}, []string{
		`insert into sharing.requests (request_id, direction, status_id, member_id, partner_id, title, created_at, modified_at) values ('rs-1', 'BORROWING', 10, 1, 1, 'Moby-Dick', '2026-02-04 00:00:00', '2026-02-04 00:00:00')`,
	}},
	{[]string{`update sharing.requests set status = 'RECEIVED', status_name = 'Received'`}, []string{`update sharing.requests set status_id = 11`}},
	{[]string{`delete from sharing.requests`}, []string{`delete from sharing.requests`}},
	{[]string{ // letters, of a type that is switched on in the transaction that sends them
		`insert into app.letters (letter_id, letter, letter_name, status, primary_id, full_name, email, language, language_name, subject, loans) values (1, 'FulPlaceOnHoldShelfLetter', 'On hold shelf', 'pending', 'u-1', 'Ada', 'ada@example.org', 'en', 'English', 'It is here', '[{"loan_id":"1000"}]')`,
	}, []string{`insert into app.letters (letter_id, type_id, member_id, subject, loans) values (1, 1, 1, 'It is here', '[{"loan_id":"1000"}]')`}},
	{[]string{`update app.letters set status = 'sent', sent_at = '2026-02-05 00:00:00' where letter_id = 1`},
		[]string{`update app.letters set status = 'sent', sent_at = '2026-02-05 00:00:00' where letter_id = 1`, `update app.letter_types set enabled = 'yes'`}},
	{[]string{ // jobs
		`insert into app.job_runs (run_id, job_id, name, description, submitted_by, submitter_name, submitted_at) values (101, 'S12', 'Nightly export', 'Exports', 'u-9', 'Otto', '2026-02-06 00:00:00')`,
	}, []string{`insert into app.job_runs (run_id, job_id, submitted_by_id, submitted_at) values (101, 1, 9, '2026-02-06 00:00:00')`}},
	{[]string{`update app.job_runs set status = 'COMPLETED_SUCCESS', status_name = 'Completed', progress = 100, ended_at = '2026-02-06 01:00:00' where run_id = 101`},
		[]string{`update app.job_runs set status = 'COMPLETED_SUCCESS', status_id = 13, progress = 100, ended_at = '2026-02-06 01:00:00' where run_id = 101`}},
}

// normalisedCodes are the rows that the normalised library has from the start.
var normalisedCodes = []string{
	`insert into app.codes values (1, 'status', '1', 'Item in place'), (2, 'material', 'BOOK', 'Book'), (3, 'policy', '01', '28 days'), (4, 'group', 'STAFF', 'Staff'), (5, 'group', 'PUBLIC', 'Public'),
		(6, 'language', 'en', 'English'), (7, 'desk', 'DEFAULT_CIRC_DESK', 'Circulation desk'), (8, 'role', 'PATRON', 'Patron'), (9, 'subtype', 'PATRON_PHYSICAL', 'Patron physical item request'),
		(10, 'sharing', 'SENT', 'Request sent'), (11, 'sharing', 'RECEIVED', 'Received'), (12, 'kind', 'SCHEDULED', 'Scheduled'), (13, 'job', 'COMPLETED_SUCCESS', 'Completed')`,
	`insert into catalog.libraries values (1, 'MAIN', 'Main library')`,
	`insert into catalog.locations values (1, 1, 'OG', 'Upper floor')`,
	`insert into acquisition.po_lines values (1, 'POL-1', 'CONTINUOUS', 1), (2, 'POL-2', 'ONE_TIME', 1)`,
	`insert into sharing.partners values (1, 'NYPL', 'New York')`,
	`insert into app.letter_types values (1, 'FulPlaceOnHoldShelfLetter', 'On hold shelf', 'WEBHOOK', 'no')`,
	`insert into app.jobs values (1, 'S12', 'Nightly export', 'Exports', 12, null)`,
}

// lives lives a library's life and holds what the listener for Alma gets to the golden file.
func (l *library) lives(normalised bool) {
	l.tb.Helper()
	for _, at := range libraryLife {
		statements := at.flat
		if normalised {
			statements = at.normalised
		}
		statements = slices.Clone(statements)
		for i := range statements {
			statements[i] = strings.ReplaceAll(statements[i], "LIST", l.texts("(OCoLC)1"))
		}
		l.exec(statements...)
	}
	raw, err := os.ReadFile(messagesGolden)
	if !*updateMessages {
		capturetest.Must(l.tb, err)
	}
	want := strings.Split(strings.TrimSpace(string(raw)), "\n")
	last := posted(`"JOB_END"`)
	l.await("alma", 1, "the last message", last)
	eventually(l.tb, patience, "what the last has overtaken, being another key's", func() bool {
		return *updateMessages || len(l.got("alma", posted(`"action"`))) >= len(want)
	})
	if *updateMessages {
		l.delivered("alma-listener")
	}
	identity := regexp.MustCompile(`^\{"id":"\d+",(.*)"time":"[^"]+",`)
	var got []string
	for _, r := range l.got("alma", posted(`"action"`)) {
		line := identity.ReplaceAllString(string(r.body), "{$1")
		if !json.Valid([]byte(line)) || strings.Contains(line, `"time":"2026-`) {
			l.tb.Fatalf("%s", r.body)
		}
		got = append(got, line)
	}
	slices.Sort(got)
	if *updateMessages && !normalised {
		capturetest.Must(l.tb, os.WriteFile(messagesGolden, []byte(strings.Join(got, "\n")+"\n"), 0o644))
		return
	}
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			if at := func(list []string) string { return append(slices.Clone(list), make([]string, i+1)...)[i] }; at(got) != at(want) {
				l.tb.Errorf("message %d\n%s\nwant\n%s", i, at(got), at(want))
			}
		}
	}
	actions := map[string]bool{}
	for _, line := range got {
		_, rest, _ := strings.Cut(line, `"action":"`)
		action, _, _ := strings.Cut(rest, `"`)
		actions[action] = true
	}
	if len(actions) != 9 {
		l.tb.Errorf("%d families: %v", len(actions), actions)
	}
}

// TestFlatLibrary holds the golden messages to what the flat schema's mapping makes.
func TestFlatLibrary(t *testing.T) {
	t.Parallel()
	l := newLibraryOn(t, "postgres", nil)
	l.open()
	l.lives(false)
}

// TestNormalisedLibrary: a schema without any repetition gives the same messages of all nine families,
// by look-ups and memory, on each kind of database.
func TestNormalisedLibrary(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			l := newLibraryIn(t, "../../../testdata/library/normalised")
			changes := l.onDatabase(database)
			for old := range changes {
				if !strings.Contains(l.config, old) { // of what the example beside it says, too
					delete(changes, old)
				}
			}
			changes["\nprofiles:\n"] = "\ndefaults:\n  allow_networks: [loopback]\n\nprofiles:\n"
			l.adapt(changes)
			l.exec(normalisedCodes...)
			l.open()
			eventually(t, 2*patience, "the rows are loaded", func() bool {
				var list []struct{ State string }
				r := l.rowhook("backfill", "list", "--json")
				return r.code == 0 && json.Unmarshal([]byte(r.stdout), &list) == nil && len(list) >= 12 &&
					!slices.ContainsFunc(list, func(b struct{ State string }) bool { return b.State != "done" })
			})
			l.lives(true)
		})
	}
}
