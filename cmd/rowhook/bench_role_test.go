package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// playRole runs the test binary as another process of a benchmark, so that each
// process's time and memory are its own.
func playRole(role string) int {
	var err error
	switch role {
	case "receiver":
		err = playReceiver()
	case "floor":
		err = playFloor(os.Getenv("ROWHOOK_TEST_DSN"), os.Getenv("ROWHOOK_TEST_SLOT"), os.Getenv("ROWHOOK_TEST_TARGET"))
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// receiverStats is what a receiver process tells about what it was sent.
type receiverStats struct {
	Count       int64
	First, Last int64   // Unix nanoseconds
	Delays      []int64 // nanoseconds from commit to receipt, while they are measured
}

// playReceiver accepts everything and counts it. Its address is the first line of its
// output; GET tells the stats, with ?reset also the delays, and counts anew; &delays=1 measures them from then on.
func playReceiver() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var count, first, last atomic.Int64
	var measure atomic.Bool
	var mu sync.Mutex
	var delays []int64
	fmt.Println(listener.Addr())
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/hang" {
			<-req.Context().Done()
			return
		}
		if req.Method == http.MethodGet {
			mu.Lock()
			stats := receiverStats{Count: count.Load(), First: first.Load(), Last: last.Load()}
			if req.URL.Query().Has("reset") {
				stats.Delays = delays
				count.Store(0)
				first.Store(0)
				delays = nil
				measure.Store(req.URL.Query().Get("delays") == "1")
			}
			mu.Unlock()
			_ = json.NewEncoder(w).Encode(stats) // the caller sees what is missing
			return
		}
		now := time.Now().UnixNano()
		if !measure.Load() {
			_, _ = io.Copy(io.Discard, req.Body) // counted all the same
		} else if body, err := io.ReadAll(req.Body); err == nil {
			if at, ok := timestampOf(body); ok {
				mu.Lock()
				delays = append(delays, now-at.UnixNano())
				mu.Unlock()
			}
		}
		first.CompareAndSwap(0, now)
		last.Store(now)
		count.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
}

func timestampOf(body []byte) (time.Time, bool) {
	const member = `"timestamp":"`
	_, rest, _ := bytes.Cut(body, []byte(member))
	text, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	return at, err == nil
}

// floorEvent is the body that the floor sends: the native one's members.
type floorEvent struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Timestamp time.Time         `json:"timestamp"`
	Source    floorSource       `json:"source"`
	Key       map[string]string `json:"key"`
	Data      map[string]string `json:"data"`
}

type floorSource struct {
	Name        string `json:"name"`
	Table       string `json:"table"`
	Op          string `json:"op"`
	Position    string `json:"position"`
	Transaction string `json:"transaction"`
	Seq         int    `json:"seq"`
}

// floor is the least that could do the job: receive, parse, JSON, 16 lanes of net/http.
// No durability, no retries, no signature, no log.
type floor struct {
	conn      *pgconn.PgConn
	target    string
	client    *http.Client
	lanes     [16]chan floorEvent
	relations map[uint32]*pglogrepl.RelationMessage
	begin     *pglogrepl.BeginMessage
	seq       int
	end       pglogrepl.LSN
}

// playFloor runs the floor until it is killed. An empty target only receives and parses.
func playFloor(dsn, slot, target string) error {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'rowhook'"},
	})
	if err != nil {
		return err
	}
	f := &floor{conn: conn, target: target, relations: map[uint32]*pglogrepl.RelationMessage{}}
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(f.lanes), MaxConnsPerHost: len(f.lanes), DisableCompression: true}}
	for i := range f.lanes {
		f.lanes[i] = make(chan floorEvent, 1024)
		go f.send(f.lanes[i]) // for the process's life
	}
	return f.receive(ctx)
}

func (f *floor) receive(ctx context.Context) error {
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

func (f *floor) take(data pglogrepl.XLogData) error {
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
		if f.target != "" {
			f.dispatch(data.WALStart, f.relations[m.RelationID], m.Tuple)
		}
		f.seq++
	}
	return nil
}

func (f *floor) dispatch(at pglogrepl.LSN, relation *pglogrepl.RelationMessage, tuple *pglogrepl.TupleData) {
	row := make(map[string]string, len(tuple.Columns))
	for i, column := range tuple.Columns {
		row[relation.Columns[i].Name] = string(column.Data)
	}
	xid := strconv.FormatUint(uint64(f.begin.Xid), 10)
	event := floorEvent{
		ID: xid + "_" + strconv.Itoa(f.seq), Type: "record.inserted", Timestamp: f.begin.CommitTime.UTC(),
		Source: floorSource{"proof", relation.Namespace + "." + relation.RelationName, "insert", at.String(), xid, f.seq},
		Key:    map[string]string{"id": row["id"]}, Data: row,
	}
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, row["id"]) // never fails
	f.lanes[hash.Sum32()%uint32(len(f.lanes))] <- event
}

func (f *floor) send(lane <-chan floorEvent) {
	for event := range lane {
		body, err := json.Marshal(event)
		if err != nil {
			panic(err)
		}
		resp, err := f.client.Post(f.target, "application/json", bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		_ = resp.Body.Close()
	}
}
