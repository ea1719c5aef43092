package mysql

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// greeting is what a server says first.
type greeting struct {
	version      string
	connection   uint32
	capabilities uint32
	scramble     []byte
	plugin       string
}

// foreignError says that what answers is no MySQL.
type foreignError struct{ head []byte }

func (e *foreignError) Error() string {
	return fmt.Sprintf("this does not speak MySQL: it began with %q", e.head)
}

// errNoGreeting says that whoever answers says nothing.
var errNoGreeting = fmt.Errorf("no greeting within %s: the server is overloaded, or does not speak MySQL", dialTimeout)

const portRemedy = "put the host and port of MySQL or MariaDB into source.url (3306 by default)"

// greeted reads the server's greeting. A server that does not greet is looked at: a PostgreSQL
// waits for its client to speak first, and would do so until the time is over.
func greeted(ctx context.Context, h host, raw net.Conn, w *loginPackets) (*greeting, error) {
	if err := raw.SetReadDeadline(time.Now().Add(greetingMost)); err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	_, err := raw.Read(first)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if isPostgres(ctx, h) {
			return nil, &capture.OperatorError{Err: errors.New("this does not speak MySQL: it is a PostgreSQL server"),
				Remedy: "source.type: postgres; or " + portRemedy}
		}
		if err := raw.SetReadDeadline(time.Now().Add(dialTimeout)); err != nil {
			return nil, err
		}
		_, err = raw.Read(first)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return nil, errNoGreeting
	}
	if err != nil {
		return nil, fmt.Errorf("read the greeting: %w", err)
	}
	if err := raw.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	w.conn = &pushedBack{Conn: raw, first: first}
	p, err := w.read()
	w.conn = raw
	var framing *framingError
	if errors.As(err, &framing) {
		return nil, &capture.OperatorError{Err: &foreignError{framing.head}, Remedy: portRemedy}
	}
	if err != nil {
		return nil, err
	}
	return parseGreeting(p)
}

// pushedBack gives back what was read ahead.
type pushedBack struct {
	net.Conn
	first []byte
}

func (c *pushedBack) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// isPostgres asks a server that does not greet, on a connection of its own, whether it takes TLS as
// PostgreSQL's clients ask it: PostgreSQL answers with one letter, and another server takes it for
// noise.
func isPostgres(ctx context.Context, h host) bool {
	ctx, cancel := context.WithTimeout(ctx, greetingMost)
	defer cancel()
	conn, err := dial(ctx, h)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok && conn.SetDeadline(deadline) != nil {
		return false
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		return false
	}
	answer := make([]byte, 16) // a greeting would fill it
	n, err := conn.Read(answer)
	return err == nil && n == 1 && (answer[0] == 'S' || answer[0] == 'N')
}

// parseGreeting reads a greeting, or the refusal that a server may send in its place.
func parseGreeting(p []byte) (*greeting, error) {
	switch p[0] {
	case gomysql.ClassicProtocolVersion:
	case gomysql.ERR_HEADER:
		return nil, refusalOf(p)
	case gomysql.XProtocolVersion:
		return nil, &capture.OperatorError{Err: errors.New("this is the port of MySQL's X protocol"), Remedy: portRemedy}
	default:
		return nil, &capture.OperatorError{Err: &foreignError{p[:min(len(p), 8)]}, Remedy: portRemedy}
	}
	version, rest, ok := bytes.Cut(p[1:], []byte{0})
	r := reader{b: rest}
	g := &greeting{version: string(version), connection: uint32(r.uint(4))}
	g.scramble = append(g.scramble, r.take(8)...)
	r.byte()
	low := uint32(r.uint(2))
	r.take(1 + 2) // charset, status
	g.capabilities = low | uint32(r.uint(2))<<16
	size := int(r.byte())
	r.take(10)
	second := r.take(max(13, size-8))
	if !ok || r.fail {
		return nil, errors.New("log in: the server's greeting is malformed")
	}
	g.scramble = append(g.scramble, second[:12]...) // behind them is a 0
	plugin, _, _ := bytes.Cut(r.b, []byte{0})
	g.plugin = string(plugin)
	return g, nil
}

// isMariaDB reports whether a server is one, by its version.
func isMariaDB(version string) bool { return strings.Contains(strings.ToLower(version), "mariadb") }

// play is the greeting that a client gets to hear which is logged in already.
func (g *greeting) play(agreed uint32) []byte {
	le := binary.LittleEndian
	b := append(append([]byte{gomysql.ClassicProtocolVersion}, g.version...), 0)
	b = le.AppendUint32(b, g.connection)
	b = append(append(b, g.scramble[:8]...), 0)
	b = le.AppendUint16(b, uint16(agreed))
	b = append(b, loginCharset, 2, 0) // in autocommit
	b = le.AppendUint16(b, uint16(agreed>>16))
	b = append(append(b, byte(len(g.scramble)+1)), make([]byte, 10)...)
	b = append(append(b, g.scramble[8:]...), 0)
	return append(append(b, gomysql.AUTH_NATIVE_PASSWORD...), 0)
}
