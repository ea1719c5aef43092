package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// contextTrigger is the name of the triggers, and contextFunction that of their function.
const (
	contextTrigger  = "rowhook_context"
	contextFunction = "rowhook.context()"
)

// contextFunctionSQL makes the function. It emits the context message with what the session says of
// itself. It runs as its owner, so that the application needs no rights. An error while the facts
// are gathered leaves the change without a context, and the application's statement goes on; the
// message itself is written outside the block that catches errors, since a subtransaction for each
// statement would harm the host more than it helps: it can fail only where WAL cannot be written,
// and then the statement fails anyway.
const contextFunctionSQL = `CREATE OR REPLACE FUNCTION rowhook.context() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $rowhook$
DECLARE
  actor text := nullif(current_setting('rowhook.actor_id', true), '');
  told text;
BEGIN
  BEGIN
    IF NOT (SELECT bool_and(has_function_privilege(oid, 'execute')) FROM pg_proc
        WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype) THEN
      RETURN NULL;
    END IF;
    told := jsonb_build_object('trigger', true, 'actor', jsonb_build_object(
        'id', coalesce(actor, session_user),
        'name', coalesce(nullif(current_setting('rowhook.actor_name', true), ''),
          CASE WHEN actor IS NULL THEN session_user || '@' || coalesce(host(inet_client_addr()), 'local') END)),
      'operation', coalesce(nullif(current_setting('rowhook.operation', true), ''),
        nullif(current_setting('application_name', true), '')))::text;
  EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
  END;
  PERFORM pg_logical_emit_message(true, TG_ARGV[0], told);
  RETURN NULL;
END
$rowhook$;`

const whyContextFunction = `tells with each statement on a mapped table who makes the change: the settings rowhook.actor_id,
rowhook.actor_name and rowhook.operation of the session or transaction, or else its login, application_name
and client address. What the application tells itself in a context message wins.`

// triggersSQL finds the tables that have the trigger.
const triggersSQL = `select c.oid::regclass::text from pg_catalog.pg_trigger g
join pg_catalog.pg_class c on c.oid = g.tgrelid
where g.tgname = $1 and not g.tgisinternal and g.tgparentid = 0 order by 1`

// ContextTriggers returns the statements that make the triggers which are still missing, or that
// take all of them away. With Apply, and for Remove, it runs them, all or nothing.
func (s *Source) ContextTriggers(ctx context.Context, opts capture.TriggerOptions) ([]capture.Statement, error) {
	if opts.Message == "" {
		return nil, &capture.OperatorError{Err: errors.New("triggers tell the context by a message, and source.context.message is empty"),
			Remedy: "give source.context.message a prefix, such as rowhook"}
	}
	owner, err := s.ownerQuerier(opts.Owner)
	if err != nil {
		return nil, err
	}
	defer owner.close()
	plan := &setupPlan{}
	err = owner.do(ctx, func(c *pgx.Conn) (err error) {
		if opts.Remove {
			plan, err = planTriggerRemoval(ctx, c)
		} else {
			plan, err = s.planTriggers(ctx, c, opts)
		}
		if err != nil || !opts.Apply && !opts.Remove {
			return err
		}
		return apply(ctx, c, plan)
	})
	if err != nil {
		return nil, err
	}
	statements := plan.list()
	if plan.locks() && !opts.Apply && !opts.Remove {
		statements = slices.Insert(statements, 0, capture.Statement{SQL: lockTimeoutSQL, Why: whyLockTimeout})
	}
	return statements, nil
}

func (s *Source) planTriggers(ctx context.Context, c *pgx.Conn, opts capture.TriggerOptions) (*setupPlan, error) {
	in, err := s.inspectOn(ctx, c, opts.Tables, "")
	if err != nil {
		return nil, fmt.Errorf("inspect tables: %w", err)
	}
	var exists bool
	if err := c.QueryRow(ctx, `select to_regprocedure($1) is not null`, contextFunction).Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for function %s: %w", contextFunction, err)
	}
	plan := &setupPlan{}
	if !exists {
		plan.add(step{sql: "CREATE SCHEMA IF NOT EXISTS rowhook;", why: "the home of the function", takes: "a role with CREATE on database " + s.connect.Database})
		plan.add(step{sql: contextFunctionSQL, why: whyContextFunction, takes: "the owner of schema rowhook", owner: schemaOwner, name: "rowhook"})
	}
	for _, f := range in.tables {
		var has bool
		err := c.QueryRow(ctx, `select exists (select from pg_catalog.pg_trigger where tgrelid = $1::regclass and tgname = $2)`, f.sql, contextTrigger).Scan(&has)
		if err != nil {
			return nil, fmt.Errorf("look for the trigger of %s: %w", f.table, err)
		}
		if has || f.streamed() != "" {
			continue
		}
		plan.add(step{sql: fmt.Sprintf(
			"CREATE TRIGGER %s BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION rowhook.context(%s);",
			contextTrigger, f.sql, quoteLiteral(opts.Message)),
			takes: "the owner of " + f.sql, owner: tableOwner, name: f.sql, writers: []string{f.sql}})
	}
	return plan, nil
}

// planTriggerRemoval drops the triggers of all tables, mapped or no longer, and then their
// function.
func planTriggerRemoval(ctx context.Context, c *pgx.Conn) (*setupPlan, error) {
	rows, err := c.Query(ctx, triggersSQL, contextTrigger)
	if err != nil {
		return nil, fmt.Errorf("look for triggers: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for triggers: %w", err)
	}
	plan := &setupPlan{}
	for _, table := range tables {
		plan.add(step{sql: fmt.Sprintf("DROP TRIGGER %s ON %s;", contextTrigger, table),
			takes: "the owner of " + table, owner: tableOwner, name: table, exclusive: []string{table}})
	}
	var exists bool
	if err := c.QueryRow(ctx, `select to_regprocedure($1) is not null`, contextFunction).Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for function %s: %w", contextFunction, err)
	}
	if exists {
		plan.add(step{sql: "DROP FUNCTION " + contextFunction + ";", takes: "the owner of schema rowhook", owner: schemaOwner, name: "rowhook"})
	}
	return plan, nil
}
