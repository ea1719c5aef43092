#!/usr/bin/env bash
# Pebble: Metrics.DiskSpaceUsage forgets files of values that it found when the store was opened. With value separation (v2's
# Options.ValueSeparationPolicy) large values are in files of their own, *.blob. Those that this process wrote are counted. After a reopen the
# same files are there, and are not: a store that is kept to a size by DiskSpaceUsage may grow to a multiple of it after a restart.
# Metrics.BlobFiles.LiveSize has them both times.
#
# Seen with github.com/cockroachdb/pebble/v2 v2.1.7, 4,096 values of 4 KiB that do not compress:
#
#   written: 16 MB of blob files on disk, 26 MB told (with the log that is not needed any more)
#   reopened: 16 MB of blob files on disk, 0 MB told
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"

cat >go.mod <<'END'
module usage

go 1.25.0

require github.com/cockroachdb/pebble/v2 v2.1.7
END
cat >main.go <<'END'
package main

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

func open() *pebble.DB {
	options := &pebble.Options{FormatMajorVersion: pebble.FormatNewest}
	options.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 256, MaxBlobReferenceDepth: 10}
	}
	db, err := pebble.Open(os.Args[1], options)
	if err != nil {
		panic(err)
	}
	return db
}

func show(when string, db *pebble.DB) {
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.blob"))
	if err != nil {
		panic(err)
	}
	size := int64(0)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			panic(err)
		}
		size += info.Size()
	}
	fmt.Printf("%s: %d MB of blob files on disk, %d MB told\n", when, size/1e6, db.Metrics().DiskSpaceUsage()/1e6)
}

func main() {
	db := open()
	value := make([]byte, 4096)
	random := rand.New(rand.NewSource(1))
	for i := range 4096 {
		random.Read(value)
		if err := db.Set(fmt.Appendf(nil, "%08d", i), value, pebble.NoSync); err != nil {
			panic(err)
		}
	}
	if err := db.Flush(); err != nil {
		panic(err)
	}
	show("written", db)
	if err := db.Close(); err != nil {
		panic(err)
	}
	db = open()
	show("reopened", db)
	if err := db.Close(); err != nil {
		panic(err)
	}
}
END
GOFLAGS=-mod=mod go run . "$work/store" >seen 2>log || { cat log; exit 1; }
cat seen
grep -Eq '^written: 16 MB of blob files on disk, [123][0-9] MB told$' seen
grep -Eq '^reopened: 16 MB of blob files on disk, 0 MB told$' seen
