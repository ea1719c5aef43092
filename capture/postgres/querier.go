package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// streamQueryTimeout bounds one use of the catalog while the stream waits for it, dial included. It
// is well below any sensible wal_sender_timeout, since the replication connection is silent
// meanwhile. queryTimeout bounds all others.
const (
	streamQueryTimeout = 5 * time.Second
	queryTimeout       = 30 * time.Second
	setupTimeout       = 5 * time.Minute
)

// querier owns an ordinary connection, made when first needed and again when it broke.
type querier struct {
	config  *pgx.ConnConfig
	timeout time.Duration
	refused func(error) error // what people see of an error about connecting

	mu   sync.Mutex
	conn *pgx.Conn
}

// do runs f on the connection. One use at a time. The timeout bounds the connecting.
func (q *querier) do(ctx context.Context, f func(*pgx.Conn) error) error {
	return q.within(ctx, func(_ context.Context, c *pgx.Conn) error { return f(c) })
}

// within is do with the timeout over all of it.
func (q *querier) within(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	if q.conn == nil || q.conn.IsClosed() {
		config := q.config.Copy()
		config.AfterConnect = pin(queryPinned)
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return q.refused(fmt.Errorf("connect to the database: %w", err))
		}
		q.conn = conn
	}
	return f(ctx, q.conn)
}

// close ends the connection; the next use makes a new one.
func (q *querier) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	q.conn.Close(ctx)
	q.conn = nil
}
