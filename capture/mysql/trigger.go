package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
)

// triggerPrefix begins the names of our triggers.
const triggerPrefix = "rowhook_context_"

// contextTriggerSQL makes a trigger for one table and one operation. MySQL's triggers are for each
// row, so each row that changes costs one more in the binlog. The handler lets the application's
// statement go on whatever happens to the context table.
const contextTriggerSQL = `CREATE TRIGGER %s BEFORE %s ON %s FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  INSERT INTO %s (actor_id, actor_name, operation, source) VALUES (
    COALESCE(@rowhook_actor_id, SUBSTRING_INDEX(USER(), '@', 1)),
    COALESCE(@rowhook_actor_name, IF(@rowhook_actor_id IS NULL, USER(), NULL)),
    @rowhook_operation, '` + capture.TriggerSource + `');
END`

const whyContextTrigger = `tells with each row who changes it: @rowhook_actor_id, @rowhook_actor_name and @rowhook_operation
of the session, or else its login with the client's address. What the application tells itself wins.
With the binlog on, creating triggers takes SUPER or log_bin_trust_function_creators = 1.`

const contextTableSQL = `CREATE TABLE %s (actor_id VARCHAR(255), actor_name VARCHAR(255), operation VARCHAR(255), source VARCHAR(16)) ENGINE = BLACKHOLE`

// ContextTriggers returns the statements that make the triggers which are still missing, with the
// table that they write into, or that take the triggers away. With Apply, and for Remove, it runs
// them.
func (s *Source) ContextTriggers(ctx context.Context, opts capture.TriggerOptions) ([]capture.Statement, error) {
	schema, name, ok := capture.ParseTable(opts.Table)
	if !ok && !opts.Remove {
		return nil, &capture.OperatorError{Err: errors.New("triggers tell the context by rows of a table, and source.context.table is empty"),
			Remedy: "name the table under source.context.table, such as app.rowhook_context"}
	}
	db, done, err := s.owner(ctx, opts.Owner)
	if err != nil {
		return nil, err
	}
	defer done()
	var plan []capture.Statement
	if opts.Remove {
		plan, err = planTriggerRemoval(ctx, db)
	} else {
		plan, err = planTriggers(ctx, db, opts.Tables, schema, name)
	}
	if err != nil || !opts.Apply && !opts.Remove {
		return plan, err
	}
	return applyTriggers(ctx, db, plan)
}

// triggerLockWait is how many seconds a trigger waits for its table. While it waits, the
// application's statements on the table wait behind it.
const triggerLockWait = 3

func applyTriggers(ctx context.Context, db *sql.DB, plan []capture.Statement) ([]capture.Statement, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d", triggerLockWait)); err != nil {
		return nil, fmt.Errorf("bound the wait for locks: %w", err)
	}
	for i, statement := range plan {
		_, err := conn.ExecContext(ctx, statement.SQL)
		if err == nil {
			continue
		}
		remedy := "run it with a login that owns the tables: --as URL; with the binlog on, triggers take SUPER or log_bin_trust_function_creators = 1"
		if refused := new(driver.MySQLError); errors.As(err, &refused) && refused.Number == 1205 {
			remedy = fmt.Sprintf("a transaction has the table open, and rowhook does not make the application wait behind it for longer than %d s: "+
				"run it again when SHOW PROCESSLIST shows no long transaction; what was made stays", triggerLockWait)
		}
		return plan[:i], &capture.OperatorError{Err: fmt.Errorf("%s: %w", firstLine(statement.SQL), err), Remedy: remedy}
	}
	return plan, nil
}

func planTriggers(ctx context.Context, db *sql.DB, patterns []string, schema, name string) ([]capture.Statement, error) {
	in, err := inspect(ctx, db, patterns)
	if err != nil {
		return nil, err
	}
	table := quoteIdent(schema) + "." + quoteIdent(name)
	plan, err := planContextTable(ctx, db, schema, name)
	if err != nil {
		return nil, err
	}
	why := whyContextTrigger
	for _, f := range in.tables {
		if f.streamed() != "" || f.table.Schema == schema && f.table.Name == name {
			continue
		}
		have, err := texts(ctx, db, `SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = ? AND event_object_table = ?`,
			f.table.Schema, f.table.Name)
		if err != nil {
			return nil, fmt.Errorf("look for the triggers of %s: %w", f.table, err)
		}
		all := strings.Join(have, "\n") + "\n"
		for _, op := range []string{"INSERT", "UPDATE", "DELETE"} {
			trigger := triggerName(f.table.Name, op)
			if strings.Contains(all, trigger+"\n") {
				continue
			}
			plan = append(plan, capture.Statement{Why: why,
				SQL: fmt.Sprintf(contextTriggerSQL, quoteIdent(f.table.Schema)+"."+quoteIdent(trigger), op, f.sql(), table)})
			why = ""
		}
	}
	return plan, nil
}

// planContextTable makes the table, or adds the column that marks rows of triggers.
func planContextTable(ctx context.Context, db *sql.DB, schema, name string) ([]capture.Statement, error) {
	columns, err := texts(ctx, db, `SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ?`, schema, name)
	if err != nil {
		return nil, fmt.Errorf("look for table %s.%s: %w", schema, name, err)
	}
	table := quoteIdent(schema) + "." + quoteIdent(name)
	for _, column := range columns {
		if strings.EqualFold(column, "source") {
			return nil, nil
		}
	}
	if len(columns) > 0 {
		return []capture.Statement{{SQL: "ALTER TABLE " + table + " ADD COLUMN source VARCHAR(16)", Why: "marks the rows that triggers write"}}, nil
	}
	engines, err := texts(ctx, db, `SELECT engine FROM information_schema.engines WHERE engine = 'BLACKHOLE' AND support IN ('YES', 'DEFAULT')`)
	if err != nil {
		return nil, fmt.Errorf("look for storage engines: %w", err)
	}
	if len(engines) == 0 {
		return nil, &capture.OperatorError{Err: errors.New("the server lacks the BLACKHOLE engine, which keeps the context table empty"),
			Remedy: "INSTALL SONAME 'ha_blackhole'; or create " + table + " (actor_id, actor_name, operation, source) yourself, and see to it that old rows go"}
	}
	return []capture.Statement{{SQL: fmt.Sprintf(contextTableSQL, table), Why: "its rows are seen in the binlog, and never stored"}}, nil
}

// triggerName fits the 64 characters that a name may have.
func triggerName(table, op string) string {
	name := triggerPrefix + table
	if len(name) > 57 {
		sum := sha256.Sum256([]byte(table))
		name = triggerPrefix + hex.EncodeToString(sum[:8])
	}
	return name + "_" + strings.ToLower(op)
}

// planTriggerRemoval drops the triggers of all tables, mapped or no longer. The context table
// stays: the application may use it.
func planTriggerRemoval(ctx context.Context, db *sql.DB) ([]capture.Statement, error) {
	names, err := texts(ctx, db, `SELECT CONCAT('`+"`', REPLACE(trigger_schema, '`', '``'), '`.`', REPLACE(trigger_name, '`', '``'), '`"+`')
FROM information_schema.triggers WHERE trigger_name LIKE 'rowhook\_context\_%' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("look for triggers: %w", err)
	}
	var plan []capture.Statement
	for _, name := range names {
		plan = append(plan, capture.Statement{SQL: "DROP TRIGGER " + name})
	}
	return plan, nil
}

func firstLine(sql string) string {
	line, _, _ := strings.Cut(sql, "\n")
	return line
}
