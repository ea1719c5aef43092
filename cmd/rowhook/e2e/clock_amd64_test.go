package e2e_test

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// The machine's wall clock jumps by an hour back and a day ahead, and back again, while deliveries
// wait for their next try, also over a restart: nothing is lost, no delivery waits for the clock to
// come by again, and no storm of tries breaks loose.
func TestClock(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testClock)
}

func testClock(t *testing.T, w *world) {
	s := w.scenario("clock")
	w.hook.anyTime = true
	fails := failing(7)
	w.hook.answer(fails)
	a := w.begin()
	clock := clockOf(t, a.pid)
	l := w.load(2, 50, false)
	const back, ahead = -time.Hour, 24 * time.Hour
	jumps := 0
	jump := func(by time.Duration) {
		t.Helper()
		clock.set(by)
		jumps++
	}
	// restart kills the agent while the receiver answers with a refusal, starts it again and lets
	// jump set its clock.
	restart := func(refusal reply, jump func(*agent)) *agent {
		t.Helper()
		w.hook.answer(func(arrival) reply { return refusal })
		waiting, refused := w.hook.requests.Load(), int64(5)
		if refusal.status == 503 {
			refused = 0 // there is one request a second
		}
		eventually(t, patience, "tries fail", func() bool { return w.hook.requests.Load() > waiting+refused })
		a.kill()
		a = w.start()
		clock = clockOf(t, a.pid)
		jump(a)
		w.hook.answer(fails)
		w.hook.wait(t, "main", w.hook.distinct("main")+100, patience)
		return a
	}
	for range count(1, 10) {
		for _, by := range []time.Duration{back, 0, ahead, back, 0} {
			requests, events := w.hook.requests.Load(), w.hook.distinct("main")
			jump(by)
			w.hook.wait(t, "main", events+100, patience)
			requests, events = w.hook.requests.Load()-requests, w.hook.distinct("main")-events
			if requests > 2*int64(events)+50 {
				t.Errorf("%d requests for %d events once the clock had jumped to %s", requests, events, by)
			}
		}
		// A receiver that goes by the time that was signed refuses meanwhile, and has everything
		// once the clock is right.
		for _, by := range []time.Duration{back, ahead} {
			w.hook.answer(func(a arrival) reply {
				if a.skew.Abs() > 5*time.Minute {
					return reply{status: 401}
				}
				return reply{}
			})
			jump(by)
			refused := len(w.hook.all("main"))
			eventually(t, patience, "requests are refused", func() bool {
				all := w.hook.all("main")
				return len(all) > refused+3 && !all[len(all)-1].accepted
			})
			jump(0)
			w.hook.wait(t, "main", w.hook.distinct("main")+100, patience)
			w.hook.answer(fails)
		}
		// Tries are due by a clock that is another one when the agent starts again.
		for _, by := range []time.Duration{ahead, 0, back, 0} {
			a = restart(reply{status: 500}, func(a *agent) {
				clock.set(by)
				w.streaming(a)
			})
			jumps++
		}
		// What the endpoint asked for before a restart is kept to, but a clock that is set back
		// then does not prolong it.
		for _, by := range []time.Duration{back, 0} {
			a = restart(reply{status: 503, header: map[string]string{"Retry-After": "1"}}, func(a *agent) {
				w.streaming(a)
				clock.set(by)
			})
			jumps++
		}
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main", killed: true})
	s.did(jumps, "jump of the wall clock, 1 h back or 24 h ahead", "jumps of the wall clock, 1 h back or 24 h ahead")
}

// wallClock is the wall clock as one process sees it. The process asks the kernel's vDSO for the
// time; what is put in its place asks the kernel too and adds an offset to the wall clock. The
// machine's clock and other processes have no part in it.
type wallClock struct {
	tb     testing.TB
	memory *os.File
	offset int64 // address of the offset in seconds
}

// realtime is clock_gettime(2), which adds the 8 bytes behind itself to the seconds of CLOCK_REALTIME:
//
//	mov eax, 228; syscall; test edi, edi; jne done; mov rcx, [offset]; add [rsi], rcx; done: ret
const realtime = "b8e4000000" + "0f05" + "85ff" + "750a" + "488b0d04000000" + "48010e" + "c3"

// clockOf takes over the clock of a process that has just started.
func clockOf(tb testing.TB, pid int) *wallClock {
	tb.Helper()
	var from, to int64
	// A process that has just been forked has its parent's memory, and none while the kernel
	// replaces it.
	eventually(tb, patience, "the process is the agent", func() bool {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		capturetest.Must(tb, err)
		if !strings.Contains(string(maps), binary) {
			return false
		}
		for line := range strings.Lines(string(maps)) {
			if strings.HasSuffix(line, "[vdso]\n") {
				_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
				capturetest.Must(tb, err)
			}
		}
		return to > from
	})
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	capturetest.Must(tb, err)
	tb.Cleanup(func() { _ = memory.Close() })
	image := make([]byte, to-from)
	if _, err := memory.ReadAt(image, from); err != nil {
		tb.Fatalf("read the vDSO of process %d: %v", pid, err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	capturetest.Must(tb, err)
	symbols, err := file.DynamicSymbols()
	capturetest.Must(tb, err)
	entry := int64(-1)
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			entry = int64(s.Value)
		}
	}
	code, err := hex.DecodeString(realtime)
	capturetest.Must(tb, err)
	code = append(code, make([]byte, 8)...)
	place := (int64(len(image)) - int64(len(code))) &^ 15 // behind all that is used
	if entry < 0 || !bytes.Equal(image[place:], make([]byte, int64(len(image))-place)) {
		tb.Fatalf("no clock to take over: entry %d, %d bytes", entry, len(image))
	}
	c := &wallClock{tb, memory, from + place + int64(len(code)) - 8}
	c.put(from+place, code)
	distance := uint32(int32(place - entry - 5))
	jump := []byte{0xe9, byte(distance), byte(distance >> 8), byte(distance >> 16), byte(distance >> 24)}
	stopOutside(tb, pid, from+entry+1, from+entry+int64(len(jump)))
	c.put(from+entry, jump)
	capturetest.Must(tb, syscall.Kill(pid, syscall.SIGCONT))
	return c
}

// stopOutside stops a process where none of its threads is between the instructions of [from, to),
// which it may then be given others for.
func stopOutside(tb testing.TB, pid int, from, to int64) {
	tb.Helper()
	eventually(tb, patience, "no thread is inside the code", func() bool {
		capturetest.Must(tb, syscall.Kill(pid, syscall.SIGSTOP))
		places := threads(tb, pid)
		inside := func(at int64) bool { return from <= at && at < to }
		if places != nil && !slices.ContainsFunc(places, inside) {
			return true
		}
		capturetest.Must(tb, syscall.Kill(pid, syscall.SIGCONT))
		return false
	})
}

// threads tells where the threads of a process stand; nil unless all have been stopped.
func threads(tb testing.TB, pid int) (places []int64) {
	tb.Helper()
	for {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		capturetest.Must(tb, err)
		places = places[:0]
		moving := len(files) == 0
		for _, file := range files {
			call, err := os.ReadFile(file)
			if err != nil {
				return nil // a thread has ended
			}
			if string(call) == "running\n" {
				moving = true
				break
			}
			// The last of the fields is the program counter.
			fields := strings.Fields(string(call))
			at, err := strconv.ParseInt(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
			capturetest.Must(tb, err)
			places = append(places, at)
		}
		if !moving {
			return places
		}
	}
}

// set makes the process's wall clock differ from the machine's.
func (c *wallClock) set(by time.Duration) {
	c.tb.Helper()
	seconds := uint64(int64(by / time.Second))
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(seconds >> (8 * i))
	}
	c.put(c.offset, b)
}

func (c *wallClock) put(at int64, b []byte) {
	c.tb.Helper()
	if _, err := c.memory.WriteAt(b, at); err != nil {
		c.tb.Fatalf("set the clock of a process: %v", err)
	}
}
