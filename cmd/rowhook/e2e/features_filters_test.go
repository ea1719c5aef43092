package e2e_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// theOperations are the eighteen of the RakuRaku page, and the events that they make.
var theOperations = []struct{ event, operation string }{
	{"plan.inserted", "insert.single"}, {"plan.inserted", "insert.copy"}, {"plan.inserted", "insert.bulk"}, {"plan.inserted", "insert.bulk_update"},
	{"plan.inserted", "insert.list_excel"}, {"plan.inserted", "insert.list_csv"}, {"plan.inserted", "insert.form_excel"},
	{"plan.inserted", "insert.data_import"}, {"plan.inserted", "insert.webapi"},
	{"plan.updated", "update.single"}, {"plan.updated", "update.bulk_update"}, {"plan.updated", "update.list_excel"},
	{"plan.updated", "update.list_csv"}, {"plan.updated", "update.form_excel"}, {"plan.updated", "update.webapi"},
	{"plan.deleted", "delete.single"}, {"plan.deleted", "delete.bulk_update"}, {"plan.deleted", "delete.webapi"},
}

// operationProfiles has a receiver for each operation, and some for several.
func operationProfiles() string {
	var b strings.Builder
	profile := func(code, subscription string) {
		b.WriteString("\n  " + code + ":\n    url: https://" + code + ".example.org/hook\n    signature: none\n    concurrency: 1\n    subscriptions: [" + subscription + "]\n")
	}
	for _, o := range theOperations {
		profile(strings.NewReplacer(".", "-", "_", "-").Replace(o.operation), "{events: ["+o.event+"], operations: ["+o.operation+"]}")
	}
	profile("by-hand", "{tables: [app.plans], operations: {not: ['*.webapi']}}")
	profile("by-files", "{tables: [app.plans], operations: ['*.list_*', '*.data_import']}")
	profile("any", "{tables: [app.plans, library-plans, circulation.members], events: ['*', job.finished]}, {events: [job.finished]}")
	profile("people", "{tables: [circulation.members], operations: {not: ['api*']}, where: {user_group: [FACULTY, STAFF]}}")
	profile("all-people", "{tables: [circulation.members], operations: {not: ['api*']}}")
	return b.String()
}

// TestFeatureOperations: each operation of the RakuRaku page notifies those who chose it, and
// nobody else; each tells who did it. Changes of people by the API send nothing, nor do groups that
// nobody asked for.
func TestFeatureOperations(t *testing.T) {
	t.Parallel()
	onLibraries(t, true, withProfiles(operationProfiles()), testFeatureOperations)
}

func testFeatureOperations(t *testing.T, l *library) {
	w := &watcher{library: l.open(), profile: "any"}
	change := map[string]string{
		"plan.inserted": `insert into app.plans (plan_id, title, department) select coalesce(max(plan_id), 0) + 1, 'P', 'OTHER' from app.plans`,
		"plan.updated":  `update app.plans set amount = amount + 1 where plan_id = 1`,
		"plan.deleted":  `delete from app.plans where plan_id = (select max(plan_id) from (select plan_id from app.plans) plans)`,
	}
	for _, o := range theOperations {
		got := w.events(l.as("aa010001", "住友 太郎", o.operation), change[o.event])
		if types(t, got) != o.event {
			t.Fatalf("%s: %s", o.operation, types(t, got))
		}
		if e := got[0]; e.at(t, "operation") != o.operation || e.at(t, "actor", "id") != "aa010001" || e.at(t, "actor", "name") != "住友 太郎" {
			t.Errorf("%s: %s", o.operation, e.body)
		}
	}
	unknown := w.events(`update app.plans set amount = amount + 1 where plan_id = 1`) // nobody tells
	if len(unknown) != 1 || unknown[0].at(t, "operation") != "unknown" || unknown[0].at(t, "actor", "id") != "system" {
		t.Errorf("without a context: %s", unknown[0].body)
	}
	column := w.events(`update app.plans set amount = amount + 1, updated_via = 'update.webapi', updated_by = 'bb' where plan_id = 1`)
	if len(column) != 1 || column[0].at(t, "operation") != "update.webapi" || column[0].at(t, "actor", "id") != "bb" {
		t.Errorf("by columns: %s", column[0].body)
	}
	// A column names the last editor, who need not be the one who deletes.
	deleted := w.events(`delete from app.plans where plan_id = 1`)
	if last := deleted[0]; last.at(t, "type") != "plan.deleted" || last.at(t, "operation") != "unknown" || last.at(t, "actor", "id") != "system" {
		t.Errorf("a deletion that nobody tells of: %s", last.body)
	}
	w.events(l.as("a", "A", "web"), `insert into circulation.members (member_id, name, branch, user_group) values (1, 'A', 'MAIN', 'STAFF'), (2, 'B', 'MAIN', 'PUBLIC')`)
	w.events(l.as("a", "A", "api"), `update circulation.members set email = 'x'`)
	w.events(l.as("a", "A", "api_v2"), `update circulation.members set email = 'y'`)
	w.events(`update circulation.members set email = 'z'`)                                                       // by a job that tells nothing
	w.events(l.as("a", "A", "web"), `update circulation.members set user_group = 'FACULTY' where member_id = 2`) // into a group that is listed
	w.events(l.as("a", "A", "web"), `delete from circulation.members where member_id = 1`)                       // by the old row's group

	want := map[string]int{"by-hand": 17, "by-files": 5, "people": 4, "all-people": 6}
	for _, o := range theOperations {
		want[strings.NewReplacer(".", "-", "_", "-").Replace(o.operation)] = 1
	}
	want["update-webapi"] = 2
	for profile, n := range want {
		l.await(profile, n, "its events", nil)
	}
	for _, o := range theOperations {
		for _, e := range l.got(strings.NewReplacer(".", "-", "_", "-").Replace(o.operation), nil) {
			if e.at(t, "operation") != o.operation {
				t.Errorf("%s was told of %v", o.operation, e.at(t, "operation"))
			}
		}
	}
}

// TestFeatureRestrictions: what an operation or a kind of app does not allow is an error of the
// config.
func TestFeatureRestrictions(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ change, want string }{
		"an operation that updates do not have": {"{events: [plan.updated], operations: [update.copy]}", `"update.copy" is in none of the events' lists`},
		"deletes by file":                       {"{events: [plan.deleted], operations: [delete.list_csv]}", `"delete.list_csv" is in none`},
		"an insert that is no delete":           {"{events: [plan.deleted], operations: {not: [insert.single]}}", `"insert.single" is in none`},
		"a glob that fits none":                 {"{events: [plan.inserted], operations: ['insert.fax*']}", `"insert.fax*" is in none`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			example, err := os.ReadFile("../../../testdata/library/config.yaml")
			capturetest.Must(t, err)
			file := newTempDir(t) + "/config.yaml"
			text := strings.Replace(string(example), "\n# --- what is written down",
				"\n  plans:\n    url: https://plans.example.org/hook\n    signature: none\n    subscriptions: ["+tt.change+"]\n\n# --- what is written down", 1)
			capturetest.Must(t, os.WriteFile(file, []byte(text), 0o600))
			r := command(t, []string{"DESK_SECRET=x", "ALMA_SECRET=x"}, "check", "-c", file)
			if r.code != 2 || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("exit %d: %s", r.code, r.stderr)
			}
		})
	}
	// Without the option of a web API, the lists leave its operations out, and no profile may name
	// them.
	example, err := os.ReadFile("../../../testdata/library/config.yaml")
	capturetest.Must(t, err)
	text := string(example)
	for _, operation := range []string{"insert.webapi", "update.webapi", "delete.webapi"} {
		text = strings.Replace(text, ", "+operation+"]", "]", 1) // the mapping comes first, before the profiles
	}
	file := newTempDir(t) + "/config.yaml"
	capturetest.Must(t, os.WriteFile(file, []byte(text), 0o600))
	without := command(t, []string{"DESK_SECRET=x", "ALMA_SECRET=x"}, "check", "-c", file)
	for _, operation := range []string{"insert.webapi", "update.webapi", "delete.webapi"} {
		if without.code != 2 || !strings.Contains(without.stderr, `"`+operation+`" is in none of the events' lists`) {
			t.Errorf("%s without a web API: exit %d: %s", operation, without.code, without.stderr)
		}
	}
	// A sub-app inserts and deletes nothing: its entry has no such event.
	r := command(t, []string{"DESK_SECRET=x", "ALMA_SECRET=x"}, "check", "--events", "-c", "../../../testdata/library/config.yaml")
	var subApp []string
	for line := range strings.Lines(r.stdout) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "library-plans" {
			subApp = append(subApp, fields[0])
		}
	}
	if !slices.Equal(subApp, []string{"library_plan.updated"}) {
		t.Errorf("the sub-app has %q", subApp)
	}
}
