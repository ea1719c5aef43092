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

const (
	mariadbLogSize = "16M"
	firstDatabase  = "create database " + MySQLDatabase + " character set utf8mb4;\n"
	// firstRoot is root over TCP, since names are not resolved. MariaDB makes it by itself.
	firstRoot = "create user root@'127.0.0.1';\n" +
		"grant all on *.* to root@'127.0.0.1' with grant option;\n"
)

// create makes the data directory: a copy of the version's template.
func (s *MySQLServer) create() error {
	name := strings.ToLower(string(s.flavour())) + "-" + s.Version
	template, err := template(name, filepath.Join(s.dir, "template"), s.initialize)
	if errors.Is(err, fs.ErrPermission) {
		err = s.initialize(s.DataDir) // somebody else's tools: do without a template
	} else if err == nil {
		err = copyTree(s.DataDir, template, s.as)
	}
	if err != nil {
		return fmt.Errorf("make the data of %s: %w", s, err)
	}
	// The server makes itself a new UUID when it finds none.
	if err := os.Remove(filepath.Join(s.DataDir, "auto.cnf")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// initialize makes a new data directory, with the TLS keys that MySQL makes for itself.
func (s *MySQLServer) initialize(dir string) error {
	script, first := filepath.Join(s.dir, "first.sql"), firstDatabase
	if !s.MariaDB {
		first += firstRoot
	}
	if err := os.WriteFile(script, []byte(first), 0o644); err != nil {
		return err
	}
	cmd := exec.Command(s.program, "--no-defaults", "--initialize-insecure", "--datadir="+dir, "--init-file="+script,
		"--innodb-doublewrite=OFF", "--innodb-redo-log-capacity=16M", "--innodb-use-native-aio=OFF")
	if s.MariaDB {
		install := filepath.Join(filepath.Dir(s.program), "mariadb-install-db")
		if _, err := os.Stat(install); err != nil {
			install = "mariadb-install-db" // the system's is in another directory than its server
		}
		cmd = exec.Command(install, "--no-defaults", "--datadir="+dir, "--extra-file="+script,
			"--skip-test-db", "--auth-root-authentication-method=normal", "--innodb-log-file-size="+mariadbLogSize, "--innodb-use-native-aio=OFF")
	}
	cmd.Dir, cmd.Env = s.dir, environ()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := startProcess(cmd, s.as, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	if err := p.Wait(); err != nil {
		return fmt.Errorf("initialize: %w\n%s", err, out.String())
	}
	return nil
}
