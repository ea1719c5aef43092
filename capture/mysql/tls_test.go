package mysql

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// encrypted starts a server that takes only encrypted connections over TCP, with a certificate for
// 127.0.0.1 from its own CA.
func encrypted(t *testing.T, flavour string, valid time.Duration) (*testServer, *capturetest.CA) {
	ca := capturetest.NewCA(t)
	certificate, key := ca.Issue(t, valid, "127.0.0.1")
	s := ownServer(t, flavour, settings{"ssl_ca": ca.File, "ssl_cert": certificate, "ssl_key": key, "require_secure_transport": "ON"})
	s.session(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY)")
	return s, ca
}

func tlsSource(t *testing.T, s *testServer, user, host, parameters string) *Source {
	source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://%s@%s:%d/lib?%s", user, host, s.Port, parameters)},
		Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), AgentID: t.Name()})
	capturetest.Must(t, err)
	t.Cleanup(source.Close)
	return source
}

// TestTLS streams over verified connections, with a client's certificate where the server wants
// one, and says what is wrong with those that cannot be trusted.
func TestTLS(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			s, ca := encrypted(t, flavour, 2*time.Hour)
			other := capturetest.NewCA(t)
			certificate, key := ca.Issue(t, 2*time.Hour, "rowhook")
			s.session(t, "CREATE USER rowhook@'%' REQUIRE X509", "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO rowhook@'%'")
			for i, c := range []struct{ user, parameters string }{
				{"root", "tls=verify&ca=" + ca.File}, {"root", "tls=skip-verify"},
				{"rowhook", "tls=verify&ca=" + ca.File + "&cert=" + certificate + "&key=" + key},
			} {
				source := tlsSource(t, s, c.user, "127.0.0.1", c.parameters)
				n := newNotes()
				stop := n.capture(t, source, capture.StartOptions{})
				s.session(t, fmt.Sprintf("INSERT INTO lib.loans VALUES (%d)", i))
				n.await(t, fmt.Sprintf("id:%d}", i))
				stop()
			}
			for _, c := range []struct{ user, host, parameters, want, remedy string }{
				{"root", "127.0.0.1", "tls=verify&ca=" + other.File, "unknown authority", "ca=FILE"},
				{"root", "127.0.0.1", "tls=verify", "unknown authority", "ca=FILE"},
				{"root", "localhost", "tls=verify&ca=" + ca.File, "localhost", "name the host as the certificate does"},
				{"root", "127.0.0.1", "tls=off", map[string]string{"mysql": "secure_transport", "mariadb": "denied", "mariadb118": "secure_transport"}[flavour], "tls=verify"},
				{"rowhook", "127.0.0.1", "tls=verify&ca=" + ca.File, "denied", "cert=FILE"},
			} {
				refusedWith(t, tlsSource(t, s, c.user, c.host, c.parameters), c.want, c.remedy)
			}
		})
	}
}

// TestTLSRefused takes neither an expired certificate nor a server without TLS.
func TestTLSRefused(t *testing.T) {
	t.Parallel()
	s, ca := encrypted(t, "mariadb", time.Minute)
	refusedWith(t, tlsSource(t, s, "root", "127.0.0.1", "tls=verify&ca="+ca.File), "expired", "valid certificate")
	plain := sharedServer(t, "mariadb")
	refusedWith(t, tlsSource(t, plain, "root", "127.0.0.1", "tls=verify"), "does not support tls", "ssl_cert")
	off := ownServer(t, "mysql", settings{"tls_version": ""})
	refusedWith(t, tlsSource(t, off, "root", "127.0.0.1", "tls=verify"), "does not support tls", "ssl_cert")
}

// refusedWith expects that check finds a fault with its remedy, and that a run ends with it at
// once.
func refusedWith(t *testing.T, source *Source, text, remedy string) {
	t.Helper()
	found, _, err := source.Check(t.Context(), nil)
	has := false
	for _, f := range found {
		has = has || f.Severity == capture.Error && strings.Contains(strings.ToLower(f.Text), text) && strings.Contains(f.Remedy, remedy)
	}
	if err != nil || !has {
		t.Errorf("check: %v, %+v; want %q, %q", err, found, text, remedy)
	}
	var operator *capture.OperatorError
	if err := runOnce(t, source, capture.StartOptions{}, newNotes()); !errors.As(err, &operator) || !strings.Contains(operator.Remedy, remedy) {
		t.Errorf("run: %v", err)
	}
}

// TestTLSMode: connections are verified by default, unless they stay on this machine.
func TestTLSMode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, want string }{
		{"mysql://u@db.example.org/lib", "verify db.example.org"},
		{"mysql://u@db.example.org:3307,10.0.0.2/lib", "verify db.example.org, verify 10.0.0.2"},
		{"mysql://u@[2001:db8::1]:3307/lib?tls=verify", "verify 2001:db8::1"},
		{"mysql://u@db.example.org/lib?tls=skip-verify", "unverified"},
		{"mysql://u@db.example.org/lib?tls=off", "plain"},
		{"mysql://u@127.0.0.1/lib", "plain"},
		{"mysql://u@[::1]/lib", "plain"},
		{"mysql://u@localhost/lib", "plain"},
		{"mysql://u@127.0.0.1/lib?tls=verify", "verify 127.0.0.1"},
		{"mysql://u@/lib?socket=/run/mysqld.sock&tls=verify", "plain"},
	} {
		a, err := parseAddress(c.url)
		capturetest.Must(t, err)
		var got []string
		for _, h := range a.hosts {
			switch encryption := a.tlsFor(h); {
			case encryption == nil:
				got = append(got, "plain")
			case encryption.InsecureSkipVerify:
				got = append(got, "unverified")
			default:
				got = append(got, "verify "+encryption.ServerName)
			}
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %q, want %s", c.url, got, c.want)
		}
	}
}
