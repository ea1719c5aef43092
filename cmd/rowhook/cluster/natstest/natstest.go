// Package natstest starts real nats-servers with JetStream on loopback, for tests and the
// demonstration. They can be killed, frozen, cut off from their files' last writes and started
// again. `.ci/install` puts the program where Start looks for it.
package natstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"rowhook/capture/capturetest/child"
)

// Options say what servers are started. The zero value is three of them that sync always.
type Options struct {
	Servers int // how many; defaults to 3
	// Sync is the servers' sync_interval; defaults to always.
	Sync string
	// MaxPayload is the servers' max_payload in bytes; defaults to theirs, 1 MiB.
	MaxPayload int
	// Dir is the directory of their files; defaults to a temporary one that Close removes, in memory
	// where there is room.
	Dir string
	// Route, if not nil, is how one server reaches another one: it returns the address that stands for
	// the other's own. It is asked once for each pair and direction.
	Route func(from, to int, address string) string
}

// Cluster is a number of servers. Their numbers begin at 0.
type Cluster struct {
	options Options
	program string
	dir     string
	own     bool // dir is removed at the end
	ports   []int
	routes  [][]string // by server, where it reaches each one; its own is where it listens

	mu      sync.Mutex
	running []*child.Process
}

// Program returns the server's program.
func Program() (string, error) {
	dir := os.Getenv("ROWHOOK_TOOLS")
	if dir == "" && os.Getuid() == 0 {
		dir = "/var/cache/rowhook"
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find nats-server: %w", err)
		}
		dir = filepath.Join(cache, "rowhook")
	}
	program := filepath.Join(dir, "nats-server", "current", "nats-server")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("find nats-server, which `make tools` installs: %w", err)
	}
	return program, nil
}

// Start starts servers and returns when they have a leader.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Servers == 0 {
		o.Servers = 3
	}
	if o.Sync == "" {
		o.Sync = "always"
	}
	program, err := Program()
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, program: program, dir: o.Dir, running: make([]*child.Process, o.Servers)}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp(base(), fmt.Sprintf("rowhook-nats-%d-", os.Getpid())); err != nil {
			return nil, err
		}
		c.own = true
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start nats-servers: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	ports, err := freePorts(2 * c.options.Servers)
	if err != nil {
		return err
	}
	c.ports = ports[:c.options.Servers]
	c.routes = make([][]string, c.options.Servers)
	for i := range c.routes {
		for j, port := range ports[c.options.Servers:] {
			address := fmt.Sprintf("127.0.0.1:%d", port)
			if i != j && c.options.Route != nil {
				address = c.options.Route(i, j, address)
			}
			c.routes[i] = append(c.routes[i], address)
		}
	}
	for i := range c.running {
		if err := c.Restart(i); err != nil {
			return err
		}
	}
	return c.Ready(ctx)
}

// base is where temporary directories go: into memory where that has room, since a busy disk
// makes elections slow.
func base() string {
	const memory, enough = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if syscall.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= enough {
		return memory
	}
	return os.TempDir()
}

// freePorts returns ports of loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var lc net.ListenConfig
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that none comes twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// config is a server's configuration. The servers know each other from it alone.
func (c *Cluster) config(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: n%d\nlisten: 127.0.0.1:%d\n", i+1, c.ports[i])
	if c.options.MaxPayload > 0 {
		fmt.Fprintf(&b, "max_payload: %d\n", c.options.MaxPayload)
	}
	fmt.Fprintf(&b, "jetstream { store_dir: %q, sync_interval: %s, max_mem: 64MB, max_file: 4GB }\n", filepath.Join(c.dir, strconv.Itoa(i)), c.options.Sync)
	if c.options.Servers > 1 {
		fmt.Fprintf(&b, "cluster { name: test, listen: %s, no_advertise: true, ", c.routes[i][i])
		if c.options.Route != nil {
			// What servers tell of each other must not lead past the routes: nobody listens there.
			b.WriteString("advertise: \"127.0.0.1:9\", ")
		}
		b.WriteString("routes: [")
		for j, address := range c.routes[i] {
			if j != i {
				fmt.Fprintf(&b, " \"nats://%s\",", address)
			}
		}
		b.WriteString(" ] }\n")
	}
	return b.String()
}

// Restart starts a server that does not run. It does not wait until it is ready.
func (c *Cluster) Restart(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.running[i]; p != nil && p.Running() {
		return fmt.Errorf("nats-server %d runs", i)
	}
	name := filepath.Join(c.dir, fmt.Sprintf("n%d.conf", i+1))
	if err := os.WriteFile(name, []byte(c.config(i)), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(c.logFile(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(c.program, "-c", name)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start nats-server %d: %w", i, err)
	}
	c.running[i] = p
	return nil
}

func (c *Cluster) logFile(i int) string { return filepath.Join(c.dir, fmt.Sprintf("n%d.log", i+1)) }

// Log returns what a server has logged.
func (c *Cluster) Log(i int) string {
	text, _ := os.ReadFile(c.logFile(i))
	return string(text)
}

func (c *Cluster) signal(i int, s syscall.Signal) {
	c.mu.Lock()
	p := c.running[i]
	c.mu.Unlock()
	if p == nil || !p.Running() {
		return
	}
	_ = syscall.Kill(p.PID, s) // it may have ended just now
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		<-p.Done
	}
}

// Kill ends a server as kill -9 does and returns when it is gone. The kernel keeps what it wrote.
func (c *Cluster) Kill(i int) { c.signal(i, syscall.SIGKILL) }

// Terminate ends a server in order and returns when it is gone.
func (c *Cluster) Terminate(i int) { c.signal(i, syscall.SIGTERM) }

// Stop freezes a server and returns when it is: it keeps its connections and does nothing until
// Continue.
func (c *Cluster) Stop(i int) {
	c.signal(i, syscall.SIGSTOP)
	// On a busy machine its threads go on for some milliseconds.
	for !c.frozen(i) {
		time.Sleep(time.Millisecond) //nolint:forbidigo // the kernel tells nobody
	}
}

// frozen reports whether all threads of a server stand still, or are no more.
func (c *Cluster) frozen(i int) bool {
	c.mu.Lock()
	p := c.running[i]
	c.mu.Unlock()
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/stat", p.PID))
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		_, fields, _ := strings.Cut(string(raw), ") ")
		if err == nil && fields != "" && !strings.ContainsAny(fields[:1], "TtZX") {
			return false
		}
	}
	return true
}

// Continue wakes a frozen server.
func (c *Cluster) Continue(i int) { c.signal(i, syscall.SIGCONT) }

// Dir returns the directory of a server's JetStream files.
func (c *Cluster) Dir(i int) string { return filepath.Join(c.dir, strconv.Itoa(i)) }

// PIDs returns the servers' processes, by number.
func (c *Cluster) PIDs() (pids []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.running {
		pids = append(pids, p.PID)
	}
	return pids
}

// URL lists the servers as a client's url.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.ports))
	for i := range c.ports {
		urls[i] = c.ServerURL(i)
	}
	return strings.Join(urls, ",")
}

// ServerURL returns one server's url.
func (c *Cluster) ServerURL(i int) string { return fmt.Sprintf("nats://127.0.0.1:%d", c.ports[i]) }

// Ready returns when JetStream takes a stream, which needs a leader. All servers must run.
func (c *Cluster) Ready(ctx context.Context) error {
	js, done, err := c.connect()
	if err != nil {
		return err
	}
	defer done()
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		try, cancel := context.WithTimeout(ctx, wait)
		err = c.writable(try, js)
		cancel()
		if err == nil {
			return nil
		}
		if i := c.ended(); i >= 0 {
			return fmt.Errorf("nats-server %d has ended: %s", i, c.Log(i))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for JetStream: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ended returns the number of a server that has ended; -1 for none.
func (c *Cluster) ended() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range c.running {
		if !p.Running() {
			return i
		}
	}
	return -1
}

// writable makes a stream and deletes it: a leader that was elected just now refuses both while it
// does not know its peers.
func (c *Cluster) writable(ctx context.Context, js jetstream.JetStream) error {
	// A request that comes before there is a leader gets no answer.
	if _, err := js.AccountInfo(ctx); err != nil {
		return err
	}
	const name = "natstest-ready"
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Replicas: min(3, c.options.Servers)}); err != nil {
		return err
	}
	return js.DeleteStream(ctx, name)
}

// connect returns JetStream as a client of any server has it, and what ends the connection.
func (c *Cluster) connect() (js jetstream.JetStream, done func(), err error) {
	nc, err := nats.Connect(c.URL(), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	if js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, nil, err
	}
	return js, nc.Close, nil
}

// Leader returns the number of the server that leads a stream.
func (c *Cluster) Leader(ctx context.Context, stream string) (int, error) {
	js, done, err := c.connect()
	if err != nil {
		return 0, err
	}
	defer done()
	for {
		leader, err := leaderOf(ctx, js, stream)
		if err == nil && leader > 0 {
			return leader - 1, nil
		}
		select {
		case <-ctx.Done():
			return 0, errors.Join(fmt.Errorf("stream %s has no leader", stream), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func leaderOf(ctx context.Context, js jetstream.JetStream, stream string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	info := s.CachedInfo()
	if info.Cluster == nil {
		return 0, nil
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(info.Cluster.Leader, "n"))
	return n, nil
}

// Current returns when each server has all that a stream has.
func (c *Cluster) Current(ctx context.Context, stream string) error {
	return c.ask(ctx, "wait for the replicas of "+stream, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		info := s.CachedInfo().Cluster
		if info == nil || info.Leader == "" || len(info.Replicas) != c.options.Servers-1 {
			return errors.New("the stream has not all its replicas")
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("server %s is behind", r.Name)
			}
		}
		return nil
	})
}

// Delete removes a stream, as `nats stream rm` does.
func (c *Cluster) Delete(ctx context.Context, stream string) error {
	return c.ask(ctx, "delete the stream "+stream, func(ctx context.Context, js jetstream.JetStream) error {
		if err := js.DeleteStream(ctx, stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return nil
	})
}

// ask does something until it succeeds or ctx ends.
func (c *Cluster) ask(ctx context.Context, what string, do func(context.Context, jetstream.JetStream) error) error {
	js, done, err := c.connect()
	if err != nil {
		return err
	}
	defer done()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		err = do(try, js)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Close ends all servers and removes their files.
func (c *Cluster) Close() error {
	for i := range c.running {
		c.Kill(i)
	}
	if c.own {
		return os.RemoveAll(c.dir)
	}
	return nil
}
