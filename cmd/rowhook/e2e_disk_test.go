package main_test

import (
	"bytes"
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

// smallDisk makes a directory of its own small file system. Without root it is
// mounted in a user namespace of a helper process, and reached through /proc.
func smallDisk(tb testing.TB, bytes int) string {
	tb.Helper()
	dir := newTempDir(tb)
	options := fmt.Sprintf("size=%d,mode=700", bytes)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err == nil {
		tb.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		return dir
	}
	cmd := exec.Command("sh", "-c", `mount -t tmpfs -o "$1" rowhook "$0" && echo mounted >&2 && exec sleep 3600`, dir, options)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	holder := launch(tb, cmd)
	holder.says("mounted")
	return fmt.Sprintf("/proc/%d/root%s", holder.pid, dir)
}

// fill takes all the room that is left in a directory's file system, and returns what
// gives it back.
func fill(tb testing.TB, dir string) (free func()) {
	tb.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	capturetest.Must(tb, err)
	defer f.Close()
	for chunk := make([]byte, 1<<16); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			tb.Fatal(err)
		}
	}
	return func() { capturetest.Must(tb, os.Remove(name)) }
}

// While free disk is below the reserve nothing is taken from the database, which keeps
// it; when there is room again everything goes on by itself.
func TestDiskBelowReserve(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	disk := smallDisk(t, 192<<20)
	capturetest.Must(t, os.Symlink(disk, w.path("state")))
	w.conf.spool = "{max_size: 1GiB, reserve: 8MiB}"
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	free := fill(t, disk)
	// The disk is asked once a second; what comes before may still find a place.
	rows := 1
	eventually(t, patience, "the agent says why nothing moves", func() bool {
		rows++
		w.insert(int64(rows))
		return strings.Contains(a.stderr.String(), "reserve")
	})
	taken := w.hook.distinct("main")
	elapse(t, 2*time.Second, "nothing is taken", func() bool { return a.running() && w.hook.distinct("main") <= taken+1 })
	if _, code := w.status(); code != 3 {
		t.Errorf("status ends with %d while the disk is full, want 3", code)
	}
	free()
	w.hook.wait(t, "main", rows, patience)
	w.logCount("main", rows)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
}

// A disk that is full in earnest, without a reserve, ends the agent or makes it wait;
// it never loses an event.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	disk := smallDisk(t, 128<<20)
	capturetest.Must(t, os.Symlink(disk, w.path("state")))
	w.conf.spool = "{max_size: 1GiB, reserve: 0}"
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.logCount("main", 1)
	w.hook.down()
	free := fill(t, disk)
	w.exec(fmt.Sprintf(`begin; insert into proof.rows select g, 1, 'kept %s' from generate_series(2, 60000) g;
		insert into proof.ledger (id, seq, op) select g, 1, 'insert' from generate_series(2, 60000) g; commit`, filler))
	eventually(t, patience, "it ends, or says that it waits", func() bool {
		return !a.running() || strings.Contains(a.stderr.String(), "source is paused")
	})
	said := a.stderr.String()
	ended := !a.running()
	if ended && (a.code != 1 || !strings.Contains(said, "no space left")) {
		t.Errorf("ended with %d: %s", a.code, said)
	}
	free()
	w.hook.up(t)
	if ended {
		a = w.start()
	}
	w.hook.wait(t, "main", 60000, 3*patience)
	w.logCount("main", 60000)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main", killed: ended})
}

// Nothing is sent unlogged: while the delivery log cannot be written, deliveries wait.
func TestLogNotWritable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	disk := smallDisk(t, 1<<20)
	capturetest.Must(t, os.Symlink(disk, w.path("log")))
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.logCount("main", 1)
	free := fill(t, disk)
	// What fits into the log's last page may still be sent.
	for key := int64(2); ; key++ {
		w.insert(key)
		if key%20 == 0 && strings.Contains(a.stderr.String(), "delivery log") {
			break
		}
		if key > 2000 {
			t.Fatal("the agent says nothing of a log that cannot be written")
		}
	}
	eventually(t, patience, "deliveries wait", func() bool {
		before := w.hook.requests.Load()
		elapse(t, 500*time.Millisecond, "", nil)
		return before == w.hook.requests.Load()
	})
	w.insert(5000, 5001)
	elapse(t, time.Second, "nothing is sent", func() bool { return w.hook.distinct("main") < int(w.number(`select count(*) from proof.ledger`)) })
	if _, code := w.status(); code != 3 {
		t.Errorf("status ends with %d while the log cannot be written, want 3", code)
	}
	free()
	total := int(w.number(`select count(*) from proof.ledger`))
	w.hook.wait(t, "main", total, patience)
	w.logCount("main", total)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
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
	w.hugeInsert(rows)
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
