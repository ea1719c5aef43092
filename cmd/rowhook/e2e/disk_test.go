package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// disk is a small file system of its own.
type disk struct {
	tb      testing.TB
	dir     string
	remount func(mode string) error // "ro" or "rw"
}

// smallDisk mounts a small file system. Without root it is mounted in a user namespace of a helper
// process, and reached through /proc.
func smallDisk(tb testing.TB, bytes int) *disk {
	tb.Helper()
	dir := newTempDir(tb)
	options := fmt.Sprintf("size=%d,mode=700", bytes)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err == nil {
		tb.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		return &disk{tb: tb, dir: dir, remount: func(mode string) error {
			flags := uintptr(syscall.MS_REMOUNT)
			if mode == "ro" {
				flags |= syscall.MS_RDONLY
			}
			return syscall.Mount("tmpfs", dir, "tmpfs", flags, options)
		}}
	}
	cmd := exec.Command("sh", "-c", `mount -t tmpfs -o "$1" rowhook "$0" && echo mounted >&2 &&
		while read mode; do mount -o remount,$mode "$0" && echo "mounted $mode" >&2; done`, dir, options)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	orders, err := cmd.StdinPipe()
	capturetest.Must(tb, err)
	holder := launch(tb, cmd)
	holder.says("mounted")
	times := map[string]int{}
	return &disk{tb: tb, dir: fmt.Sprintf("/proc/%d/root%s", holder.pid, dir), remount: func(mode string) error {
		_, err := fmt.Fprintln(orders, mode)
		times[mode]++
		eventually(tb, patience, "the disk is mounted "+mode, func() bool {
			return err != nil || strings.Count(holder.stderr.String(), "mounted "+mode) == times[mode]
		})
		return err
	}}
}

// readOnly makes the disk read-only, which nothing on it may be open for, or not.
func (d *disk) readOnly(on bool) {
	d.tb.Helper()
	mode := "rw"
	if on {
		mode = "ro"
	}
	capturetest.Must(d.tb, d.remount(mode))
}

// fill takes the room that is left in a directory's file system, but for some bytes, and returns
// what gives it back.
func fill(tb testing.TB, dir string, leave int64) (free func()) {
	tb.Helper()
	f, err := os.CreateTemp(dir, "ballast-")
	capturetest.Must(tb, err)
	defer f.Close()
	for chunk := make([]byte, 1<<16); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			tb.Fatal(err)
		}
	}
	info, err := f.Stat()
	capturetest.Must(tb, err)
	capturetest.Must(tb, f.Truncate(info.Size()-leave))
	return func() { capturetest.Must(tb, os.Remove(f.Name())) }
}

// While free disk is below the reserve nothing is taken from the database, which keeps
// it, also if the agent is killed; when there is room again everything goes on by itself.
func TestDiskBelowReserve(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testDiskBelowReserve)
}

func testDiskBelowReserve(t *testing.T, w *world) {
	s := w.scenario("disk-below-reserve")
	disk := smallDisk(t, 256<<20)
	capturetest.Must(t, os.Symlink(disk.dir, w.path("state")))
	w.conf.spool = "{max_size: 1GiB, reserve: 64MiB}"
	a := w.begin()
	l := w.load(2, 100, false)
	times := count(2, 10)
	for i := range times {
		w.hook.wait(t, "main", w.hook.distinct("main")+50, patience)
		// What is left has room for what comes before the agent asks the disk again, and for what
		// deliveries write while it is paused: logs and tables of the store, whole ones.
		free := fill(t, disk.dir, 56<<20)
		a.says("reserve")
		w.stands(a)
		if _, code := w.status(); code != 3 {
			t.Errorf("status ends with %d while the disk is full, want 3", code)
		}
		if i%2 == 1 {
			a.kill()
			most, rest := free, fill(t, disk.dir, 0)
			free = func() { most(); rest() }
			w.refuses(1, "no space left", "hint:")
		} else {
			elapse(t, time.Duration(count(500, 5000))*time.Millisecond, "the agent runs", a.running)
		}
		free()
		if i%2 == 1 {
			a = w.start()
		}
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main", killed: true})
	s.did(times, "disk filled under load", "times the disk was filled under load")
}

// What deliveries write while the source is paused is bounded by the reserve, also where the delivery
// log is on the same disk: before it is used up they wait, and go on by themselves.
func TestReserveUsedUp(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testReserveUsedUp)
}

func testReserveUsedUp(t *testing.T, w *world) {
	disk := smallDisk(t, 256<<20)
	for _, name := range []string{"state", "log"} {
		capturetest.Must(t, os.Mkdir(filepath.Join(disk.dir, name), 0o700))
		capturetest.Must(t, os.Symlink(filepath.Join(disk.dir, name), w.path(name)))
	}
	w.conf.spool = "{max_size: 1GiB, reserve: 64MiB}"
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  max_size: 4GiB\n"
	a := w.begin()
	w.hook.down()
	rows, each := 3_000, 100 // of 6.4 KB, which do not get smaller on the disk
	for from := 0; from < rows; from += each {
		var values []string
		for id := from; id < from+each; id++ {
			var note [4800]byte
			_, _ = rand.Read(note[:])
			values = append(values, fmt.Sprintf("(%d, 1, '%s')", id, base64.StdEncoding.EncodeToString(note[:])))
		}
		w.exec("insert into proof.rows values " + strings.Join(values, ","))
	}
	w.confirmed(patience)
	free := fill(t, disk.dir, 40<<20)
	eventually(t, patience, "the source is paused", func() bool {
		w.exec(fmt.Sprintf("insert into proof.rows values (%d, 1, 'one more')", rows))
		rows++
		return strings.Contains(a.stderr.String(), "the source is paused")
	})
	w.hook.answer(func(arrival) reply { return reply{status: 400} }) // each is tried three times, and kept as it was sent
	w.hook.up(t)
	a.says(`msg="deliveries wait"`)
	w.stands(a)
	if left := room(t, disk.dir); left < 16<<20 {
		t.Errorf("%d bytes are left, want a quarter of the reserve", left)
	}
	if _, code := w.status(); code != 3 {
		t.Errorf("status ends with %d while deliveries wait, want 3", code)
	}
	w.hook.answer(nil)
	free()
	eventually(t, 2*patience, "all that failed arrives with a retry", func() bool {
		w.rowhook("failed", "retry", "--all")
		return w.hook.distinct("main") == rows
	})
	w.logCount("main", rows)
	a.term()
}

// room is what is free in a directory's file system, in bytes.
func room(tb testing.TB, dir string) int64 {
	tb.Helper()
	var stat syscall.Statfs_t
	capturetest.Must(tb, syscall.Statfs(dir, &stat))
	return int64(stat.Bavail) * stat.Bsize
}

// stands waits until nothing arrives any more, while the database's log goes on unread.
func (w *world) stands(a *agent) {
	w.tb.Helper()
	eventually(w.tb, patience, "nothing is sent any more", func() bool {
		before := w.hook.requests.Load()
		elapse(w.tb, time.Second, "the agent runs", a.running)
		return before == w.hook.requests.Load()
	})
}

// A disk that is full in earnest, without a reserve, ends the agent or makes it wait;
// it never loses an event.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testDiskFull)
}

func testDiskFull(t *testing.T, w *world) {
	s := w.scenario("disk-full")
	disk := smallDisk(t, 128<<20)
	capturetest.Must(t, os.Symlink(disk.dir, w.path("state")))
	w.conf.spool = "{max_size: 1GiB, reserve: 0}"
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.logCount("main", 1)
	w.hook.down()
	free := fill(t, disk.dir, 0)
	rows, width := count(4_000, 150_000), count(10, 1)
	w.exec(fmt.Sprintf(`begin; insert into proof.rows select g, 1, 'kept %s' from %s where g > 1;
		insert into proof.ledger (id, seq, op) select g, 1, 'insert' from %s where g > 1; commit`, strings.Repeat(filler, width), numbers(rows), numbers(rows)))
	now := w.now()
	eventually(t, patience, "it ends, or says that it waits", func() bool {
		return !a.running() || strings.Contains(a.stderr.String(), "source is paused")
	})
	said := a.stderr.String()
	ended := !a.running()
	switch {
	case ended && (a.code != 1 || !strings.Contains(said, "no space left")):
		t.Errorf("ended with %d: %s", a.code, said)
	case !ended && w.settled(now):
		t.Error("the database was told that it may forget what found no room")
	}
	free()
	w.hook.up(t)
	if ended {
		a = w.start()
	}
	w.hook.wait(t, "main", rows, 3*patience)
	w.logCount("main", rows)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main", killed: ended})
	s.did(1, "disk filled within a transaction", "disks filled within a transaction")
}

// Nothing is sent unlogged: while the delivery log cannot be written, deliveries wait, and the
// database does not.
func TestLogNotWritable(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testLogNotWritable)
}

func testLogNotWritable(t *testing.T, w *world) {
	s := w.scenario("log-disk-full")
	disk := smallDisk(t, count(16, 128)<<20)
	capturetest.Must(t, os.Symlink(disk.dir, w.path("log")))
	a := w.begin()
	l := w.load(2, 50, false)
	times := count(2, 10)
	for range times {
		w.hook.wait(t, "main", w.hook.distinct("main")+50, patience)
		free := fill(t, disk.dir, 0)
		a.says("delivery log")
		w.stands(a) // what fits into the log's last page may still be sent
		elapse(t, time.Duration(count(500, 5000))*time.Millisecond, "the agent runs", a.running)
		w.confirmed(5 * time.Second)
		if _, code := w.status(); code != 3 {
			t.Errorf("status ends with %d while the log cannot be written, want 3", code)
		}
		free()
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	s.did(times, "log disk filled under load", "times the log's disk was filled under load")
}

// A disk that has become read-only, as a kernel makes one that fails, is said and changes nothing;
// the database keeps what happens meanwhile.
func TestDiskReadOnly(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testDiskReadOnly)
}

func testDiskReadOnly(t *testing.T, w *world) {
	s := w.scenario("disk-read-only")
	disks := map[string]*disk{"state": smallDisk(t, 256<<20), "log": smallDisk(t, 64<<20)}
	for name, disk := range disks {
		capturetest.Must(t, os.Symlink(disk.dir, w.path(name)))
	}
	w.conf.spool = "{max_size: 1GiB, reserve: 8MiB}"
	l := (*load)(nil)
	times := count(2, 10)
	for i := range times {
		for name, disk := range disks {
			a := w.begin()
			if l == nil {
				l = w.load(2, 50, false)
			}
			w.hook.wait(t, "main", w.hook.distinct("main")+30, patience)
			if i%2 == 0 {
				a.term()
			} else {
				a.kill()
			}
			disk.readOnly(true)
			w.refuses(1, "read-only", w.path(name))
			disk.readOnly(false)
		}
	}
	a := w.begin()
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main", killed: true})
	s.did(2*times, "remount read-only", "remounts read-only")
}

// A state directory has one agent; a second is refused and told who holds it.
func TestStateInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	a := w.begin()
	said := w.refuses(1)
	if !strings.Contains(said, fmt.Sprint(a.pid)) {
		t.Errorf("the message does not name process %d:\n%s", a.pid, said)
	}
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
}

// A slot has one agent; a second with a state directory of its own is refused and told
// who holds it.
func TestSlotInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	a := w.begin()
	holder := w.value(`select active_pid from pg_replication_slots where slot_name = 'rowhook'`)
	second := *w
	second.dir = newTempDir(t)
	said := second.refusesWith([]string{"--start", "slot"}, 1, "rowhook", holder)
	if strings.Count(said, "\n") > 40 {
		t.Errorf("the second agent says too much:\n%s", said)
	}
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
}

// Damage in the spool is never skipped in silence: either it hit nothing that matters
// and everything arrives, or the agent says what is damaged and ends.
func TestSpoolDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.down()
	a := w.begin()
	const rows = 3000
	w.hugeInsert(rows, 1)
	w.confirmed(patience)
	a.term()
	sound := w.path("sound")
	copyDir(t, w.path("state"), sound)

	refused := 0
	for _, name := range spoolFiles(t, sound) {
		for _, at := range []float64{0.1, 0.5, 0.9} {
			copyDir(t, sound, w.path("state"))
			rel, _ := filepath.Rel(sound, name)
			flip(t, w.path("state/"+rel), at)
			w.hook = newReceiver(t)
			capturetest.Must(t, os.RemoveAll(w.path("log")))
			a := w.start()
			eventually(t, patience, "it ends or delivers all", func() bool {
				return !a.running() || w.hook.distinct("main") == rows
			})
			if a.running() {
				a.term()
				continue
			}
			refused++
			said := a.stderr.String()
			if a.code != 1 || !strings.Contains(said, "hint:") {
				t.Errorf("byte at %.0f%% of %s flipped: ended with %d and says\n%s", at*100, rel, a.code, said)
			}
		}
	}
	if refused == 0 {
		t.Error("no damage was noticed: nothing was tried that matters")
	}
}

// spoolFiles lists the files of a state directory that hold events.
func spoolFiles(tb testing.TB, dir string) []string {
	tb.Helper()
	var names []string
	capturetest.Must(tb, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > 64<<10 {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// flip changes the byte at a part of what is used of a file: logs are longer than what
// is in them.
func flip(tb testing.TB, name string, part float64) {
	tb.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	capturetest.Must(tb, err)
	defer f.Close()
	raw, err := io.ReadAll(f)
	capturetest.Must(tb, err)
	at := int64(part * float64(len(bytes.TrimRight(raw, "\x00"))))
	_, err = f.WriteAt([]byte{raw[at] ^ 0xff}, at)
	capturetest.Must(tb, err)
}
