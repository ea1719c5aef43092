package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/capture"
)

// retentionLeast is how long a server should keep its binlog, so that an outage over a night does
// no harm.
const retentionLeast = 24 * time.Hour

// Check looks at everything that capture needs of the server and of the tables that the patterns
// name, and returns what it found, most general first, with what [Source.Tables] gives of them. An
// error means that it could not look; what a person has to fix is a finding.
func (s *Source) Check(ctx context.Context, patterns []string) (out []capture.Finding, tables []*capture.Table, err error) {
	out = s.tlsFindings()
	h, db, err := s.reach(ctx)
	if err == nil {
		_, err = s.identify(ctx, h, db)
	}
	var operator *capture.OperatorError
	if errors.As(err, &operator) {
		return append(out, capture.Finding{Severity: capture.Error, Code: "replication_connection", Text: err.Error(), Remedy: operator.Remedy}), nil, nil
	}
	if err != nil {
		return out, nil, err
	}
	in, err := inspect(ctx, db, patterns)
	if err != nil {
		return out, nil, err
	}
	in.who = s.currentAccount(ctx, db)
	out = append(out, in.settingFindings()...)
	out = append(out, s.commentFindings(in)...)
	out = append(out, capture.Finding{Severity: capture.Info, Code: "truncate",
		Text: "a TRUNCATE is in the binlog as a statement: it makes an event where a rule says `op: truncate`, and tells no rows"})
	if taken := s.takenServerID(ctx, db, in.variables, in.mariaDB, in.version); taken != "" {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "server_id", Subject: fmt.Sprint(s.serverID), Text: taken, Remedy: serverIDRemedy})
	}
	privileges, err := s.privilegeFindings(ctx, db, in)
	if err != nil {
		return out, nil, err
	}
	return append(append(out, privileges...), in.tableFindings()...), in.described(), nil
}

// Drift compares the mapped tables with what the binlog tells of them. Each finding carries what
// cures it. No findings means that the stream brings what is mapped.
func (s *Source) Drift(ctx context.Context, patterns []string) ([]capture.Finding, error) {
	_, db, err := s.reach(ctx)
	if err != nil {
		return nil, err
	}
	in, err := inspect(ctx, db, patterns)
	if err != nil {
		return nil, err
	}
	var out []capture.Finding
	for _, f := range append(in.settingFindings(), in.tableFindings()...) {
		if f.Severity == capture.Error || f.Table != "" && f.Severity > capture.Info {
			out = append(out, f)
		}
	}
	return out, nil
}

// tlsFindings warns of connections whose server is not verified, unless they stay on this machine.
func (s *Source) tlsFindings() []capture.Finding {
	var out []capture.Finding
	for _, h := range s.address.hosts {
		encryption := s.address.tlsFor(h)
		if h.local() || encryption != nil && !encryption.InsecureSkipVerify {
			continue
		}
		f := capture.Finding{Severity: capture.Warning, Code: "tls", Subject: h.String(), Text: fmt.Sprintf("the connection to %s is not encrypted", h),
			Remedy: "tls=verify in source.url (and ca=FILE, if the CA is your own)"}
		if encryption != nil {
			f.Text = fmt.Sprintf("the certificate of %s is not verified", h)
		}
		out = append(out, f)
	}
	return out
}

// set writes the statement that changes a setting now and for good.
func (in *inspection) set(name, value string) string { return setSQL(in.mariaDB, name, value) }

func setSQL(mariaDB bool, name, value string) string {
	literal := value // servers refuse a number in quotes
	if _, err := strconv.Atoi(value); err != nil {
		literal = quoteText(value)
	}
	remedy, notes := fmt.Sprintf("SET PERSIST %s = %s;", name, literal), []string(nil)
	if mariaDB {
		remedy = fmt.Sprintf("SET GLOBAL %s = %s;", name, literal)
		notes = append(notes, fmt.Sprintf("and %s = %s in the server's configuration", name, value))
	}
	if slices.Contains(sessionSettings, name) {
		notes = append(notes, "sessions that are open keep their value: let the application connect anew")
	}
	if len(notes) > 0 { // as a comment, so that all of it can be pasted
		remedy += " -- " + strings.Join(notes, "; ")
	}
	return remedy
}

// sessionSettings are those that a session takes over when it begins.
var sessionSettings = []string{"binlog_format", "binlog_row_image", "binlog_row_value_options", "binlog_rows_query_log_events", "binlog_annotate_row_events"}

// Of a server that logs nothing.
const (
	noBinlog       = "log_bin is OFF: the server writes no binlog"
	noBinlogRemedy = "put log_bin = binlog under [mysqld] in the server's configuration, and restart the server"
	gtidRemedy     = "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = OFF_PERMISSIVE; SET PERSIST gtid_mode = ON_PERMISSIVE; " +
		"and when SHOW STATUS LIKE 'Ongoing_anonymous_transaction_count' is 0: SET PERSIST gtid_mode = ON;"
)

// settingFindings judges the server's settings.
func (in *inspection) settingFindings() []capture.Finding {
	v := in.variables
	var out []capture.Finding
	add := func(severity capture.Severity, code, text, remedy string) {
		out = append(out, capture.Finding{Severity: severity, Code: code, Subject: v[code], Text: text, Remedy: remedy})
	}
	if v["log_bin"] != "ON" {
		add(capture.Error, "log_bin", noBinlog, noBinlogRemedy)
	}
	if v["binlog_format"] != "ROW" {
		add(capture.Error, "binlog_format", "binlog_format is "+v["binlog_format"]+": changes are not logged as rows", in.set("binlog_format", "ROW"))
	}
	if v["binlog_row_metadata"] != "FULL" {
		add(capture.Error, "binlog_row_metadata", "binlog_row_metadata is "+v["binlog_row_metadata"]+": the binlog lacks names, signs and labels",
			in.set("binlog_row_metadata", "FULL"))
	}
	if v["binlog_row_value_options"] != "" {
		add(capture.Error, "binlog_row_value_options", "binlog_row_value_options is "+v["binlog_row_value_options"]+": JSON columns are logged as differences",
			in.set("binlog_row_value_options", ""))
	}
	if image := v["binlog_row_image"]; image != "FULL" && image != "FULL_NODUP" {
		add(capture.Warning, "binlog_row_image", "binlog_row_image is "+image+": columns that a statement does not name are unknown", in.set("binlog_row_image", "FULL"))
	}
	if !in.mariaDB && v["gtid_mode"] != "ON" {
		add(capture.Warning, "gtid_mode", "gtid_mode is "+v["gtid_mode"]+": the position holds on this server only, and a failover stops the stream",
			gtidRemedy)
	}
	if v["sync_binlog"] != "1" {
		add(capture.Warning, "sync_binlog", "sync_binlog is "+v["sync_binlog"]+": after a crash of its machine the server may lack transactions that were delivered",
			in.set("sync_binlog", "1"))
	}
	if keep := retention(v); keep > 0 && keep < retentionLeast {
		out = append(out, capture.Finding{Severity: capture.Warning, Code: "binlog_expire_logs_seconds", Subject: keep.String(),
			Text:   fmt.Sprintf("the binlog is kept for %s only: changes are lost when rowhook is stopped for longer", keep),
			Remedy: in.set("binlog_expire_logs_seconds", "259200")})
	}
	if v["read_only"] == "ON" && v["log_slave_updates"] != "ON" && v["log_replica_updates"] != "ON" {
		name := "log_replica_updates"
		if in.mariaDB {
			name = "log_slave_updates"
		}
		add(capture.Error, "log_slave_updates", name+" is OFF: the server is a replica and does not log what it replicates",
			"put "+name+" = ON under [mysqld] in the server's configuration, and restart the server")
	}
	return out
}

// commentSetting is the setting that makes the server log the statements' text.
func (in *inspection) commentSetting() string {
	if in.mariaDB {
		return "binlog_annotate_row_events"
	}
	return "binlog_rows_query_log_events"
}

// commentFindings says that the comments which are to tell the context are not in the binlog.
func (s *Source) commentFindings(in *inspection) []capture.Finding {
	name := in.commentSetting()
	value := in.variables[name]
	if !s.comments || value == "ON" {
		return nil
	}
	return []capture.Finding{{Severity: capture.Warning, Code: name, Subject: value, Remedy: in.set(name, "ON"),
		Text: name + " is " + value + ": source.context.comment is on, but the comments of statements are not in the binlog"}}
}

// privilegeFindings names what our user may not do.
func (s *Source) privilegeFindings(ctx context.Context, db *sql.DB, in *inspection) ([]capture.Finding, error) {
	grants, err := texts(ctx, db, "SHOW GRANTS")
	if err != nil {
		return nil, fmt.Errorf("read our grants: %w", err)
	}
	who := s.currentAccount(ctx, db)
	var out []capture.Finding
	var tables []*tableFacts
	if !granted(grants, "REPLICATION SLAVE") {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "replication_privilege", Subject: s.address.user,
			Text: "user " + s.address.user + " may not read the binlog", Remedy: grantSQL(who)})
	}
	if !granted(grants, "REPLICATION CLIENT") && !granted(grants, "BINLOG MONITOR") {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "monitor_privilege", Subject: s.address.user,
			Text: "user " + s.address.user + " may not ask where the binlog ends", Remedy: grantSQL(who)})
	}
	for _, f := range in.tables {
		if f.streamed() == "" && !in.grantedSelect(grants, f) {
			tables = append(tables, f)
		}
	}
	for _, f := range refusedTables(ctx, db, tables) {
		out = append(out, capture.Finding{Severity: capture.Warning, Code: "select_privilege", Subject: f.table.String(), Table: f.table.String(),
			Text:   fmt.Sprintf("user %s may not read %s", s.address.user, f.table),
			Remedy: fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql(), who)})
	}
	return out, nil
}

// askedAtOnce is how many tables are read from in one statement: a server opens each.
const askedAtOnce = 50

// refusedTables are those that we may not read.
func refusedTables(ctx context.Context, db *sql.DB, tables []*tableFacts) (refused []*tableFacts) {
	for some := range slices.Chunk(tables, askedAtOnce) {
		if mayRead(ctx, db, some...) {
			continue
		}
		for _, f := range some {
			if !mayRead(ctx, db, f) {
				refused = append(refused, f)
			}
		}
	}
	return refused
}

func mayRead(ctx context.Context, db *sql.DB, tables ...*tableFacts) bool {
	var question strings.Builder
	for i, f := range tables {
		if i > 0 {
			question.WriteString(" UNION ALL ")
		}
		question.WriteString("(SELECT 1 FROM " + f.sql() + " LIMIT 0)")
	}
	_, err := db.ExecContext(ctx, question.String())
	return err == nil
}

// granted reports whether one of the grants gives a privilege on everything.
func granted(grants []string, privilege string) bool {
	for _, grant := range grants {
		list, on, ok := strings.Cut(grant, " ON ")
		if !ok || !strings.HasPrefix(on, "*.*") {
			continue
		}
		for item := range strings.SplitSeq(strings.TrimPrefix(list, "GRANT "), ",") {
			if item = strings.TrimSpace(item); item == privilege || item == "ALL PRIVILEGES" {
				return true
			}
		}
	}
	return false
}

// grantedSelect reports whether our grants say that we may read a table. Where they do not, as with
// MySQL's roles, patterns of databases and what was taken back in part, the server is to be asked, and
// about tables that read others.
func (in *inspection) grantedSelect(grants []string, f *tableFacts) (said bool) {
	every := quoteIdent(f.table.Schema) + ".*"
	if in.variables["partial_revokes"] != "ON" { // a database's name is a pattern there
		every = strings.NewReplacer("_", `\_`, "%", `\%`).Replace(every)
	}
	for _, grant := range grants {
		list, isGrant := strings.CutPrefix(grant, "GRANT ")
		if !isGrant {
			return false
		}
		list, on, _ := strings.Cut(list, " ON ")
		on, _, _ = strings.Cut(on, " TO ")
		if on != "*.*" && on != every && on != f.sql() || strings.Contains(list, "(") { // of single columns
			continue
		}
		said = said || slices.ContainsFunc(strings.Split(list, ", "), func(p string) bool { return p == "SELECT" || p == "ALL PRIVILEGES" })
	}
	return said && f.engine != "MRG_MyISAM"
}

// tableFindings judges each mapped table.
func (in *inspection) tableFindings() []capture.Finding {
	var out []capture.Finding
	for _, pattern := range in.missing {
		out = append(out, missingFinding(pattern, in.who))
	}
	for _, f := range in.tables {
		add := func(severity capture.Severity, code, text, remedy string) {
			name := f.table.String()
			out = append(out, capture.Finding{Severity: severity, Code: code, Subject: name, Table: name, Text: name + " " + text, Remedy: remedy})
		}
		if why := f.streamed(); why != "" {
			add(capture.Error, "not_streamed", why, "take it out of mapping")
			continue
		}
		if len(f.cascades) > 0 && in.hidesCascades() {
			add(capture.Warning, "cascades", "is changed by foreign keys that cascade ("+strings.Join(f.cascades, ", ")+"): InnoDB does that below the binlog, so these changes never arrive",
				"let the application change the rows itself, or map the parent's change")
		}
		if f.numbered {
			add(capture.Warning, "numbered_versions", "is versioned by numbers of transactions: the server logs its changes as statements, and they are parked",
				"give the columns of its PERIOD FOR SYSTEM_TIME the type TIMESTAMP(6)")
		}
		if len(f.languages) > 0 {
			add(capture.Info, "collation", "has in its key "+strings.Join(f.languages, ", ")+": of a row that is deleted and written again in another spelling, "+
				"events keep their order where the spellings differ by case, accents, width, kana or spaces at the end, and may change it where only that language takes them for equal", "")
		}
		if f.engine == "MEMORY" {
			add(capture.Warning, "memory", "is a MEMORY table: a restart of the server empties it without a change in the binlog's rows", "ALTER TABLE "+f.sql()+" ENGINE = InnoDB;")
		}
	}
	return out
}

// hidesCascades reports whether foreign keys act below the binlog: from 9.6 on MySQL's do not.
func (in *inspection) hidesCascades() bool {
	return in.mariaDB || in.version < 90600 || in.variables["innodb_native_foreign_keys"] == "ON"
}

// missingFinding adds to the finding about a table that MySQL does not tell one that is not ours to
// see from one that is not there.
func missingFinding(pattern, who string) capture.Finding {
	f := capture.MissingTable(pattern, "library.loans")
	f.Remedy += ", or GRANT SELECT on it"
	schema, name, ok := capture.ParseTable(pattern)
	if !ok || f.Severity != capture.Error {
		return f
	}
	f.Text += ", or may not be seen"
	if who != "" {
		f.Remedy = fmt.Sprintf("correct the name in mapping; or, if it is there: GRANT SELECT ON %s.%s TO %s;", quoteIdent(schema), quoteIdent(name), who)
	}
	return f
}
