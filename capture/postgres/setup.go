package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// slotStatement creates a slot; unlike all others it cannot be part of a transaction.
const slotStatement = "SELECT pg_create_logical_replication_slot("

// dropSlotStatement takes a login that may replicate.
const dropSlotStatement = "SELECT pg_drop_replication_slot("

// lockTimeoutSQL begins what people paste: the application's statements queue behind one that waits
// for its lock.
const (
	lockTimeoutSQL = "SET lock_timeout = '5s';"
	whyLockTimeout = "a statement that waits for its lock keeps the application's waiting behind it: not for long"
)

// SetupSQL returns the statements that are still needed, in order. Tables that a person must look
// at first (that are not there, or whose publishing would make the application's UPDATE and DELETE
// fail) are left out, and named by a [*capture.RefusedError] beside the statements for the others.
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
	statements := plan.list()
	if plan.locks() {
		statements = slices.Insert(statements, 0, capture.Statement{SQL: lockTimeoutSQL, Why: whyLockTimeout})
	}
	return statements, plan.refused()
}

// Setup runs what SetupSQL returns, all of it or nothing but for the slot, and returns what it ran,
// with the same error about what was left out.
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
		return apply(ctx, c, plan)
	})
	if err != nil {
		return nil, err
	}
	return plan.list(), plan.refused()
}

// Survey describes the mapped tables and what is still amiss with them, asked with the owner's
// login if there is one: it is what the minute's comparison says, and the privileges of our own
// role.
func (s *Source) Survey(ctx context.Context, ownerURL string, patterns []string) ([]*capture.Table, []capture.Finding, error) {
	owner, err := s.ownerQuerier(ownerURL)
	if err != nil {
		return nil, nil, err
	}
	defer owner.close()
	var in *inspection
	err = owner.do(ctx, func(c *pgx.Conn) error {
		role, err := readRole(ctx, c, s.connect.User)
		if err != nil {
			return err
		}
		known := ""
		if role.exists {
			known = s.connect.User
		}
		in, err = s.inspectOn(ctx, c, patterns, known)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("inspect tables: %w", err)
	}
	return in.described(), append(in.privilegeFindings(s.connect.User), in.differences(s.config.Publication)...), nil
}

// ownerQuerier connects with the owner's login, or else our own.
func (s *Source) ownerQuerier(url string) (*querier, error) {
	q := s.newQuerier(setupTimeout)
	if url == "" {
		return q, nil
	}
	config, asked, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("owner's url: %w", err)
	}
	config.RuntimeParams["application_name"] = s.application
	redact := s.redact
	q.config, q.refused = config, func(err error) error {
		return peerOwner(explain(redact(redactPassword(err, config.Password)), &config.Config, asked), &config.Config)
	}
	return q, nil
}

// peerOwner adds what to do where the server lets its owner in only as the operating system's user, as
// Debian sets it up: that user may not read our config, but run what we print.
func peerOwner(err error, config *pgconn.Config) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || !peerRefused(refused) {
		return err
	}
	return &capture.OperatorError{Err: err, Remedy: fmt.Sprintf("or hand the statements to that user: rowhook setup | sudo -u %s psql -d %s\n%s",
		shellWord(config.User), shellWord(config.Database), capture.Remedy(err))}
}

// shellWord is a text as one word of a shell's command.
func shellWord(text string) string {
	if text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
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
	p := &setupPlan{user: user, role: role, publication: s.config.Publication, database: s.connect.Database, full: opts.Full}
	p.refuse(in)
	p.grants(in)
	p.identities(in)
	p.publish(in)
	if opts.Slot && slots == 0 {
		p.add(step{sql: slotStatement + quoteLiteral(s.config.Slot) + ", 'pgoutput');", why: "from here on the server keeps WAL for rowhook",
			takes: "a role with REPLICATION"})
	}
	return p, nil
}

// step is one statement of a setup.
type step struct {
	sql, why string
	// takes is who may run it. owner asks the catalog for that role's name, with name as its
	// argument.
	takes, owner, name string
	// proof asks whether the statement did what it says: a GRANT of what one may not grant is only
	// warned of.
	proof string
	// What it locks: exclusive tables against everybody, writers against those who write, shared
	// against DDL.
	exclusive, writers, shared []string
}

// setupPlan collects the statements that are still needed, and what a person must decide first.
type setupPlan struct {
	user        string
	role        roleFacts
	publication string
	database    string
	full        map[string]string
	steps       []step
	holders     []*holder // the tables whose statements must work afterwards
	problems    []string
	remedies    []string
}

func (p *setupPlan) add(s step) { p.steps = append(p.steps, s) }

// list returns the statements for people.
func (p *setupPlan) list() []capture.Statement {
	var out []capture.Statement
	for _, s := range p.steps {
		out = append(out, capture.Statement{SQL: s.sql, Why: s.why})
	}
	return out
}

// locks reports whether any statement locks tables of the application.
func (p *setupPlan) locks() bool {
	return slices.ContainsFunc(p.steps, func(s step) bool { return len(s.exclusive)+len(s.writers)+len(s.shared) > 0 })
}

func (p *setupPlan) problem(text, remedy string) {
	p.problems, p.remedies = append(p.problems, text), append(p.remedies, remedy)
}

// refuse takes out the tables that a person must look at first.
func (p *setupPlan) refuse(in *inspection) {
	for _, pattern := range in.missing {
		if f := in.missingFinding(pattern); f.Severity == capture.Error {
			p.problem(f.Text, f.Remedy)
		}
	}
	in.tables = slices.DeleteFunc(in.tables, func(f *tableFacts) bool {
		if why := f.streamed(); why != "" {
			p.problem(f.table.String()+" "+why, "take it out of mapping")
			return true
		}
		if p.full[f.table.String()] != "" {
			return p.refuseFull(in, f)
		}
		return p.refusePlain(in, f)
	})
}

// refuseFull reports whether making the table FULL is not to be done.
func (p *setupPlan) refuseFull(in *inspection, f *tableFacts) bool {
	text := fmt.Sprintf("%s: %s, which takes REPLICA IDENTITY FULL, and that would make the application's UPDATE and DELETE fail", f.table, p.full[f.table.String()])
	wide, why := in.widen(f)
	switch {
	case wide == nil:
		p.problem(text+": "+why, withoutOldValues)
	case len(wide.publication) > 0:
		// What all tables of the publication send, or what somebody left out on purpose, is not
		// ours to decide.
		p.problem(text+": "+why, strings.Join(wide.publication, " "))
	default:
		return false
	}
	return true
}

// refusePlain reports whether the table is not to be published with the identity that it has.
func (p *setupPlan) refusePlain(in *inspection, f *tableFacts) bool {
	plain := in.planFor(f, f.holders)
	published := len(plain.holders) > 0
	if published {
		_, published = plain.ours.publishes(&plain.holders[0])
	}
	if !published && !plain.ours.all {
		plain.ours.tables[f.oid] = declaredTable{sql: f.sql}
	}
	r := plain.refusal()
	if r == nil {
		return false
	}
	remedy := needsKey(f.sql)
	if mended, ok := in.searchFrom(plain, []change{nothing, fitIdentities}, nothing); ok {
		remedy = strings.Join(slices.Concat(mended.publication, mended.identity), " ")
	}
	text := fmt.Sprintf("%s: publishing it would make the application's UPDATE and DELETE fail: %s", f.table, r.text)
	if r.text == noIdentity {
		text = fmt.Sprintf("%s has no usable replica identity: publishing it would make the application's UPDATE and DELETE fail", f.table)
	}
	p.problem(text, remedy)
	return true
}

// refused tells of what was left out; nil when nothing was.
func (p *setupPlan) refused() error {
	if len(p.problems) == 0 {
		return nil
	}
	return &capture.RefusedError{Operator: &capture.OperatorError{Err: errors.New(strings.Join(p.problems, "; ")), Remedy: strings.Join(p.remedies, "\n")}}
}

const (
	schemaOwner      = `select pg_catalog.pg_get_userbyid(nspowner) from pg_catalog.pg_namespace where pg_catalog.quote_ident(nspname) = $1`
	tableOwner       = `select pg_catalog.pg_get_userbyid(relowner) from pg_catalog.pg_class where oid = pg_catalog.to_regclass($1)`
	publicationOwner = `select pg_catalog.pg_get_userbyid(pubowner) from pg_catalog.pg_publication where pubname = $1`
)

func (p *setupPlan) grants(in *inspection) {
	user := quoteIdent(p.user)
	const makesRoles = "a superuser, or a role that has CREATEROLE and REPLICATION itself"
	switch {
	case !p.role.exists:
		p.add(step{sql: "CREATE ROLE " + user + " LOGIN REPLICATION;", why: "the agent's own role; give it a password, or a way in by pg_hba.conf", takes: makesRoles})
		if p.role.cloud == amazon {
			p.steps[len(p.steps)-1].sql = "CREATE ROLE " + user + " LOGIN;"
			p.add(step{sql: p.role.allowReplication(p.user), why: "reading a slot takes it", takes: "a member of rds_superuser"})
		}
	case !p.role.superuser && !p.role.replication:
		p.add(step{sql: p.role.allowReplication(p.user), why: "reading a slot takes it", takes: makesRoles})
	}
	if p.role.superuser {
		return
	}
	var schemas []string
	for _, f := range in.tables {
		schema := f.schemaSQL()
		if !f.usage && !slices.Contains(schemas, schema) {
			schemas = append(schemas, schema)
			p.add(step{sql: fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", schema, user), why: "to look at the tables",
				proof: fmt.Sprintf("select pg_catalog.has_schema_privilege(%s, %s, 'usage')", quoteLiteral(p.user), quoteLiteral(f.table.Schema)),
				takes: "the owner of schema " + schema, owner: schemaOwner, name: schema})
		}
	}
	for _, f := range in.tables {
		if !f.selectable {
			p.add(step{sql: fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql, user), why: "to look at the tables",
				proof: fmt.Sprintf("select pg_catalog.has_table_privilege(%s, %s, 'select')", quoteLiteral(p.user), quoteLiteral(f.sql)),
				takes: "the owner of " + f.sql, owner: tableOwner, name: f.sql})
		}
	}
}

// fullPrice is what REPLICA IDENTITY FULL costs the database.
const fullPrice = "each UPDATE and DELETE writes the whole old row to the WAL"

// identities makes tables FULL, partitions included, since they do not inherit it.
func (p *setupPlan) identities(in *inspection) {
	price := fullPrice
	if in.version >= repackVersion {
		price += ", and REPACK (CONCURRENTLY) refuses the table"
	}
	full := func(sql, why string) {
		p.add(step{sql: identitySQL(sql), why: why, takes: "the owner of " + sql, owner: tableOwner, name: sql, exclusive: []string{sql}})
	}
	for _, f := range in.tables {
		why := p.full[f.table.String()]
		if why == "" {
			continue
		}
		if f.table.Identity != capture.IdentityFull {
			full(f.sql, why+"; "+price)
		}
		for _, h := range f.holders {
			if h.oid != f.oid && h.identity != capture.IdentityFull {
				full(h.sql, why+"; a partition does not inherit it")
			}
		}
	}
}

// repackVersion is the first version that has REPACK (CONCURRENTLY).
const repackVersion = 190000

func (p *setupPlan) publish(in *inspection) {
	name := quoteIdent(p.publication)
	var missing, tables []string
	ours := in.ours.clone()
	excepted := false
	for _, f := range in.tables {
		p.holders = append(p.holders, f.holders...)
		if _, ok := in.publication.members[f.table.String()]; ok || in.publication.covers(f) {
			continue
		}
		missing, tables = append(missing, f.member()), append(tables, f.sql)
		excepted = excepted || ours.tables[f.oid].except
		delete(ours.tables, f.oid)
	}
	changing := "the owner of publication " + p.publication + ", who owns the tables too"
	switch {
	case !in.publication.exists:
		if len(missing) > 0 {
			p.add(step{sql: fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (%s);", name, strings.Join(missing, ", "), p.options(in)),
				why:   "what the stream carries; partitions come as their root",
				takes: "a role that owns the tables and has CREATE on database " + p.database, shared: tables})
		}
		return
	case ours.sequences && !ours.all:
		p.problem(fmt.Sprintf("publication %s is FOR ALL SEQUENCES and takes no tables", p.publication), ownPublication(p.publication))
		return
	}
	p.setOptions(in, changing)
	switch {
	case len(missing) > 0 && excepted:
		p.add(step{sql: ours.allTablesSQL(), why: "these are mapped, but left out of all tables: " + strings.Join(tables, ", "), takes: "a superuser", shared: tables})
	case len(missing) > 0 && !ours.all:
		p.add(step{sql: fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", name, strings.Join(missing, ", ")),
			why: "these are mapped, but not published", takes: changing, owner: publicationOwner, name: p.publication, shared: tables})
	}
}

// options are those of a new publication. It sends stored generated columns where a replica
// identity has them: the server would refuse the application's statements otherwise.
func (p *setupPlan) options(in *inspection) string {
	options := "publish_via_partition_root = true"
	for _, f := range in.tables {
		for _, h := range f.holders {
			full := h.identity == capture.IdentityFull || p.full[f.table.String()] != ""
			if in.version >= generatedRule && len(h.stored) > 0 && (full || len(within(h.stored, h.columns)) > 0) {
				return options + ", publish_generated_columns = stored"
			}
		}
	}
	return options
}

// setOptions changes what the publication publishes, unless that would make statements on any table
// fail.
func (p *setupPlan) setOptions(in *inspection, takes string) {
	for _, f := range in.optionFindings(p.publication) {
		sql := f.Remedy
		if f.Code == "publication_publish" {
			if len(in.harmedByMore()) > 0 {
				p.problem(f.Text, f.Remedy)
				continue
			}
			sql = publishAllSQL(p.publication)
		}
		p.add(step{sql: sql, why: f.Text, takes: takes, owner: publicationOwner, name: p.publication})
		p.holders = append(p.holders, in.strangers...)
	}
}
