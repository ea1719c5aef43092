package postgres

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestFailedConnectionsHaveRemedies makes each kind of connection fail and expects the way out.
func TestFailedConnectionsHaveRemedies(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create role rowhook login replication password 'right'", "create role nologin replication", "create database library", "create database closed",
		"revoke connect on database closed from public", "create role keeper login")
	hba := strings.Join([]string{
		"local all all trust",
		"host library rowhook 127.0.0.1/32 scram-sha-256",
		"host postgres rowhook 127.0.0.1/32 scram-sha-256",
		"host closed all 127.0.0.1/32 trust",
		"host postgres nologin,ghost,keeper 127.0.0.1/32 trust", ""}, "\n")
	name := filepath.Join(pg.DataDir, "pg_hba.conf")
	info, err := os.Stat(name)
	capturetest.Must(t, err)
	capturetest.Must(t, os.WriteFile(name, []byte(hba), 0o600))
	capturetest.Must(t, chownLike(name, info))
	pg.Run(t, "select pg_reload_conf()")
	eventually(t, "the server knows its pg_hba.conf", func() bool {
		return pg.Rows(t, "select count(*) from pg_hba_file_rules")[0][0] == "5"
	})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	closed := free.Addr().String()
	free.Close()
	mysql := speaksFirst(t, "\x4a\x00\x00\x00\x0a9.7.4\x00and more of a greeting")
	at := fmt.Sprintf("127.0.0.1:%d", pg.Port)
	for _, test := range []struct {
		name, url, text, remedy string
	}{
		{"port closed", "postgres://rowhook@" + closed + "/library?sslmode=disable", "refused", "is the server running"},
		{"port closed, with TLS or without", "postgres://rowhook@" + closed + "/library", "refused", "is the server running"},
		{"socket missing", "postgres://rowhook@/library?host=/nowhere&port=77", "", "unix_socket_directories"},
		{"host unknown", "postgres://rowhook@no.such.host.invalid/library?sslmode=disable", "", "correct the host in source.url"},
		{"database missing", "postgres://rowhook:right@" + at + "/postgres?dbname=libary&sslmode=disable", "", "pg_hba.conf"},
		{"database missing, over the socket", "postgres://postgres@/libary?host=" + pg.SocketDir + fmt.Sprintf("&port=%d", pg.Port), "libary", "there are closed, library, postgres:"},
		{"wrong password", "postgres://rowhook:wrong@" + at + "/library?sslmode=disable", "password authentication failed", `ALTER ROLE "rowhook" PASSWORD`},
		{"no password", "postgres://rowhook@" + at + "/library?sslmode=disable", "", "no password is configured: give source.password_file"},
		{"role missing", "postgres://ghost@" + at + "/postgres?sslmode=disable", "ghost", `CREATE ROLE "ghost" LOGIN REPLICATION;`},
		{"role without login", "postgres://nologin@" + at + "/postgres?sslmode=disable", "", `ALTER ROLE "nologin" LOGIN;`},
		{"no line in pg_hba.conf", "postgres://other@" + at + "/library?sslmode=disable", "pg_hba.conf", `host "library" "other" 127.0.0.1/32 scram-sha-256`},
		{"no CONNECT", "postgres://keeper@" + at + "/closed?sslmode=disable", "", `GRANT CONNECT ON DATABASE "closed" TO "keeper";`},
		{"TLS refused", "postgres://rowhook:right@" + at + "/library?sslmode=require", "server refused TLS connection", "sslmode=disable"},
		{"MySQL, no TLS", "postgres://rowhook:right@" + mysql + "/library?sslmode=disable", "does not speak PostgreSQL", "source.type: mysql"},
		{"MySQL, TLS", "postgres://rowhook:right@" + mysql + "/library?sslmode=verify-full", "does not speak PostgreSQL", "source.type: mysql"},
		{"something else", "postgres://rowhook:right@" + speaksFirst(t, "SSH-2.0-OpenSSH_9.2p1 Debian\r\n") + "/library?sslmode=disable", "does not speak PostgreSQL", "the PostgreSQL server's own host and port"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, _, err := newSource(t, test.url).Check(t.Context(), nil)
			text, remedy := "", ""
			var remedied interface{ RemedyText() string }
			if errors.As(err, &remedied) {
				text, remedy = err.Error(), remedied.RemedyText()
			}
			for _, f := range found {
				text, remedy = text+f.Text, remedy+f.Remedy
			}
			if !strings.Contains(text, test.text) || !strings.Contains(remedy, test.remedy) || strings.Contains(text, "\n") || strings.Count(text, "dial error") > 1 {
				t.Errorf("%v: %q, remedy %q; want %q, remedy %q", err, text, remedy, test.text, test.remedy)
			}
		})
	}
}

// TestRemedyOfARun: who runs does not ask around as check does, and still is not told to turn TLS on
// where the server answered without it, or is no PostgreSQL server.
func TestRemedyOfARun(t *testing.T) {
	t.Parallel()
	config, err := pgconn.ParseConfig("postgres://rowhook@127.0.0.1:3306/library")
	capturetest.Must(t, err)
	const refused = "127.0.0.1:3306 (127.0.0.1): tls error: server refused TLS connection"
	for _, tt := range []struct{ text, want string }{
		{refused, "turn TLS on"},
		{refused + "\n\t127.0.0.1:3306 (127.0.0.1): failed to receive message: BackendKeyData body must have length of 8, but it is 6", "is no PostgreSQL server"},
		{refused + "\n\t127.0.0.1:3306 (127.0.0.1): failed to write startup message", ""},
	} {
		err := explain(errors.New("failed to connect to `user=rowhook`:\n\t"+tt.text), config, true)
		if got := capture.Remedy(err); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%v: remedy %q, want %q", err, got, tt.want)
		}
	}
}

// An owner whom the server lets in only as the operating system's user, as Debian sets it up, runs
// what setup prints.
func TestOwnerByPeer(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create role rowhook login replication", "create role \"data keeper\" login")
	name := filepath.Join(pg.DataDir, "pg_hba.conf")
	info, err := os.Stat(name)
	capturetest.Must(t, err)
	capturetest.Must(t, os.WriteFile(name, []byte("local all \"data keeper\" peer\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n"), 0o600))
	capturetest.Must(t, chownLike(name, info))
	pg.Run(t, "select pg_reload_conf()")
	eventually(t, "the server knows its pg_hba.conf", func() bool {
		return pg.Rows(t, "select count(*) from pg_hba_file_rules")[0][0] == "3"
	})
	source := newSource(t, fmt.Sprintf("postgres://rowhook@127.0.0.1:%d/postgres", pg.Port))
	_, _, err = source.Survey(t.Context(), fmt.Sprintf("postgres://data%%20keeper@/postgres?host=%s&port=%d", pg.SocketDir, pg.Port), nil)
	if remedy := capture.Remedy(err); !strings.Contains(remedy, "rowhook setup | sudo -u 'data keeper' psql -d postgres\n") || !strings.Contains(remedy, "pg_hba.conf") {
		t.Errorf("%v, remedy %q", err, remedy)
	}
}

// speaksFirst is a server of another kind, which greets whoever connects.
func speaksFirst(t *testing.T, greeting string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(greeting))
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestPasswordsNeverGoInTheClearUnasked holds that a server elsewhere is verified unless the URL
// says otherwise, and that the error says so.
func TestPasswordsNeverGoInTheClearUnasked(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"postgres://a:b@db.example.org/library":                    "verified",
		"postgres://a:b@db.example.org/library?application_name=x": "verified",
		"postgres://a:b@192.0.2.7/library":                         "verified",
		"postgres://a:b@localhost,db.example.org/library":          "verified",
		"host=db.example.org user=a password=b":                    "verified",
		"postgres://a:b@db.example.org/library?sslmode=prefer":     "open",
		"postgres://a:b@db.example.org/library?sslmode=disable":    "open",
		"host=db.example.org user=a password=b sslmode = prefer":   "open",
		"postgres://a:b@127.0.0.1/library":                         "open",
		"postgres://a:b@[::1]/library":                             "open",
		"postgres://a:b@localhost/library":                         "open",
		"postgres://a@/library?host=/var/run/postgresql":           "open",
	} {
		config, _, err := parseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		got := "verified"
		if config.TLSConfig == nil || config.TLSConfig.InsecureSkipVerify {
			got = "open"
		}
		for _, f := range config.Fallbacks {
			if f.TLSConfig == nil || f.TLSConfig.InsecureSkipVerify {
				got = "open"
			}
		}
		if got != want {
			t.Errorf("%s is %s, want %s", url, got, want)
		}
	}
	config, asked, err := parseURL("postgres://a:b@192.0.2.7/library")
	capturetest.Must(t, err)
	if remedy := connectRemedy(fmt.Errorf("tls error: server refused TLS connection"), &config.Config, asked); !strings.Contains(remedy, "no sslmode") || !strings.Contains(remedy, "sslmode=disable") {
		t.Errorf("the remedy does not say where verify-full comes from: %q", remedy)
	}
}

// TestURLsAreNeverQuoted holds that an error in source.url has nothing of a password, whatever ends
// it early.
func TestURLsAreNeverQuoted(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://rowhook:s3cr@t3@db/shop", "postgres://rowhook:s3cr/t3@db/shop", "postgres://rowhook:s3cr%t3@db/shop",
		"postgres://rowhook:s3cr:t3@db:port/shop", "postgres://rowhook:s3cr#t3@db/shop", "postgres://rowhook:s3cr?t3@db/shop"} {
		_, err := New(capture.SourceConfig{URL: url}, Options{Logger: testLogger(t)})
		if err == nil || strings.Contains(err.Error(), "s3cr") || strings.Contains(err.Error(), "t3") {
			t.Errorf("%s: %v", url, err)
		}
	}
	_, err := New(capture.SourceConfig{URL: "postgres://a@localhost/shop?sslmode=verify"}, Options{Logger: testLogger(t)})
	var remedied interface{ RemedyText() string }
	if !errors.As(err, &remedied) || !strings.Contains(remedied.RemedyText(), "verify-full") {
		t.Errorf("a wrong sslmode does not list the right ones: %v", err)
	}
}
