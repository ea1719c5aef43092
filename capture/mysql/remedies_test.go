package mysql

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// pasteable are the statements in a remedy, each with its semicolon or at the end.
var pasteable = regexp.MustCompile(`\b(?:SET (?:PERSIST|GLOBAL)|GRANT|ALTER TABLE|ALTER USER|CREATE USER|DROP USER|FLUSH|TRUNCATE TABLE) [^;]*(?:;|$)`)

// configured are the settings that a remedy wants in the server's configuration.
var configured = regexp.MustCompile(`\b(log_bin|log_slave_updates|log_replica_updates) = (\w+)`)

// doctor tries what `check` says against a server.
type doctor struct {
	s      *testServer
	source func(t *testing.T) *Source
	tried  map[string]bool
}

// check returns the findings by code.
func (d *doctor) check(t *testing.T, patterns ...string) map[string]capture.Finding {
	t.Helper()
	source := d.source(t)
	defer source.Close()
	found, _, err := source.Check(t.Context(), patterns)
	capturetest.Must(t, err)
	byCode := map[string]capture.Finding{}
	for _, f := range found {
		if f.Severity > capture.Info {
			byCode[f.Code] = f
		}
	}
	return byCode
}

// cures expects the findings of some codes, does what each remedy says, and expects that they are
// gone.
func (d *doctor) cures(t *testing.T, codes, patterns []string) {
	t.Helper()
	before := d.check(t, patterns...)
	restart := settings{}
	for _, code := range codes {
		f, ok := before[code]
		if !ok {
			t.Errorf("%s is not found, but %q", code, slices.Sorted(maps.Keys(before)))
			continue
		}
		statements, wanted := pasteable.FindAllString(f.Remedy, -1), configured.FindAllStringSubmatch(f.Remedy, -1)
		if len(statements)+len(wanted) == 0 {
			t.Errorf("%s: nothing to do in %q", code, f.Remedy)
		}
		for _, statement := range statements {
			if err := d.s.Exec(t.Context(), "", statement); err != nil {
				t.Errorf("%s: %s: %v", code, statement, err)
			}
		}
		for _, w := range wanted {
			restart[w[1]] = w[2]
		}
		d.tried[code] = true
	}
	if len(restart) > 0 {
		d.s.Set(restart)
		capturetest.Must(t, d.s.Restart())
	}
	after := d.check(t, patterns...)
	for _, code := range codes {
		if f, ok := after[code]; ok {
			t.Errorf("%s stays: %+v", code, f)
		}
	}
}

// TestRemedies: the server accepts what each finding of check says is to be done, and the finding
// is gone.
func TestRemedies(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			wrong := settings{"binlog_format": "MIXED", "binlog_row_metadata": "MINIMAL", "binlog_row_image": "MINIMAL", "binlog_expire_logs_seconds": "3600"}
			if flavour == "mysql" {
				maps.Copy(wrong, noGTID)
				maps.Copy(wrong, settings{"binlog_rows_query_log_events": "OFF", "binlog_row_value_options": "PARTIAL_JSON"})
			} else {
				wrong["binlog_annotate_row_events"] = "OFF"
			}
			s := ownServer(t, flavour, wrong)
			s.session(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY)", "CREATE TABLE lib.hidden (id INT PRIMARY KEY)", "CREATE TABLE lib.seats (id INT PRIMARY KEY) ENGINE = MEMORY",
				"CREATE USER rowhook@'127.0.0.1' IDENTIFIED BY 's3cret'", "GRANT SELECT ON lib.loans TO rowhook@'127.0.0.1'", "GRANT SELECT ON lib.seats TO rowhook@'127.0.0.1'")
			s.db.SetMaxIdleConns(-1) // for which MySQL would wait when it is to end
			d := &doctor{s: s, tried: map[string]bool{}}
			d.source = func(t *testing.T) *Source {
				source, err := New(capture.SourceConfig{URL: s.TCP("lib", "rowhook", "s3cret")}, Options{Logger: quiet(), AgentID: t.Name(), Comments: true})
				capturetest.Must(t, err)
				return source
			}
			d.cures(t, []string{"replication_connection"}, nil) // no right to ask where the binlog ends
			s.session(t, "REVOKE REPLICATION SLAVE ON *.* FROM rowhook@'127.0.0.1'")
			d.cures(t, []string{"replication_privilege"}, nil)
			codes := []string{"binlog_format", "binlog_row_metadata", "binlog_row_image", "binlog_expire_logs_seconds", "sync_binlog"}
			if flavour == "mysql" {
				codes = append(codes, "binlog_row_value_options", "gtid_mode", "binlog_rows_query_log_events")
			} else {
				codes = append(codes, "binlog_annotate_row_events")
			}
			d.cures(t, codes, nil)
			d.cures(t, []string{"table"}, []string{"lib.hidden"})
			d.cures(t, []string{"memory"}, []string{"lib.seats"})
			d.restarts(t)
			d.nameless(t)
			t.Logf("%d remedies on %s: %s", len(d.tried), s, strings.Join(slices.Sorted(maps.Keys(d.tried)), " "))
		})
	}
}

// restarts takes what needs another start of the server: a binlog at all, and one of what a replica
// replicates.
func (d *doctor) restarts(t *testing.T) {
	t.Helper()
	name := map[bool]string{true: "log_slave_updates", false: "log_replica_updates"}[d.s.MariaDB]
	d.s.Set(settings{name: "OFF", "read_only": "ON"})
	capturetest.Must(t, d.s.Restart())
	d.cures(t, []string{"log_slave_updates"}, nil)
	d.s.Set(settings{"skip_log_bin": "1", "read_only": "OFF"})
	capturetest.Must(t, d.s.Restart())
	if f := d.check(t)["log_bin"]; !strings.HasPrefix(f.Text, "log_bin is OFF") {
		t.Errorf("log_bin: %+v", f)
	}
	d.s.Unset("skip_log_bin")
	d.cures(t, []string{"log_bin"}, nil)
}

// nameless has an account of nobody's take the logins from this machine.
func (d *doctor) nameless(t *testing.T) {
	t.Helper()
	d.s.session(t, "CREATE USER everywhere@'%' IDENTIFIED BY 's3cret'", "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO everywhere@'%'",
		"CREATE USER ''@'localhost' IDENTIFIED BY 'nobody knows'")
	source := loginSource(t, d.s, "everywhere", "s3cret", "socket")
	_, err := source.Identify(t.Context())
	var operator *capture.OperatorError
	if !errors.As(err, &operator) {
		t.Fatalf("%v", err)
	}
	drop := regexp.MustCompile(`DROP USER [^;]*`).FindString(operator.Remedy)
	if drop == "" {
		t.Fatalf("%v: remedy %q", err, operator.Remedy)
	}
	d.s.session(t, drop)
	if _, err := source.Identify(t.Context()); err != nil {
		t.Errorf("behind %s: %v", drop, err)
	}
	d.tried["nameless account"] = true
	unblock := regexp.MustCompile(map[bool]string{true: `FLUSH HOSTS`, false: `TRUNCATE TABLE [^;]*`}[d.s.MariaDB]).FindString(unblockRemedy)
	d.s.session(t, unblock)
	d.tried["blocked host"] = true
}

// TestSetupGrants grants to the account that the agent logs in by, wherever its host.
func TestSetupGrants(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.session(t, "CREATE TABLE "+database+".loans (id INT PRIMARY KEY)", "CREATE USER grants@'127.0.0.1' IDENTIFIED BY 's3cret'", "CREATE USER grants@'localhost' IDENTIFIED BY 's3cret'")
		for _, way := range []string{"tcp", "socket"} {
			source := loginSource(t, s, "grants", "s3cret", way)
			plan, err := source.SetupSQL(t.Context(), capture.SetupOptions{Tables: []string{database + ".loans"}, Owner: s.URL("")})
			capturetest.Must(t, err)
			for _, statement := range plan {
				if strings.HasPrefix(statement.SQL, "GRANT") {
					s.session(t, statement.SQL)
				}
			}
			logIn(t, s, "grants", "s3cret", way)
		}
	})
}

// TestTriggersDoNotWait gives up a trigger whose table is in use, before the application's
// statements have waited long behind it.
func TestTriggersDoNotWait(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.session(t, "USE "+database, "CREATE TABLE loans (id INT PRIMARY KEY)", "CREATE TABLE context (actor_id TEXT, actor_name TEXT, operation TEXT, source TEXT)")
		user := (&capturetest.MySQL{MySQLServer: s.MySQLServer}).Connect(t, database)
		for _, statement := range []string{"BEGIN", "SELECT * FROM loans"} {
			_, err := user.ExecContext(t.Context(), statement)
			capturetest.Must(t, err)
		}
		source := newTestSource(t, s, database)
		began := time.Now()
		_, err := source.ContextTriggers(t.Context(), capture.TriggerOptions{Table: database + ".context", Tables: []string{database + ".loans"}, Apply: true})
		var operator *capture.OperatorError
		if took := time.Since(began); !errors.As(err, &operator) || !strings.Contains(operator.Remedy, "a transaction has the table open") || took > 5*triggerLockWait*time.Second {
			t.Errorf("after %s: %v, %+v", took, err, operator)
		}
		_, err = user.ExecContext(t.Context(), "COMMIT")
		capturetest.Must(t, err)
		plan, err := source.ContextTriggers(t.Context(), capture.TriggerOptions{Table: database + ".context", Tables: []string{database + ".loans"}, Apply: true})
		if err != nil || len(plan) != 3 {
			t.Errorf("afterwards: %v, %d statements", err, len(plan))
		}
	})
}
