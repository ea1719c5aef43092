package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// world is a database, a receiver and an agent's directory.
type world struct {
	tb     testing.TB
	server server
	// database is the server's name in [databases].
	database string
	row      *scenario // that the test is part of, if it is
	pg       *postgres // the server, in scenarios about PostgreSQL alone
	dir      string    // holds config.yaml, state and log
	hook     *receiver
	lines    *logLines
	conf     config
	env      []string // of the agent, besides ours
	program  string   // instead of the build at hand
	// attributes of the agent's process, such as a mount namespace of its own.
	attributes *syscall.SysProcAttr
	proxied    bool // the agent's ports are not what the server sees
}

// config is the config file in pieces, so that a test writes only what it is about.
// Empty pieces are the usual ones.
type config struct {
	url      string // of the source
	source   string // further lines of source
	spool    string
	mapping  string
	profiles string
	profile  string // further lines of each usual profile
	log      string
	top      string // further sections
}

// emptyWorld is a world without a server.
func emptyWorld(tb testing.TB) *world {
	tb.Helper()
	return &world{tb: tb, dir: newTempDir(tb), hook: newReceiver(tb), lines: &logLines{read: map[string]logLine{}}}
}

// newWorld makes a world on a PostgreSQL server of its own.
func newWorld(tb testing.TB, opts capturetest.Options) *world {
	tb.Helper()
	return newWorldOn(tb, startPostgres(tb, opts))
}

// newWorldOn makes a world on a database of PostgreSQL that is there.
func newWorldOn(tb testing.TB, pg *postgres) *world {
	tb.Helper()
	w := emptyWorld(tb)
	w.server, w.pg, w.database = pg, pg, "postgres"
	return w
}

// newTempDir is a test's directory with a short path, whatever the test's name.
func newTempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "rowhook-e2e-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// exec runs SQL in the world's database, each element a transaction of its own.
func (w *world) exec(sql ...string) {
	w.tb.Helper()
	capturetest.Must(w.tb, w.server.exec(context.Background(), sql...))
}

// value is the one text that a query returns, "" for NULL or no row.
func (w *world) value(sql string) string {
	w.tb.Helper()
	rows, err := w.server.query(context.Background(), sql)
	capturetest.Must(w.tb, err)
	if len(rows) == 0 || len(rows[0]) == 0 {
		return ""
	}
	return rows[0][0]
}

// number is the one number that a query returns.
func (w *world) number(sql string) int64 {
	w.tb.Helper()
	n, err := strconv.ParseInt(w.value(sql), 10, 64)
	capturetest.Must(w.tb, err)
	return n
}

// connect opens an application's session that ends with the test.
func (w *world) connect() session {
	w.tb.Helper()
	s, err := w.server.connect(context.Background())
	capturetest.Must(w.tb, err)
	w.tb.Cleanup(s.close)
	return s
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// usualProfile is one profile of the usual kind.
func (w *world) usualProfile(code string) string {
	return fmt.Sprintf("  %s:\n    url: %s\n    secret: %s\n    allow_networks: [loopback]\n    retry: {initial: 50ms, max: 400ms}\n    timeout: 5s\n%s",
		code, w.hook.url(code), secret, w.conf.profile)
}

// write writes config.yaml.
func (w *world) write() {
	w.tb.Helper()
	or := func(s, usual string) string {
		if s == "" {
			return usual
		}
		return s
	}
	var b strings.Builder
	fmt.Fprintf(&b, "source:\n  type: %s\n  url: %s\n  name: proof\n%s", w.server.kind(), or(w.conf.url, w.server.url(w.server.address())), w.conf.source)
	fmt.Fprintf(&b, "state: ./state\nspool: %s\n", or(w.conf.spool, "{max_size: 2GiB}"))
	fmt.Fprintf(&b, "mapping:\n%s", or(w.conf.mapping, "  proof.rows: {}\n"))
	fmt.Fprintf(&b, "profiles:\n%s", or(w.conf.profiles, w.usualProfile("main")))
	fmt.Fprintf(&b, "log:\n%s", or(w.conf.log, "  deliveries: ./log/deliveries.jsonl\n  max_size: 4GiB\n  body: 0\n"))
	b.WriteString(w.conf.top)
	capturetest.Must(w.tb, os.WriteFile(w.path("config.yaml"), []byte(b.String()), 0o600))
}

// start starts the agent on the world's config as it is now.
func (w *world) start(args ...string) *agent {
	w.tb.Helper()
	w.write()
	return w.startAsIs(args...)
}

// startAsIs starts the agent on the config as it was last written.
func (w *world) startAsIs(args ...string) *agent {
	w.tb.Helper()
	w.hook.life.Add(1)
	program := binary
	if w.program != "" {
		program = w.program
	}
	cmd := exec.Command(program, append([]string{"run", "-c", w.path("config.yaml")}, args...)...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), w.env...)
	if w.attributes != nil {
		attributes := *w.attributes
		cmd.SysProcAttr = &attributes
	}
	if unit := os.Getenv(unitVariable); unit != "" {
		service, name := underUnit(w.tb, unit, cmd, w.env)
		return serve(w.tb, service, name)
	}
	return launch(w.tb, cmd)
}

// begin starts the agent and waits until it streams, so that what is written from
// now on is captured also by a first start.
func (w *world) begin(args ...string) *agent {
	w.tb.Helper()
	a := w.start(args...)
	w.streaming(a)
	return a
}

// streaming waits until the agent reads the stream.
func (w *world) streaming(a *agent) {
	w.tb.Helper()
	eventually(w.tb, patience, "the agent streams", func() bool {
		if !a.running() {
			w.tb.Fatalf("the agent ended with exit code %d", a.code)
		}
		// What the server still has of a killed agent must not be taken for the new one's.
		var ports []string
		if !w.proxied {
			ports = localPorts(a.pid)
		}
		n, err := w.server.readers(context.Background(), ports)
		return err == nil && n == 1
	})
}

// rowhook runs a command on the world's config as it was last written.
func (w *world) rowhook(args ...string) result {
	w.tb.Helper()
	return command(w.tb, w.env, append(args, "-c", w.path("config.yaml"))...)
}

// status is what `rowhook status --json` says, and its exit code.
func (w *world) status() (map[string]any, int) {
	w.tb.Helper()
	r := w.rowhook("status", "--json")
	var status map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &status); err != nil {
		w.tb.Fatalf("status --json: %v, exit code %d\n%s%s", err, r.code, r.stdout, r.stderr)
	}
	return status, r.code
}

// now is where the server's log ends.
func (w *world) now() string {
	w.tb.Helper()
	point, err := w.server.end(context.Background())
	capturetest.Must(w.tb, err)
	return point
}

// settled reports whether the agent needs nothing before a point of the log any more.
func (w *world) settled(point string) bool {
	w.tb.Helper()
	ok, err := w.server.settled(context.Background(), point)
	capturetest.Must(w.tb, err)
	return ok
}

// confirmed waits until the agent needs nothing any more of what is written by now.
func (w *world) confirmed(within time.Duration) {
	w.tb.Helper()
	now := w.now()
	eventually(w.tb, within, "the agent confirms "+now, func() bool { return w.settled(now) })
}

// localPorts lists the TCP ports that a process holds; 0 is among them.
func localPorts(pid int) []string {
	sockets := map[string]bool{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // none when it has ended
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
			sockets[strings.Trim(target, "socket:[]")] = true
		}
	}
	ports := []string{"0"}
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	for line := range strings.Lines(string(raw)) {
		// sl local_address rem_address st queues timer retransmits uid timeout inode …
		fields := strings.Fields(line)
		if len(fields) < 10 || !sockets[fields[9]] {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
			ports = append(ports, strconv.FormatUint(port, 10))
		}
	}
	return ports
}
