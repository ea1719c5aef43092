package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// loginCase is an account and how it logs in.
type loginCase struct {
	name, identified string
	only             []string // flavours; empty is all
	ways             string   // of "tcp tls socket"
	password         string
}

var loginCases = []loginCase{
	{"native", "VIA mysql_native_password USING PASSWORD('s3cret')", flavours[1:], "tcp tls socket", "s3cret"},
	{"nothing", "VIA mysql_native_password USING ''", flavours[1:], "tcp socket", ""},
	{"edwards", "VIA ed25519 USING PASSWORD('s3cret')", flavours[1:], "tcp tls socket", "s3cret"},
	{"parsec", "VIA parsec USING PASSWORD('s3cret')", flavours[2:], "tcp tls socket", "s3cret"},
	{"several", "VIA ed25519 USING PASSWORD('another') OR parsec USING PASSWORD('s3cret')", flavours[2:], "tcp tls socket", "s3cret"},
	{"mariasha", "VIA caching_sha2_password USING PASSWORD('s3cret')", flavours[2:], "tls socket", "s3cret"}, // without TLS it wants keys in files
	{"caching", "WITH caching_sha2_password BY 's3cret'", flavours[:1], "tcp tls socket", "s3cret"},
	{"empty", "WITH caching_sha2_password BY ''", flavours[:1], "tcp tls socket", ""},
	{"sha256", "WITH sha256_password BY 's3cret'", flavours[:1], "tcp tls socket", "s3cret"},
	{"os", "VIA unix_socket", flavours[1:], "socket", ""},
}

// TestLogins logs in for queries and for the binlog, by each plugin and over each way that a server
// takes. The first login of caching_sha2_password with a password is another than the next ones.
func TestLogins(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		if s.flavour == "mariadb118" {
			s = ownServer(t, s.flavour, settings{"ssl": "ON"})
			refusedWith(t, tlsSource(t, s, "root", "127.0.0.1", "tls=verify"), "mariadb made it for itself", "ssl_cert")
		}
		plugins := map[string][]string{"mariadb": {"auth_ed25519"}, "mariadb118": {"auth_ed25519", "auth_parsec", "auth_mysql_sha2"}}
		for _, plugin := range plugins[s.flavour] {
			s.session(t, "INSTALL SONAME '"+plugin+"'")
		}
		me, err := user.Current()
		capturetest.Must(t, err)
		for _, c := range loginCases {
			if !slices.Contains(c.only, s.flavour) {
				continue
			}
			account := "login_" + c.name
			if c.name == "os" {
				account = me.Username // which is the whole point of it
			}
			host := map[bool]string{true: "localhost", false: "%"}[c.name == "os"]
			s.session(t, fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'%s'", account, host), fmt.Sprintf("ALTER USER '%s'@'%s' IDENTIFIED %s", account, host, c.identified),
				fmt.Sprintf("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '%s'@'%s'", account, host))
			for way := range strings.FieldsSeq(c.ways) {
				if way == "tls" && s.flavour == "mariadb" {
					continue // it has no certificate
				}
				t.Run(c.name+" "+way, func(t *testing.T) {
					for range 2 {
						logIn(t, s, account, c.password, way)
					}
					if c.password == "" {
						return
					}
					refused := loginSource(t, s, account, "wrong", way)
					if _, err := refused.Identify(t.Context()); err == nil || !strings.Contains(err.Error(), "Access denied") {
						t.Errorf("with a wrong password: %v", err)
					}
				})
			}
		}
	})
}

func loginSource(t *testing.T, s *testServer, account, password, way string) *Source {
	t.Helper()
	address := fmt.Sprintf("mysql://%s@127.0.0.1:%d/", account, s.Port)
	switch way {
	case "tls":
		address += "?tls=skip-verify"
	case "socket":
		address += "?socket=" + url.QueryEscape(s.Socket)
	}
	source, err := New(capture.SourceConfig{URL: address, Password: password}, Options{Logger: quiet(), AgentID: t.Name()})
	capturetest.Must(t, err)
	t.Cleanup(source.Close)
	return source
}

// logIn asks something, and reads the binlog's first event.
func logIn(t *testing.T, s *testServer, account, password, way string) {
	t.Helper()
	source := loginSource(t, s, account, password, way)
	h, db, err := source.reach(t.Context())
	capturetest.Must(t, err)
	facts, err := source.identify(t.Context(), h, db)
	capturetest.Must(t, err)
	d, err := source.openDump(t.Context(), h, request{mariaDB: s.MariaDB, serverID: source.serverID, from: &facts.end, once: true})
	capturetest.Must(t, err)
	defer d.close()
	if _, err := d.next(); err != nil {
		t.Errorf("read the binlog: %v", err)
	}
}

// TestUnknownPlugin ends with the plugin's name and a remedy that works, for queries and for the
// stream.
func TestUnknownPlugin(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		s.session(t, "INSTALL SONAME 'auth_pam_v1'", "CREATE USER pam@'%' IDENTIFIED VIA pam", "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO pam@'%'")
		source := loginSource(t, s, "pam", "s3cret", "tcp")
		refusedWith(t, source, `the plugin "dialog"`, "ALTER USER")
		_, _, err := source.reach(t.Context())
		var operator *capture.OperatorError
		if !errors.As(err, &operator) {
			t.Fatal(err)
		}
		statement, _, _ := strings.Cut(operator.Remedy, ";")
		s.session(t, strings.Replace(statement, "PASSWORD')", "s3cret')", 1))
		logIn(t, s, "pam", "s3cret", "tcp")
	})
}

// played is a server that plays what a test wants.
func played(t *testing.T, play func(net.Conn)) host {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				play(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		cancel()
		listener.Close()
		<-done
	})
	return host{"127.0.0.1", uint16(listener.Addr().(*net.TCPAddr).Port)}
}

// says sends a greeting or what a server sends in its place, and then what it answers to a login.
func says(first, then []byte) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Write(first)
		if len(then) > 0 {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write(then)
		}
		_, _ = io.Copy(io.Discard, conn)
	}
}

// TestForeignServers says at once what answers in the place of a MySQL that can be logged in to.
func TestForeignServers(t *testing.T) {
	t.Parallel()
	hello := &greeting{version: "9.7.4", connection: 1, scramble: make([]byte, 20)}
	for i := range hello.scramble {
		hello.scramble[i] = 'x'
	}
	maria := *hello
	maria.version = "11.8.9-MariaDB"
	asks := func(plugin string) []byte {
		return packet(2, append([]byte{gomysql.EOF_HEADER}, plugin+"\x00challenge"...))
	}
	for _, c := range []struct {
		name         string
		play         func(net.Conn)
		want, remedy string
		retried      bool
	}{
		{"X protocol", says([]byte("\x05\x00\x00\x00\x0b\x08\x05\x1a\x00"), nil), "X protocol", "3306", false},
		{"SSH", says([]byte("SSH-2.0-OpenSSH_9.2\r\n"), nil), "does not speak MySQL", "source.url", false},
		{"protocol 9", says(packet(0, []byte("\x093.22\x00")), nil), "does not speak MySQL", "source.url", false},
		{"closed", func(net.Conn) {}, "EOF", "", true},
		{"too many connections", says(packet(0, []byte("\xff\x10\x04Too many connections")), nil), "Error 1040: Too many connections", "", true},
		{"host not let in", says(packet(0, []byte("\xff\x6a\x04Host 'h' is not allowed to connect to this server")), nil), "Error 1130", "CREATE USER", false},
		{"host blocked", says(packet(0, []byte("\xff\x69\x04Host 'h' is blocked")), nil), "Error 1129", "FLUSH HOSTS", false},
		{"before 4.1", says(packet(0, hello.play(0)), nil), "too old", "8.0", false},
		{"unknown plugin", says(packet(0, hello.play(capabilities)), asks("authentication_ldap_sasl_client")),
			`"authentication_ldap_sasl_client"`, "ALTER USER 'u'@'%' IDENTIFIED WITH caching_sha2_password BY", false},
		{"unknown plugin of MariaDB", says(packet(0, maria.play(capabilities)), asks("auth_gssapi_client")),
			`"auth_gssapi_client"`, "ALTER USER 'u'@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD(", false},
		{"malformed plugin", says(packet(0, maria.play(capabilities)), asks("parsec")), "unexpected", "", true},
		{"malformed packet", says(packet(0, maria.play(capabilities)), []byte("\x00\x00\x00\x02")), "begins no packet", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := played(t, c.play)
			source, err := New(capture.SourceConfig{URL: "mysql://u:p@" + h.String() + "/"}, Options{Logger: quiet(), AgentID: t.Name()})
			capturetest.Must(t, err)
			defer source.Close()
			began := time.Now()
			_, err = source.Identify(t.Context())
			var operator *capture.OperatorError
			known := errors.As(err, &operator)
			if err == nil || !strings.Contains(err.Error(), c.want) || known == c.retried || known && !strings.Contains(operator.Remedy, c.remedy) {
				t.Errorf("%v, %+v", err, operator)
			}
			if took := time.Since(began); took > dialTimeout/2 {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestPostgresPort says of a real PostgreSQL that it is one.
func TestPostgresPort(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://u:p@127.0.0.1:%d/", pg.Port)}, Options{Logger: quiet(), AgentID: t.Name()})
	capturetest.Must(t, err)
	defer source.Close()
	began := time.Now()
	refusedWith(t, source, "it is a postgresql server", "source.type: postgres")
	if took := time.Since(began); took > dialTimeout {
		t.Errorf("it took %s", took)
	}
}

// FuzzLogin never panics, whatever a server says.
func FuzzLogin(f *testing.F) {
	f.Add((&greeting{version: "11.8.9-MariaDB", scramble: make([]byte, 20)}).play(capabilities), "parsec", make([]byte, 32), []byte("P\x00eighteen salt byte"))
	f.Add([]byte("\xff\x10\x04#08004Too many"), "caching_sha2_password", make([]byte, 21), []byte{4})
	f.Add([]byte("\x0a"), "sha256_password", make([]byte, 20), []byte("-----BEGIN PUBLIC KEY-----"))
	f.Fuzz(func(t *testing.T, first []byte, plugin string, scramble, data []byte) {
		if len(first) > 0 {
			if hello, err := parseGreeting(first); err == nil && len(hello.scramble) != 20 {
				t.Errorf("a scramble of %d bytes", len(hello.scramble))
			}
		}
		a := authentication{credentials: credentials{user: "u", password: "p"}}
		if _, err := a.begin(plugin, scramble); err == nil {
			_, _, _ = a.next(data)
		}
	})
}
