package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A transaction is in the stream as soon as its commit is written, which is before others see it: a
// moment, or as long as a synchronous standby takes. A catalog asked in between is the one before
// the transaction, and what that told of a table would hold until the stream describes it again.

const (
	// visibleMost is for how long the stream waits for a transaction to be seen. The replication
	// connection is silent meanwhile.
	visibleMost = 2 * time.Second
	// visibleEvery is how long it waits between two looks.
	visibleEvery = 5 * time.Millisecond
)

// awaitVisible waits until the catalog is that after the transaction, whose id is as [transaction]
// names it.
func (q *querier) awaitVisible(ctx context.Context, id string) error {
	xid, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nil // no transaction is open
	}
	timeout := time.NewTimer(visibleMost)
	defer timeout.Stop()
	for {
		var snapshot string
		err := q.within(ctx, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, "select pg_catalog.pg_current_snapshot()::text").Scan(&snapshot)
		})
		if err != nil {
			return err
		}
		seen, err := sees(snapshot, uint32(xid))
		if seen || err != nil {
			return err
		}
		select {
		case <-time.After(visibleEvery):
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sees reports whether a snapshot, xmin:xmax:xip,..., sees a transaction that has been committed.
// Its numbers have 64 bits, of which the transaction's are the lower ones.
func sees(snapshot string, xid uint32) (bool, error) {
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return false, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	end, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return false, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	if int32(xid-uint32(end)) >= 0 {
		return false, nil // it began later
	}
	for running := range strings.SplitSeq(parts[2], ",") {
		if n, err := strconv.ParseUint(running, 10, 64); err == nil && uint32(n) == xid {
			return false, nil
		}
	}
	return true, nil
}
