package deliverylog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rowhook/delivery"
)

// logClock is a clock that tests move.
type logClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *logClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *logClock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

// logBench is a log in a directory of its own.
type logBench struct {
	*Log
	path  string
	clock *logClock
	n     int
}

func setupLog(t testing.TB, o Options, open func(string) (logFile, error)) *logBench {
	t.Helper()
	clock := &logClock{at: logNow}
	o.Now = clock.now
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "log", "deliveries.jsonl")
	}
	if open == nil {
		open = openLogFile
	}
	l, err := openLog(o, open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &logBench{Log: l, path: o.Path, clock: clock}
}

// add appends a record with the next number as its event id.
func (b *logBench) add(n int) {
	for range n {
		b.n++
		b.Append(&delivery.LogRecord{Time: b.clock.now(), Profile: "desk", Outcome: delivery.OutcomeDelivered, Event: "evt_" + strconv.Itoa(b.n)})
	}
}

// lines returns the events of all lines in all files, and fails for a line that is not whole.
func (b *logBench) lines(t testing.TB) []string {
	t.Helper()
	rotated, err := rotatedLogs(b.path)
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{}
	for _, f := range rotated {
		paths = append(paths, f.path)
	}
	var events []string
	for _, path := range append(paths, b.path) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			rec, err := ParseLine(line)
			if err != nil || line[len(line)-1] != '\n' {
				t.Fatalf("%s: line %q: %v", path, line, err)
			}
			events = append(events, rec.Event)
		}
	}
	return events
}

// assertAll fails unless the files hold events 1 to n, once each and in order.
func (b *logBench) assertAll(t testing.TB, n int) {
	t.Helper()
	got := b.lines(t)
	for i := range got {
		if got[i] != "evt_"+strconv.Itoa(i+1) {
			t.Fatalf("line %d is %s", i+1, got[i])
		}
	}
	if len(got) != n {
		t.Fatalf("%d lines, want %d", len(got), n)
	}
}

func flushed(t testing.TB, l *logBench) {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestLogFileIsTheOwnersAlone(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{}, nil)
	l.add(3)
	if got := l.lines(t); len(got) != 0 {
		t.Errorf("%d lines before the flush", len(got))
	}
	flushed(t, l)
	l.assertAll(t, 3)
	for path, want := range map[string]fs.FileMode{l.path: 0o600, filepath.Dir(l.path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("flush after close: %v", err)
	}
}

// The log is a file of its own: through a link or a device, lines and rotations would touch what is
// somebody else's.
func TestLogRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link, pipe := filepath.Join(dir, "target"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(target, []byte("mine"), 0o600), os.Symlink(target, link), syscall.Mkfifo(pipe, 0o600),
		os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, pipe, filepath.Join(dir, "dangling"), "/dev/null", dir} {
		l, err := Open(Options{Path: path})
		if err == nil {
			_ = l.Close()
			t.Errorf("%s was opened", path)
		}
		var remedy interface{ RemedyText() string }
		if !errors.As(err, &remedy) || remedy.RemedyText() == "" {
			t.Errorf("%s: %v has no remedy", path, err)
		}
	}
	if kept, err := os.ReadFile(target); err != nil || string(kept) != "mine" {
		t.Errorf("the link's target holds %q, %v", kept, err)
	}
}

func TestLogRefusesASecondWriter(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{}, nil)
	if _, err := Open(Options{Path: l.path}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
	_ = l.Close()
	second, err := Open(Options{Path: l.path})
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}

func TestLogRotatesAtLines(t *testing.T) {
	t.Parallel()
	const total = 300
	l := setupLog(t, Options{MaxSize: 1000, MaxTotal: 1 << 30}, nil)
	for range total / 10 {
		l.add(10) // about 900 bytes at once
		flushed(t, l)
	}
	l.assertAll(t, total)
	rotated, _ := rotatedLogs(l.path)
	if len(rotated) < 20 {
		t.Fatalf("%d rotated files", len(rotated))
	}
	for _, f := range rotated {
		if f.size > 1000 || f.size < 800 {
			t.Errorf("%s has %d bytes", f.path, f.size)
		}
		if info, err := os.Stat(f.path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", f.path, info.Mode(), err)
		}
	}
	name := filepath.Base(rotated[0].path)
	if name != "deliveries-20261122T010203.456789Z.jsonl" {
		t.Errorf("name %s", name)
	}
}

func TestLogTakesALineLargerThanAFile(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{MaxSize: 1000, Body: 1 << 20}, nil)
	l.add(1)
	l.n++
	l.Append(&delivery.LogRecord{Time: logNow, Event: "evt_2", Body: bytes.Repeat([]byte("x"), 5000)})
	l.add(1)
	flushed(t, l)
	l.assertAll(t, 3)
}

func TestLogKeepsForItsTimeAndSize(t *testing.T) {
	t.Parallel()
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		l := setupLog(t, Options{Keep: 30 * time.Hour}, nil)
		for range 40 {
			l.add(1)
			flushed(t, l)
			l.clock.move(2 * time.Hour) // more than a thirtieth, so a new file each time
		}
		flushed(t, l)
		rotated, _ := rotatedLogs(l.path)
		if len(rotated) < 14 || len(rotated) > 17 {
			t.Errorf("%d files left", len(rotated))
		}
		for _, f := range rotated {
			if age := l.clock.now().Sub(f.closed); age > 31*time.Hour {
				t.Errorf("%s is %s old", f.path, age)
			}
		}
	})
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		l := setupLog(t, Options{MaxSize: 1000, MaxTotal: 5000}, nil)
		l.add(500)
		flushed(t, l)
		got := l.lines(t)
		if len(got) == 0 || got[len(got)-1] != "evt_500" {
			t.Fatal("the newest are not there")
		}
		rotated, _ := rotatedLogs(l.path)
		total := int64(0)
		for _, f := range rotated {
			total += f.size
		}
		if total > 5000 || len(rotated) < 4 {
			t.Errorf("%d files with %d bytes", len(rotated), total)
		}
	})
	t.Run("other files stay", func(t *testing.T) {
		t.Parallel()
		l := setupLog(t, Options{MaxSize: 200, MaxTotal: 200}, nil)
		others := []string{"deliveries-notes.jsonl", "deliveries-20261122T010203.456789Z.jsonl.gz", "other-20001122T010203.456789Z.jsonl"}
		for _, name := range others {
			if err := os.WriteFile(filepath.Join(filepath.Dir(l.path), name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l.add(50)
		flushed(t, l)
		for _, name := range others {
			if _, err := os.Stat(filepath.Join(filepath.Dir(l.path), name)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLogFollowsALogrotate(t *testing.T) {
	t.Parallel()
	t.Run("moved", func(t *testing.T) {
		t.Parallel()
		l := setupLog(t, Options{}, nil)
		l.add(2)
		flushed(t, l)
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			t.Fatal(err)
		}
		l.add(1)
		flushed(t, l) // too early to notice
		l.clock.move(2 * time.Second)
		l.add(1)
		flushed(t, l)
		if got := l.lines(t); len(got) != 1 || got[0] != "evt_4" {
			t.Errorf("new file: %v", got)
		}
		if data, _ := os.ReadFile(l.path + ".1"); bytes.Count(data, []byte("\n")) != 3 {
			t.Errorf("old file: %s", data)
		}
	})
	t.Run("emptied", func(t *testing.T) {
		t.Parallel()
		l := setupLog(t, Options{}, nil)
		l.add(2)
		flushed(t, l)
		if err := os.Truncate(l.path, 0); err != nil {
			t.Fatal(err)
		}
		l.clock.move(2 * time.Second)
		l.add(1)
		flushed(t, l)
		if got := l.lines(t); len(got) != 1 || got[0] != "evt_3" {
			t.Errorf("file: %v", got)
		}
	})
}

// TestLogTornTails opens files as a kill or a power loss leaves them.
func TestLogTornTails(t *testing.T) {
	t.Parallel()
	line := func(event string) string {
		return string(AppendLine(nil, &delivery.LogRecord{Time: logNow, Event: event}, 0))
	}
	one, two := line("evt_1")+"\n", line("evt_2")+"\n"
	for _, test := range []struct {
		name string
		data string
		want int // whole lines that stay
	}{
		{"empty", "", 0},
		{"whole", one + two, 2},
		{"cut", one + two[:20], 1},
		{"cut after the brace", one + two[:len(two)-1], 2},
		{"cut in the first line", one[:5], 0},
		{"zeros", one + strings.Repeat("\x00", 5000), 1},
		{"long torn line", one + two[:20] + strings.Repeat("x", 200_000), 1},
		{"only a newline missing", one[:len(one)-1], 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "deliveries.jsonl")
			if err := os.WriteFile(path, []byte(test.data), 0o600); err != nil {
				t.Fatal(err)
			}
			l := setupLog(t, Options{Path: path}, nil)
			l.n = test.want
			l.add(2)
			flushed(t, l)
			l.assertAll(t, test.want+2)
		})
	}
}

func TestLogWritesAFullBufferItself(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{Body: 1 << 20}, nil)
	body := bytes.Repeat([]byte("x"), 100_000)
	for i := range 30 {
		l.Append(&delivery.LogRecord{Time: logNow, Event: "evt_" + strconv.Itoa(i+1), Body: body})
	}
	if got := len(l.lines(t)); got < 20 {
		t.Errorf("%d lines in the file", got)
	}
	flushed(t, l)
	l.assertAll(t, 30)
}

func TestLogConcurrently(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 500
	l := setupLog(t, Options{MaxSize: 20_000, MaxTotal: 1 << 30}, nil)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				l.Append(&delivery.LogRecord{Time: logNow, Event: fmt.Sprintf("%d/%d", w, i)})
				if i%20 == 0 {
					if err := l.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	flushed(t, l)
	next := make([]int, writers)
	for _, event := range l.lines(t) {
		var w, i int
		if _, err := fmt.Sscanf(event, "%d/%d", &w, &i); err != nil || next[w] != i {
			t.Fatalf("%s out of order, want %d", event, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d has %d lines", w, n)
		}
	}
}

// BenchmarkLog appends from one goroutine and flushes each hundred lines, as the engine does under
// load.
func BenchmarkLog(b *testing.B) {
	l := setupLog(b, Options{Body: 4000, MaxTotal: 200 << 20, MaxSize: 100 << 20}, nil)
	rec := logRecord()
	rec.Body = bytes.Repeat([]byte(`"member":"some value",`), 18)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Append(rec)
		if i%100 == 99 {
			if err := l.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
