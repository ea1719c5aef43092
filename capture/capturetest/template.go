package capturetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// create makes the cluster's data directory: a copy of the version's template, or
// an initdb of its own.
func (c *Cluster) create() error {
	if c.opts.Fresh {
		return c.initdb(c.DataDir)
	}
	version, err := c.version()
	if err != nil {
		return err
	}
	template, err := template("postgres-"+version, filepath.Join(c.dir, "template"), c.initdb)
	if errors.Is(err, fs.ErrPermission) {
		return c.initdb(c.DataDir) // somebody else's tools: do without a template
	}
	if err != nil {
		return err
	}
	if err := copyTree(c.DataDir, template, c.as); err != nil {
		return fmt.Errorf("copy PostgreSQL template: %w", err)
	}
	return nil
}

// template returns the directory of the named template. If there is none, create makes
// it at scratch, where the server's user may write, and it is copied from there. A lock
// keeps other processes from making the same one meanwhile.
func template(name, scratch string, create func(dir string) error) (string, error) {
	root := filepath.Join(toolsDir(), "templates")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", fmt.Errorf("make template directory: %w", err)
	}
	template := filepath.Join(root, name)
	unlock, err := lock(template + ".lock")
	if err != nil {
		return "", fmt.Errorf("lock template %s: %w", name, err)
	}
	defer unlock()
	if _, err := os.Stat(template); err == nil {
		return template, nil
	}
	if err := create(scratch); err != nil {
		return "", err
	}
	// The copy appears under its final name only when it is whole.
	half := template + ".new"
	if err := os.RemoveAll(half); err != nil {
		return "", fmt.Errorf("make template %s: %w", name, err)
	}
	if err := errors.Join(copyTree(half, scratch, nil), os.RemoveAll(scratch)); err != nil {
		return "", fmt.Errorf("make template %s: %w", name, err)
	}
	if err := os.Rename(half, template); err != nil {
		return "", fmt.Errorf("make template %s: %w", name, err)
	}
	return template, nil
}

// version is the server's full version, as a file name.
func (c *Cluster) version() (string, error) {
	out, err := exec.Command(filepath.Join(c.bin, "postgres"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask PostgreSQL for its version: %w", err)
	}
	words := strings.Fields(string(out))
	if len(words) < 3 {
		return "", fmt.Errorf("ask PostgreSQL for its version: it says %q", out)
	}
	return words[2], nil
}

func (c *Cluster) initdb(dir string) error {
	cmd := exec.Command(filepath.Join(c.bin, "initdb"), "-D", dir, "-U", Superuser,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	cmd.Dir, cmd.Env = c.dir, environ()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := startProcess(cmd, c.as, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out.String())
	}
	return nil
}

// environ is a server's environment: PG* variables of the caller must not reach it.
func environ() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}

// lock takes an exclusive lock on a file, waiting for it.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
