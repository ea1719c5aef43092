package mysql

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

const (
	// writeTimeout is how long the server is told to wait while nothing is read; pauseMost is how
	// long nothing is read before the connection is given up.
	writeTimeout = 10 * time.Minute
	pauseMost    = writeTimeout / 2
	// mariaWriteTimeout is the same for MariaDB. It begins no stream before our former one has
	// ended, which the network may have left in the middle of a write: the new one waits as long as
	// that is borne.
	mariaWriteTimeout = 30 * time.Second
	// keepMost is how large a buffer for events is kept for the next ones.
	keepMost = 1 << 20
	// killTimeout bounds the attempt to end our connection on the server's side.
	killTimeout = time.Second
)

// stream is one connection's stream.
type stream struct {
	decoder
	ctx   context.Context
	owner *run
	host  host
	scout scout
}

func newStream(ctx context.Context, r *run, h host, mariaDB bool) *stream {
	st := &stream{ctx: ctx, owner: r, host: h}
	st.decoder = decoder{
		sink: r.sink, at: r.at.clone(), wanted: r.wanted, log: r.log, flavour: flavourMySQL,
		describe: func(body []byte, q question) (*tableMap, error) {
			st.scout.doubt = nil
			t, err := r.describe(ctx, h, st.flavour, nil, body, moment{q.at, st.unchanged}, q)
			if t != nil {
				t.doubt = st.scout.doubt
				t.bound(st.most())
			}
			return t, err
		},
		passage: &r.passage,
		lookup:  func(table string) (*capture.Table, error) { return r.lookup(ctx, h, table) },
	}
	st.handed = st.at.position()
	st.room, st.limit = st.awaitRoom, r.config.ChangeLimit()
	if mariaDB {
		st.flavour = flavourMariaDB
	}
	return st
}

// unchanged looks ahead whether a table is still what it is in the transaction that is being read.
func (st *stream) unchanged(ctx context.Context, m *rawTableMap, last time.Time) (bool, error) {
	from, transaction := st.at.maria, st.tx.ID
	if st.replay != nil {
		from, transaction = st.replay.from.maria, st.replay.id
	}
	if st.scout.source == nil {
		st.scout.source = st.owner.Source
	}
	return st.scout.unchanged(ctx, st.host, from, transaction, m, last)
}

// run receives until the context ends or something breaks.
func (st *stream) run(ctx context.Context) error {
	from, id := &st.at, st.owner.serverID
	if st.replay != nil {
		from = &st.replay.from
		id ^= 0x20000000 // MariaDB ends a stream when another with the same id begins, and may take a moment to end ours
	}
	d, err := st.owner.openDump(ctx, st.host, request{mariaDB: st.flavour == flavourMariaDB, serverID: id, from: from})
	if err != nil {
		return fmt.Errorf("ask for the binlog: %w", err)
	}
	defer st.owner.kill(ctx, st.host, d.conn.GetConnectionID())
	defer st.inflater.close()
	defer d.close()
	defer context.AfterFunc(ctx, d.close)()
	rest := func() {}
	if rester, ok := st.sink.(capture.Rester); ok {
		rest = rester.Rest
	}
	if heeder, ok := st.sink.(capture.Heeder); ok {
		heeder.Heed(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("%w: %w", capture.ErrAgain, err)
			}
			return nil
		})
		defer heeder.Heed(nil)
	}
	for {
		if err := st.awaitRoom(); err != nil {
			return err
		}
		if d.in.in.Buffered() == 0 {
			rest()
		}
		if err := st.receive(d); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("receive: %w", err)
		}
	}
}

// receive takes one event. A panic is a fault of ours that the next attempt would meet again: it
// counts as a stream that cannot be read.
func (st *stream) receive(d *dump) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			st.log.Error("taking an event panicked", "panic", fmt.Sprint(fault), "position", st.at.position(), "stack", string(debug.Stack()))
			err = &streamError{what: "taking an event panicked"}
		}
	}()
	st.owner.reading.Store(true)
	defer st.owner.reading.Store(false)
	h, err := d.next()
	if err != nil {
		return err
	}
	st.owner.events.Add(1)
	switch replication.EventType(h.kind) {
	case replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2:
	default:
		st.owner.received.Add(1)
	}
	if size := d.bodySize(h); h.kind == byte(replication.TRANSACTION_PAYLOAD_EVENT) && size > keepMost {
		// It may hold more than there is memory for, so it is taken apart while it comes, and its
		// checksum is left alone: it would be known only when the transaction has been handed over.
		st.owner.reading.Store(false)
		if err := st.payload(h, io.LimitReader(&d.in, int64(size))); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, &d.in)
		return err
	}
	if size := d.bodySize(h); size > keepMost {
		return st.receiveLarge(d, h, size)
	}
	body, err := d.body(h)
	st.owner.reading.Store(false)
	if err != nil {
		return err
	}
	return st.event(h, body)
}

// awaitRoom stops reading until there is room. The server bears it for a while.
func (st *stream) awaitRoom() error {
	busy := st.sink.Busy()
	if busy == nil {
		return nil
	}
	most := st.owner.pause
	if st.flavour == flavourMariaDB {
		most = min(most, mariaWriteTimeout/2)
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for busy != nil {
		select {
		case <-busy:
			busy = st.sink.Busy()
		case <-st.ctx.Done():
			return st.ctx.Err()
		case <-timer.C:
			return capture.ErrPaused
		}
	}
	return nil
}

// kill ends a connection of ours on the server's side, which otherwise would notice only when it
// next has something to send, and keep binlog files until then. What does not succeed is left to
// that.
func (s *Source) kill(ctx context.Context, h host, id uint32) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
	defer cancel()
	if db, err := s.pool(h); err == nil {
		_, _ = db.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
	}
}
