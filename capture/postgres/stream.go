package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"rowhook/capture"
)

const (
	// statusMost is the longest time between status updates.
	statusMost = 10 * time.Second
	// confirmEvery is how often a position that moved is confirmed.
	confirmEvery = time.Second
	// durableWait is how soon the sink is asked again whether it has become durable.
	durableWait = 100 * time.Millisecond
	// silenceMost is how long a server may be silent whose wal_sender_timeout is off; otherwise
	// it is twice that timeout.
	silenceMost = 2 * time.Minute
	// finishWait bounds the clean end of a stream.
	finishWait = 3 * time.Second
)

// stream is one connection's stream, owned by one goroutine.
type stream struct {
	conn    *pgconn.PgConn
	frames  *frames
	owner   *run
	sink    capture.Sink
	decoder decoder

	statusEvery time.Duration
	lastStatus  time.Time
	confirmed   pglogrepl.LSN // what the server knows
	asked       bool          // the server wants an answer and has not had the last word yet
	idle        pglogrepl.LSN // a keepalive's position that the sink has not been given yet
	lastIdle    time.Time
	deadline    time.Time // of reads

	// A connection that a firewall has forgotten brings neither data nor an error. After some
	// silence the server is asked for a reply, and without one it is given up.
	heard   bool // something has come since the last tick
	heardAt time.Time
	silence time.Duration // allowed

	reclaimer capture.Reclaimer
}

func newStream(ctx context.Context, conn *pgconn.PgConn, r *run, query *querier, confirmed pglogrepl.LSN, timeout time.Duration) *stream {
	describe := describer{query, r.known, r.config.Publication}
	st := &stream{conn: conn, frames: framesOf(conn), owner: r, sink: r.sink, confirmed: confirmed, lastStatus: time.Now(), statusEvery: statusMost,
		heardAt: time.Now(), silence: silenceMost}
	if timeout > 0 {
		st.statusEvery = min(statusMost, timeout/3)
		st.silence = 2 * timeout
	}
	// A server may be silent over a huge transaction of tables that are not published: without
	// progress in between it is given longer each time.
	st.silence *= time.Duration(1 + r.silences)
	st.decoder = decoder{
		sink:      r.sink,
		relations: make(map[uint32]*relation),
		types:     make(map[uint32]typeMessage),
		handed:    r.position,
		describe: func(m *description) (*relation, error) {
			if err := query.awaitVisible(ctx, st.decoder.tx.ID); err != nil {
				return nil, err
			}
			rel, err := describe.relation(ctx, m)
			var answer *pgconn.PgError
			if errors.As(err, &answer) {
				err = &refusedError{err: serverWords(answer), answer: answer}
			}
			return rel, err
		},
		encoding: r.texts,
		reached:  func(end pglogrepl.LSN) { r.reached.Store(max(r.reached.Load(), uint64(end))) },
	}
	return st
}

// follow receives until the context ends or something breaks.
func (st *stream) follow(ctx context.Context) error {
	// A read is ended by its deadline, which costs nothing per message.
	ended := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(ended)
		st.conn.Conn().SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !release() {
			<-ended
		}
	}()
	if rester, ok := st.sink.(capture.Rester); ok {
		if conn := coalescingOf(st.conn.Conn()); conn != nil {
			conn.rest = rester.Rest
		}
	}
	if heeder, ok := st.sink.(capture.Heeder); ok {
		heeder.Heed(func() error { return st.heed(ctx) })
		defer heeder.Heed(nil)
	}
	st.arm(ctx)
	for {
		if busy := st.sink.Busy(); busy != nil {
			if err := st.wait(ctx, busy); err != nil {
				return err
			}
			st.arm(ctx)
		}
		msg, err := st.conn.ReceiveMessage(context.Background())
		if err == nil {
			st.heard = true
			err = st.take(ctx, msg)
		} else if pgconn.Timeout(err) {
			err = st.tick(time.Now())
			st.arm(ctx)
		} else if !isLost(err) {
			err = &streamError{what: err.Error()}
		}
		if ctx.Err() != nil && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// isLost says that a read failed because the connection did, and not because what came is no
// message of the protocol.
func isLost(err error) bool {
	return errors.As(err, new(*net.OpError)) || errors.As(err, new(*pgconn.PgError)) || errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError)) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// arm sets the next read's deadline to when there is something to do.
func (st *stream) arm(ctx context.Context) {
	now := time.Now()
	at := st.lastStatus.Add(st.statusEvery)
	if st.decoder.handed > st.confirmed {
		at = earlier(at, st.lastStatus.Add(confirmEvery))
		if st.asked {
			at = now
		}
	}
	if st.idle > st.decoder.handed {
		at = earlier(at, st.lastIdle.Add(confirmEvery))
	}
	if soon := now.Add(durableWait); at.Before(soon) {
		at = soon
		if st.deadline.After(now) {
			at = earlier(at, st.deadline)
		}
	}
	st.deadline = at
	st.conn.Conn().SetReadDeadline(at)
	if ctx.Err() != nil {
		st.conn.Conn().SetReadDeadline(time.Unix(1, 0))
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// take handles one message of the server.
func (st *stream) take(ctx context.Context, msg pgproto3.BackendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.CopyData:
		return st.data(ctx, msg.Data)
	case *pgproto3.ErrorResponse:
		return st.serverError(msg)
	case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		return nil
	case *pgproto3.CopyDone, *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
		return fmt.Errorf("the server ended the stream at %s", st.decoder.handed)
	}
	return &streamError{what: fmt.Sprintf("unexpected %T", msg)}
}

func (st *stream) data(ctx context.Context, b []byte) error {
	if len(b) == 1 && b[0] == copyLarge && st.frames != nil && st.frames.large > 0 {
		return st.large(ctx)
	}
	if len(b) > 0 && b[0] == copyKeepalive {
		k, err := parseKeepalive(b)
		if err != nil {
			return err
		}
		return st.keepalive(ctx, k)
	}
	if len(b) < xlogHeader || b[0] != copyXLogData {
		return &streamError{what: fmt.Sprintf("copy data of %d bytes", len(b))}
	}
	st.owner.received.Add(1)
	settled := st.decoder.handed <= st.confirmed
	if err := st.decoder.message(b[xlogHeader:]); err != nil {
		return err
	}
	if settled && st.decoder.handed > st.confirmed {
		st.arm(ctx)
	}
	return nil
}

// keepalive takes a sign of life. With no transaction open, everything before its
// position has been handed to the sink.
func (st *stream) keepalive(ctx context.Context, k keepalive) error {
	now := time.Now()
	if !st.decoder.open && k.end > st.decoder.handed {
		st.idle = k.end
		st.decoder.reached(k.end)
		if k.reply || now.Sub(st.lastIdle) >= confirmEvery {
			if err := st.passIdle(now); err != nil {
				return err
			}
		}
	}
	if k.reply {
		st.asked = true
		if err := st.status(now); err != nil {
			return err
		}
	}
	// Keepalives come with every transaction of a busy server: each sets the deadline
	// anew, so what has become due by now is done first, or it never would be.
	if !now.Before(st.deadline) {
		if err := st.tick(now); err != nil {
			return err
		}
	}
	st.arm(ctx)
	return nil
}

// passIdle gives the sink the last keepalive's position. At most one a second is worth storing.
func (st *stream) passIdle(now time.Time) error {
	if st.idle <= st.decoder.handed || st.decoder.open {
		return nil
	}
	if err := st.sink.Idle(position(st.idle)); err != nil {
		return capture.Permanent(err)
	}
	st.decoder.handed, st.lastIdle = st.idle, now
	return nil
}

// tick does what has become due.
func (st *stream) tick(now time.Time) error {
	if st.heard {
		st.heardAt, st.heard = now, false
	}
	if silent := now.Sub(st.heardAt); silent > st.silence {
		st.owner.silences++
		return fmt.Errorf("receive: the server has been silent for %s", silent.Round(time.Second))
	}
	if st.idle > st.decoder.handed && now.Sub(st.lastIdle) >= confirmEvery {
		if err := st.passIdle(now); err != nil {
			return err
		}
	}
	confirm, err := st.confirmable()
	if err != nil {
		return err
	}
	since := now.Sub(st.lastStatus)
	if since >= st.statusEvery || confirm > st.confirmed && (st.asked || since >= confirmEvery) {
		return st.status(now)
	}
	return nil
}

// confirmable is what the server may be told: what is durable, never more than this
// stream has handed over, and never less than it was told before.
func (st *stream) confirmable() (pglogrepl.LSN, error) {
	return st.bounded(st.sink.Durable())
}

func (st *stream) bounded(durable capture.Position) (pglogrepl.LSN, error) {
	lsn, err := parsePosition(durable)
	if err != nil {
		return 0, capture.Permanent(fmt.Errorf("durable position: %w", err))
	}
	if lsn == st.owner.stale {
		return st.confirmed, nil
	}
	return max(st.confirmed, min(lsn, st.decoder.handed)), nil
}

func (st *stream) status(now time.Time) error {
	confirm, err := st.confirmable()
	if err != nil {
		return err
	}
	return st.send(now, confirm)
}

func (st *stream) send(now time.Time, confirm pglogrepl.LSN) error {
	err := pglogrepl.SendStandbyStatusUpdate(context.Background(), st.conn, pglogrepl.StandbyStatusUpdate{
		WALWritePosition: confirm, WALFlushPosition: confirm, WALApplyPosition: confirm, ClientTime: now,
		ReplyRequested: now.Sub(st.heardAt) >= st.statusEvery,
	})
	if err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	st.confirmed, st.lastStatus = confirm, now
	if confirm >= st.decoder.handed {
		st.asked = false
	}
	return nil
}

// wait stops reading until there is room, and keeps telling the server that we live. It does not
// wait for long, but within a transaction: that would have to come again from its beginning, and
// the change that takes so long to store with it, for ever. There a server that shuts down ends the
// wait, see watchServer.
func (st *stream) wait(ctx context.Context, busy <-chan struct{}) error {
	timer := time.NewTicker(min(confirmEvery, st.statusEvery))
	defer timer.Stop()
	most := time.NewTimer(pauseMost)
	defer most.Stop()
	for {
		select {
		case <-busy:
			return nil
		case <-most.C:
			if !st.decoder.open {
				return capture.ErrPaused
			}
		case <-ctx.Done():
			return ctx.Err()
		case now := <-timer.C:
			st.heard = true // nobody listens meanwhile
			if err := st.tick(now); err != nil {
				return err
			}
		}
	}
}

// heed keeps telling the server that we live while the sink is at work on what it was given, and ends
// that with the stream. What was at work comes again.
func (st *stream) heed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrAgain, err)
	}
	if now := time.Now(); now.Sub(st.lastStatus) >= st.statusEvery {
		if err := st.status(now); err != nil {
			return fmt.Errorf("%w: %w", capture.ErrAgain, err)
		}
	}
	return nil
}

// finish ends the stream cleanly: the sink is flushed, the server is told what is
// durable, and the slot is free when we return. Errors do not matter any more: what was
// not confirmed comes again.
func (st *stream) finish() {
	confirm, err := st.bounded(st.owner.start.Flush(st.sink))
	if err != nil || st.conn.IsClosed() {
		return
	}
	st.conn.Conn().SetDeadline(time.Now().Add(finishWait))
	if st.send(time.Now(), confirm) != nil {
		return
	}
	if _, err := pglogrepl.SendStandbyCopyDone(context.Background(), st.conn); err != nil {
		st.owner.log.Debug("the stream did not end cleanly", "err", err)
	}
}

func (st *stream) serverError(msg *pgproto3.ErrorResponse) error {
	return st.owner.streamingError("receive", pgconn.ErrorResponseToPgError(msg))
}
