package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// mysqlFloor is the floor behind go-mysql's syncer.
type mysqlFloor struct {
	*floor
	transaction string
	number      int64 // of the transaction
	committed   time.Time
	seq         int
	done        atomic.Int64 // the number of the last whole transaction
}

// floorAt is how the floor says to which transaction it has come.
const floorAt = "floor at "

func playMySQLFloor(to *floor) error {
	u, err := url.Parse(to.URL)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return err
	}
	password, _ := u.User.Password()
	config := replication.BinlogSyncerConfig{
		ServerID: 4242, Flavor: gomysql.MySQLFlavor, Host: u.Hostname(), Port: uint16(port),
		User: u.User.Username(), Password: password, Logger: slog.New(slog.DiscardHandler),
	}
	kind, text, _ := strings.Cut(to.From, ":")
	if kind == "mariadb" {
		config.Flavor = gomysql.MariaDBFlavor
	}
	set, err := gomysql.ParseGTIDSet(config.Flavor, text)
	if err != nil {
		return err
	}
	streamer, err := replication.NewBinlogSyncer(config).StartSyncGTID(set)
	if err != nil {
		return err
	}
	f := &mysqlFloor{floor: to}
	go f.tell() // for the process's life
	for {
		event, err := streamer.GetEvent(context.Background())
		if err != nil {
			return err
		}
		f.take(event)
	}
}

func (f *mysqlFloor) tell() {
	last := int64(-1)
	for range time.Tick(20 * time.Millisecond) {
		if done := f.done.Load(); done != last {
			fmt.Fprintf(os.Stderr, "%s%d\n", floorAt, done)
			last = done
		}
	}
}

func (f *mysqlFloor) take(event *replication.BinlogEvent) {
	switch e := event.Event.(type) {
	case *replication.GTIDEvent:
		f.number, f.committed = e.GNO, time.UnixMicro(int64(e.OriginalCommitTimestamp))
		f.transaction, f.seq = strconv.FormatInt(e.GNO, 10), 0
	case *replication.MariadbGTIDEvent:
		f.number, f.committed = int64(e.GTID.SequenceNumber), time.Unix(int64(event.Header.Timestamp), 0)
		f.transaction, f.seq = e.GTID.String(), 0
	case *replication.XIDEvent:
		f.done.Store(f.number)
	case *replication.QueryEvent:
		if string(e.Query) != "BEGIN" {
			f.done.Store(f.number)
		}
	case *replication.RowsEvent:
		for _, row := range e.Rows {
			if f.Percent == 100 || f.Percent > 0 && f.wants(row[1]) {
				f.row(event.Header.LogPos, e.Table, row)
			}
			f.seq++
		}
	}
}

// wants reports whether a row is of the share that is sent.
func (f *mysqlFloor) wants(seq any) bool {
	n, ok := seq.(int64)
	return ok && n < int64(f.Percent)
}

func (f *mysqlFloor) row(at uint32, table *replication.TableMapEvent, values []any) {
	row := make(map[string]string, len(values))
	for i, name := range table.ColumnNameString() {
		switch value := values[i].(type) {
		case int64:
			row[name] = strconv.FormatInt(value, 10)
		case []byte:
			row[name] = string(value)
		default:
			row[name] = fmt.Sprint(value)
		}
	}
	f.dispatch(floorEvent{
		ID: f.transaction + "_" + strconv.Itoa(f.seq), Type: "record.inserted", Timestamp: f.committed.UTC(),
		Source: floorSource{"proof", string(table.Schema) + "." + string(table.Table), "insert", strconv.Itoa(int(at)), f.transaction, f.seq},
		Key:    map[string]string{"id": row["id"]}, Data: row,
	})
}
