package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"rowhook/capture"
)

// SetupSQL returns the statements that are still needed, in order.
func (s *Source) SetupSQL(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error) {
	db, done, err := s.owner(ctx, opts.Owner)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.planSetup(ctx, db, opts)
}

// Setup runs what SetupSQL returns, and returns what it ran.
func (s *Source) Setup(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error) {
	db, done, err := s.owner(ctx, opts.Owner)
	if err != nil {
		return nil, err
	}
	defer done()
	plan, err := s.planSetup(ctx, db, opts)
	if err != nil {
		return nil, err
	}
	for i, statement := range plan {
		if _, err := db.ExecContext(ctx, statement.SQL); err != nil {
			return plan[:i], &capture.OperatorError{Err: fmt.Errorf("%s: %w", statement.SQL, err),
				Remedy: "run it with a login that may change settings and grant: --as URL"}
		}
	}
	return plan, nil
}

// Remove returns no statements: the server keeps nothing for us but its settings and our user,
// which others may need.
func (s *Source) Remove(context.Context, string) ([]capture.Statement, error) { return nil, nil }

// owner connects with the owner's login, or else our own.
func (s *Source) owner(ctx context.Context, raw string) (*sql.DB, func(), error) {
	if raw == "" {
		_, db, err := s.reach(ctx)
		return db, func() {}, err
	}
	a, err := parseAddress(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("owner's url: %w", err)
	}
	db, err := open(a.hosts[0], a.user, a.password, a.tlsFor(a.hosts[0]))
	if err != nil {
		return nil, nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, nil, fmt.Errorf("connect to %s as %s: %w", a.hosts[0], a.user, err)
	}
	return db, func() { db.Close() }, nil
}

func (s *Source) planSetup(ctx context.Context, db *sql.DB, opts capture.SetupOptions) ([]capture.Statement, error) {
	in, err := inspect(ctx, db, opts.Tables)
	if err != nil {
		return nil, err
	}
	if in.variables["log_bin"] != "ON" {
		return nil, &capture.OperatorError{Err: errors.New(noBinlog), Remedy: noBinlogRemedy + "; then run setup again"}
	}
	plan := in.settingStatements(s.comments)
	grants, err := s.grantStatements(ctx, db, in)
	return append(plan, grants...), err
}

// settingStatements are the settings that can be changed while the server runs.
func (in *inspection) settingStatements(comments bool) []capture.Statement {
	type setting struct{ name, value, why string }
	wanted := []setting{
		{"binlog_format", "ROW", "changes as rows"},
		{"binlog_row_metadata", "FULL", "names, signs, charsets and labels beside the rows"},
		{"binlog_row_image", "FULL", "whole rows, old and new"},
		{"binlog_row_value_options", "", "whole JSON documents"},
	}
	if comments {
		wanted = append(wanted, setting{in.commentSetting(), "ON", "statements with their comments, which tell the context"})
	}
	scope, lasting := "PERSIST", ""
	if in.mariaDB {
		scope, lasting = "GLOBAL", "; put it into the server's configuration too, for the next restart"
	}
	var plan []capture.Statement
	for _, w := range wanted {
		have, known := in.variables[w.name]
		if known && have != w.value && !(w.name == "binlog_row_image" && have == "FULL_NODUP") {
			plan = append(plan, capture.Statement{SQL: fmt.Sprintf("SET %s %s = '%s';", scope, w.name, w.value),
				Why: w.why + "; it holds for sessions that begin from then on" + lasting})
		}
	}
	return plan
}

// grantStatements make our accounts able to read the binlog and the mapped tables.
func (s *Source) grantStatements(ctx context.Context, db *sql.DB, in *inspection) ([]capture.Statement, error) {
	who := s.currentAccount(ctx, db)
	if strings.HasPrefix(who, quoteText(s.address.user)+"@") {
		return s.grantsTo(ctx, db, in, who, "SHOW GRANTS")
	}
	hosts, err := texts(ctx, db, "SELECT host FROM mysql.user WHERE user = ? ORDER BY host", s.address.user)
	if err != nil {
		return nil, fmt.Errorf("look for user %s: %w", s.address.user, err)
	}
	if len(hosts) == 0 {
		who = account(s.address.user)
		plan, err := s.grantsTo(ctx, db, in, who, "")
		return append([]capture.Statement{{SQL: "CREATE USER " + who + ";", Why: "the agent's own user; give it a password"}}, plan...), err
	}
	var plan []capture.Statement
	for _, host := range hosts { // any of which the agent may log in from
		who := quoteText(s.address.user) + "@" + quoteText(host)
		more, err := s.grantsTo(ctx, db, in, who, "SHOW GRANTS FOR "+who)
		if err != nil {
			return nil, err
		}
		plan = append(plan, more...)
	}
	return plan, nil
}

// grantsTo are the grants that an account lacks. query asks for those that it has; empty is none.
func (s *Source) grantsTo(ctx context.Context, db *sql.DB, in *inspection, who, query string) (plan []capture.Statement, err error) {
	var grants []string
	if query != "" {
		if grants, err = texts(ctx, db, query); err != nil {
			return nil, fmt.Errorf("read the grants of %s: %w", who, err)
		}
	}
	if !granted(grants, "REPLICATION SLAVE") || !granted(grants, "REPLICATION CLIENT") && !granted(grants, "BINLOG MONITOR") {
		plan = append(plan, capture.Statement{SQL: grantSQL(who), Why: "to read the binlog, and to ask where it ends"})
	}
	all := strings.Join(grants, "\n")
	for _, f := range in.tables {
		schema := quoteIdent(f.table.Schema)
		if granted(grants, "SELECT") || strings.Contains(all, "ON "+schema+".* ") || strings.Contains(all, "ON "+f.sql()+" ") {
			continue
		}
		plan = append(plan, capture.Statement{SQL: fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql(), who), Why: "to look at the table"})
	}
	return plan, nil
}
