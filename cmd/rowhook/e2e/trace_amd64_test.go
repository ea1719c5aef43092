package e2e_test

import "syscall"

// auditArch is the machine's number in a system call filter.
const auditArch = 0xC000003E

// callOf is a system call's number and arguments, and, once it has returned, its result.
func callOf(r *syscall.PtraceRegs) (nr uint64, args [3]uint64, result int64) {
	return r.Orig_rax, [3]uint64{r.Rdi, r.Rsi, r.Rdx}, int64(r.Rax)
}
