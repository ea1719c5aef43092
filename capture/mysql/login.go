package mysql

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
)

// The login is done here, once for the connections of queries and for the one of the binlog. Each
// of the two client libraries has a login of its own, which knows other plugins than the other's,
// and neither knows MariaDB's parsec nor takes one that it is given. A library gets a connection
// that is logged in; what it says and hears of a login is a play with it, see loggedIn.

const (
	// switchMost is how many plugins a server may try with one account: MariaDB's may have several.
	switchMost = 8
	// loginCharset is utf8mb4_general_ci.
	loginCharset = 45
)

// capabilities are what we agree on with each server. The libraries are offered the same.
const capabilities = gomysql.CLIENT_LONG_PASSWORD | gomysql.CLIENT_LONG_FLAG | gomysql.CLIENT_PROTOCOL_41 | gomysql.CLIENT_TRANSACTIONS |
	gomysql.CLIENT_SECURE_CONNECTION | gomysql.CLIENT_MULTI_RESULTS | gomysql.CLIENT_PLUGIN_AUTH | gomysql.CLIENT_CONNECT_ATTRS |
	gomysql.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA

// credentials are what a login needs.
type credentials struct {
	user, password string
	encryption     *tls.Config // nil: none
}

// login connects to a host and logs in.
func (c credentials) login(callers context.Context, h host) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(callers, dialTimeout)
	defer cancel()
	raw, err := dial(ctx, h)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn, err := c.on(ctx, h, raw)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err == nil {
		return conn, nil
	}
	raw.Close()
	switch {
	case callers.Err() != nil:
		return nil, callers.Err() // and not what closing the connection under it looks like
	case ctx.Err() != nil && !errors.Is(err, errNoGreeting):
		return nil, fmt.Errorf("log in: no answer within %s", dialTimeout)
	}
	return nil, err
}

func dial(ctx context.Context, h host) (net.Conn, error) {
	network := "tcp"
	if h.socket() {
		network = "unix"
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, h.String())
}

// on logs in on a connection.
func (c credentials) on(ctx context.Context, h host, raw net.Conn) (net.Conn, error) {
	w := &loginPackets{conn: raw}
	hello, err := greeted(ctx, h, raw, w)
	if err != nil {
		return nil, err
	}
	agreed := hello.capabilities & capabilities
	if agreed&gomysql.CLIENT_PROTOCOL_41 == 0 || agreed&gomysql.CLIENT_PLUGIN_AUTH == 0 {
		return nil, &capture.OperatorError{Err: fmt.Errorf("%s is too old to log in to", hello.version), Remedy: "rowhook needs MySQL 8.0 or MariaDB 10.6 or later"}
	}
	secure := h.socket()
	sent := agreed
	if c.encryption != nil {
		if hello.capabilities&gomysql.CLIENT_SSL == 0 {
			return nil, driver.ErrNoTLS
		}
		sent |= gomysql.CLIENT_SSL
		if err := w.write(responseHead(sent)); err != nil {
			return nil, err
		}
		encrypted := tls.Client(raw, c.encryption)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return nil, selfMade(hello.version, err)
		}
		w.conn, secure = encrypted, true
	}
	a := authentication{credentials: c, secure: secure, version: hello.version}
	// What the server proposes is good for a first answer where that is one of the two usual
	// plugins. To any other answer it replies with the plugin of the account.
	plugin, answer := gomysql.AUTH_NATIVE_PASSWORD, []byte(nil)
	if hello.plugin == gomysql.AUTH_CACHING_SHA2_PASSWORD || hello.plugin == gomysql.AUTH_NATIVE_PASSWORD {
		plugin = hello.plugin
		if answer, err = a.begin(plugin, hello.scramble); err != nil {
			return nil, err
		}
	}
	if err := w.write(c.response(sent, plugin, answer)); err != nil {
		return nil, err
	}
	if err := a.finish(w); err != nil {
		return nil, err
	}
	return &loggedIn{Conn: w.conn, raw: raw, say: packet(0, hello.play(agreed))}, nil
}

// responseHead is the beginning of our answer to a greeting, which is all of it where TLS is to
// begin.
func responseHead(agreed uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, agreed)
	b = append(b, 0, 0, 0, 0) // packets of any size
	return append(append(b, loginCharset), make([]byte, 23)...)
}

// response is our answer to a greeting.
func (c credentials) response(agreed uint32, plugin string, answer []byte) []byte {
	b := append(append(responseHead(agreed), c.user...), 0)
	b = append(gomysql.AppendLengthEncodedInteger(b, uint64(len(answer))), answer...)
	b = append(append(b, plugin...), 0)
	attributes := append(gomysql.PutLengthEncodedString([]byte("program_name")), gomysql.PutLengthEncodedString([]byte(programName))...)
	return append(gomysql.AppendLengthEncodedInteger(b, uint64(len(attributes))), attributes...)
}

// finish answers what the server asks until it lets us in.
func (a *authentication) finish(w *loginPackets) error {
	for switches := 0; ; {
		p, err := w.read()
		if err != nil {
			return err
		}
		var answer []byte
		silent := false
		switch p[0] {
		case gomysql.OK_HEADER:
			return nil
		case gomysql.ERR_HEADER:
			return refusalOf(p)
		case gomysql.EOF_HEADER:
			plugin, data, ok := bytes.Cut(p[1:], []byte{0})
			if switches++; switches > switchMost {
				return errors.New("log in: the server asks for one plugin after another")
			}
			if !ok { // the plugin of servers before 4.1
				plugin = []byte(gomysql.AUTH_MYSQL_OLD_PASSWORD)
			}
			answer, err = a.begin(string(plugin), data)
		default:
			// Servers put a 1 before what a plugin says; MariaDB's only where the first byte would
			// mean something else.
			if p[0] == gomysql.MORE_DATE_HEADER {
				p = p[1:]
			}
			answer, silent, err = a.next(p)
		}
		if err != nil {
			return err
		}
		if silent {
			continue
		}
		if err := w.write(answer); err != nil {
			return err
		}
	}
}

// refusalOf reads a server's error.
func refusalOf(p []byte) error {
	r := reader{b: p[1:]}
	refused := &driver.MySQLError{Number: uint16(r.uint(2))}
	if r.fail {
		return errors.New("log in: an error of the server without its text")
	}
	// Before it knows us a server leaves the state out.
	if len(r.b) > 5 && r.b[0] == '#' {
		copy(refused.SQLState[:], r.b[1:6])
		r.b = r.b[6:]
	}
	refused.Message = string(r.b)
	return refused
}

// okPayload is a server's OK: nothing affected, no id, in autocommit, no warnings.
var okPayload = []byte{gomysql.OK_HEADER, 0, 0, 2, 0, 0, 0}

func packet(number byte, payload []byte) []byte {
	n := len(payload)
	return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), number}, payload...)
}

// loggedIn is a connection that is logged in, for a client that wants to log in by itself. The
// client hears a greeting and an OK, and what it says in between goes nowhere. It is used by one
// goroutine until it has said that.
type loggedIn struct {
	net.Conn
	raw  net.Conn
	say  []byte // what the client has yet to hear
	head []byte // of its answer
	left int    // of its answer, of which nobody takes notice
	done bool   // it has answered
}

func (c *loggedIn) Read(b []byte) (int, error) {
	if len(c.say) > 0 {
		n := copy(b, c.say)
		c.say = c.say[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *loggedIn) Write(b []byte) (int, error) {
	if c.done {
		return c.Conn.Write(b)
	}
	for i := range b {
		switch {
		case len(c.head) < 4:
			if c.head = append(c.head, b[i]); len(c.head) == 4 {
				c.left = int(c.head[0]) | int(c.head[1])<<8 | int(c.head[2])<<16
			}
		default:
			c.left--
		}
		if len(c.head) == 4 && c.left == 0 {
			c.done, c.say = true, packet(2, okPayload)
			return i + 1, nil // nobody says more before he has heard that
		}
	}
	return len(b), nil
}

// SyscallConn lets the client look whether an idle connection is still open.
func (c *loggedIn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.raw.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// loginPackets are the packets of a login.
type loginPackets struct {
	conn   net.Conn
	number byte
}

// framingError says that what came is no packet of a login.
type framingError struct{ head []byte }

func (e *framingError) Error() string {
	return fmt.Sprintf("log in: the server sent %q, which begins no packet", e.head)
}

// loginMost bounds a packet of a login; a public key is the largest.
const loginMost = 64 << 10

func (w *loginPackets) read() ([]byte, error) {
	var head [4]byte
	if err := w.fill(head[:]); err != nil {
		return nil, err
	}
	size := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if size == 0 || size > loginMost || head[3] != w.number {
		return nil, &framingError{head[:]}
	}
	w.number++
	b := make([]byte, size)
	return b, w.fill(b)
}

func (w *loginPackets) fill(b []byte) error {
	for n := 0; n < len(b); {
		m, err := w.conn.Read(b[n:])
		if n += m; err != nil && n < len(b) {
			return fmt.Errorf("log in: %w", err)
		}
	}
	return nil
}

func (w *loginPackets) write(payload []byte) error {
	b := packet(w.number, payload)
	w.number++
	if _, err := w.conn.Write(b); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return nil
}

// greetingMost is how long a server may take to greet before we look whether it is one of another
// kind.
const greetingMost = 1500 * time.Millisecond
