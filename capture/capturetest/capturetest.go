// Package capturetest runs throwaway database servers for tests and for the
// demonstration. The servers are real, on loopback, in temporary directories, and
// end with whoever started them, killed or not.
//
// A [Cluster] is a PostgreSQL server, a [MySQLServer] one of MySQL or MariaDB; their
// methods return errors. [StartPostgres], [StartMySQL] and [StartMariaDB] wrap one for a
// test: its methods fail the test instead, and its end is the test's. A
// server that is not installed fails the test too; tests never skip, since what
// `make test` installs is what they need.
//
// How servers are kept cheap and tidy:
//
//   - initdb runs once a version; each cluster is a copy of that template, in
//     memory where there is plenty, about 60 ms. Copies share a system identifier: ask for [Options].Fresh where two
//     clusters must be told apart.
//   - MySQL and MariaDB are copied from such templates too, and start in about 1.2 s and
//     0.3 s. MySQL's copies get a UUID of their own; a server's id is its port.
//   - Root may not run these servers, so as root they run as the user postgres, or nobody.
//   - A server's parent-death signal ends it when this process dies, kill -9
//     included. Linux ties that signal to the thread that started the child, so
//     one locked thread stays with each server.
//   - Only processes started here are ever signalled, by their id.
package capturetest

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// TB is what servers need of a test: a *testing.T or *testing.B.
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// Options describe a server. The zero value is the system's own PostgreSQL, tuned for tests.
type Options struct {
	// Major is the PostgreSQL major version; 0 takes the newest of the system's packages.
	Major int
	// Settings are configuration parameters that override ours. Ours are wal_level=logical, 20
	// slots and WAL senders, small buffers, time zone UTC. An empty one is left to the server's own
	// configuration, which ALTER SYSTEM changes.
	Settings map[string]string
	// Durable puts the cluster on disk and keeps fsync and full_page_writes on, as
	// measurements want it. Killing a server loses nothing either way, only power loss would.
	Durable bool
	// Fresh runs initdb for this cluster alone, so that its system identifier is its own.
	Fresh bool
}

// Majors returns the PostgreSQL major versions that are installed, ascending.
func Majors() []int {
	var majors []int
	for _, dir := range slices.Concat(glob(systemDirs), glob(toolDirs())) {
		if major := majorOf(dir); major > 0 {
			majors = append(majors, major)
		}
	}
	slices.Sort(majors)
	return slices.Compact(majors)
}

const systemDirs = "/usr/lib/postgresql/*/bin"

func toolDirs() string { return filepath.Join(toolsDir(), "postgres", "*", "bin") }

// binDir finds the programs of a major version, the system's packages first.
func binDir(major int) (string, error) {
	system := glob(systemDirs)
	if major == 0 {
		slices.SortFunc(system, func(a, b string) int { return cmp.Compare(majorOf(a), majorOf(b)) })
		if len(system) > 0 {
			return system[len(system)-1], nil
		}
		return "", fmt.Errorf("no PostgreSQL is installed: run `make test`, which installs it")
	}
	for _, dir := range append(system, glob(toolDirs())...) {
		if majorOf(dir) == major {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL %d is not installed (there is %v): run `make test`, which installs it", major, Majors())
}

// majorOf tells the version of a directory such as 15/bin; 0 when its name is not one.
func majorOf(bin string) int {
	major, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return major
}

func glob(pattern string) []string {
	dirs, _ := filepath.Glob(pattern)
	return dirs
}

// toolsDir is where .ci/install unpacks servers and where templates are kept. As
// root it is outside root's home, which the servers' user may not enter.
func toolsDir() string {
	if dir := os.Getenv("ROWHOOK_TOOLS"); dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/var/cache/rowhook"
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "rowhook")
}

// Tools is where .ci/install puts the programs that only tests need.
func Tools() string { return toolsDir() }

// owner is the user that servers run as: nil for ourselves.
func owner() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("servers do not run as root, and there is no user postgres or nobody")
}
