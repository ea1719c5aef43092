package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"rowhook/capture"
)

// sight is a snapshot as the stream's transactions are held against it.
type sight struct {
	passage  *passage
	mariaDB  bool
	executed mysqlSet
	mark     filePlace
}

// Sees implements [capture.Snapshot].
func (s *sight) Sees(tx *capture.Transaction) capture.Sight {
	begins := filePlace{name: tx.Begins.File, offset: tx.Begins.Offset}
	if !s.mariaDB {
		if id, err := parseMySQLSet(tx.ID); err == nil && len(id) > 0 && s.executed.contains(id) {
			return capture.Seen
		}
	}
	switch {
	case begins.name == "":
		return capture.Unclear
	case !before(begins, s.mark):
		return capture.Unseen
	case s.mariaDB:
		return capture.Seen
	}
	return capture.Unclear
}

// Passed implements [capture.Snapshot].
func (s *sight) Passed() bool { return s.passage.passed(s.mark) }

// Mark implements [capture.Snapshot].
func (s *sight) Mark() capture.Position { return capture.Position(s.mark.String()) }

// Hasten implements [capture.Snapshot]: what the binlog has is on its way.
func (s *sight) Hasten(context.Context) error { return nil }

// Settle implements [capture.Reader].
func (r *Reader) Settle(ctx context.Context, waiting func(string), seen func(capture.Snapshot)) error {
	conn, err := r.session(ctx)
	if err != nil {
		return err
	}
	p := &r.source.passage
	p.mu.Lock()
	handed, reached, open := p.handed, p.reached, p.open
	p.mu.Unlock()
	for began := time.Now(); ; {
		by, settled, err := r.settled(ctx, conn, handed, reached, &open)
		if err != nil {
			r.Close()
			return fmt.Errorf("wait for the engine: %w", err)
		}
		if settled {
			return nil
		}
		every := settleEvery
		if time.Since(began) > settleTold {
			waiting("transactions that are in the binlog to be committed in the engine, which semi-synchronous replication may hold up")
			seen(by)
			every = settleRarely
		}
		if err := capture.Sleep(ctx, every); err != nil {
			return err
		}
	}
}

// settled reports whether a snapshot has seen all that was handed over, and the open transaction; and
// what it has seen.
func (r *Reader) settled(ctx context.Context, conn *sql.Conn, handed capture.Position, reached filePlace, open *capture.Transaction) (*sight, bool, error) {
	if r.server.MariaDB {
		if begins := (filePlace{name: open.Begins.File, offset: open.Begins.Offset + 1}); open.ID != "" && before(reached, begins) {
			reached = begins
		}
		r.settle = filePlace{}
		s, err := r.snapshot(ctx, conn)
		if err != nil {
			return nil, false, err
		}
		r.settle = reached
		_, err = conn.ExecContext(ctx, "COMMIT")
		return s, reached.name == "" || !before(s.mark, reached), err
	}
	at, err := parsePlace(handed)
	if err != nil {
		return nil, false, err
	}
	if at.byFile() {
		return nil, false, &capture.OperatorError{Err: errors.New("the stream goes by file and offset, by which nothing tells what a read has seen"),
			Remedy: "turn gtid_mode on, and begin with a new state directory"}
	}
	executed, err := executedSet(ctx, conn)
	if err != nil {
		return nil, false, err
	}
	s := &sight{passage: &r.source.passage, executed: executed}
	if !executed.contains(at.mysql) || open.ID == "" {
		return s, executed.contains(at.mysql), nil
	}
	id, err := parseMySQLSet(open.ID)
	return s, err == nil && executed.contains(id), err
}
