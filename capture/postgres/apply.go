package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

const (
	// lockPatience is for how long a setup tries to get its locks.
	lockPatience = 5 * time.Second
	// lockWait is for how long it waits for one that the application's statements queue behind, and
	// lockPause for how long it lets them go on before it tries again. It is well below
	// deadlock_timeout (1s), so that nobody is chosen as a deadlock's victim for our sake.
	lockWait  = 250 * time.Millisecond
	lockPause = 250 * time.Millisecond
)

// SQLSTATEs that a setup makes something of.
const (
	stateLockTimeout  = "55P03"
	stateNoPrivilege  = "42501"
	stateRefused      = "42P10" // of a statement on a table whose identity does not fit a publication
	stateNoIdentity   = "55000" // of one on a table without replica identity
	stateDeadlockLost = "40P01"
)

// apply runs a plan: all of it in one transaction, but for the slot. The transaction takes its
// locks first, gives them up again when one is not to be had soon, and is rolled back when the
// server would refuse the application's statements after it.
func apply(ctx context.Context, c *pgx.Conn, p *setupPlan) error {
	rest := p.steps
	var inside []step
	for len(rest) > 0 && !strings.HasPrefix(rest[0].sql, slotStatement) {
		inside, rest = append(inside, rest[0]), rest[1:]
	}
	if len(inside) > 0 {
		if err := applyInside(ctx, c, p, inside); err != nil {
			return err
		}
	}
	for _, s := range rest {
		if err := runStep(ctx, c, &s); err != nil {
			return explainStep(ctx, c, &s, err)
		}
	}
	return nil
}

// applyInside runs the steps of the transaction.
func applyInside(ctx context.Context, c *pgx.Conn, p *setupPlan, steps []step) error {
	deadline := time.Now().Add(lockPatience)
	for {
		failed, err := tryInside(ctx, c, p, steps)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != stateLockTimeout && pgErr.Code != stateDeadlockLost {
			return explainStep(ctx, c, failed, err)
		}
		if time.Now().After(deadline) {
			return lockError(ctx, c, steps, err)
		}
		if err := capture.Sleep(ctx, lockPause); err != nil {
			return err
		}
	}
}

// tryInside makes one try at the transaction, and returns the step that failed.
func tryInside(ctx context.Context, c *pgx.Conn, p *setupPlan, steps []step) (*step, error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := takeLocks(ctx, tx, steps); err != nil {
		return nil, err
	}
	for i := range steps {
		if err := runStep(ctx, tx, &steps[i]); err != nil {
			return &steps[i], err
		}
	}
	if err := stillWritable(ctx, tx, p.holders); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return nil, nil
}

// takeLocks takes the locks that the steps need. Those that only DDL and VACUUM wait for come first
// and may take their time, which an autovacuum needs to notice that it is in the way.
func takeLocks(ctx context.Context, tx pgx.Tx, steps []step) error {
	exclusive, writers, all := locksOf(steps)
	for _, locks := range []struct {
		tables []string
		mode   string
		wait   time.Duration
	}{{all, "SHARE UPDATE EXCLUSIVE", lockPatience}, {writers, "SHARE ROW EXCLUSIVE", lockWait}, {exclusive, "ACCESS EXCLUSIVE", lockWait}} {
		if _, err := tx.Exec(ctx, fmt.Sprintf("set local lock_timeout = %d", locks.wait.Milliseconds())); err != nil {
			return err
		}
		slices.Sort(locks.tables)
		for _, table := range slices.Compact(locks.tables) {
			savepoint, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			_, err = savepoint.Exec(ctx, "LOCK TABLE ONLY "+table+" IN "+locks.mode+" MODE")
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Code != stateLockTimeout && pgErr.Code != stateDeadlockLost {
				// Who may not lock it may not alter it either, and that statement's error says
				// more.
				err = savepoint.Rollback(ctx)
			} else if err == nil {
				err = savepoint.Commit(ctx)
			}
			if err != nil {
				return fmt.Errorf("lock %s: %w", table, err)
			}
		}
	}
	return nil
}

// locksOf are the tables that the steps lock: against everybody, against who writes, and all of
// them.
func locksOf(steps []step) (exclusive, writers, all []string) {
	for i := range steps {
		s := &steps[i]
		exclusive, writers = append(exclusive, s.exclusive...), append(writers, s.writers...)
		all = append(all, slices.Concat(s.exclusive, s.writers, s.shared)...)
	}
	return exclusive, writers, all
}

// execer is a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func runStep(ctx context.Context, on execer, s *step) error {
	if _, err := on.Exec(ctx, s.sql); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSuffix(s.sql, ";"), err)
	}
	if s.proof == "" {
		return nil
	}
	var done bool
	if err := on.QueryRow(ctx, s.proof).Scan(&done); err != nil {
		return fmt.Errorf("look for the effect of %s: %w", strings.TrimSuffix(s.sql, ";"), err)
	}
	if !done {
		return fmt.Errorf("%s: %w", strings.TrimSuffix(s.sql, ";"), &pgconn.PgError{Severity: "WARNING", Code: stateNoPrivilege, Message: "no privileges were granted"})
	}
	return nil
}

// stillWritable asks the server itself whether the application may still update and delete:
// planning a statement judges its table as running it does. What else keeps such a plan from being
// made is none of our doing.
func stillWritable(ctx context.Context, tx pgx.Tx, holders []*holder) error {
	seen := map[uint32]bool{}
	for _, h := range holders {
		if seen[h.oid] || h.column == "" {
			continue
		}
		seen[h.oid] = true
		for _, statement := range []string{
			"EXPLAIN UPDATE ONLY " + h.sql + " SET " + h.column + " = DEFAULT",
			"EXPLAIN DELETE FROM ONLY " + h.sql,
		} {
			savepoint, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			_, err = savepoint.Exec(ctx, statement)
			if rolled := savepoint.Rollback(ctx); rolled != nil {
				return rolled
			}
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && (pgErr.Code == stateRefused || pgErr.Code == stateNoIdentity) {
				return &capture.OperatorError{Err: fmt.Errorf("nothing has been changed: the server would refuse the application's statements: %s %s", pgErr.Message, pgErr.Detail),
					Remedy: "rowhook check says what is the matter with " + h.name}
			}
		}
	}
	return nil
}

// lockError says who holds what the steps wait for.
func lockError(ctx context.Context, c *pgx.Conn, steps []step, err error) error {
	exclusive, writers, all := locksOf(steps)
	exclusive = append(exclusive, writers...)
	const holdersOfLocks = `
select distinct l.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), l.relation::pg_catalog.regclass::text,
  coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.xact_start)::bigint, 0)
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted and l.pid <> pg_catalog.pg_backend_pid()
  and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
  and (l.relation = any(select pg_catalog.to_regclass(t)::oid from pg_catalog.unnest($1::text[]) t)
    or l.relation = any(select pg_catalog.to_regclass(t)::oid from pg_catalog.unnest($2::text[]) t)
      and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
order by 5 desc limit 5`
	remedy := "another session holds a lock: run setup again when it has ended"
	if rows, qerr := c.Query(ctx, holdersOfLocks, exclusive, all); qerr == nil {
		var (
			pid                      int32
			role, application, table string
			seconds                  int64
			lines                    []string
		)
		_, _ = pgx.ForEachRow(rows, []any{&pid, &role, &application, &table, &seconds}, func() error {
			lines = append(lines, fmt.Sprintf("%s is held by pid %d (role %s, application_name %q, in a transaction for %s)",
				table, pid, role, application, time.Duration(seconds)*time.Second))
			return nil
		})
		if len(lines) > 0 {
			remedy = strings.Join(lines, "\n") + "\nrun setup again when it has ended; SELECT pg_terminate_backend(pid) ends it"
		}
	}
	return &capture.OperatorError{Err: fmt.Errorf("nothing has been changed: %w", err), Remedy: remedy}
}

// explainStep says who may run a step that the server refused to this login.
func explainStep(ctx context.Context, c *pgx.Conn, s *step, err error) error {
	var operator *capture.OperatorError
	var pgErr *pgconn.PgError
	if err == nil || s == nil || errors.As(err, &operator) || !errors.As(err, &pgErr) {
		return err
	}
	if pgErr.Code != stateNoPrivilege {
		if pgErr.Hint == "" {
			return err
		}
		return &capture.OperatorError{Err: err, Remedy: pgErr.Hint}
	}
	takes := s.takes
	if s.owner != "" {
		var name string
		if c.QueryRow(ctx, s.owner, s.name).Scan(&name) == nil && name != "" {
			takes += " (" + name + ")"
		}
	}
	return &capture.OperatorError{Err: err, Remedy: "it takes " + takes + ", or a superuser: --as URL"}
}
