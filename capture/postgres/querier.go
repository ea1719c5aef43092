package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// queryTimeout bounds one use of the catalog, dial included. It is well below any sensible
// wal_sender_timeout, since the replication connection is silent meanwhile.
const queryTimeout = 5 * time.Second

// querier owns an ordinary connection, made when first needed and again when it broke.
type querier struct {
	config *pgx.ConnConfig
	redact func(error) error

	mu   sync.Mutex
	conn *pgx.Conn
}

// do runs f on the connection. One use at a time.
func (q *querier) do(ctx context.Context, f func(*pgx.Conn) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if q.conn == nil || q.conn.IsClosed() {
		conn, err := pgx.ConnectConfig(ctx, q.config.Copy())
		if err != nil {
			return q.redact(fmt.Errorf("connect to the database: %w", err))
		}
		q.conn = conn
	}
	return q.redact(f(q.conn))
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
