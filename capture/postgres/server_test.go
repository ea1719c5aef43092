package postgres

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// fakeServer answers each connection with a script, as a pooler or a broken server would.
func fakeServer(t *testing.T, serve func(*pgproto3.Backend) error) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patience))
				_ = serve(pgproto3.NewBackend(conn, conn)) // the client's error is what counts
			})
		}
	})
	return fmt.Sprintf("postgres://agent:hunter2@%s/library?sslmode=disable", l.Addr())
}

// welcome lets a client in.
func welcome(b *pgproto3.Backend) error {
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return err
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return b.Flush()
}

func refuse(b *pgproto3.Backend, code, message string) error {
	b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: code, Message: message})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return b.Flush()
}

func TestPoolersAreNamed(t *testing.T) {
	t.Parallel()
	refusing := fakeServer(t, func(b *pgproto3.Backend) error {
		if _, err := b.ReceiveStartupMessage(); err != nil {
			return err
		}
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: replication"})
		return b.Flush()
	})
	swallowing := fakeServer(t, func(b *pgproto3.Backend) error {
		if err := welcome(b); err != nil {
			return err
		}
		for {
			msg, err := b.Receive()
			if err != nil {
				return err
			}
			if q, ok := msg.(*pgproto3.Query); ok && strings.HasPrefix(q.String, "IDENTIFY") {
				err = refuse(b, "42601", `syntax error at or near "IDENTIFY_SYSTEM"`)
			} else {
				b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SET")})
				b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
				err = b.Flush()
			}
			if err != nil {
				return err
			}
		}
	})
	for name, url := range map[string]string{"refusing": refusing, "swallowing": swallowing} {
		s := newSource(t, url)
		err := s.Run(context.Background(), capture.StartOptions{}, newListSink(""))
		var operator *capture.OperatorError
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), "pooler") || !strings.Contains(operator.Remedy, "source.url") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for host, want := range map[string]string{
		"ep-cool-1-pooler.eu.aws.neon.tech":        "Neon's pooler",
		"app.proxy-c1.eu-west-1.rds.amazonaws.com": "RDS Proxy",
		"aws-0-eu-central-1.pooler.supabase.com":   "Supabase's pooler",
		"db.example.org":                           "a connection pooler (PgBouncer or the like)",
	} {
		if got := newSource(t, "postgres://agent@"+host+"/library").pooler(); got != want {
			t.Errorf("%s is %s, want %s", host, got, want)
		}
	}
}

// TestGarbageEndsTheRun holds that a stream that cannot be framed is tried three times at one
// position.
func TestGarbageEndsTheRun(t *testing.T) {
	t.Parallel()
	var streams atomic.Int64
	url := fakeServer(t, func(b *pgproto3.Backend) error { return serveGarbage(b, &streams) })
	err := newSource(t, url).Run(context.Background(), capture.StartOptions{}, newListSink(""))
	var malformed *streamError
	if !errors.As(err, &malformed) || streams.Load() != capture.FailedTries {
		t.Errorf("after %d streams: %v", streams.Load(), err)
	}
}

// serveGarbage is a server with a fresh slot whose stream is nonsense.
func serveGarbage(b *pgproto3.Backend, streams *atomic.Int64) error {
	if err := welcome(b); err != nil {
		return err
	}
	answers := map[string][]string{
		"IDENTIFY":                           {"77", "1", "0/200", "library"},
		"select current_setting('server_ver": {"150000", "library", "f", "60000", "-1", "", "0"},
		"select 1 from pg_catalog.pg_publi":  {"1"},
		"select extract(epoch from pg_cata":  {"1790000000"},
		"select coalesce(s.plugin":           {"pgoutput", "library", "f", "0", "0/80", "0/100", "reserved", "", "f"},
	}
	for {
		msg, err := b.Receive()
		if err != nil {
			return err
		}
		if _, ok := msg.(*pgproto3.Sync); ok { // it has no catalog
			if err := refuse(b, "42P01", "relation does not exist"); err != nil {
				return err
			}
		}
		query, ok := msg.(*pgproto3.Query)
		if !ok {
			continue
		}
		if strings.HasPrefix(query.String, "START_REPLICATION") {
			streams.Add(1)
			b.Send(&pgproto3.CopyBothResponse{})
			b.Send(&pgproto3.CopyData{Data: append(make([]byte, 0, 40), append([]byte{copyXLogData}, append(make([]byte, xlogHeader-1), '?')...)...)})
			if err := b.Flush(); err != nil {
				return err
			}
			continue
		}
		for prefix, row := range answers {
			if strings.HasPrefix(query.String, prefix) {
				sendRow(b, row)
			}
		}
		b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if err := b.Flush(); err != nil {
			return err
		}
	}
}

func sendRow(b *pgproto3.Backend, row []string) {
	fields := make([]pgproto3.FieldDescription, len(row))
	values := make([][]byte, len(row))
	for i, v := range row {
		fields[i] = pgproto3.FieldDescription{Name: []byte(fmt.Sprintf("c%d", i)), DataTypeOID: 25}
		values[i] = []byte(v)
	}
	b.Send(&pgproto3.RowDescription{Fields: fields})
	b.Send(&pgproto3.DataRow{Values: values})
}

func TestPasswordsStayHidden(t *testing.T) {
	t.Parallel()
	echo := fakeServer(t, func(b *pgproto3.Backend) error {
		if _, err := b.ReceiveStartupMessage(); err != nil {
			return err
		}
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password hunter2 is wrong"})
		return b.Flush()
	})
	s := newSource(t, echo)
	_, identify := s.Identify(context.Background())
	_, status := s.Status(context.Background(), "")
	_, parse := New(capture.SourceConfig{URL: "postgres://agent:hunter2@:x:/library"}, Options{Logger: testLogger(t)})
	for what, err := range map[string]error{"identify": identify, "status": status, "parse": parse} {
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestTLS streams over a verified connection, from the second of two hosts.
func TestTLS(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, oneTable, "create publication rowhook for table t")
	ca := writeCertificate(t, pg.DataDir)
	capturetest.Must(t, pg.Stop(capturetest.Fast))
	pg.Set(map[string]string{"ssl": "on"})
	capturetest.Must(t, pg.Start())

	url := fmt.Sprintf("postgres://postgres@127.0.0.1:1,localhost:%d/postgres?sslmode=verify-full&sslrootcert=%s&target_session_attrs=read-write", pg.Port, ca)
	sink := newListSink("")
	running, _ := follow(t, newSource(t, url), capture.StartOptions{}, sink)
	pg.Run(t, "insert into t select i, repeat('x', 100) from generate_series(1, 20000) i", insertT(0))
	sink.await(t, "the last row", hasInsert(sink, 0))
	if rows := pg.Rows(t, "select count(*) from pg_stat_ssl s join pg_stat_replication r using (pid) where s.ssl"); rows[0][0] != "1" {
		t.Error("the stream is not encrypted")
	}
	running.stop(t)

	for url, want := range map[string]string{
		"postgres://a@db.example.org/library":                     "", // verified, since nothing else is said
		"postgres://a@db.example.org/library?sslmode=prefer":      "warning tls",
		"postgres://a@db.example.org/library?sslmode=require":     "warning tls",
		"postgres://a@db.example.org/library?sslmode=disable":     "warning tls",
		"postgres://a@db.example.org/library?sslmode=verify-full": "",
		"postgres://a@127.0.0.1/library":                          "",
		"postgres://a@/library?host=/var/run/postgresql":          "",
	} {
		got := strings.Join(findingLines(newSource(t, url).tlsFindings()), " ")
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// writeCertificate puts a key and a self-signed certificate for localhost where the
// server looks for them, and returns a file with the certificate.
func writeCertificate(t *testing.T, dir string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	capturetest.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	capturetest.Must(t, err)
	raw, err := x509.MarshalECPrivateKey(key)
	capturetest.Must(t, err)
	info, err := os.Stat(filepath.Join(dir, "PG_VERSION"))
	capturetest.Must(t, err)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	for name, block := range map[string]*pem.Block{
		filepath.Join(dir, "server.key"): {Type: "EC PRIVATE KEY", Bytes: raw},
		filepath.Join(dir, "server.crt"): {Type: "CERTIFICATE", Bytes: cert},
		ca:                               {Type: "CERTIFICATE", Bytes: cert},
	} {
		capturetest.Must(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
		capturetest.Must(t, chownLike(name, info))
	}
	return ca
}

// chownLike gives a file the owner of another: servers do not run as root.
func chownLike(name string, like os.FileInfo) error {
	st := like.Sys().(*syscall.Stat_t)
	return os.Chown(name, int(st.Uid), int(st.Gid))
}
