package capturetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"rowhook/capture/capturetest/child"
)

const (
	// MySQLRoot is the name of a server's superuser. It needs no password.
	MySQLRoot = "root"
	// MySQLDatabase is a database that each server has.
	MySQLDatabase = "test"
)

// MySQLServer is one throwaway MySQL or MariaDB server. Its methods are safe for use
// by one goroutine at a time, but Exec, Query and URL by any number.
type MySQLServer struct {
	Port int
	// MariaDB tells which of the two it is.
	MariaDB bool
	Version string
	// Socket is the path of the Unix socket, DataDir holds the data and the binary logs,
	// LogFile is the server's log.
	Socket, DataDir, LogFile string

	program string
	dir     string
	as      *syscall.Credential
	opts    MySQLOptions
	mu      sync.Mutex // guards server
	server  *child.Process
}

// NewMySQL makes a MySQL server and starts it. [MySQLServer.Close] ends it.
func NewMySQL(opts MySQLOptions) (*MySQLServer, error) { return newMySQLServer(mysqlFlavour, opts) }

// NewMariaDB makes a MariaDB server and starts it. [MySQLServer.Close] ends it.
func NewMariaDB(opts MySQLOptions) (*MySQLServer, error) { return newMySQLServer(mariadbFlavour, opts) }

func newMySQLServer(f flavour, opts MySQLOptions) (*MySQLServer, error) {
	program, version, err := mysqldProgram(f, opts.Series)
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
	s := &MySQLServer{
		MariaDB: f == mariadbFlavour,
		Version: version,
		Socket:  filepath.Join(dir, "socket"),
		DataDir: filepath.Join(dir, "data"),
		LogFile: filepath.Join(dir, "server.log"),
		program: program,
		dir:     dir,
		as:      as,
		opts:    opts,
	}
	if err := s.create(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// Another process may take the free port before our server does.
	for range 5 {
		if s.Port, err = freePort(); err != nil {
			break
		}
		if err = s.Start(); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// String names the server, "MariaDB 10.11.14".
func (s *MySQLServer) String() string { return string(s.flavour()) + " " + s.Version }

func (s *MySQLServer) flavour() flavour {
	if s.MariaDB {
		return mariadbFlavour
	}
	return mysqlFlavour
}

// PID is the server's process id, 0 while it is stopped.
func (s *MySQLServer) PID() int {
	if p := s.process(); p != nil {
		return p.PID
	}
	return 0
}

// process returns the running server, or nil.
func (s *MySQLServer) process() *child.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil && s.server.Running() {
		return s.server
	}
	return nil
}

// Start starts the server, on the same data and port as before, and returns once it
// takes connections.
func (s *MySQLServer) Start() error {
	if s.process() != nil {
		return fmt.Errorf("start %s: it is running", s)
	}
	log, err := os.OpenFile(s.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", s, err)
	}
	defer log.Close()
	cmd := exec.Command(s.program, s.arguments()...)
	cmd.Dir, cmd.Env = s.dir, environ()
	cmd.Stdout, cmd.Stderr = log, log
	p, err := startProcess(cmd, s.as, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start %s: %w", s, err)
	}
	s.mu.Lock()
	s.server = p
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = poll(ctx, func() bool { return !p.Running() || s.ready(ctx) })
	if err == nil && !p.Running() {
		err = p.Wait()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w\n%s", s, err, s.Log())
	}
	return nil
}

func (s *MySQLServer) arguments() []string {
	settings := map[string]string{
		"datadir": s.DataDir,
		// Not the one that all have: MariaDB clears it of temporary tables when it starts, other
		// servers' too.
		"tmpdir":       s.dir,
		"socket":       s.Socket,
		"pid_file":     filepath.Join(s.dir, "pid"),
		"bind_address": "127.0.0.1",
		"port":         strconv.Itoa(s.Port),
		// Ports differ between the servers of one machine, so a replica needs no more.
		"server_id":                           strconv.Itoa(s.Port),
		"log_bin":                             "binlog",
		"binlog_row_metadata":                 "FULL",
		"character_set_server":                "utf8mb4",
		"default_time_zone":                   "+00:00",
		"max_allowed_packet":                  "64M",
		"innodb_buffer_pool_size":             "32M",
		"innodb_buffer_pool_dump_at_shutdown": "OFF",
		"innodb_buffer_pool_load_at_startup":  "OFF",
		"innodb_use_native_aio":               "OFF",
		"performance_schema":                  "OFF",
		"skip_name_resolve":                   "ON",
	}
	maps.Copy(settings, s.flavourSettings())
	maps.Copy(settings, s.durability())
	maps.Copy(settings, s.opts.Settings)
	args := []string{"--no-defaults"}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "--"+name+"="+settings[name])
	}
	return args
}

// flavourSettings are what MySQL needs where MariaDB is so by default, or the other way round.
func (s *MySQLServer) flavourSettings() map[string]string {
	if s.MariaDB {
		settings := map[string]string{
			"binlog_format":     "ROW",
			"log_slave_updates": "ON",
			// As in the template, since the server would make a log of another size anew.
			"innodb_log_file_size": mariadbLogSize,
		}
		// From 11.4 on it makes itself a key at each start, which takes a second or several. A test
		// that wants that sets ssl to ON.
		if s.opts.Settings["ssl_cert"] == "" {
			settings["ssl"] = "OFF"
		}
		return settings
	}
	return map[string]string{
		"binlog_rows_query_log_events": "ON",
		"gtid_mode":                    "ON",
		"enforce_gtid_consistency":     "ON",
		"innodb_redo_log_capacity":     "64M",
		"mysqlx":                       "OFF",
		"secure_file_priv":             "",
	}
}

// durability says who writes at a commit: with 2 and 0 the operating system, which
// outlives a killed server.
func (s *MySQLServer) durability() map[string]string {
	if s.opts.Durable {
		return map[string]string{"innodb_flush_log_at_trx_commit": "1", "sync_binlog": "1"}
	}
	return map[string]string{"innodb_flush_log_at_trx_commit": "2", "sync_binlog": "0", "innodb_doublewrite": "OFF"}
}

func (s *MySQLServer) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := os.Stat(s.Socket); err != nil {
		return false
	}
	db, err := s.Open(MySQLDatabase)
	if err != nil {
		return false
	}
	defer db.Close()
	return db.PingContext(ctx) == nil
}

// Set changes settings for the next [MySQLServer.Start].
func (s *MySQLServer) Set(settings map[string]string) {
	merged := maps.Clone(s.opts.Settings)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, settings)
	s.opts.Settings = merged
}

// Unset takes settings back that [MySQLServer.Set] or the options made, for the next
// [MySQLServer.Start].
func (s *MySQLServer) Unset(names ...string) {
	s.opts.Settings = maps.Clone(s.opts.Settings)
	for _, name := range names {
		delete(s.opts.Settings, name)
	}
}

// Stop shuts the server down and waits for its end.
func (s *MySQLServer) Stop() error {
	if err := s.end(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", s, err)
	}
	return nil
}

// Crash kills the server, as a crash of the machine would, short of losing what the
// operating system still had to write.
func (s *MySQLServer) Crash() error {
	if err := s.end(syscall.SIGKILL); err != nil {
		return fmt.Errorf("crash %s: %w", s, err)
	}
	return nil
}

func (s *MySQLServer) end(signal syscall.Signal) error {
	p := s.process()
	if p == nil {
		return errors.New("it is not running")
	}
	if err := syscall.Kill(p.PID, signal); err != nil {
		return err
	}
	select {
	case <-p.Done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("still running after %s\n%s", patience, s.Log())
	}
}

// Restart is Stop and Start.
func (s *MySQLServer) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start()
}

// Close ends the server if it runs and removes all it had.
func (s *MySQLServer) Close() error {
	var err error
	if s.process() != nil {
		err = s.Crash()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Log returns the end of the server's log.
func (s *MySQLServer) Log() string { return tail(s.LogFile) }
