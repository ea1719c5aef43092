package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// filesRead are the files that a config was read from, with hashes of what they held.
type filesRead map[string]fileHash

// fileHash tells contents of files apart. A file that cannot be read has that of an empty one.
type fileHash [sha256.Size]byte

// Files are the files whose content is part of the config: the config file and those that it names.
func (c *Config) Files() []string { return slices.Sorted(maps.Keys(c.read)) }

// Changed reports whether one of the files holds something else now than when it was read.
func (c *Config) Changed() bool {
	for path, hash := range c.read {
		if data, _ := readConfigFile(path); sha256.Sum256(data) != hash {
			return true
		}
	}
	return false
}

// readConfigFile reads a file that is one: a pipe or a device may never end, and could not be read
// again by a reload.
func readConfigFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is %s, not a file", kindOf(info.Mode()))
	}
	return os.ReadFile(path)
}

// maxSecretFile bounds what is read from a file that holds one secret.
const maxSecretFile = 64 << 10

// ReadSecret reads a small regular file.
func ReadSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err == nil && len(data) > maxSecretFile {
		err = fmt.Errorf("it holds more than %d bytes, which is no secret", maxSecretFile)
	}
	return data, err
}

// cause is a path error without its path, which the message has already.
func cause(err error) error {
	if at, ok := err.(*os.PathError); ok { //nolint:errorlint // one that is wrapped has more to say
		return at.Err
	}
	return err
}
