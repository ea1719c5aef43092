package capturetest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Copy copies the files of a server that is stopped and starts the copy, at another port or, where
// one is given, at that. The copy keeps every identifier that the server has. signal, such as
// standby.signal, is put beside the files where it is not empty.
func (c *Cluster) Copy(port int, signal string) (*Cluster, error) {
	if c.process() != nil {
		return nil, errors.New("copy PostgreSQL: it is running")
	}
	dir, err := newDir(c.as, c.opts.Durable)
	if err != nil {
		return nil, fmt.Errorf("make a server's directory: %w", err)
	}
	copied := &Cluster{
		Port: port, Major: c.Major, SocketDir: dir,
		DataDir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "server.log"),
		bin: c.bin, dir: dir, as: c.as, opts: c.opts,
	}
	if err := copied.copyFrom(c, signal); err != nil {
		return nil, errors.Join(err, copied.Close())
	}
	if port == 0 {
		copied.Port, err = freePort()
	}
	if err == nil {
		err = copied.Start()
	}
	if err != nil {
		return nil, errors.Join(err, copied.Close())
	}
	return copied, nil
}

func (c *Cluster) copyFrom(from *Cluster, signal string) error {
	if out, err := exec.Command("cp", "-a", from.DataDir, c.DataDir).CombinedOutput(); err != nil {
		return fmt.Errorf("copy PostgreSQL: %w\n%s", err, out)
	}
	if signal == "" {
		return nil
	}
	name := filepath.Join(c.DataDir, signal)
	if err := os.WriteFile(name, nil, 0o600); err != nil || c.as == nil {
		return err
	}
	return os.Chown(name, int(c.as.Uid), int(c.as.Gid))
}

// Copy is [Cluster.Copy] within a test.
func (p *Postgres) Copy(tb TB, port int, signal string) *Postgres {
	tb.Helper()
	c, err := p.Cluster.Copy(port, signal)
	Must(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of the copied PostgreSQL %d:\n%s", c.Major, c.Log())
		}
		if err := c.Close(); err != nil {
			tb.Logf("close PostgreSQL: %v", err)
		}
	})
	return &Postgres{Cluster: c, DSN: c.URL("postgres")}
}

// Copy copies the files of a server that is stopped and starts the copy, at another port or, where
// one is given, at that. The copy keeps every identifier that the server has: its server_id, and
// MySQL's UUID.
func (s *MySQLServer) Copy(port int) (*MySQLServer, error) {
	if s.process() != nil {
		return nil, fmt.Errorf("copy %s: it is running", s)
	}
	dir, err := newDir(s.as, s.opts.Durable)
	if err != nil {
		return nil, fmt.Errorf("make a server's directory: %w", err)
	}
	opts := s.opts
	opts.Settings = maps.Clone(opts.Settings)
	if opts.Settings == nil {
		opts.Settings = map[string]string{}
	}
	if opts.Settings["server_id"] == "" {
		opts.Settings["server_id"] = strconv.Itoa(s.Port)
	}
	copied := &MySQLServer{
		Port: port, MariaDB: s.MariaDB, Version: s.Version,
		Socket: filepath.Join(dir, "socket"), DataDir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "server.log"),
		program: s.program, dir: dir, as: s.as, opts: opts,
	}
	out, err := exec.Command("cp", "-a", s.DataDir, copied.DataDir).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("copy %s: %w\n%s", s, err, out)
	}
	if err == nil && port == 0 {
		copied.Port, err = freePort()
	}
	if err == nil {
		err = copied.Start()
	}
	if err != nil {
		return nil, errors.Join(err, copied.Close())
	}
	return copied, nil
}

// Copy is [MySQLServer.Copy] within a test.
func (m *MySQL) Copy(tb TB, port int) *MySQL {
	tb.Helper()
	s, err := m.MySQLServer.Copy(port)
	Must(tb, err)
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Logf("close the copy of %s: %v", m, err)
		}
	})
	return &MySQL{s}
}
