package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// slotStatement creates a slot; unlike all others it cannot be part of a transaction.
const slotStatement = "SELECT pg_create_logical_replication_slot("

// dropSlotStatement takes a login that may replicate.
const dropSlotStatement = "SELECT pg_drop_replication_slot("

// SetupSQL returns the statements that are still needed, in order. Tables that a person must
// look at first (that are not there, or whose publishing would make the application's UPDATE and DELETE
// fail) are left out, and named by a [*capture.OperatorError] beside the statements for the others.
func (s *Source) SetupSQL(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error) {
	owner, err := s.ownerQuerier(opts.Owner)
	if err != nil {
		return nil, err
	}
	defer owner.close()
	var plan *setupPlan
	err = owner.do(ctx, func(c *pgx.Conn) (err error) {
		plan, err = s.planSetup(ctx, c, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return plan.statements, plan.refused()
}

// Setup runs what SetupSQL returns, all of it or nothing but for the slot, and returns what it ran, with
// the same error about what was left out.
func (s *Source) Setup(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error) {
	owner, err := s.ownerQuerier(opts.Owner)
	if err != nil {
		return nil, err
	}
	defer owner.close()
	var plan *setupPlan
	err = owner.do(ctx, func(c *pgx.Conn) (err error) {
		if plan, err = s.planSetup(ctx, c, opts); err != nil {
			return err
		}
		return apply(ctx, c, plan.statements)
	})
	if err != nil {
		return nil, err
	}
	return plan.statements, plan.refused()
}

// Remove drops the slot and the publication, as far as they exist. owner is as in
// [capture.SetupOptions]; the slot is dropped by our own role. A slot that is in use stays, and is an error.
func (s *Source) Remove(ctx context.Context, ownerURL string) ([]capture.Statement, error) {
	owner, err := s.ownerQuerier(ownerURL)
	if err != nil {
		return nil, err
	}
	defer owner.close()
	var plan []capture.Statement
	err = owner.do(ctx, func(c *pgx.Conn) error {
		var pid int32
		err := c.QueryRow(ctx, `select coalesce(active_pid, 0) from pg_catalog.pg_replication_slots where slot_name = $1`, s.config.Slot).Scan(&pid)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if pid != 0 {
			return &capture.OperatorError{Err: fmt.Errorf("slot %s is in use by pid %d", s.config.Slot, pid), Remedy: "stop the agent first"}
		}
		if err == nil {
			plan = append(plan, capture.Statement{SQL: dropSlotStatement + quoteLiteral(s.config.Slot) + ");"})
		}
		p, err := readPublication(ctx, c, s.config.Publication)
		if err != nil {
			return err
		}
		if p.exists {
			plan = append(plan, capture.Statement{SQL: "DROP PUBLICATION " + quoteIdent(s.config.Publication) + ";"})
		}
		for i, statement := range plan {
			run := exec
			if strings.HasPrefix(statement.SQL, dropSlotStatement) {
				run = s.dropSlot
			}
			if err := run(ctx, c, statement); err != nil {
				plan = plan[:i]
				return err
			}
		}
		return nil
	})
	return plan, err
}

// dropSlot runs the statement as our own role, which may replicate: who owns the tables seldom does.
// The owner is asked where our role cannot.
func (s *Source) dropSlot(ctx context.Context, owner *pgx.Conn, statement capture.Statement) error {
	own := s.newQuerier(setupTimeout)
	defer own.close()
	err := own.do(ctx, func(c *pgx.Conn) error { return exec(ctx, c, statement) })
	if err != nil && exec(ctx, owner, statement) == nil {
		return nil
	}
	return err
}

// ownerQuerier connects with the owner's login, or else our own.
func (s *Source) ownerQuerier(url string) (*querier, error) {
	q := s.newQuerier(setupTimeout)
	if url == "" {
		return q, nil
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("owner's url: %w", err)
	}
	config.RuntimeParams["application_name"] = s.application
	redact := s.redact
	q.config, q.redact = config, func(err error) error { return redact(redactPassword(err, config.Password)) }
	return q, nil
}

func apply(ctx context.Context, c *pgx.Conn, plan []capture.Statement) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	// The application's tables are not to wait for us.
	if _, err := c.Exec(ctx, "set local lock_timeout = '5s'"); err != nil {
		return err
	}
	rest := plan
	for len(rest) > 0 && !strings.HasPrefix(rest[0].SQL, slotStatement) {
		if err := exec(ctx, c, rest[0]); err != nil {
			return err
		}
		rest = rest[1:]
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	for _, statement := range rest {
		if err := exec(ctx, c, statement); err != nil {
			return err
		}
	}
	return nil
}

func exec(ctx context.Context, c *pgx.Conn, statement capture.Statement) error {
	if _, err := c.Exec(ctx, statement.SQL); err != nil {
		return &capture.OperatorError{Err: fmt.Errorf("%s: %w", strings.TrimSuffix(statement.SQL, ";"), err),
			Remedy: "run it with the login that owns the tables: --as URL"}
	}
	return nil
}

func (s *Source) planSetup(ctx context.Context, c *pgx.Conn, opts capture.SetupOptions) (*setupPlan, error) {
	user := s.connect.User
	role, err := readRole(ctx, c, user)
	if err != nil {
		return nil, fmt.Errorf("look for role %s: %w", user, err)
	}
	known := ""
	if role.exists {
		known = user
	}
	in, err := s.inspectOn(ctx, c, opts.Tables, known)
	if err != nil {
		return nil, fmt.Errorf("inspect tables: %w", err)
	}
	var slots int
	if err := c.QueryRow(ctx, `select count(*)::int from pg_catalog.pg_replication_slots where slot_name = $1`, s.config.Slot).Scan(&slots); err != nil {
		return nil, fmt.Errorf("look for slot %s: %w", s.config.Slot, err)
	}
	p := &setupPlan{user: user, role: role, publication: s.config.Publication, full: opts.Full}
	p.refuse(in)
	p.grants(in)
	p.identities(in)
	p.publish(in)
	if opts.Slot && slots == 0 {
		p.add(slotStatement+quoteLiteral(s.config.Slot)+", 'pgoutput');", "from here on the server keeps WAL for rowhook")
	}
	return p, nil
}

// setupPlan collects the statements that are still needed, and what a person must decide first.
type setupPlan struct {
	user        string
	role        roleFacts
	publication string
	full        map[string]string
	statements  []capture.Statement
	problems    []string
	remedies    []string
}

func (p *setupPlan) add(sql, why string) {
	p.statements = append(p.statements, capture.Statement{SQL: sql, Why: why})
}

// refuse takes out the tables that a person must look at first.
func (p *setupPlan) refuse(in *inspection) {
	problem := func(text, remedy string) {
		p.problems, p.remedies = append(p.problems, text), append(p.remedies, remedy)
	}
	for _, pattern := range in.missing {
		if f := in.missingFinding(pattern); f.Severity == capture.Error {
			problem(f.Text, f.Remedy)
		}
	}
	in.tables = slices.DeleteFunc(in.tables, func(f *tableFacts) bool {
		if why := f.streamed(); why != "" {
			problem(f.table.String()+" "+why, "take it out of mapping")
			return true
		}
		if p.full[f.table.String()] != "" {
			return false
		}
		unusable := f.unusable()
		for _, sql := range unusable {
			problem(fmt.Sprintf("%s has no usable replica identity: publishing it would make the application's UPDATE and DELETE fail", f.table),
				identitySQL(sql))
		}
		return len(unusable) > 0
	})
}

// refused tells of the tables that refuse took out; nil when there are none.
func (p *setupPlan) refused() error {
	if len(p.problems) == 0 {
		return nil
	}
	return &capture.OperatorError{Err: errors.New(strings.Join(p.problems, "; ")), Remedy: strings.Join(p.remedies, "\n")}
}

// unusable returns the relations behind the table whose replica identity does not
// suffice for updates and deletes.
func (f *tableFacts) unusable() []string {
	if f.kind != 'p' {
		if f.usable {
			return nil
		}
		return []string{f.sql}
	}
	var out []string
	for _, leaf := range f.leaves {
		if leaf.identity != capture.IdentityFull && len(leaf.columns) == 0 {
			out = append(out, leaf.sql)
		}
	}
	return out
}

func (p *setupPlan) grants(in *inspection) {
	user := quoteIdent(p.user)
	switch {
	case !p.role.exists:
		p.add("CREATE ROLE "+user+" LOGIN REPLICATION;", "the agent's own role; give it a password, or a way in by pg_hba.conf")
	case !p.role.superuser && !p.role.replication:
		p.add("ALTER ROLE "+user+" REPLICATION;", "reading a slot takes it")
	}
	if p.role.superuser {
		return
	}
	var schemas []string
	for _, f := range in.tables {
		schema, _, _ := strings.Cut(f.sql, ".")
		if !f.usage && !slices.Contains(schemas, schema) {
			schemas = append(schemas, schema)
			p.add(fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", schema, user), "to look at the tables")
		}
	}
	for _, f := range in.tables {
		if !f.selectable {
			p.add(fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql, user), "to look at the tables")
		}
	}
}

// identities makes tables FULL, partitions included, since they do not inherit it.
func (p *setupPlan) identities(in *inspection) {
	for _, f := range in.tables {
		why := p.full[f.table.String()]
		if why == "" {
			continue
		}
		if f.table.Identity != capture.IdentityFull {
			p.add(identitySQL(f.sql), why)
		}
		for _, leaf := range f.leaves {
			if leaf.identity != capture.IdentityFull {
				p.add(identitySQL(leaf.sql), why+"; a partition does not inherit it")
			}
		}
	}
}

func (p *setupPlan) publish(in *inspection) {
	name := quoteIdent(p.publication)
	var missing []string
	for _, f := range in.tables {
		if _, ok := in.publication.members[f.table.String()]; !ok && !in.publication.covers(f) {
			missing = append(missing, f.sql)
		}
	}
	if !in.publication.exists {
		if len(missing) > 0 {
			p.add(fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (publish_via_partition_root = true);", name, strings.Join(missing, ", ")),
				"what the stream carries; partitions come as their root")
		}
		return
	}
	for _, f := range in.publication.optionFindings(p.publication, in.tables) {
		// More of a publication for all tables could harm tables that are not ours.
		if f.Code != "publication_publish" || !in.publication.allTables {
			p.add(f.Remedy, f.Text)
		}
	}
	if len(missing) > 0 && !in.publication.allTables {
		p.add(fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", name, strings.Join(missing, ", ")), "these are mapped, but not published")
	}
}
