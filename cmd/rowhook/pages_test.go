package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestProgramPages: what has been written to is left alone, whoever may read it, and so is what belongs
// to others.
func TestProgramPages(t *testing.T) {
	t.Parallel()
	const smaps = `00400000-015ae000 r-xp 00000000 fd:00 123  /usr/bin/row hook
Size:              18104 kB
Rss:               16184 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
015ae000-02913000 r--p 011ae000 fd:00 123  /usr/bin/row hook
Anonymous:             0 kB
02913000-02914000 r--p 02513000 fd:00 123  /usr/bin/row hook
Rss:                   4 kB
Anonymous:             4 kB
02914000-02a69000 rw-p 02514000 fd:00 123  /usr/bin/row hook
Anonymous:             0 kB
7f6f517be000-7f6f51c00000 r--p 00000000 fd:00 124  /usr/lib/libc.so
Anonymous:             0 kB
7f6f51c00000-7f6f51c01000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7f6f61c00000-7f6f61c01000 r--p 00000000 00:00 0  [vvar]
`
	list, err := programPages(strings.NewReader(smaps), "/usr/bin/row hook")
	if err != nil || !slices.Equal(list, []stretch{{0x400000, 0x15ae000}, {0x15ae000, 0x2913000}}) {
		t.Errorf("%x, %v", list, err)
	}
	if _, err := os.Stat("/proc/self/smaps"); err != nil {
		return
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if list, err = programPages(own, program); err != nil || len(list) == 0 {
		t.Errorf("of this process: %x, %v", list, err)
	}
}
