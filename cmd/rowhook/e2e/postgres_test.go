package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rowhook/capture/capturetest"
)

// postgres is a database of a PostgreSQL server, as a [server].
type postgres struct {
	*capturetest.Postgres
	db string
}

var _ server = (*postgres)(nil)

// postgresSchema is what the usual mapping is about. The ledger and the noise are not published.
var postgresSchema = []string{
	`create schema proof`,
	`create table proof.rows (id bigint primary key, seq bigint not null, note text not null)`,
	`alter table proof.rows replica identity full`,
	`create table proof.ledger (place bigserial primary key, id bigint not null, seq bigint not null, op text not null)`,
	`create table proof.noise (id bigserial primary key, filler text)`,
	`grant usage on schema proof to rowhook`,
	`grant select on proof.rows to rowhook`,
	`create publication rowhook for table proof.rows`,
}

// startPostgres starts a server with the usual tables, a role for the agent that may do what it
// needs and nothing more, and the publication.
func startPostgres(tb testing.TB, opts capturetest.Options) *postgres {
	tb.Helper()
	pg := capturetest.StartPostgres(tb, opts)
	pg.Run(tb, `create role rowhook login replication`)
	pg.Database(tb, nobodys)
	capturetest.Must(tb, pg.Exec(context.Background(), nobodys, `create table noise (filler text)`))
	return postgresDatabase(tb, pg, "app")
}

// nobodys is a database that no mapping is about.
const nobodys = "nobodys"

// postgresDatabase makes a database with the usual tables on a server that is there.
func postgresDatabase(tb testing.TB, pg *capturetest.Postgres, db string) *postgres {
	tb.Helper()
	p := &postgres{pg, pg.Database(tb, db)}
	capturetest.Must(tb, p.exec(context.Background(), postgresSchema...))
	return p
}

// moveTo makes another server the world's, with a database of the same name.
func (w *world) moveTo(pg *capturetest.Postgres) {
	p := &postgres{pg, w.pg.db}
	w.server, w.pg = p, p
}

func (p *postgres) kind() string    { return "postgres" }
func (p *postgres) address() string { return "127.0.0.1:" + strconv.Itoa(p.Port) }
func (p *postgres) url(address string) string {
	return fmt.Sprintf("postgres://rowhook@%s/%s?sslmode=disable", address, p.db)
}

func (p *postgres) start() error { return p.Start() }

func (p *postgres) halts() []func() error {
	return []func() error{
		func() error { return p.Stop(capturetest.Immediate) },
		func() error { return p.Stop(capturetest.Fast) },
		p.Crash,
	}
}

func (p *postgres) exec(ctx context.Context, sql ...string) error { return p.Exec(ctx, p.db, sql...) }

func (p *postgres) query(ctx context.Context, sql string) ([][]string, error) {
	return p.Query(ctx, p.db, sql)
}

func (p *postgres) connect(ctx context.Context) (session, error) {
	conn, err := pgx.Connect(ctx, p.URL(p.db))
	return pgSession{conn}, err
}

type pgSession struct{ *pgx.Conn }

func (s pgSession) exec(ctx context.Context, sql string) error {
	_, err := s.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

func (s pgSession) close() { _ = s.Close(context.Background()) } // it may be broken

func (p *postgres) readers(ctx context.Context, ports []string) (int, error) {
	which := "true"
	if len(ports) > 0 {
		which = "(p.client_port = -1 or p.client_port in (" + strings.Join(ports, ",") + "))"
	}
	return one(ctx, p, strconv.Atoi, `
		select count(*) from pg_replication_slots s join pg_stat_replication p on p.pid = s.active_pid
		where s.slot_name = 'rowhook' and p.state <> 'startup' and `+which) // who only makes the slot has it too
}

func (p *postgres) end(ctx context.Context) (string, error) {
	return one(ctx, p, asText, `select pg_current_wal_lsn()`)
}

func (p *postgres) settled(ctx context.Context, point string) (bool, error) {
	return one(ctx, p, strconv.ParseBool, `select confirmed_flush_lsn >= '`+point+`' from pg_replication_slots where slot_name = 'rowhook'`)
}

// behind is how much WAL the slot has not been told to be done with.
func (p *postgres) behind(ctx context.Context) (int64, error) {
	return one(ctx, p, asInt64, `select pg_current_wal_lsn() - confirmed_flush_lsn from pg_replication_slots where slot_name = 'rowhook'`)
}

func (p *postgres) ahead(ctx context.Context, position string) (told string, ahead bool, err error) {
	if told, err = one(ctx, p, asText, `select confirmed_flush_lsn from pg_replication_slots where slot_name = 'rowhook'`); err != nil {
		return "", false, err
	}
	ahead, err = one(ctx, p, strconv.ParseBool, fmt.Sprintf("select '%s'::pg_lsn > '%s'::pg_lsn", told, position))
	return told, ahead, err
}

func (p *postgres) rotate(ctx context.Context) error {
	return p.exec(ctx, `checkpoint`, `select pg_switch_wal()`)
}

func (p *postgres) elsewhere(ctx context.Context) error {
	return p.Exec(ctx, nobodys, `insert into noise select repeat('x', 500) from generate_series(1, 200)`)
}

func (p *postgres) lose(ctx context.Context) error {
	return p.exec(ctx, `select pg_drop_replication_slot('rowhook')`)
}
