package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

const (
	// heartbeat is how often an idle server shows that it lives; silenceMost is how long none may come.
	heartbeat   = 20 * time.Second
	silenceMost = 70 * time.Second
	// writeTimeout is how long the server is told to wait while nothing is read; pauseMost is how long
	// nothing is read before the connection is given up.
	writeTimeout = 10 * time.Minute
	pauseMost    = writeTimeout / 2
)

// stream is one connection's stream. Its decoder runs in the goroutine that receives.
type stream struct {
	decoder
	ctx     context.Context
	owner   *run
	host    host
	closing atomic.Bool
}

func newStream(ctx context.Context, r *run, h host, mariaDB bool) *stream {
	st := &stream{ctx: ctx, owner: r, host: h}
	st.decoder = decoder{
		sink: r.sink, at: r.at.clone(), tables: map[uint64]*tableMap{}, wanted: r.wanted, log: r.log, flavour: flavourMySQL,
		describe: func(body []byte) (*tableMap, error) { return r.describe(ctx, h, st.flavour, body) },
		lookup:   func(table string) (*capture.Table, error) { return r.lookup(ctx, h, table) },
	}
	if mariaDB {
		st.flavour = flavourMariaDB
	}
	return st
}

// run receives until the context ends or something breaks.
func (st *stream) run(ctx context.Context) error {
	syncer := replication.NewBinlogSyncer(st.config())
	defer syncer.Close()
	defer st.closing.Store(true)
	streamer, err := st.dump(syncer)
	if err != nil {
		return fmt.Errorf("ask for the binlog: %w", err)
	}
	_, err = streamer.GetEvent(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = errors.New("the server ended the stream")
	}
	return fmt.Errorf("receive: %w", err)
}

func (st *stream) config() replication.BinlogSyncerConfig {
	r := st.owner
	c := replication.BinlogSyncerConfig{
		ServerID: r.serverID, Flavor: gomysql.MySQLFlavor,
		Host: st.host.name, Port: st.host.port, User: r.address.user, Password: r.address.password,
		TLSConfig: r.address.tlsFor(st.host), Localhost: "rowhook",
		RawModeEnabled: true, DisableRetrySync: true, EventCacheCount: 1,
		HeartbeatPeriod: heartbeat, SynchronousEventHandler: st,
		Logger: slog.New(slog.DiscardHandler), Dialer: st.dial,
		Option: func(c *client.Conn) error {
			_, err := c.Execute(fmt.Sprintf("SET SESSION net_write_timeout = %d", int(writeTimeout/time.Second)))
			return err
		},
	}
	if st.flavour == flavourMariaDB {
		c.Flavor, c.DumpCommandFlag = gomysql.MariaDBFlavor, replication.BINLOG_SEND_ANNOTATE_ROWS_EVENT
	}
	if st.replay != nil {
		// MariaDB ends a stream when another with the same id begins, and may take a moment to end ours.
		c.ServerID ^= 0x20000000
	}
	return c
}

func (st *stream) dial(ctx context.Context, network, address string) (net.Conn, error) {
	timeout := dialTimeout
	if st.closing.Load() {
		timeout = time.Second // only to tell the server that we are gone
	}
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &silentConn{conn, silenceMost}, nil
}

// dump asks for the binlog from where the stream stands, or from where a prepared transaction lies.
func (st *stream) dump(syncer *replication.BinlogSyncer) (*replication.BinlogStreamer, error) {
	from := st.at
	if st.replay != nil {
		from = st.replay.from
	}
	switch {
	case from.mysql != nil:
		return syncer.StartSyncGTID(dumpSet{text: from.mysql.String(), bytes: from.mysql.encode()})
	case from.maria != nil:
		return syncer.StartSyncGTID(dumpSet{text: from.maria.String()})
	}
	if from.file.offset > 1<<32-1 {
		return nil, errors.New("a place beyond 4 GiB in a file can only be reached with GTIDs")
	}
	return syncer.StartSync(gomysql.Position{Name: from.file.name, Pos: uint32(from.file.offset)})
}

// HandleEvent takes one event. It is called by the receiving goroutine, which reads no more until it returns.
func (st *stream) HandleEvent(e *replication.BinlogEvent) error {
	if busy := st.sink.Busy(); busy != nil {
		if err := st.wait(busy); err != nil {
			return err
		}
	}
	if st.ctx.Err() != nil {
		return st.ctx.Err()
	}
	h, body, ok := parseHeader(e.RawData)
	if !ok {
		return &streamError{what: "event header"}
	}
	switch known := e.Event.(type) {
	case *replication.GenericEvent:
		body = known.Data // without the checksum
	case *replication.RotateEvent:
		st.file.name, st.file.offset = string(known.NextLogName), known.Position
		return nil
	}
	return st.event(h, body)
}

// wait stops reading until there is room. The server bears it for a while.
func (st *stream) wait(busy <-chan struct{}) error {
	timer := time.NewTimer(st.owner.pause)
	defer timer.Stop()
	for busy != nil {
		select {
		case <-busy:
			busy = st.sink.Busy()
		case <-st.ctx.Done():
			return st.ctx.Err()
		case <-timer.C:
			return errPaused
		}
	}
	return nil
}
