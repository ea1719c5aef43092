package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

const memDir = "state/spool"

func memOptions(t testing.TB, files vfs.FS) Options {
	o := testOptions(t)
	o.FS = files
	o.Logger = nil // damage is told by errors here
	return o
}

// image is a store in memory as a crash leaves it, and what it must tell.
type image struct {
	files *vfs.MemFS
	ids   []delivery.ProfileID
	total int
}

// newImage makes a store with tables, an unflushed log and deliveries. All of it is synced.
func newImage(t testing.TB) *image {
	t.Helper()
	files := vfs.NewCrashableMem()
	s, err := Open(memDir, memOptions(t, files))
	if err != nil {
		t.Fatal(err)
	}
	im := &image{total: 400}
	im.ids = []delivery.ProfileID{register(t, s, "one"), register(t, s, "two")}
	step := func(n int) {
		appendEvents(t, s, n, n+20, im.ids...)
		flush(t, s)
	}
	for n := 0; n < 200; n += 20 {
		step(n)
	}
	im.deliver(t, s, 1, 50)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	im.deliver(t, s, 50, 80)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	for n := 200; n < im.total; n += 20 {
		step(n)
	}
	im.deliver(t, s, 80, 100)
	flush(t, s)
	if err := s.SetMeta("identity", []byte("here")); err != nil {
		t.Fatal(err)
	}
	if err := s.seal(); err != nil {
		t.Fatal(err)
	}
	im.files = files.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return im
}

// deliver finishes the first profile's events from a to b-1, but for every tenth, which is
// retrying.
func (im *image) deliver(t testing.TB, s *Spool, a, b delivery.Seq) {
	t.Helper()
	u := delivery.Update{Progress: &delivery.Progress{Cursor: b}}
	for seq := a; seq < b; seq++ {
		if seq%10 == 0 {
			u.Put = append(u.Put, delivery.Delivery{
				Seq: seq, State: delivery.Retrying, Lane: uint64(seq), WaitLane: uint64(seq), Round: 1, Attempts: 1,
				Due: epoch.Add(time.Duration(seq) * time.Second), Since: epoch, Body: fmt.Appendf(nil, "body %d", seq),
			})
			continue
		}
		u.DoneEvents++
	}
	if err := s.Update(im.ids[0], u); err != nil {
		t.Fatal(err)
	}
}

// check opens the store and reads everything. The error is what the store says; what is told
// without an error must be right.
func (im *image) check(t testing.TB, files vfs.FS) (err error) {
	t.Helper()
	s, err := Open(memDir, memOptions(t, files))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}()
	for _, id := range im.ids {
		if err := im.checkLog(t, s, id); err != nil {
			return err
		}
	}
	if value, err := s.Meta("identity"); err != nil || string(value) != "here" {
		return fmt.Errorf("meta %q: %w", value, orSilent(err))
	}
	return im.checkProfile(s)
}

// errSilent marks a wrong answer that came without an error.
var errSilent = errors.New("silently wrong")

func orSilent(err error) error {
	if err == nil {
		return errSilent
	}
	return err
}

func (im *image) checkLog(t testing.TB, s *Spool, id delivery.ProfileID) error {
	n := 0
	for from := delivery.Seq(1); ; {
		entries, next, end, err := s.Read(id, from, nil, 64, 1<<20)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Seq != delivery.Seq(n+1) || !reflect.DeepEqual(e.Event, testEvent(n)) {
				return fmt.Errorf("event %d: %w", n, errSilent)
			}
			n++
		}
		if end {
			break
		}
		from = next
	}
	if n != im.total || s.Position() != fmt.Sprint("p", im.total) {
		return fmt.Errorf("%d events, position %s: %w", n, s.Position(), errSilent)
	}
	return nil
}

func (im *image) checkProfile(s *Spool) error {
	id := im.ids[0]
	progress, err := s.Progress(id)
	if err != nil || progress.Cursor != 100 {
		return fmt.Errorf("progress %v: %w", progress, orSilent(err))
	}
	due, err := s.Due(id, epoch.Add(time.Hour), nil, 100)
	if err != nil || len(due) != 9 {
		return fmt.Errorf("%d due: %w", len(due), orSilent(err))
	}
	for i, d := range due {
		if d.Seq != delivery.Seq(i*10+10) || string(d.Body) != fmt.Sprint("body ", d.Seq) {
			return fmt.Errorf("due %+v: %w", d, errSilent)
		}
		lane, err := s.Lane(id, d.Lane, 0, nil, 10)
		if err != nil || len(lane) != 1 {
			return fmt.Errorf("lane %v: %w", lane, orSilent(err))
		}
	}
	backlog, err := s.Backlog(id)
	if err != nil || backlog.Events != int64(im.total-99+9) || !backlog.Oldest.Equal(testEvent(9).Time) {
		return fmt.Errorf("backlog %+v: %w", backlog, orSilent(err))
	}
	return nil
}

func (im *image) names(t testing.TB) []string {
	t.Helper()
	names, err := im.files.List(memDir)
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "LOCK" || name == holderFile })
	slices.Sort(names)
	return names
}

// content returns a file of the image without the zeros it was preallocated with.
func (im *image) content(t testing.TB, name string) []byte {
	t.Helper()
	f, err := im.files.Open(im.files.PathJoin(memDir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// with returns the image with one file replaced, or without it.
func (im *image) with(t testing.TB, name string, content []byte) vfs.FS {
	t.Helper()
	files := im.files.CrashClone(vfs.CrashCloneCfg{})
	path := files.PathJoin(memDir, name)
	if content == nil {
		if err := files.Remove(path); err != nil {
			t.Fatal(err)
		}
		return files
	}
	f, err := files.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(slices.Clone(content))
	if err := errors.Join(err, f.Sync(), f.Close(), syncDir(files, memDir)); err != nil {
		t.Fatal(err)
	}
	return files
}

// offsets spreads n places over a file, and takes the first and the last bytes all.
func offsets(size, n int) []int {
	var at []int
	for i := range size {
		if i < n/2 || i >= size-n/2 || i*n/size != (i-1)*n/size {
			at = append(at, i)
		}
	}
	return at
}

// TestFlippedByte damages a synced store in every file and every region of it. Each must be
// told, unless everything is still there.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	im := newImage(t)
	if err := im.check(t, im.files.CrashClone(vfs.CrashCloneCfg{})); err != nil {
		t.Fatal(err)
	}
	for _, name := range im.names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := im.content(t, name)
			told := 0
			at := offsets(len(content), 40)
			for _, i := range at {
				damaged := slices.Clone(content)
				damaged[i] ^= 0x41
				err := im.check(t, im.with(t, name, damaged))
				if errors.Is(err, errSilent) {
					t.Errorf("byte %d of %d: %v", i, len(content), err)
				}
				if err != nil {
					told++
					expectDamage(t, err)
				}
			}
			t.Logf("%d of %d flips told", told, len(at))
		})
	}
}

func expectDamage(t *testing.T, err error) {
	t.Helper()
	var damage *DamageError
	var version *VersionError
	var remedy interface{ RemedyText() string }
	if !errors.As(err, &damage) && !errors.As(err, &version) || !errors.As(err, &remedy) {
		t.Errorf("neither damage nor version: %T %v", err, err)
	}
}

// TestMissingFile takes each file away.
func TestMissingFile(t *testing.T) {
	t.Parallel()
	im := newImage(t)
	for _, name := range im.names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := im.check(t, im.with(t, name, nil))
			if errors.Is(err, errSilent) {
				t.Error(err)
			}
			if err != nil {
				expectDamage(t, err)
			} else if !strings.HasPrefix(name, "OPTIONS") {
				t.Logf("nothing was missed")
			}
		})
	}
}

// TestMissingValues takes a file of values away, or its end: the opening says so, before any event is
// read.
func TestMissingValues(t *testing.T) {
	t.Parallel()
	im := newImage(t)
	blobs := 0
	for _, name := range im.names(t) {
		if !strings.HasSuffix(name, ".blob") {
			continue
		}
		blobs++
		whole := im.content(t, name)
		for what, rest := range map[string][]byte{"missing": nil, "cut": whole[:len(whole)-1]} {
			s, err := Open(memDir, memOptions(t, im.with(t, name, rest)))
			if err == nil {
				t.Errorf("%s %s: nothing is said", name, what)
				_ = s.Close()
			} else {
				expectDamage(t, err)
			}
		}
	}
	if blobs == 0 {
		t.Error("the image has no file of values")
	}
}

// TestTornTail cuts the live log behind what was synced and sealed: this is what a crash does, and
// is repaired silently.
func TestTornTail(t *testing.T) {
	t.Parallel()
	files := vfs.NewCrashableMem()
	s, err := Open(memDir, memOptions(t, files))
	if err != nil {
		t.Fatal(err)
	}
	id := register(t, s, "one")
	appendEvents(t, s, 0, 50, id)
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.durable.syncing.Lock() // no sync from here on
	appendEvents(t, s, 50, 400, id)
	crashed := files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: newRand(1)})
	s.durable.syncing.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(memDir, memOptions(t, crashed)); err != nil {
		t.Fatal(err)
	}
	n := len(readAll(t, s, id, 1))
	if n != 50 && n != 400 {
		t.Errorf("%d events", n)
	}
	if want := fmt.Sprint("p", n); s.Position() != want || s.Durable() != want {
		t.Errorf("position %s, durable %s, want %s", s.Position(), s.Durable(), want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
