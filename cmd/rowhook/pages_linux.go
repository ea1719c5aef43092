package main

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// startTimes are when what the start needed is over: the config and the commands at first, then what
// is done once for each connection.
var startTimes = [...]time.Duration{300 * time.Millisecond, 5 * time.Second}

// forgetStart gives back the memory in which the program's own pages are that only its start needed, a
// third of all that a busy agent has. What is still needed comes back from the page cache, in a
// millisecond altogether. It does nothing where that cannot be told.
func forgetStart(ctx context.Context) {
	for _, after := range startTimes {
		timer := time.NewTimer(after)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		forgetProgram()
	}
}

// forgetProgram unmaps the pages of the program that are as they are in its file.
func forgetProgram() (forgotten int) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0
	}
	defer smaps.Close()
	list, err := programPages(smaps, program)
	if err != nil {
		return 0
	}
	for _, p := range list {
		if _, _, refused := unix.Syscall(unix.SYS_MADVISE, p.from, p.to-p.from, unix.MADV_DONTNEED); refused == 0 {
			forgotten++
		}
	}
	return forgotten
}
