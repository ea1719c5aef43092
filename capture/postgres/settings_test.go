package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestSettingsAreCuredByTheirRemedies starts servers whose settings and roles lack what capture
// needs, pastes each remedy, and expects no finding but notes.
func TestSettingsAreCuredByTheirRemedies(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 15, 16, 17, 18, 19} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			// The test's server takes these from its command line otherwise, where no ALTER SYSTEM
			// reaches.
			pg := capturetest.StartPostgres(t, capturetest.Options{Major: major, Settings: map[string]string{
				"wal_level": "", "max_replication_slots": "", "max_wal_senders": ""}})
			conn := pg.Connect(t, pg.DSN)
			pasteInto(t, conn, "alter system set wal_level = 'replica'; alter system set max_replication_slots = 1; alter system set max_wal_senders = 1;"+
				"alter system set wal_sender_timeout = '20s'; select pg_create_physical_replication_slot('other');"+
				`create role "The Agent" login; create schema "Own"; create table "Own".t (id int primary key); create publication rowhook for table "Own".t`)
			want := []string{"error max_replication_slots", "error replication_connection", "error replication_privilege",
				"warning select_privilege", "warning usage_privilege", "warning wal_sender_timeout"}
			if major < onDemandVersion/10000 {
				want = append(want, "error wal_level")
			}
			if major >= 18 {
				pasteInto(t, conn, "alter system set idle_replication_slot_timeout = '1d'")
				want = append(want, "warning idle_replication_slot_timeout")
			}
			if major >= 19 {
				pasteInto(t, conn, "alter system set output_plugin_libraries = test_decoding")
				pasteInto(t, conn, `grant pg_read_all_settings to "The Agent"`)
				want = append(want, "error output_plugin_libraries")
			}
			restarted := func() {
				capturetest.Must(t, pg.Stop(capturetest.Fast))
				capturetest.Must(t, pg.Start())
				conn = pg.Connect(t, pg.DSN)
			}
			restarted()
			url := pg.TCP("postgres", "The Agent")
			pasted := map[string]bool{}
			for range 3 { // some are seen only when others are mended
				findings, _, err := newSource(t, url).Check(t.Context(), []string{"Own.t"})
				capturetest.Must(t, err)
				done := true
				for _, f := range findings {
					name := f.Severity.String() + " " + f.Code
					if f.Severity < capture.Warning || f.Remedy == "" {
						continue
					}
					done, pasted[name] = false, true
					pasteInto(t, conn, f.Remedy)
				}
				if done {
					break
				}
				restarted()
			}
			findings, _, err := newSource(t, url).Check(t.Context(), []string{"Own.t"})
			capturetest.Must(t, err)
			for _, f := range findings {
				if f.Severity >= capture.Warning {
					t.Errorf("still: %+v", f)
				}
			}
			slices.Sort(want)
			for _, name := range want {
				if !pasted[name] {
					t.Errorf("there was no %s; there were %v", name, pasted)
				}
			}
			t.Logf("%d remedies on PostgreSQL %d", len(pasted), major)
		})
	}
}

// TestDecodingOnDemand holds that wal_level = replica will do where the server turns decoding on by
// itself, and that REPACK's slots do not count.
func TestDecodingOnDemand(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 19, Settings: map[string]string{"wal_level": "replica", "max_replication_slots": "1"}})
	pg.Run(t, "create table t (id int primary key)", "create table packed (id int primary key)", "insert into packed values (1)", "create publication rowhook for table t")
	s := newSource(t, pg.DSN)
	codes := func() string {
		t.Helper()
		findings, _, err := s.Check(t.Context(), []string{"public.t"})
		capturetest.Must(t, err)
		var list []string
		for _, f := range findings {
			if f.Severity > capture.Info || f.Code == "wal_level" {
				list = append(list, f.Severity.String()+" "+f.Code+": "+f.Text)
			}
		}
		return strings.Join(list, "\n")
	}
	if got := codes(); !strings.HasPrefix(got, "info wal_level: wal_level is replica: the server turns") || strings.Contains(got, "\n") {
		t.Errorf("before the first slot: %s", got)
	}
	writer := pg.Connect(t, pg.DSN)
	_, err := writer.Exec(t.Context(), "begin; insert into packed values (2)")
	capturetest.Must(t, err)
	packing := pg.Connect(t, pg.DSN)
	packed := make(chan error, 1)
	go func() { _, err := packing.Exec(t.Context(), "repack (concurrently) packed"); packed <- err }()
	eventually(t, "REPACK has its slot", func() bool {
		return pg.Rows(t, "select count(*) from pg_replication_slots where plugin = 'pgrepack'")[0][0] == "1"
	})
	if got := codes(); !strings.HasPrefix(got, "info wal_level") || strings.Contains(got, "\n") {
		t.Errorf("while REPACK has a slot: %s", got)
	}
	_, err = writer.Exec(t.Context(), "commit")
	capturetest.Must(t, err)
	capturetest.Must(t, <-packed)
	sink := newListSink("")
	running, _ := follow(t, s, capture.StartOptions{}, sink)
	pg.Run(t, "insert into t values (1)")
	sink.await(t, "the row", func() bool { return len(sink.changes()) == 1 })
	if got := codes(); !strings.Contains(got, "logical decoding is on") || strings.Contains(got, "\n") {
		t.Errorf("with a slot: %s", got)
	}
	running.stop(t)
}

// TestCloudsHaveTheirOwnWays holds that membership in rds_replication is the right to replicate,
// and that what no statement of a cloud's database changes is not offered as one.
func TestCloudsHaveTheirOwnWays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		roles                string
		privilege, parameter string
	}{
		{"create role rds_superuser; create role rds_replication", `GRANT rds_replication TO "agent";`, "parameter group"},
		{"create role cloudsqlsuperuser", `ALTER ROLE "agent" REPLICATION;`, "cloudsql.logical_decoding = on"},
		{"create role azure_pg_admin", `ALTER ROLE "agent" REPLICATION;`, "wal_level = logical in the server's parameters"},
	} {
		pg := capturetest.StartPostgres(t, capturetest.Options{Settings: map[string]string{"wal_level": "replica"}})
		pg.Run(t, test.roles, "create role agent login", "create table t (id int primary key)")
		s := newSource(t, pg.TCP("postgres", "agent"))
		facts, err := s.readSettings(t.Context())
		capturetest.Must(t, err)
		lines := strings.Join(findingLines(facts.findings("agent")), "\n")
		if !strings.Contains(lines, test.privilege) || !strings.Contains(lines, test.parameter) || strings.Contains(lines, "ALTER SYSTEM") {
			t.Errorf("%s:\n%s", test.roles, lines)
		}
		if !strings.HasPrefix(test.privilege, "GRANT") {
			continue
		}
		pg.Run(t, test.privilege)
		if facts, err = s.readSettings(t.Context()); err != nil || strings.Contains(strings.Join(findingLines(facts.findings("agent")), "\n"), "replication_privilege") {
			t.Errorf("a member of rds_replication may not replicate: %v", err)
		}
		pg.Run(t, "drop role agent")
		plan, err := newSource(t, pg.TCP("postgres", "agent")).SetupSQL(t.Context(), capture.SetupOptions{Tables: []string{"public.t"}, Owner: pg.DSN})
		capturetest.Must(t, err)
		for _, statement := range plan {
			if strings.Contains(statement.SQL, "LOGIN REPLICATION") {
				t.Errorf("setup on Amazon: %s", statement.SQL)
			}
		}
	}
}

// TestLabels holds that the catalog's enums come with their labels, also behind domains.
func TestLabels(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create type mood as enum ('new', 'paid', 'won''t')", "create domain moody as mood", "create domain moodier as moody",
		"create table t (id int primary key, a mood, b moodier, c text, d mood[])")
	tables, err := newSource(t, pg.DSN).Tables(t.Context(), []string{"public.t"})
	capturetest.Must(t, err)
	want := map[string]string{"a": "new,paid,won't", "b": "new,paid,won't"}
	for _, column := range tables[0].Columns {
		if got := strings.Join(column.Type.Labels, ","); got != want[column.Name] {
			t.Errorf("labels of %s: %q, want %q", column.Name, got, want[column.Name])
		}
	}
}
