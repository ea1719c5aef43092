package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every file of the spool is its owner's alone, those that an earlier version or a careless copy
// left to others, too.
func TestSpoolFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	modes := func(when string) (files []string) {
		t.Helper()
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %s has mode %04o", when, filepath.Base(path), info.Mode().Perm())
			}
			if !entry.IsDir() {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	open := func() *Spool {
		t.Helper()
		s, err := Open(dir, Options{Logger: testOptions(t).Logger})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	appendEvents(t, s, 0, 10, register(t, s, "desk"))
	flush(t, s)
	files := modes("new")
	if err := s.Close(); err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range modes("closed") {
		if err := os.Chmod(file, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s = open()
	modes("reopened")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamageTextHasNoInternals(t *testing.T) {
	t.Parallel()
	err := &DamageError{Dir: "state/spool", File: "000004.log", Lost: "what it held", Err: errors.New("checksum mismatch: <corruption detail carrier>")}
	if text := err.Error(); strings.Contains(text, "<") || !strings.HasSuffix(text, ": checksum mismatch") {
		t.Error(text)
	}
}
