package mysql

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

const (
	// heartbeat is how often an idle server shows that it lives; silenceMost is how long none may
	// come.
	heartbeat   = 20 * time.Second
	silenceMost = 70 * time.Second
	// receiveBuffer is how much is read at once.
	receiveBuffer = 64 << 10
	// refusalMost is how much of a refusal's text is read.
	refusalMost = 4096
	// programName is how the server's list of connections knows us.
	programName = "rowhook"
)

// checksumSize is how many bytes behind an event hold its CRC-32, where the file has them.
const checksumSize = 4

// dump is a connection on which a server sends its binlog.
type dump struct {
	conn *client.Conn
	in   packets
	head [headerSize]byte // of the event at hand
	buf  []byte           // for its body
	// checksums says that events of this file end with one.
	checksums bool
}

// request is what a dump is asked for.
type request struct {
	mariaDB  bool
	serverID uint32
	from     *place
	// once ends the dump where the binlog ends, instead of waiting for more.
	once bool
}

// openDump logs in and asks for the binlog.
func (s *Source) openDump(ctx context.Context, h host, q request) (*dump, error) {
	raw, err := credentials{s.address.user, s.address.password, s.address.tlsFor(h)}.login(ctx, h)
	if err != nil {
		return nil, s.connectError(err)
	}
	// The connection ends when the server is silent for too long.
	dialed := func(context.Context, string, string) (net.Conn, error) { return &silentConn{raw, silenceMost}, nil }
	conn, err := client.ConnectWithDialer(ctx, "tcp", h.String(), s.address.user, "", "", dialed)
	if err != nil {
		return nil, err
	}
	d := &dump{conn: conn}
	if err := d.ask(ctx, s, q); err != nil {
		d.close()
		return nil, err
	}
	// Nothing more was sent than what was asked for, so the client's own buffer is empty.
	d.in = packets{in: bufio.NewReaderSize(conn.Conn.Conn, receiveBuffer), number: 1}
	return d, nil
}

// replicaName is how the server's list of replicas knows us, apart from other agents.
func (s *Source) replicaName() string {
	id, _, _ := strings.Cut(replicaID(s.agent, 0), "-")
	return programName + "-" + id
}

// replicaID is by which MySQL knows our former connection, which it ends when this one begins.
func replicaID(agent string, serverID uint32) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "rowhook:%s:%d", agent, serverID))
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ask prepares the session, registers as a replica and asks for the binlog.
func (d *dump) ask(ctx context.Context, s *Source, q request) error {
	// The server answers each of these at once or not at all; then the silence ends it.
	defer context.AfterFunc(ctx, d.close)()
	id := replicaID(s.agent, q.serverID)
	patience := s.patience
	if q.mariaDB {
		patience = min(patience, mariaWriteTimeout)
	}
	statements := []string{
		fmt.Sprintf("SET SESSION net_write_timeout = %d", int(patience/time.Second)),
		// Which says that we know checksums. Events come as the file has them; only the first,
		// which names it, has none.
		"SET @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE'",
		fmt.Sprintf("SET @master_heartbeat_period = %d, @source_heartbeat_period = %d", heartbeat.Nanoseconds(), heartbeat.Nanoseconds()),
		fmt.Sprintf("SET @slave_uuid = '%s', @replica_uuid = '%s'", id, id),
	}
	if q.mariaDB {
		// It knows GTIDs from capability 4 on. In strict mode it refuses a set that it has left by
		// another way.
		statements = append(statements, "SET @mariadb_slave_capability = 4")
	}
	if q.from.maria != nil {
		statements = append(statements, fmt.Sprintf("SET @slave_connect_state = '%s'", q.from.maria), "SET @slave_gtid_strict_mode = 1")
	}
	for _, statement := range statements {
		if _, err := d.conn.Execute(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	if err := d.send(registerCommand(q.serverID, s.replicaName())); err != nil {
		return err
	}
	if _, err := d.conn.ReadOKPacket(); err != nil {
		return fmt.Errorf("register as a replica: %w", err)
	}
	command, err := q.command()
	if err != nil {
		return err
	}
	return d.send(command)
}

// send sends a command, behind the four bytes that the client fills in.
func (d *dump) send(command []byte) error {
	d.conn.ResetSequence()
	return d.conn.WritePacket(append(make([]byte, 4), command...))
}

// registerCommand makes us one of SHOW REPLICAS.
func registerCommand(serverID uint32, name string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{gomysql.COM_REGISTER_SLAVE}, serverID)
	b = append(append(b, byte(len(name))), name...)
	b = append(b, 0, 0, 0, 0)            // user, password, port
	return append(b, make([]byte, 8)...) // rank, the source's id
}

// Flags of a dump.
const (
	dumpOnce        = 1
	dumpAnnotations = 2 // MariaDB sends the statements' text
)

// command asks for the binlog.
func (q *request) command() ([]byte, error) {
	le, from := binary.LittleEndian, q.from
	var flags uint16
	if q.once {
		flags |= dumpOnce
	}
	if q.mariaDB {
		flags |= dumpAnnotations
	}
	switch {
	case from.mysql != nil:
		set := from.mysql.encode()
		b := le.AppendUint16([]byte{gomysql.COM_BINLOG_DUMP_GTID}, flags)
		b = le.AppendUint32(b, q.serverID)
		b = le.AppendUint32(b, 0) // no file's name
		b = le.AppendUint64(b, 4) // its beginning
		return append(le.AppendUint32(b, uint32(len(set))), set...), nil
	case from.maria != nil: // the session has the set
		b := le.AppendUint32([]byte{gomysql.COM_BINLOG_DUMP}, 0)
		b = le.AppendUint16(b, flags)
		return le.AppendUint32(b, q.serverID), nil
	case from.file.offset > 1<<32-1:
		return nil, &capture.OperatorError{Err: fmt.Errorf("%s lies beyond 4 GiB, from where no server streams by file and offset", from.file),
			Remedy: "set gtid_mode to ON; `rowhook run --accept-gap` begins after what is missing"}
	}
	b := le.AppendUint32([]byte{gomysql.COM_BINLOG_DUMP}, uint32(from.file.offset))
	b = le.AppendUint32(le.AppendUint16(b, flags), q.serverID)
	return append(b, from.file.name...), nil
}

// errEnded says that the server has no more to send, though it was to wait for more unless once.
var errEnded = errors.New("the server ended the stream")

// next begins the next packet that holds an event, and returns the event's head. What follows in
// the packet is its body.
func (d *dump) next() (header, error) {
	if err := d.in.begin(); err != nil {
		return header{}, err
	}
	status, err := d.in.byte()
	if err != nil {
		return header{}, err
	}
	switch status {
	case gomysql.OK_HEADER:
	case gomysql.ERR_HEADER:
		return header{}, d.refusal()
	case gomysql.EOF_HEADER:
		return header{}, errEnded
	default:
		return header{}, &streamError{what: fmt.Sprintf("a packet that begins with %d", status), where: torn}
	}
	if err := d.in.fill(d.head[:]); err != nil {
		return header{}, err
	}
	h, _, _ := parseHeader(d.head[:])
	if h.size < headerSize || !d.in.more && int(h.size)-headerSize != d.in.left {
		return header{}, &streamError{what: "an event of another size than its packet", where: torn}
	}
	return h, nil
}

// bodySize is the size of an event's body, without the checksum.
func (d *dump) bodySize(h header) int {
	size := int(h.size) - headerSize
	if d.checksums {
		size -= checksumSize
	}
	return max(size, 0)
}

// body reads and verifies the event's body. It is valid until the next event.
func (d *dump) body(h header) ([]byte, error) {
	size := int(h.size) - headerSize
	var b []byte
	var err error
	if b, d.buf, err = readBody(&d.in, d.buf, size); err != nil {
		return nil, tooEarly(err)
	}
	if h.kind == byte(replication.FORMAT_DESCRIPTION_EVENT) {
		// Its last byte before the checksum, which it has in any case, says whether the events have
		// one.
		d.checksums = size > checksumSize && b[size-checksumSize-1] == byte(replication.BINLOG_CHECKSUM_ALG_CRC32)
	}
	if !d.checksums {
		return b, nil
	}
	if size < checksumSize {
		return nil, &streamError{what: "an event that is too short for its checksum", where: damaged}
	}
	b, sum := b[:size-checksumSize], b[size-checksumSize:]
	if crc32.Update(crc32.ChecksumIEEE(d.head[:]), crc32.IEEETable, b) != binary.LittleEndian.Uint32(sum) {
		return nil, mismatch(h)
	}
	return b, nil
}

// refusal reads the server's error: a number, # and five characters of state, a text.
func (d *dump) refusal() error {
	b := make([]byte, min(d.in.left, refusalMost))
	if err := d.in.fill(b); err != nil {
		return err
	}
	r := reader{b: b}
	refused := &gomysql.MyError{Code: uint16(r.uint(2))}
	if r.byte() == '#' {
		refused.State = string(r.take(5))
	}
	if r.fail {
		return &streamError{what: "an error of the server without its text", where: torn}
	}
	refused.Message = string(r.b)
	return refused
}

// close ends the connection, from any goroutine: the client's own Close is for one. The server
// notices when it next has something to send.
func (d *dump) close() { d.conn.Conn.Conn.Close() }
