package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// startFacts are what decideStart goes by.
type startFacts struct {
	server    capture.Server
	end       pglogrepl.LSN // the server's flush position
	slot      slotState
	slotName  string
	stored    pglogrepl.LSN
	timeline  int32         // when stored was written; 0 unknown
	branch    pglogrepl.LSN // where the server's timeline left that one; 0 when it never was on it
	start     string
	acceptGap bool
	skip      pglogrepl.LSN // behind what the server cannot send and was given up; 0 for nothing
}

// startPlan is what to do with the slot, and where to start.
type startPlan struct {
	drop, create bool
	from         pglogrepl.LSN // 0 with create: where the new slot begins
	gap          bool          // the stored position was given up
	resumed      bool
}

// decideStart holds the rules of where a stream may begin. A stored position is never
// given up unless the operator said so, and must fit the server: not behind what the
// slot has released, not beyond what the server has, and not beyond the point where the server's
// timeline left ours.
func decideStart(f startFacts) (startPlan, error) {
	if f.slot.exists && f.slot.plugin == "" {
		return startPlan{}, slotMisfit(f, "is a physical slot, which belongs to a standby or a backup")
	}
	if f.slot.exists && f.slot.plugin != "pgoutput" {
		return startPlan{}, slotMisfit(f, fmt.Sprintf("uses the plugin %q", f.slot.plugin))
	}
	if f.slot.exists && f.slot.database != f.server.Database {
		return startPlan{}, slotMisfit(f, "belongs to database "+f.slot.database)
	}
	if f.stored == 0 {
		return decideFirstStart(f)
	}
	lost := whyLost(f)
	if lost == "" && f.skip > f.stored {
		return startPlan{from: f.skip, gap: true}, nil
	}
	if lost == "" {
		return startPlan{from: f.stored, resumed: true}, nil
	}
	if !f.acceptGap {
		return startPlan{}, &capture.GapError{
			Stored: position(f.stored), Server: offered(f), Text: lost,
			Remedy: "`rowhook run --accept-gap` goes on without what is missing; read the tables again where the receivers need it whole",
		}
	}
	return skipGap(f), nil
}

func skipGap(f startFacts) startPlan {
	if !f.slot.exists || f.slot.invalid != "" {
		return startPlan{drop: f.slot.exists, create: true, gap: true}
	}
	from := f.slot.confirmed
	if f.branch != 0 && f.stored > f.branch {
		// Up to where the timelines part they are one history, and all of that is stored.
		from = max(from, f.branch)
	}
	return startPlan{from: from, gap: true}
}

// whyLost says why the stored position does not fit the server; empty when it does.
func whyLost(f startFacts) string {
	switch {
	case !f.slot.exists:
		return fmt.Sprintf("slot %s is gone", f.slotName)
	case f.slot.invalid != "":
		return fmt.Sprintf("slot %s has been invalidated (%s)", f.slotName, f.slot.invalid)
	case f.timeline != 0 && f.server.Timeline < f.timeline:
		return fmt.Sprintf("the server is on timeline %d, older than the stored %d", f.server.Timeline, f.timeline)
	case f.timeline != 0 && f.server.Timeline > f.timeline && f.branch == 0:
		return fmt.Sprintf("the server's timeline %d does not come from timeline %d", f.server.Timeline, f.timeline)
	case f.timeline != 0 && f.server.Timeline > f.timeline && f.stored > f.branch:
		return fmt.Sprintf("the server's timeline %d branched off at %s, before the stored position", f.server.Timeline, f.branch)
	case f.stored > f.end:
		return "the server's WAL ends before the stored position"
	case f.slot.confirmed > f.stored:
		return fmt.Sprintf("slot %s has moved beyond the stored position", f.slotName)
	}
	return ""
}

// offered is where the server could go on.
func offered(f startFacts) capture.Position {
	if f.slot.exists && f.slot.invalid == "" {
		return position(f.slot.confirmed)
	}
	return ""
}

func slotMisfit(f startFacts, what string) error {
	return &capture.OperatorError{
		Err:    fmt.Errorf("slot %s %s", f.slotName, what),
		Remedy: "name another slot in source.slot",
	}
}

// decideFirstStart is decideStart without a stored position.
func decideFirstStart(f startFacts) (startPlan, error) {
	var asked pglogrepl.LSN
	switch f.start {
	case "", "slot", "now":
	default:
		var err error
		if asked, err = parsePosition(capture.Position(f.start)); err != nil {
			return startPlan{}, &capture.OperatorError{Err: fmt.Errorf("start: %w", err), Remedy: "--start slot, --start now or --start with an LSN"}
		}
	}
	if !f.slot.exists {
		if asked != 0 {
			return startPlan{}, &capture.OperatorError{
				Err:    fmt.Errorf("slot %s does not exist, so no WAL from %s is kept", f.slotName, asked),
				Remedy: "start without --start: the slot is created and the stream begins there",
			}
		}
		return startPlan{create: true}, nil
	}
	if f.slot.invalid != "" {
		if f.acceptGap || f.start == "now" {
			return startPlan{drop: true, create: true, gap: f.acceptGap}, nil
		}
		return startPlan{}, &capture.GapError{
			Text:   fmt.Sprintf("slot %s has been invalidated (%s)", f.slotName, f.slot.invalid),
			Remedy: "`rowhook run --start now` creates it again and begins there",
		}
	}
	switch {
	case f.start == "now":
		return startPlan{from: f.end}, nil
	case asked != 0 && (asked < f.slot.confirmed || asked > f.end):
		return startPlan{}, &capture.OperatorError{
			Err:    fmt.Errorf("start at %s: slot %s can give positions from %s to %s", asked, f.slotName, f.slot.confirmed, f.end),
			Remedy: "--start slot, --start now or a position between them",
		}
	case asked != 0:
		return startPlan{from: asked}, nil
	case f.start == "" && f.slot.used:
		return startPlan{}, &capture.GapError{
			Server: position(f.slot.confirmed),
			Text:   fmt.Sprintf("slot %s is already in use, but the state directory holds no position", f.slotName),
			Remedy: "bring back the state directory, or choose: `rowhook run --start slot` (where the slot stands), `--start now` or `--start POSITION`",
		}
	}
	return startPlan{from: f.slot.confirmed}, nil
}

// begin brings a fresh connection to streaming. It returns where the stream begins
// and what the server has been told before.
func (r *run) begin(ctx context.Context, conn *pgconn.PgConn, query *querier) (capture.Started, pglogrepl.LSN, error) {
	server, err := r.identify(ctx, conn)
	if err != nil {
		return capture.Started{}, 0, err
	}
	if r.start.OnConnect != nil {
		if err := r.start.OnConnect(server); err != nil {
			return capture.Started{}, 0, capture.Permanent(err)
		}
	}
	facts, err := r.startFacts(ctx, conn, server)
	if err != nil {
		return capture.Started{}, 0, err
	}
	plan, err := decideStart(facts)
	if err != nil {
		return capture.Started{}, 0, err
	}
	if err := r.prepareSlot(ctx, conn, server, &plan); err != nil {
		return capture.Started{}, 0, err
	}
	if !plan.resumed && !plan.gap {
		if err := r.storeStart(ctx, plan.from); err != nil {
			return capture.Started{}, 0, err
		}
	}
	if err := r.acquaint(ctx, conn, query, server); err != nil {
		return capture.Started{}, 0, err
	}
	if err := r.startReplication(ctx, conn, plan.from); err != nil {
		return capture.Started{}, 0, err
	}
	started := capture.Started{Server: server, Position: position(plan.from), Created: plan.create, Resumed: plan.resumed}
	if plan.gap {
		started.GapFrom, started.GapTo = position(facts.stored), started.Position
		r.stale = facts.stored
	}
	confirmed := facts.slot.confirmed
	if plan.create {
		confirmed = plan.from
	}
	return started, confirmed, nil
}

// acquaint learns what the stream's texts and types are before it begins: a type may be gone when
// the stream comes to it.
func (r *run) acquaint(ctx context.Context, conn *pgconn.PgConn, query *querier, server capture.Server) error {
	if r.known == nil || r.known.timeline != server.Timeline {
		r.known, r.texts = newCatalog(server.Timeline), nil
	}
	r.idleTimeout = server.IdleSlotTimeout
	instance, err := rows(ctx, conn, instanceSQL)
	if err != nil || len(instance) != 1 {
		return fmt.Errorf("ask when the server started: %w", orShort(err))
	}
	name, started := conn.ParameterStatus("server_encoding"), string(instance[0][0])
	r.reached.Store(0) // what a reader takes from this server is not passed by what came from another
	r.instance.Store(&started)
	r.sink.Abort() // what was read meanwhile came from the server before
	if r.texts == nil || r.texts.name != name {
		r.texts = newEncoding(name, nil)
	}
	if r.texts != nil {
		r.texts.convert = converter(ctx, query, name)
	}
	if name = clientEncoding(name); name != encodingUTF8 {
		if _, err := conn.Exec(ctx, "set client_encoding = "+quoteLiteral(name)).ReadAll(); err != nil {
			return fmt.Errorf("ask for the database's own encoding %s: %w", name, err)
		}
	}
	err = query.within(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return r.known.learn(ctx, c, publishedTypes, r.config.Publication)
	})
	if err != nil && ctx.Err() == nil {
		r.log.Warn("types of the published tables not read; each is looked up when it comes", "err", err)
	}
	return nil
}

// storeStart has the sink store where a first start begins, and waits a moment for it,
// so that a run killed early leaves no used slot beside an empty state directory.
func (r *run) storeStart(ctx context.Context, from pglogrepl.LSN) error {
	if err := r.sink.Idle(position(from)); err != nil {
		return capture.Permanent(err)
	}
	r.position = from
	return r.awaitDurable(ctx, from, storeStartWait)
}

// awaitDurable waits until a position is stored, for as long as it may take.
func (r *run) awaitDurable(ctx context.Context, at pglogrepl.LSN, most time.Duration) error {
	for waited := time.Duration(0); waited < most; waited += storeStartStep {
		if durable, err := parsePosition(r.sink.Durable()); err != nil || durable >= at {
			return err
		}
		if err := capture.Sleep(ctx, storeStartStep); err != nil {
			return err
		}
	}
	return nil
}

// How long a first start waits for its position to be stored, and how often it looks.
const (
	storeStartWait = time.Second
	storeStartStep = 5 * time.Millisecond
)

// startFacts collects what the rules go by, and waits for a dead connection of ours
// to let the slot go.
func (r *run) startFacts(ctx context.Context, conn *pgconn.PgConn, server capture.Server) (startFacts, error) {
	f := startFacts{server: server, slotName: r.config.Slot, stored: r.position, timeline: r.timeline,
		start: r.start.Start, acceptGap: r.start.AcceptGap, skip: r.skip}
	published, err := rows(ctx, conn, `select 1 from pg_catalog.pg_publication where pubname = `+quoteLiteral(r.config.Publication))
	if err != nil {
		return f, fmt.Errorf("look for publication %s: %w", r.config.Publication, err)
	}
	if len(published) == 0 {
		return f, &capture.OperatorError{
			Err:    fmt.Errorf("publication %s does not exist in database %s", r.config.Publication, server.Database),
			Remedy: "rowhook setup",
		}
	}
	if f.end, err = parsePosition(server.End); err != nil {
		return f, err
	}
	if f.timeline != 0 && server.Timeline > f.timeline {
		if f.branch, err = switchPoint(ctx, conn, server.Timeline, f.timeline); err != nil {
			return f, err
		}
	}
	f.slot, err = r.freeSlot(ctx, conn, server)
	return f, err
}

// freeSlot reads the slot once nobody uses it.
func (r *run) freeSlot(ctx context.Context, conn *pgconn.PgConn, server capture.Server) (slotState, error) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryFirst),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(server.SenderTimeout+5*time.Second))
	for {
		slot, err := r.readSlot(ctx, conn)
		if err != nil || !slot.active {
			return slot, err
		}
		holder, err := readHolder(ctx, conn, slot.holder)
		if err != nil {
			return slot, err
		}
		wait := pause.NextBackOff()
		if !holder.known && wait != backoff.Stop { // it has ended since the slot was read
			if err := capture.Sleep(ctx, min(wait, retryFirst)); err != nil {
				return slot, err
			}
			continue
		}
		if holder.application != r.application || wait == backoff.Stop {
			return slot, r.takenError(slot, holder)
		}
		if r.start.TakeOver {
			r.endHolder(ctx, conn, slot.holder)
			wait = retryFirst
		} else {
			r.log.Info("waiting for the server to notice that our former connection is gone", "slot", r.config.Slot, "pid", slot.holder)
		}
		if err := capture.Sleep(ctx, wait); err != nil {
			return slot, err
		}
	}
}

// endHolder ends a connection of ours that a machine has left which no longer captures. A role may
// end its own.
func (r *run) endHolder(ctx context.Context, conn *pgconn.PgConn, pid int32) {
	if _, err := rows(ctx, conn, fmt.Sprintf("select pg_catalog.pg_terminate_backend(%d)", pid)); err != nil {
		r.log.Warn("the connection of the machine that captured before cannot be ended: the slot is free when the server notices", "slot", r.config.Slot,
			"pid", pid, "err", err, "remedy", "a lower wal_sender_timeout for the role: ALTER ROLE ... SET wal_sender_timeout = '5s'")
		return
	}
	r.log.Info("the connection of the machine that captured before is ended", "slot", r.config.Slot, "pid", pid)
}

// slotHolder is who uses the slot.
type slotHolder struct {
	known                bool // false when it is gone again
	application, address string
}

func readHolder(ctx context.Context, conn *pgconn.PgConn, pid int32) (slotHolder, error) {
	got, err := rows(ctx, conn, fmt.Sprintf(`select coalesce(application_name, ''), coalesce(client_addr::text, '')
from pg_catalog.pg_stat_activity where pid = %d`, pid))
	if err != nil {
		return slotHolder{}, fmt.Errorf("look who uses the slot: %w", err)
	}
	if len(got) == 0 {
		return slotHolder{}, nil
	}
	return slotHolder{known: true, application: string(got[0][0]), address: string(got[0][1])}, nil
}

func (r *run) takenError(slot slotState, holder slotHolder) error {
	who := fmt.Sprintf("pid %d", slot.holder)
	if holder.known {
		address := "unknown address (a Unix socket, or the role lacks pg_read_all_stats)"
		if holder.address != "" {
			address = holder.address
		}
		who = fmt.Sprintf("pid %d, application_name %q, %s", slot.holder, holder.application, address)
	}
	return &capture.OperatorError{
		Err:    fmt.Errorf("slot %s is in use by %s", r.config.Slot, who),
		Remedy: fmt.Sprintf("stop the other agent (SELECT pg_terminate_backend(%d) ends its connection), or name another slot in source.slot", slot.holder),
	}
}

// prepareSlot drops and creates the slot as planned.
func (r *run) prepareSlot(ctx context.Context, conn *pgconn.PgConn, server capture.Server, plan *startPlan) error {
	slot := quoteIdent(r.config.Slot)
	if plan.drop {
		if err := pglogrepl.DropReplicationSlot(ctx, conn, slot, pglogrepl.DropReplicationSlotOptions{}); err != nil {
			return fmt.Errorf("drop slot %s: %w", r.config.Slot, err)
		}
	}
	if !plan.create {
		return nil
	}
	r.log.Info("creating the slot; this waits for transactions that are open now", "slot", r.config.Slot)
	sql := "CREATE_REPLICATION_SLOT " + slot + " LOGICAL pgoutput NOEXPORT_SNAPSHOT"
	if server.Version >= 170000 && !server.Standby {
		sql = "CREATE_REPLICATION_SLOT " + slot + " LOGICAL pgoutput (SNAPSHOT 'nothing', FAILOVER)"
	}
	created, err := pglogrepl.ParseCreateReplicationSlot(conn.Exec(ctx, sql))
	if err != nil {
		return r.createError(err, server)
	}
	plan.from, err = pglogrepl.ParseLSN(created.ConsistentPoint)
	return err
}

func (r *run) createError(err error, server capture.Server) error {
	err = fmt.Errorf("create slot %s: %w", r.config.Slot, err)
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Code {
	case "55000": // object not in prerequisite state
		return &capture.OperatorError{Err: err, Remedy: decodingRemedy(server)}
	case "53400": // configuration limit exceeded
		return &capture.OperatorError{Err: err, Remedy: "raise max_replication_slots, or drop a slot that nobody uses"}
	case "42501":
		return &capture.OperatorError{Err: err, Remedy: r.rightsRemedy(answer)}
	}
	return err
}

func (r *run) startReplication(ctx context.Context, conn *pgconn.PgConn, from pglogrepl.LSN) error {
	publication := strings.ReplaceAll(quoteIdent(r.config.Publication), "'", "''")
	err := pglogrepl.StartReplication(ctx, conn, quoteIdent(r.config.Slot), from, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication,
		PluginArgs: []string{
			"proto_version '1'",
			"publication_names '" + publication + "'",
			"messages 'true'",
		},
	})
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return r.streamingError(fmt.Sprintf("start replication at %s", from), answer)
	}
	if err != nil {
		return fmt.Errorf("start replication at %s: %w", from, err)
	}
	return nil
}
