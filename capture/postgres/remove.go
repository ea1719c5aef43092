package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// Remove drops the slot and the publication, as far as they exist: both, or neither. owner is as in
// [capture.SetupOptions]; the slot is dropped by our own role. A slot that is in use stays, and is
// an error.
func (s *Source) Remove(ctx context.Context, ownerURL string) ([]capture.Statement, error) {
	owner, err := s.ownerQuerier(ownerURL)
	if err != nil {
		return nil, err
	}
	defer owner.close()
	var removed []capture.Statement
	err = owner.do(ctx, func(c *pgx.Conn) error {
		var pid int32
		err := c.QueryRow(ctx, `select coalesce(active_pid, 0) from pg_catalog.pg_replication_slots where slot_name = $1`, s.config.Slot).Scan(&pid)
		slot := err == nil
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if pid != 0 {
			return &capture.OperatorError{Err: fmt.Errorf("slot %s is in use by pid %d", s.config.Slot, pid), Remedy: "stop the agent first"}
		}
		p, err := readPublication(ctx, c, s.config.Publication)
		if err != nil {
			return err
		}
		removed, err = s.removeBoth(ctx, c, slot, p.exists)
		return err
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

// removeBoth drops the publication in a transaction that ends only when the slot is gone too. A
// slot cannot come back.
func (s *Source) removeBoth(ctx context.Context, c *pgx.Conn, slot, publication bool) ([]capture.Statement, error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var removed []capture.Statement
	if publication {
		drop := step{sql: "DROP PUBLICATION " + quoteIdent(s.config.Publication) + ";",
			takes: "the owner of publication " + s.config.Publication, owner: publicationOwner, name: s.config.Publication}
		if _, err := tx.Exec(ctx, "set local lock_timeout = '5s'"); err != nil {
			return nil, err
		}
		if err := runStep(ctx, tx, &drop); err != nil {
			if rolled := tx.Rollback(ctx); rolled != nil {
				return nil, rolled
			}
			return nil, explainStep(ctx, c, &drop, fmt.Errorf("nothing has been changed: %w", err))
		}
		removed = append(removed, capture.Statement{SQL: drop.sql})
	}
	if slot {
		drop := step{sql: dropSlotStatement + quoteLiteral(s.config.Slot) + ");", takes: "a role with REPLICATION"}
		if err := s.dropSlot(ctx, tx, &drop); err != nil {
			return nil, fmt.Errorf("nothing has been changed: %w", err)
		}
		removed = append([]capture.Statement{{SQL: drop.sql}}, removed...)
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return removed, nil
}

// dropSlot runs the statement as our own role, which may replicate: who owns the tables seldom
// does. The owner is asked where our role cannot.
func (s *Source) dropSlot(ctx context.Context, owner pgx.Tx, drop *step) error {
	own := s.newQuerier(setupTimeout)
	defer own.close()
	err := own.do(ctx, func(c *pgx.Conn) error { return runStep(ctx, c, drop) })
	if err == nil || runStep(ctx, owner, drop) == nil {
		return nil
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == stateNoPrivilege {
		return &capture.OperatorError{Err: err, Remedy: "it takes " + drop.takes + ": ALTER ROLE " + quoteIdent(s.connect.User) + " REPLICATION;"}
	}
	return err
}
