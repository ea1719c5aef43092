package directories

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"

	"rowhook/cmd/rowhook/config"
)

// MakePrivate makes the state directory, or takes other people's rights from one that is there:
// the spool holds row data, and whoever may enter may use the control socket.
func MakePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("keep the state directory to its owner: %w", err)
	}
	return nil
}

// exitConfig is the exit code of a program whose config is wrong.
const exitConfig = 2

// permissionError says that a file belongs to somebody else. Like a wrong config it wants a person:
// whoever starts the agent again and again must not.
type permissionError struct {
	error
	remedy string
}

// Unwrap returns the cause.
func (e *permissionError) Unwrap() error { return e.error }

// RemedyText returns the remedy for the operator.
func (e *permissionError) RemedyText() string { return e.remedy }

// ExitCode is that of a config error.
func (e *permissionError) ExitCode() int { return exitConfig }

// WithRemedy adds to an error the remedy where files belong to somebody else.
func WithRemedy(c *config.Config, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	me, dir := User(), c.State
	var at *fs.PathError
	// What could not be made may be a directory above it.
	if log := filepath.Dir(c.Log.Deliveries); errors.As(err, &at) && !within(c.State, at.Path) && !within(at.Path, c.State) &&
		(within(log, at.Path) || within(at.Path, log)) {
		dir = log
	}
	remedy := fmt.Sprintf("give it to the user that rowhook runs as: install -d -o %s %s && chown -R %s: %s", me, dir, me, dir)
	if info, err := os.Stat(dir); err == nil {
		if uid, _ := ownerOf(info); int(uid) != os.Geteuid() {
			remedy += fmt.Sprintf("\nor run it as %s, who owns %s", userName(uid), dir)
		}
	}
	return &permissionError{err, remedy}
}

// within reports whether a path is a directory or below it.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// RefuseRoot keeps root, and its commands while no agent runs, from a state directory that is
// somebody else's: what root wrote there, the agent could not open.
func RefuseRoot(state string, euid int) error {
	info, err := os.Stat(filepath.Join(state, "spool"))
	if err != nil {
		info, err = os.Stat(state)
	}
	if err != nil || euid != 0 {
		return nil
	}
	uid, _ := ownerOf(info)
	if uid == 0 {
		return nil
	}
	name := userName(uid)
	return &permissionError{
		fmt.Errorf("the state directory %s belongs to %s, who could not read what root writes there", state, name),
		fmt.Sprintf("put %s in front of the command", asUser(name, exec.LookPath)),
	}
}

// asUser is what has a command run as another user: sudo is not on every machine, and root does not
// need it.
func asUser(name string, find func(string) (string, error)) string {
	if _, err := find("sudo"); err != nil {
		return "runuser -u " + name + " --"
	}
	return "sudo -u " + name
}

// User is who runs this process, for audit lines.
func User() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// ownerOf is a file's owner and group.
func ownerOf(info fs.FileInfo) (uid, gid uint32) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid, stat.Gid
	}
	return 0, 0
}

// userName is a user's name, or the number of one that the machine does not know.
func userName(uid uint32) string {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprint("#", uid)
}
