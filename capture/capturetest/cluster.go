package capturetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"rowhook/capture/capturetest/child"
)

// Superuser is the name of a cluster's superuser. It needs no password.
const Superuser = "postgres"

// patience bounds every start, stop and statement, so that a stuck server is an
// error and not a stuck test.
const patience = 60 * time.Second

// Mode is how a PostgreSQL server is stopped.
type Mode syscall.Signal

// The modes, in the server's own words: Smart waits for clients to leave, Fast
// disconnects them, Immediate leaves recovery to the next start.
const (
	Smart     = Mode(syscall.SIGTERM)
	Fast      = Mode(syscall.SIGINT)
	Immediate = Mode(syscall.SIGQUIT)
)

// Cluster is one throwaway PostgreSQL server. Its methods are safe for use by one
// goroutine at a time, but Exec, Query and URL by any number.
type Cluster struct {
	Port  int
	Major int
	// SocketDir holds the Unix socket, DataDir the data, LogFile the server's log.
	SocketDir, DataDir, LogFile string

	bin    string
	dir    string
	as     *syscall.Credential
	opts   Options
	mu     sync.Mutex // guards server
	server *child.Process
}

// NewCluster makes a cluster and starts its server. [Cluster.Close] ends it.
func NewCluster(opts Options) (*Cluster, error) {
	bin, err := binDir(opts.Major)
	if err != nil {
		return nil, err
	}
	as, err := owner()
	if err != nil {
		return nil, err
	}
	dir, err := newDir(as, opts.Durable)
	if err != nil {
		return nil, fmt.Errorf("make a server's directory: %w", err)
	}
	c := &Cluster{
		Major:     majorOf(bin),
		SocketDir: dir,
		DataDir:   filepath.Join(dir, "data"),
		LogFile:   filepath.Join(dir, "server.log"),
		bin:       bin,
		dir:       dir,
		as:        as,
		opts:      opts,
	}
	if err := c.create(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// Another process may take the free port before our server does.
	for range 5 {
		if c.Port, err = freePort(); err != nil {
			break
		}
		if err = c.Start(); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// PID is the server's process id, 0 while it is stopped.
func (c *Cluster) PID() int {
	if p := c.process(); p != nil {
		return p.PID
	}
	return 0
}

// process returns the running server, or nil.
func (c *Cluster) process() *child.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil && c.server.Running() {
		return c.server
	}
	return nil
}

// Start starts the server, on the same data and port as before, and returns once it
// takes connections.
func (c *Cluster) Start() error {
	if c.process() != nil {
		return errors.New("start PostgreSQL: it is running")
	}
	log, err := os.OpenFile(c.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), c.arguments()...)
	cmd.Dir, cmd.Env = c.dir, environ()
	cmd.Stdout, cmd.Stderr = log, log
	// SIGQUIT is the immediate stop: the server takes its children with it.
	p, err := startProcess(cmd, c.as, syscall.SIGQUIT)
	if err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	c.mu.Lock()
	c.server = p
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = poll(ctx, func() bool { return !p.Running() || c.ready(ctx) })
	if err == nil && !p.Running() {
		err = p.Wait()
	}
	if err != nil {
		return fmt.Errorf("start PostgreSQL %d: %w\n%s", c.Major, err, c.Log())
	}
	return nil
}

func (c *Cluster) arguments() []string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(c.Port),
		"unix_socket_directories": c.SocketDir,
		"wal_level":               "logical",
		"max_replication_slots":   "20",
		"max_wal_senders":         "20",
		// 0 by default, which takes prepared transactions away.
		"max_prepared_transactions": "10",
		"shared_buffers":            "16MB",
		"max_wal_size":              "128MB",
		"timezone":                  "UTC",
		"log_timezone":              "UTC",
		"fsync":                     strconv.FormatBool(c.opts.Durable),
		"full_page_writes":          strconv.FormatBool(c.opts.Durable),
	}
	maps.Copy(settings, c.opts.Settings)
	args := []string{"-D", c.DataDir}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if settings[name] == "" { // left to the server's own configuration
			continue
		}
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

func (c *Cluster) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return false
	}
	return conn.Close(ctx) == nil
}

// Set changes settings for the next [Cluster.Start].
func (c *Cluster) Set(settings map[string]string) {
	merged := maps.Clone(c.opts.Settings)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, settings)
	c.opts.Settings = merged
}

// Stop stops the server and waits for its end.
func (c *Cluster) Stop(mode Mode) error {
	p := c.process()
	if p == nil {
		return errors.New("stop PostgreSQL: it is not running")
	}
	if err := syscall.Kill(p.PID, syscall.Signal(mode)); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	select {
	case <-p.Done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("stop PostgreSQL: still running after %s\n%s", patience, c.Log())
	}
}

// Crash kills the server and all its processes at once, as a crash of the machine
// would, short of losing what the operating system still had to write.
func (c *Cluster) Crash() error {
	p := c.process()
	if p == nil {
		return errors.New("crash PostgreSQL: it is not running")
	}
	// Stopped first, so that it neither starts nor reaps children meanwhile.
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("crash PostgreSQL: %w", err)
	}
	pids := children(p.PID)
	for _, pid := range append(pids, p.PID) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one that has ended is fine
	}
	<-p.Done
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := poll(ctx, func() bool { return !slices.ContainsFunc(pids, alive) })
	if err != nil {
		return fmt.Errorf("crash PostgreSQL: %w", err)
	}
	return nil
}

// Close stops the server if it runs and removes all it had.
func (c *Cluster) Close() error {
	var err error
	if c.process() != nil {
		err = c.Stop(Immediate)
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// URL returns a connection URL for a database, as superuser, over the Unix socket.
func (c *Cluster) URL(database string) string {
	query := url.Values{"host": {c.SocketDir}, "port": {strconv.Itoa(c.Port)}}
	u := url.URL{Scheme: "postgres", User: url.User(Superuser), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

// TCP returns a connection URL for a database and a role over TCP. Any password will do.
func (c *Cluster) TCP(database, role string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port))
	return u.String() + "?sslmode=disable"
}

// Exec runs SQL in a database as superuser. Each element is one simple query: its
// statements are one transaction unless they say otherwise.
func (c *Cluster) Exec(ctx context.Context, database string, sql ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range sql {
		if _, err := conn.PgConn().Exec(ctx, statement).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", firstLine(statement), err)
		}
	}
	return nil
}

// Query runs one query in a database as superuser and returns its rows as text, NULL as "".
func (c *Cluster) Query(ctx context.Context, database, sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL(database))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", firstLine(sql), err)
	}
	var rows [][]string
	for _, result := range results {
		for _, row := range result.Rows {
			texts := make([]string, len(row))
			for i, value := range row {
				texts[i] = string(value)
			}
			rows = append(rows, texts)
		}
	}
	return rows, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// Log returns the end of the server's log.
func (c *Cluster) Log() string { return tail(c.LogFile) }

// tail returns the end of a log, or why there is none.
func tail(name string) string {
	const most = 4000
	raw, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-most):])
}
