package main_test

import "syscall"

// auditArch is the machine's number in a system call filter.
const auditArch = 0xC00000B7

// callOf is a system call's number and arguments, and, once it has returned, its result.
func callOf(r *syscall.PtraceRegs) (nr uint64, args [3]uint64, result int64) {
	return r.Regs[8], [3]uint64{r.Regs[0], r.Regs[1], r.Regs[2]}, int64(r.Regs[0])
}
