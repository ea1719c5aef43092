package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// run is one Run: what outlives its connections.
type run struct {
	*Source
	sink  capture.Sink
	start capture.StartOptions
	at    place // stored, or handed to the sink; the next connection starts there
	lock  *lock

	accept  bool             // a gap, until the stream has moved
	refused string           // why the server refused to stream from at, which is to be given up
	skipped capture.Position // before a prepared transaction that was given up

	malformedAt capture.Position
	malformed   int

	events  atomic.Uint64 // that have been read
	reading atomic.Bool   // from the server, or waiting for it
}

// stuckness returns what reports whether nothing has been read since it was last asked, though the
// server may have more.
func (r *run) stuckness() func() bool {
	var last uint64
	return func() bool {
		now := r.events.Load()
		stuck := now == last && !r.reading.Load()
		last = now
		return stuck
	}
}

// streamError says that the stream cannot be framed.
type streamError struct {
	what  string
	where trouble
}

func (e *streamError) Error() string { return "the stream cannot be read: " + e.what }

// trouble is where an unreadable stream went wrong.
type trouble byte

const (
	strange trouble = iota // the server sent it so, and nobody here knows what it means
	damaged                // the bytes are not those that the server once wrote
	torn                   // the protocol's packets do not follow each other
	unread                 // the server cannot read its own binlog
)

// remedy is what to do about a stream that cannot be read in a file of the binlog.
func (t trouble) remedy(file string) string {
	what := "look for a newer version of rowhook, and report what it says: the server sent something that this one does not know"
	switch t {
	case damaged:
		what = fmt.Sprintf("`mysqlbinlog --verify-binlog-checksum %s` (`mariadb-binlog` on MariaDB) on the server says whether the file is damaged; if it is whole, "+
			"look at what stands between agent and server", file)
	case torn:
		what = "look at what stands between agent and server, such as a proxy: put the server's own host and port into source.url"
	case unread:
		what = fmt.Sprintf("look at the server's log, and at `mysqlbinlog %s` (`mariadb-binlog` on MariaDB) on the server", file)
	}
	return what + ". What was taken before the position is stored; `rowhook run --accept-gap` goes on where the server's binlog ends, without what lies between"
}

// errSkipped ends a connection that was to read a prepared transaction again, which is to be given
// up.
var errSkipped = errors.New("a prepared transaction is no longer in the binlog")

// errLockLost ends a connection whose agent may no longer be the only one.
var errLockLost = errors.New("the lock that keeps other agents away was lost")

// Run streams into the sink until ctx ends, and then returns nil. It reconnects by itself. It
// returns an error only for what a new attempt cannot fix: an error of the sink or of OnConnect as
// it is, a [*capture.GapError], a [*capture.OperatorError], or a stream that cannot be read.
func (s *Source) Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error {
	stored, err := parsePlace(start.Stored)
	if err != nil {
		return err
	}
	r := &run{Source: s, sink: sink, start: start, at: stored, accept: start.AcceptGap}
	defer func() { r.lock.release() }()
	err = capture.Supervise(ctx, r, start.OnLost, s.log)
	if err == nil {
		r.start.Flush(sink)
	}
	return err
}

// Session implements [capture.Streamer]: a stream that got to the point of receiving has settled.
func (r *run) Session(ctx context.Context) (settled bool, err error) {
	settled, err = r.session(ctx)
	if ctx.Err() != nil {
		return settled, err
	}
	ended := r.unreadable(err)
	if r.giveUp(err, ended != nil) {
		return settled, nil
	}
	if ended != nil {
		err = ended
	}
	return settled, err
}

// Rest implements [capture.Streamer].
func (r *run) Rest(ctx context.Context) {
	r.log.Info("the source is paused", "position", r.at.position())
	for busy := r.sink.Busy(); busy != nil; busy = r.sink.Busy() {
		select {
		case <-busy:
		case <-ctx.Done():
			return
		}
	}
}

// session connects and streams until something ends it. streamed says that it got to
// the point of receiving.
func (r *run) session(ctx context.Context) (streamed bool, err error) {
	h, started, err := r.begin(ctx)
	if err != nil {
		return false, err
	}
	r.start.TakeOver = false
	r.passage.start(h, started.Server, started.Position)
	r.log.Info("streaming", "host", h.String(), "position", started.Position, "resumed", started.Resumed)
	r.start.Start = "" // it holds for this start only
	if r.start.OnStarted != nil {
		r.start.OnStarted(started)
	}
	if !started.Resumed {
		if err := r.sink.Idle(started.Position); err != nil {
			return false, capture.Permanent(err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.lock.keep(ctx, r.lockName(), r.stuckness(), func() { cancel(errLockLost) })
	}()
	began := time.Now()
	err = r.follow(ctx, h, started.Server.MariaDB)
	if r.at.position() != started.Position || time.Since(began) > capture.AcceptMost {
		r.accept = false
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	<-kept
	if errors.Is(err, errLockLost) || errors.Is(err, errEnded) { // the server may be shutting down
		r.dropIdle(h)
	}
	return true, err
}

// follow streams, and reads prepared transactions again when they commit.
func (r *run) follow(ctx context.Context, h host, mariaDB bool) error {
	var again *replay
	for {
		st := newStream(ctx, r, h, mariaDB)
		st.replay = again
		err := st.run(ctx)
		r.sink.Abort()
		r.at = st.at
		if !errors.As(err, &again) {
			err = r.explain(ctx, err)
			var gap *capture.GapError
			if st.replay == nil || !errors.As(err, &gap) {
				return err
			}
			gap.Text = "prepared transaction " + st.replay.id + " was committed, and is no longer in the binlog: " + gap.Text
			if !r.accept {
				return err
			}
			r.skipped, r.at = r.at.position(), st.replay.place
			return errSkipped
		}
		if again.done {
			again = nil
		}
	}
}

// begin brings a host to where streaming can start.
func (r *run) begin(ctx context.Context) (host, capture.Started, error) {
	h, db, err := r.reach(ctx)
	if err != nil {
		return h, capture.Started{}, err
	}
	facts, err := r.identify(ctx, h, db)
	if err != nil {
		return h, capture.Started{}, err
	}
	if r.start.OnConnect != nil {
		if err := r.start.OnConnect(facts.Server); err != nil {
			return h, capture.Started{}, capture.Permanent(err)
		}
	}
	if r.lock == nil || r.lock.host != h || !r.lock.held(ctx, r.lockName()) {
		r.lock.release()
		if r.lock, err = r.acquire(ctx, h, db, r.start.TakeOver); err != nil {
			return h, capture.Started{}, err
		}
	}
	if taken := r.takenServerID(ctx, db, facts.variables, facts.MariaDB, facts.Version); taken != "" {
		return h, capture.Started{}, &capture.OperatorError{Err: errors.New(taken), Remedy: serverIDRemedy}
	}
	plan, err := decideStart(startFacts{server: facts, stored: r.at, start: r.start.Start, acceptGap: r.accept, refused: r.refused})
	if err != nil {
		return h, capture.Started{}, err
	}
	started := capture.Started{Server: facts.Server, Position: plan.from.position(), Resumed: plan.resumed}
	switch {
	case plan.gap:
		started.GapFrom, started.GapTo = r.at.position(), started.Position
	case r.skipped != "":
		started.GapFrom, started.GapTo, started.Resumed = r.skipped, started.Position, false
	}
	r.at, r.refused, r.skipped = plan.from, "", ""
	if plan.gap {
		r.accept = false
	}
	return h, started, nil
}

// giveUp reports whether the error is a gap that was accepted, and that only showed when
// the server was asked to stream. The next connection begins after it.
func (r *run) giveUp(err error, unreadable bool) bool {
	if errors.Is(err, errSkipped) {
		return true
	}
	if r.accept && unreadable {
		r.refused = err.Error()
		return true
	}
	var gap *capture.GapError
	if !r.accept || !errors.As(err, &gap) || gap.Stored != r.at.position() {
		return false
	}
	r.refused = gap.Text
	return true
}

// explain turns the server's refusals into what they mean.
func (r *run) explain(ctx context.Context, err error) error {
	var refused *gomysql.MyError
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case refused.Code == 1236 && isGap(refused.Message, r.at.byFile()):
		return &capture.GapError{Stored: r.at.position(), Text: "the server refuses to stream: " + refused.Message, Remedy: gapRemedy}
	case refused.Code == 1227 || refused.Code == 1142 || refused.Code == 1045:
		return &capture.OperatorError{Err: err, Remedy: grantSQL(r.currentAccount(ctx, r.lock.db))}
	case refused.Code == 4052 || refused.Code == 1236 && strings.Contains(refused.Message, "same server"):
		// It took our stream, as we might have taken its: trying again would go on for ever.
		return &capture.OperatorError{Err: fmt.Errorf("server_id %d is taken: %w", r.serverID, err), Remedy: serverIDRemedy}
	case refused.Code == 1236: // it could not read on
		return &streamError{what: "the server says: " + refused.Message, where: unread}
	}
	return err
}

// isGap reports whether the server's refusal to stream means that binlog is missing. A place in a
// file may be one that a crash cut off; where the server finds the place itself, bogus data are
// damaged.
func isGap(message string, byFile bool) bool {
	if strings.Contains(message, "bogus data") {
		return byFile
	}
	for _, part := range []string{"purged", "Could not find first log", "not found in the", "not in the master's binlog", "not in the source's binlog",
		"impossible position", "missing", "diverged", "which is not in"} {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}

// unreadable counts how often the stream could not be read at one position, and returns what ends
// the run once that is enough.
func (r *run) unreadable(err error) error {
	var malformed *streamError
	if !errors.As(err, &malformed) {
		return nil
	}
	if at := r.at.position(); r.malformedAt != at {
		r.malformedAt, r.malformed = at, 0
	}
	if r.malformed++; r.malformed < capture.FailedTries {
		return nil
	}
	return &capture.OperatorError{Err: fmt.Errorf("at position %s, %d times: %w", r.malformedAt, r.malformed, err), Remedy: malformed.where.remedy(r.at.file.name)}
}
