package capturetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rowhook/capture/capturetest/child"
)

// startProcess starts cmd as a user, in a group of its own. death is the signal it gets when this
// process ends before it does.
func startProcess(cmd *exec.Cmd, as *syscall.Credential, death syscall.Signal) (*child.Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	return child.Start(cmd, death)
}

// children returns the processes whose parent is pid.
func children(pid int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (comm) state ppid …; comm may hold anything, brackets too.
		fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			if child, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// alive reports whether a process exists and is not a zombie.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	return len(fields) > 0 && fields[0] != "Z"
}

// poll calls ok every few milliseconds until it returns true or ctx ends.
func poll(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

const (
	dirPrefix = "rowhook-"
	// memoryDir is a file system in memory: copying a template there takes 60 ms, on a
	// disk that is busy a second and more.
	memoryDir = "/dev/shm"
)

// roomy reports whether a directory in memory has room for servers that do not need
// the disk, and the machine the memory for it. A container's /dev/shm often has not.
func roomy(dir string) bool {
	const enough = 3 << 30
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return false
	}
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib<<10 >= enough
		}
	}
	return false
}

// newDir makes a server's directory, owned by the server's user. Its name holds
// our process id, by which directories that a killed process left behind are found and removed.
func newDir(as *syscall.Credential, durable bool) (string, error) {
	base := os.TempDir()
	if len(base) > 40 {
		base = "/tmp" // a Unix socket's path must stay below 108 bytes
	}
	if !durable && roomy(memoryDir) {
		base = memoryDir
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
	}
	return dir, nil
}

// sweep removes directories of processes that are gone for ten minutes. Failing is
// harmless: the next start tries again.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, dirPrefix+"[0-9]*-*"))
	for _, dir := range dirs {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		pid, err := strconv.Atoi(name)
		info, statErr := os.Stat(dir)
		if err == nil && statErr == nil && !alive(pid) && time.Since(info.ModTime()) > 10*time.Minute {
			_ = os.RemoveAll(dir)
		}
	}
}

// copyTree copies a directory of plain files, giving the copy to a user.
func copyTree(dst, src string, as *syscall.Credential) error {
	return filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		if entry.IsDir() {
			err = os.Mkdir(target, 0o700)
		} else {
			err = copyFile(target, path)
		}
		if err == nil && as != nil {
			err = os.Chown(target, int(as.Uid), int(as.Gid))
		}
		return err
	})
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.ReadFrom(in)
	return errors.Join(err, out.Close())
}
