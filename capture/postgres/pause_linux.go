package postgres

import "syscall"

// pauseShortly waits for coalesceWait. The runtime's own timers would round it up to a
// millisecond, in which a Unix socket fills.
func pauseShortly() {
	wait := syscall.NsecToTimespec(int64(coalesceWait))
	_ = syscall.Nanosleep(&wait, nil) // woken early is fine
}
