package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// The agent is killed exactly where a scenario says by a process that traces its system calls: the
// binary is the one that users have, with nothing put into it. A filter in the agent stops it only
// at calls that are looked at. While it is stopped before a call, that has not been made; after it,
// nothing has been done with its result.

// killPoint is a place in the agent's work, told by a system call: on what, and whether before or
// after it.
type killPoint struct {
	name  string
	on    string // see [tracer.target]
	call  uint64
	after bool
	// matches looks at the first bytes of what is written, or, after a read, of what was.
	matches func(head []byte) bool
	most    int // the highest passing that is tried
	without map[string]string
}

var noConfirmation = map[string]string{
	"mysql":   "nothing is confirmed to the server: the stored position is all there is",
	"mariadb": "nothing is confirmed to the server: the stored position is all there is",
}

// killPoints are tried each, several times.
var killPoints = []killPoint{
	{name: "before spool fsync", on: "spool", call: syscall.SYS_FDATASYNC, most: 60},
	{name: "after spool fsync", on: "spool", call: syscall.SYS_FDATASYNC, after: true, most: 60},
	{name: "before confirmation", on: "database", call: syscall.SYS_WRITE, matches: isConfirmation, most: 5, without: noConfirmation},
	{name: "after confirmation", on: "database", call: syscall.SYS_WRITE, after: true, matches: isConfirmation, most: 5, without: noConfirmation},
	{name: "before POST", on: "receiver", call: syscall.SYS_WRITE, matches: begins("POST "), most: 100},
	{name: "after POST", on: "receiver", call: syscall.SYS_WRITE, after: true, matches: begins("POST "), most: 100},
	{name: "answered", on: "receiver", call: syscall.SYS_READ, after: true, matches: begins("HTTP/1.1 2"), most: 100},
	{name: "before log line", on: "log", call: syscall.SYS_WRITE, most: 30},
	{name: "after log line", on: "log", call: syscall.SYS_WRITE, after: true, most: 30},
}

func begins(with string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(with)) }
}

// isConfirmation recognises a standby status update in copy data.
func isConfirmation(head []byte) bool { return len(head) > 5 && head[0] == 'd' && head[5] == 'r' }

// killOrder is what the tracing process is told.
type killOrder struct {
	Binary   string
	Args     []string
	Point    string // empty for none: the agent runs until it is told to end
	Nth      int
	Database int // ports
	Receiver int
	Report   string // file that gets the report
}

// killReport is what it tells.
type killReport struct {
	Killed bool
	// Synced is how far files were written when they were last synced.
	Synced map[string]int64
}

const orderVariable = "ROWHOOK_TEST_ORDER"

// tracer runs the agent and stops at its system calls.
type tracer struct {
	order   killOrder
	point   killPoint
	leader  int
	passed  int
	report  killReport
	pending map[int]*syncCall // thread to the sync that it is in
	killing map[int]bool      // threads that are let run to the end of the call
	ports   map[string]int    // socket to the port at its other end
}

// syncCall is one under way.
type syncCall struct {
	path string
	end  int64
}

// playKiller runs the agent by an order, and kills it.
func playKiller() error {
	t := &tracer{pending: map[int]*syncCall{}, killing: map[int]bool{}, ports: map[string]int{}}
	t.report.Synced = map[string]int64{}
	if err := json.Unmarshal([]byte(os.Getenv(orderVariable)), &t.order); err != nil {
		return err
	}
	for _, p := range killPoints {
		if p.name == t.order.Point {
			t.point = p
		}
	}
	// Only the thread that began to trace may go on with it.
	runtime.LockOSThread()
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(executable)
	cmd.Env = append(os.Environ(), roleVariable+"=traced")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.leader = cmd.Process.Pid
	if err := t.trace(); err != nil {
		return fmt.Errorf("trace the agent: %w", err)
	}
	raw, err := json.Marshal(t.report)
	if err != nil {
		return err
	}
	return os.WriteFile(t.order.Report, raw, 0o600)
}

// playTraced has the kernel stop this process at the calls that are looked at, and becomes the
// agent.
func playTraced() error {
	var order killOrder
	if err := json.Unmarshal([]byte(os.Getenv(orderVariable)), &order); err != nil {
		return err
	}
	calls := []uint32{syscall.SYS_FDATASYNC, syscall.SYS_FSYNC, syscall.SYS_WRITE}
	for _, p := range killPoints {
		if p.name == order.Point && p.call == syscall.SYS_READ {
			calls = append(calls, syscall.SYS_READ)
		}
	}
	runtime.LockOSThread() // the filter is this thread's
	if err := filterCalls(calls); err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return syscall.Exec(order.Binary, append([]string{order.Binary}, order.Args...), os.Environ())
}

// filterCalls makes these calls of this thread, and of all that comes of it, stop for its tracer.
func filterCalls(calls []uint32) error {
	const (
		load, equal, give = syscall.BPF_LD | syscall.BPF_W | syscall.BPF_ABS, syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, syscall.BPF_RET | syscall.BPF_K
		allow, stop       = 0x7fff0000, 0x7ff00000
		setSeccomp        = 22
		modeFilter        = 2
		noNewPrivileges   = 38
	)
	n := len(calls)
	program := []syscall.SockFilter{
		{Code: load, K: 4}, {Code: equal, K: auditArch, Jf: uint8(n + 1)},
		{Code: load, K: 0},
	}
	for i, call := range calls {
		program = append(program, syscall.SockFilter{Code: equal, K: call, Jt: uint8(n - i)})
	}
	program = append(program, syscall.SockFilter{Code: give, K: allow}, syscall.SockFilter{Code: give, K: stop})
	filter := syscall.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, noNewPrivileges, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setSeccomp, modeFilter, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		return errno
	}
	return nil
}

// What ptrace tells.
const (
	eventSeccomp = 7
	syscallStop  = syscall.SIGTRAP | 0x80
	options      = syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEEXEC | syscall.PTRACE_O_TRACESYSGOOD | 1<<eventSeccomp | 1<<20 // the last: it ends with us
)

// trace follows the agent until it has ended.
func (t *tracer) trace() error {
	known := map[int]bool{}
	for {
		var status syscall.WaitStatus
		thread, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if !status.Stopped() {
			if thread == t.leader {
				return nil
			}
			continue
		}
		if thread == t.leader && !known[thread] {
			if err := syscall.PtraceSetOptions(thread, options); err != nil {
				return err
			}
		}
		first := !known[thread]
		known[thread] = true
		signal, toEnd := 0, false
		switch stopped := status.StopSignal(); {
		case stopped == syscallStop:
			t.leave(thread)
		case stopped == syscall.SIGTRAP && status.TrapCause() == eventSeccomp:
			toEnd = t.enter(thread)
		case stopped == syscall.SIGTRAP && (status.TrapCause() > 0 || first):
		case stopped == syscall.SIGSTOP && first:
		default:
			signal = int(stopped)
		}
		resume := syscall.PtraceCont
		if toEnd {
			resume = syscall.PtraceSyscall
		}
		// A thread may have been killed meanwhile.
		if err := resume(thread, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
}

// kill is kill -9, at the order's point.
func (t *tracer) kill() {
	t.report.Killed = true
	_ = syscall.Kill(t.leader, syscall.SIGKILL) // it cannot have gone
}

// enter looks at a call that is about to be made. It reports whether its end matters.
func (t *tracer) enter(thread int) (toEnd bool) {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(thread, &regs) != nil {
		return false // killed
	}
	nr, args, _ := callOf(&regs)
	fd := int(args[0])
	if nr == syscall.SYS_FDATASYNC || nr == syscall.SYS_FSYNC {
		t.pending[thread] = &syncCall{t.path(fd), t.offset(fd)}
		toEnd = true
	}
	if nr != t.point.call || t.order.Point == "" || t.report.Killed || t.target(fd) != t.point.on {
		return toEnd
	}
	if nr == syscall.SYS_READ {
		return true
	}
	if t.point.matches != nil && !t.point.matches(t.head(thread, args[1], args[2])) {
		return toEnd
	}
	if t.passed++; t.passed < t.order.Nth {
		return toEnd
	}
	if !t.point.after {
		t.kill()
		return toEnd
	}
	t.killing[thread] = true
	return true
}

// leave looks at a call that has been made.
func (t *tracer) leave(thread int) {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(thread, &regs) != nil {
		return
	}
	nr, args, result := callOf(&regs)
	if done := t.pending[thread]; done != nil {
		delete(t.pending, thread)
		if result == 0 {
			t.report.Synced[done.path] = max(done.end, t.report.Synced[done.path])
		}
	}
	if t.killing[thread] {
		t.kill()
		return
	}
	if nr != syscall.SYS_READ || result <= 0 || t.report.Killed || !t.point.matches(t.head(thread, args[1], uint64(result))) {
		return
	}
	if t.passed++; t.passed == t.order.Nth {
		t.kill()
	}
}

// head is the beginning of the agent's buffer.
func (t *tracer) head(thread int, at, size uint64) []byte {
	head := make([]byte, min(size, 16))
	n, _ := syscall.PtracePeekData(thread, uintptr(at), head) // what cannot be read does not match
	return head[:max(n, 0)]
}

// target says what a descriptor of the agent's is: spool (the store's log), log (the delivery log),
// database, receiver, or nothing of these.
func (t *tracer) target(fd int) string {
	path := t.path(fd)
	switch {
	case strings.Contains(path, "/state/spool/") && strings.HasSuffix(path, ".log"):
		return "spool"
	case strings.HasSuffix(path, "/log/deliveries.jsonl"):
		return "log"
	case strings.HasPrefix(path, "socket:["):
		switch t.port(path) {
		case t.order.Database:
			return "database"
		case t.order.Receiver:
			return "receiver"
		}
	}
	return ""
}

func (t *tracer) path(fd int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.leader, fd)) // a target of no kind otherwise
	return path
}

// offset is how far a descriptor's file is written.
func (t *tracer) offset(fd int) int64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", t.leader, fd))
	rest, _ := strings.CutPrefix(string(raw), "pos:")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64) // zero if it is gone: nothing was synced
	return n
}

// port is that at the other end of a TCP connection; 0 for other sockets.
func (t *tracer) port(socket string) int {
	if port, ok := t.ports[socket]; ok {
		return port
	}
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", t.leader))
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[9] != strings.Trim(socket, "socket:[]") {
			continue
		}
		_, hex, _ := strings.Cut(fields[2], ":")
		port, _ := strconv.ParseInt(hex, 16, 32)
		t.ports[socket] = int(port)
		return int(port)
	}
	return 0 // not connected yet
}
