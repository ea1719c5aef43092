package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"rowhook/capture"
)

const (
	// lockIdle is how long the server keeps a lock whose holder has vanished from the network.
	lockIdle = 60 * time.Second
	// lockBeat is how often the holder shows that it lives.
	lockBeat = 15 * time.Second
	// stuckBeat is the same while nothing is read from the server.
	stuckBeat = time.Second
)

// lock keeps a second agent away from the source: a user lock, which the server gives back
// when its connection ends.
type lock struct {
	host host
	db   *sql.DB
	conn *sql.Conn
	id   int64 // of the connection
}

func (s *Source) lockName() string { return "rowhook:" + s.config.Name }

// holderName is a second lock of the same connection, by which an agent knows a dead
// connection of its own.
func (s *Source) holderName() string { return "rowhook-agent:" + s.agent }

// acquire takes the lock. It waits only for our own dead connection to be noticed, or ends it.
func (s *Source) acquire(ctx context.Context, h host, db *sql.DB, takeOver bool) (*lock, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	l := &lock{host: h, db: db, conn: conn}
	if err := s.take(ctx, l, takeOver); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func (s *Source) take(ctx context.Context, l *lock, takeOver bool) error {
	setup := fmt.Sprintf("SET SESSION wait_timeout = %d", int(lockIdle/time.Second))
	if _, err := l.conn.ExecContext(ctx, setup); err != nil {
		return fmt.Errorf("prepare the lock: %w", err)
	}
	if err := l.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&l.id); err != nil {
		return fmt.Errorf("prepare the lock: %w", err)
	}
	deadline := time.Now().Add(lockIdle + lockBeat)
	for {
		// A second or two is what a server takes to notice that a killed agent's connection is
		// closed.
		var got sql.NullInt64
		if err := l.conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 2)", s.lockName()).Scan(&got); err != nil {
			return fmt.Errorf("take the lock %s: %w", s.lockName(), err)
		}
		if got.Int64 == 1 {
			err := l.conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 0)", s.holderName()).Scan(&got)
			return err
		}
		own, err := s.taken(ctx, l)
		if err != nil {
			return err
		}
		if own == nil || time.Now().After(deadline) {
			return s.takenError(ctx, l)
		}
		if takeOver && *own != 0 {
			s.endHolder(ctx, l, *own)
			continue
		}
		s.log.Info("waiting for the server to notice that our former connection is gone", "lock", s.lockName(), "connection", *own)
	}
}

// endHolder ends a connection of ours that a machine has left which no longer captures. A user may
// end its own.
func (s *Source) endHolder(ctx context.Context, l *lock, id int64) {
	if _, err := l.conn.ExecContext(ctx, fmt.Sprintf("KILL %d", id)); err != nil {
		s.log.Warn("the connection of the machine that captured before cannot be ended: its lock is free when the server notices", "lock", s.lockName(),
			"connection", id, "err", err)
		return
	}
	s.log.Info("the connection of the machine that captured before is ended", "lock", s.lockName(), "connection", id)
}

// taken returns who holds the lock if that is a connection of this agent.
func (s *Source) taken(ctx context.Context, l *lock) (*int64, error) {
	var holder, ours sql.NullInt64
	err := l.conn.QueryRowContext(ctx, "SELECT IS_USED_LOCK(?), IS_USED_LOCK(?)", s.lockName(), s.holderName()).Scan(&holder, &ours)
	if err != nil {
		return nil, fmt.Errorf("look who holds the lock %s: %w", s.lockName(), err)
	}
	if !holder.Valid || holder == ours {
		return &holder.Int64, nil
	}
	return nil, nil
}

func (s *Source) takenError(ctx context.Context, l *lock) error {
	who := "another connection"
	var id sql.NullInt64
	if err := l.conn.QueryRowContext(ctx, "SELECT IS_USED_LOCK(?)", s.lockName()).Scan(&id); err == nil && id.Valid {
		who = fmt.Sprintf("connection %d", id.Int64)
		var user, from string
		err := l.conn.QueryRowContext(ctx, "SELECT user, host FROM information_schema.processlist WHERE id = ?", id.Int64).Scan(&user, &from)
		if err == nil {
			who += fmt.Sprintf(", user %s, host %s", user, from)
		}
	}
	return &capture.OperatorError{
		Err:    fmt.Errorf("another agent reads this source: the lock %s is held by %s", s.lockName(), who),
		Remedy: fmt.Sprintf("stop the other agent (KILL %d ends its connection), or give this one another source.name", id.Int64),
	}
}

// held reports whether the lock is still ours.
func (l *lock) held(ctx context.Context, name string) bool {
	if l == nil {
		return false
	}
	var holder sql.NullInt64
	err := l.conn.QueryRowContext(ctx, "SELECT IS_USED_LOCK(?)", name).Scan(&holder)
	return err == nil && holder.Valid && holder.Int64 == l.id
}

// release gives the lock back.
func (l *lock) release() {
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// An error means that the connection is gone, and the lock with it.
	_, _ = l.conn.ExecContext(ctx, "DO RELEASE_ALL_LOCKS()")
	_ = l.conn.Close()
}

// keep shows the server that the holder lives, until ctx ends. lost is called when the lock is
// gone. While nothing is read it looks often: a server that shuts down ends this connection, but
// waits for the other one as long as it is in the middle of a write to us. stuck reports that.
func (l *lock) keep(ctx context.Context, name string, stuck func() bool, lost func()) {
	beat := time.NewTicker(stuckBeat)
	defer beat.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		if !stuck() && time.Since(last) < lockBeat {
			continue
		}
		last = time.Now()
		if !l.held(ctx, name) && ctx.Err() == nil {
			lost()
			return
		}
	}
}
