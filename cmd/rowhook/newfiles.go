package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
)

// newFiles are files that are written together, or none of them.
type newFiles struct {
	dir     string
	made    []string
	secrets []string
	err     error
}

// secret writes a file that only its owner may read, and who shares the directory's group where root
// prepares it for the agent's user.
func (f *newFiles) secret(name, secret string) {
	path := filepath.Join(f.dir, name)
	if f.create(path, []byte(secret+"\n"), 0o600); f.err != nil {
		return
	}
	f.secrets = append(f.secrets, path)
	info, err := os.Stat(f.dir)
	if err != nil || os.Geteuid() != 0 {
		f.err = err
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Gid != 0 {
		f.err = errors.Join(os.Chown(path, 0, int(owner.Gid)), os.Chmod(path, 0o640))
	}
}

// secretOrOwn is secret for one that may be there already, and is then used as it is.
func (f *newFiles) secretOrOwn(name, secret string) {
	if f.err != nil {
		return
	}
	if own, err := config.ReadSecret(filepath.Join(f.dir, name)); err == nil && strings.TrimSpace(string(own)) != "" {
		return
	}
	f.secret(name, secret)
}

// create writes a new file, or over one of comments alone. Anything else that is there stays.
func (f *newFiles) create(path string, content []byte, mode fs.FileMode) {
	if f.err != nil {
		return
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		if f.err = existsError(path); onlyComments(path) {
			f.err = os.WriteFile(path, content, mode) // whose it is and who reads it stays
		}
		return
	}
	if err != nil {
		f.err = err
		return
	}
	f.made = append(f.made, path)
	_, err = file.Write(content)
	f.err = errors.Join(err, file.Sync(), file.Close())
}

// onlyComments reports whether a file holds comments and no word of a config, such as the one that a
// package brings.
func onlyComments(path string) bool {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<16 {
		return false
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// undo takes away what was written.
func (f *newFiles) undo() {
	for _, path := range f.made {
		if err := os.Remove(path); err != nil {
			f.err = errors.Join(f.err, err)
		}
	}
}

// existsError says how to go on where there is a file already.
func existsError(path string) error {
	return &capture.OperatorError{
		Err:    fmt.Errorf("%s is there already, and init overwrites nothing", path),
		Remedy: "write elsewhere with -o FILE; or print with -o - and take over what your config lacks",
	}
}

// newSecret makes a secret to sign with.
func newSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}
