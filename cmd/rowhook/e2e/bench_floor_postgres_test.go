package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// postgresFloor is the floor behind pglogrepl.
type postgresFloor struct {
	*floor
	conn      *pgconn.PgConn
	relations map[uint32]*pglogrepl.RelationMessage
	begin     *pglogrepl.BeginMessage
	seq       int
	end       pglogrepl.LSN
}

func playPostgresFloor(to *floor) error {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, to.URL+"&replication=database")
	if err != nil {
		return err
	}
	err = pglogrepl.StartReplication(ctx, conn, to.From, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'rowhook'"},
	})
	if err != nil {
		return err
	}
	f := &postgresFloor{floor: to, conn: conn, relations: map[uint32]*pglogrepl.RelationMessage{}}
	return f.receive(ctx)
}

func (f *postgresFloor) receive(ctx context.Context) error {
	status := time.Now()
	for {
		if time.Since(status) > 100*time.Millisecond {
			if err := pglogrepl.SendStandbyStatusUpdate(ctx, f.conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: f.end}); err != nil {
				return err
			}
			status = time.Now()
		}
		deadline, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		raw, err := f.conn.ReceiveMessage(deadline)
		cancel()
		if pgconn.Timeout(err) {
			continue
		}
		if err != nil {
			return err
		}
		message, ok := raw.(*pgproto3.CopyData)
		if !ok {
			return fmt.Errorf("floor: unexpected %T", raw)
		}
		switch message.Data[0] {
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			alive, err := pglogrepl.ParsePrimaryKeepaliveMessage(message.Data[1:])
			if err != nil {
				return err
			}
			f.end = max(f.end, alive.ServerWALEnd)
		case pglogrepl.XLogDataByteID:
			data, err := pglogrepl.ParseXLogData(message.Data[1:])
			if err != nil {
				return err
			}
			if err := f.take(data); err != nil {
				return err
			}
		}
	}
}

func (f *postgresFloor) take(data pglogrepl.XLogData) error {
	message, err := pglogrepl.Parse(data.WALData)
	if err != nil {
		return err
	}
	switch m := message.(type) {
	case *pglogrepl.RelationMessage:
		f.relations[m.RelationID] = m
	case *pglogrepl.BeginMessage:
		f.begin, f.seq = m, 0
	case *pglogrepl.CommitMessage:
		f.end = max(f.end, m.TransactionEndLSN)
	case *pglogrepl.InsertMessage:
		if f.Percent == 100 || f.Percent > 0 && f.wants(m.Tuple.Columns[1].Data) {
			f.row(data.WALStart, f.relations[m.RelationID], m.Tuple)
		}
		f.seq++
	}
	return nil
}

// wants reports whether a row is of the share that is sent.
func (f *postgresFloor) wants(seq []byte) bool {
	n, err := strconv.Atoi(string(seq))
	return err == nil && n < f.Percent
}

func (f *postgresFloor) row(at pglogrepl.LSN, relation *pglogrepl.RelationMessage, tuple *pglogrepl.TupleData) {
	row := make(map[string]string, len(tuple.Columns))
	for i, column := range tuple.Columns {
		row[relation.Columns[i].Name] = string(column.Data)
	}
	xid := strconv.FormatUint(uint64(f.begin.Xid), 10)
	f.dispatch(floorEvent{
		ID: xid + "_" + strconv.Itoa(f.seq), Type: "record.inserted", Timestamp: f.begin.CommitTime.UTC(),
		Source: floorSource{"proof", relation.Namespace + "." + relation.RelationName, "insert", at.String(), xid, f.seq},
		Key:    map[string]string{"id": row["id"]}, Data: row,
	})
}
