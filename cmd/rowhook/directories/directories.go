package directories

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
)

// account is the user that the agent is going to run as.
type account struct {
	uid  uint32
	gids []uint32
	name string
	why  string // how we know; empty for the user who asks
}

// systemdDirs hold the units of a machine.
var systemdDirs = []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// agentAccount is the user who asks. Root only prepares what another user runs: the one that the
// unit names, or who has the state directory already.
func agentAccount(state string, unit agentUnit) account {
	self := currentAccount()
	if self.uid != 0 {
		return self
	}
	if unit.user != "" {
		if u, err := user.Lookup(unit.user); err == nil {
			return accountOf(u, "the user of "+unit.path)
		}
	}
	for _, path := range []string{filepath.Join(state, "spool"), state} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		uid, _ := ownerOf(info)
		if u, err := user.LookupId(fmt.Sprint(uid)); err == nil && uid != 0 {
			return accountOf(u, "who owns "+path)
		}
	}
	return self
}

func currentAccount() account {
	a := account{uid: uint32(os.Geteuid()), name: User()}
	groups, _ := os.Getgroups() // without them, the user's own group is left
	for _, gid := range append(groups, os.Getegid()) {
		a.gids = append(a.gids, uint32(gid))
	}
	return a
}

func accountOf(u *user.User, why string) account {
	a := account{name: u.Username, why: why}
	number := func(s string) uint32 {
		n, _ := strconv.ParseUint(s, 10, 32) // user.User has numbers on Unix
		return uint32(n)
	}
	a.uid, a.gids = number(u.Uid), []uint32{number(u.Gid)}
	groups, _ := u.GroupIds()
	for _, gid := range groups {
		a.gids = append(a.gids, number(gid))
	}
	return a
}

func (a account) String() string {
	if a.why == "" {
		return "this user, " + a.name + ","
	}
	return fmt.Sprintf("%s (%s)", a.name, a.why)
}

// may reports whether the account has rights, in the bits of one class of a mode (4 read, 2 write,
// 1 enter), on what is there. The kernel knows more than modes tell, and is asked about the user
// who asks.
func (a account) may(path string, rights uint32) bool {
	if a.why == "" {
		return unix.Faccessat(unix.AT_FDCWD, path, rights, unix.AT_EACCESS) == nil
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || !a.granted(info, 1) {
			return false
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	info, err := os.Stat(path)
	return err == nil && a.granted(info, rights)
}

func (a account) granted(info fs.FileInfo, rights uint32) bool {
	uid, gid := ownerOf(info)
	mode := uint32(info.Mode().Perm())
	switch {
	case a.uid == 0:
		return true
	case a.uid == uid:
		mode >>= 6
	case slices.Contains(a.gids, gid):
		mode >>= 3
	}
	return mode&rights == rights
}

// whose describes a file's owner and mode.
func whose(info fs.FileInfo) string {
	uid, _ := ownerOf(info)
	return fmt.Sprintf("belongs to %s, mode %04o", userName(uid), info.Mode().Perm())
}

// agentUnit is what a unit of systemd says about the agent.
type agentUnit struct {
	path, user string
	made       []string // directories that systemd makes for it
}

// findUnit reads the unit rowhook.service where there is one.
func findUnit(dirs []string) agentUnit {
	for _, dir := range dirs {
		path := filepath.Join(dir, "rowhook.service")
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		defer file.Close()
		unit := agentUnit{path: path}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
			switch key {
			case "User":
				unit.user = value
			case "StateDirectory", "LogsDirectory":
				root := map[string]string{"StateDirectory": "/var/lib", "LogsDirectory": "/var/log"}[key]
				for name := range strings.FieldsSeq(value) {
					unit.made = append(unit.made, filepath.Join(root, name))
				}
			}
		}
		return unit
	}
	return agentUnit{}
}

// HasUnit reports whether systemd starts the agent of this machine, once somebody tells it to.
func HasUnit() bool { return findUnit(systemdDirs).path != "" }

// makes reports whether systemd makes the directory before the agent starts.
func (u agentUnit) makes(dir string) bool {
	return slices.ContainsFunc(u.made, func(made string) bool { return dir == made || strings.HasPrefix(dir, made+"/") })
}

// Findings say what keeps the agent from writing its state and its log, or from reading what the
// config is made of.
func Findings(c *config.Config) []capture.Finding {
	unit := findUnit(systemdDirs)
	return directoryFindings(c, agentAccount(c.State, unit), unit)
}

// directoryFindings are the findings about an account, whose agent the unit starts.
func directoryFindings(c *config.Config, a account, unit agentUnit) []capture.Finding {
	found := writable(c, a, unit, "state_directory", "the state directory", c.State, "0700", "state")
	if len(found) == 0 {
		found = ownState(c, a)
	}
	dir := filepath.Dir(c.Log.Deliveries)
	logs := writable(c, a, unit, "delivery_log", "the delivery log's directory", dir, "0750", "log", "deliveries")
	if info, err := os.Stat(c.Log.Deliveries); len(logs) == 0 && err == nil && !a.may(c.Log.Deliveries, unix.R_OK|unix.W_OK) {
		logs = append(logs, directoryError(c, "delivery_log", fmt.Sprintf("the delivery log %s %s, and %s may not write it", c.Log.Deliveries, whose(info), a),
			fmt.Sprintf("chown %s: %s", a.name, c.Log.Deliveries), "log", "deliveries"))
	}
	if !strings.HasPrefix(dir, c.State+string(filepath.Separator)) || len(found) == 0 {
		found = append(found, logs...)
	}
	return append(found, unreadable(c, a)...)
}

// writable says what keeps the account from making the directory, or from writing into it.
func writable(c *config.Config, a account, unit agentUnit, code, what, dir, mode string, path ...string) []capture.Finding {
	make := fmt.Sprintf("install -d -m %s -o %s %s", mode, a.name, dir)
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return []capture.Finding{directoryError(c, code, fmt.Sprintf("%s %s is a file", what, dir), "name a directory", path...)}
	case err == nil && a.may(dir, unix.R_OK|unix.W_OK|unix.X_OK):
		return nil
	case err == nil:
		return []capture.Finding{directoryError(c, code, fmt.Sprintf("%s %s %s, and %s may not write there", what, dir, whose(info), a),
			fmt.Sprintf("chown -R %s: %s", a.name, dir), path...)}
	case unit.makes(dir):
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return []capture.Finding{directoryError(c, code, fmt.Sprintf("%s %s cannot be looked at: %v", what, dir, errors.Unwrap(err)), make, path...)}
	}
	above := filepath.Dir(dir)
	for info, err = os.Stat(above); errors.Is(err, fs.ErrNotExist) && above != filepath.Dir(above); info, err = os.Stat(above) {
		above = filepath.Dir(above)
	}
	if err == nil && a.may(above, unix.W_OK|unix.X_OK) {
		return nil
	}
	text := fmt.Sprintf("%s %s does not exist, and %s may not make it", what, dir, a)
	if err == nil {
		text += fmt.Sprintf(": %s %s", above, whose(info))
	}
	return []capture.Finding{directoryError(c, code, text, make, path...)}
}

// ownState says what in the state directory belongs to somebody else, as after a start by root.
func ownState(c *config.Config, a account) []capture.Finding {
	info, err := os.Stat(c.State)
	if err != nil {
		return nil
	}
	if uid, _ := ownerOf(info); uid != a.uid && a.uid != 0 && info.Mode().Perm()&0o077 != 0 {
		return []capture.Finding{directoryError(c, "state_directory",
			fmt.Sprintf("the state directory %s %s: it holds row data, and only its owner can keep it to itself", c.State, whose(info)),
			fmt.Sprintf("chown -R %s: %s", a.name, c.State), "state")}
	}
	first, more := "", 0
	_ = filepath.WalkDir(c.State, func(path string, entry fs.DirEntry, err error) error {
		rights := uint32(unix.R_OK | unix.W_OK)
		if err == nil && entry.IsDir() {
			rights |= unix.X_OK
		}
		if err == nil && (entry.Type()&fs.ModeSymlink != 0 || a.may(path, rights)) {
			return nil
		}
		if first == "" {
			first = path
		} else {
			more++
		}
		if entry != nil && entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if first == "" {
		return nil
	}
	text := fmt.Sprintf("%s cannot be written by %s", first, a)
	if info, err := os.Stat(first); err == nil {
		text = fmt.Sprintf("%s %s, and %s may not write it", first, whose(info), a)
	}
	if more > 0 {
		text += fmt.Sprintf("; nor %d others in the state directory", more)
	}
	return []capture.Finding{directoryError(c, "state_directory", text, fmt.Sprintf("chown -R %s: %s", a.name, c.State), "state")}
}

// unreadable says which files of the config another user than this one could not read.
func unreadable(c *config.Config, a account) []capture.Finding {
	if a.why == "" {
		return nil // they have just been read
	}
	var found []capture.Finding
	for _, path := range c.Files() {
		info, err := os.Stat(path)
		if err != nil || a.may(path, unix.R_OK) {
			continue
		}
		found = append(found, directoryError(c, "config_file", fmt.Sprintf("%s %s, and %s may not read it", path, whose(info), a),
			fmt.Sprintf("chown %s %s && chmod 0400 %s, and let that user enter the directories above", a.name, path, path)))
	}
	slices.SortFunc(found, func(a, b capture.Finding) int { return strings.Compare(a.Text, b.Text) })
	return found
}

func directoryError(c *config.Config, code, text, remedy string, path ...string) capture.Finding {
	f := c.Finding(code, text, remedy, path...)
	f.Severity = capture.Error
	return f
}
