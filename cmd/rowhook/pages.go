package main

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// stretch is a part of a process's memory.
type stretch struct{ from, to uintptr }

// programPages finds in a process's smaps what is mapped of a program that nobody has written to, its
// code and constants: the kernel may take that at any time, and brings it back from the file. What has
// pages of the process's own, as relocated constants have, is left out.
func programPages(smaps io.Reader, program string) ([]stretch, error) {
	var list []stretch
	ours := false
	in := bufio.NewScanner(smaps)
	for in.Scan() {
		fields := strings.Fields(in.Text())
		if len(fields) == 0 {
			continue
		}
		if name := fields[0]; strings.HasSuffix(name, ":") {
			if ours && name == "Anonymous:" && len(fields) > 1 && fields[1] != "0" {
				list, ours = list[:len(list)-1], false
			}
			continue
		}
		ours = false
		if len(fields) < 6 || !strings.HasSuffix(in.Text(), " "+program) || fields[1] != "r-xp" && fields[1] != "r--p" {
			continue
		}
		first, last, _ := strings.Cut(fields[0], "-")
		from, err := strconv.ParseUint(first, 16, 64)
		to, err2 := strconv.ParseUint(last, 16, 64)
		if err == nil && err2 == nil && from < to {
			list, ours = append(list, stretch{uintptr(from), uintptr(to)}), true
		}
	}
	return list, in.Err()
}
