package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"rowhook/cmd/rowhook/cluster/natstest"
)

// bucketOf starts three servers with a bucket.
func bucketOf(t *testing.T) (context.Context, *natstest.Cluster, jetstream.JetStream, *objects) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	c, err := natstest.Start(ctx, natstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	nc, err := nats.Connect(c.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	store, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "b", Storage: jetstream.FileStorage, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	o, err := newObjects(ctx, js, store, "b")
	if err != nil {
		t.Fatal(err)
	}
	return ctx, c, js, o
}

// random is so many bytes that are always the same; at tells how many were read.
type random struct {
	rng  *rand.ChaCha8
	left int
	sum  hash.Hash
	at   func(left int)
}

func newRandom(n int, at func(left int)) *random {
	return &random{rand.NewChaCha8([32]byte{}), n, sha256.New(), at}
}

func (r *random) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.at != nil {
		r.at(r.left)
	}
	n, _ := r.rng.Read(p[:min(len(p), r.left, 10_000)])
	r.sum.Write(p[:n])
	r.left -= n
	return n, nil
}

// TestObject stores an object while the server that leads the bucket is killed, and reads it while
// the next one is: it is the same, and deleted it leaves nothing. With the race detector the servers
// live: it would find the client's own race, of a chunk that is sent again with the next one's bytes.
// `make cluster` runs it without.
func TestObject(t *testing.T) {
	t.Parallel()
	ctx, c, _, o := bucketOf(t)
	killed := -1
	kill := func() {
		if raceDetector {
			killed = 0
			return
		}
		if killed >= 0 {
			if err := errors.Join(c.Restart(killed), c.Ready(ctx)); err != nil {
				t.Error(err)
			}
		}
		var err error
		if killed, err = c.Leader(ctx, "OBJ_b"); err != nil {
			t.Error(err)
		}
		c.Kill(killed)
	}
	const size = 3*pieceBytes + 12345
	in := newRandom(size, func(left int) {
		if left == size-pieceBytes/2/10_000*10_000 || left == size-2*pieceBytes {
			kill()
		}
	})
	got, err := o.put(ctx, "large", map[string]string{"lineage": "x"}, in)
	if err != nil || got != size || killed < 0 {
		t.Fatalf("%d bytes, %v (killed %d)", got, err, killed)
	}
	sum, n := sha256.New(), 0
	buffer := make([]byte, 1<<20)
	for r := o.get(ctx, "large"); err == nil; {
		var read int
		read, err = r.Read(buffer)
		sum.Write(buffer[:read])
		if n += read; n == 2<<20 {
			kill()
		}
	}
	if !errors.Is(err, io.EOF) || n != size || !bytes.Equal(sum.Sum(nil), in.sum.Sum(nil)) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	list, parts, err := o.list(ctx)
	if err != nil || len(list) != 1 || len(parts) != 0 || list[0].name != "large" || list[0].size != size || list[0].meta["lineage"] != "x" {
		t.Errorf("list %+v, %v, %v", list, parts, err)
	}
	if err := o.delete(ctx, "large"); err != nil {
		t.Fatal(err)
	}
	info, err := o.stream.Info(ctx)
	if err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages stay, %v", info.State.Msgs, err)
	}
	if _, err := io.Copy(io.Discard, o.get(ctx, "large")); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("what was deleted is read: %v", err)
	}
}

// TestObjectThatIsNotWhole is none: neither one whose source failed, nor one of whose pieces another
// is stored.
func TestObjectThatIsNotWhole(t *testing.T) {
	t.Parallel()
	ctx, _, js, o := bucketOf(t)
	broken := errors.New("broken")
	if _, err := o.put(ctx, "half", nil, io.MultiReader(newRandom(pieceBytes+5, nil), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	for name, size := range map[string]int{"empty": 0, "one": pieceBytes, "changed": 2 * pieceBytes} {
		if n, err := o.put(ctx, name, nil, newRandom(size, nil)); err != nil || int(n) != size {
			t.Fatalf("%s: %d, %v", name, n, err)
		}
		if n, err := io.Copy(io.Discard, o.get(ctx, name)); err != nil || int(n) != size {
			t.Errorf("%s: %d of %d bytes, %v", name, n, size, err)
		}
	}
	list, parts, err := o.list(ctx)
	if err != nil || len(list) != 3 || len(parts) != 1 || parts["half"].IsZero() {
		t.Errorf("list %+v, %v, %v", list, parts, err)
	}
	if err := o.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, parts, err := o.list(ctx); err != nil || len(parts) != 1 {
		t.Errorf("pieces of an object that may still come are swept: %v, %v", parts, err)
	}
	before, err := o.stream.Info(ctx)
	if err == nil { // a piece whose storing was cut off
		_, err = js.Publish(ctx, "$O.b.C.cutoff", []byte("chunk"))
	}
	o.patience = 0
	if err = errors.Join(err, o.sweep(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, parts, err := o.list(ctx); err != nil || len(parts) != 0 {
		t.Errorf("pieces stay: %v, %v", parts, err)
	}
	after, err := o.stream.Info(ctx)
	if most := before.State.Msgs - uint64(pieceBytes/o.chunk) - 1; err != nil || after.State.Msgs > most {
		t.Errorf("%d messages stay of %d, %v", after.State.Msgs, before.State.Msgs, err)
	}
	if _, err := o.store.PutBytes(ctx, pieceName("changed", 1), make([]byte, pieceBytes)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, o.get(ctx, "changed")); !errors.Is(err, errOtherBytes) || n != pieceBytes {
		t.Errorf("a piece that was changed is read: %d bytes, %v", n, err)
	}
}

// lagging is a bucket as a server answers for it that lags behind: it does not know of an object when
// it is asked first, and lists none but the oldest.
type lagging struct {
	jetstream.ObjectStore
	asked  map[string]int
	listed int
}

func (l *lagging) late(name string) bool {
	l.asked[name]++
	return l.asked[name]%3 != 0
}

func (l *lagging) GetBytes(ctx context.Context, name string, opts ...jetstream.GetObjectOpt) ([]byte, error) {
	if l.late(name) {
		return nil, jetstream.ErrObjectNotFound
	}
	return l.ObjectStore.GetBytes(ctx, name, opts...)
}

func (l *lagging) Delete(ctx context.Context, name string) error {
	if l.late("delete " + name) {
		return jetstream.ErrObjectNotFound
	}
	return l.ObjectStore.Delete(ctx, name)
}

func (l *lagging) List(ctx context.Context, opts ...jetstream.ListObjectsOpt) ([]*jetstream.ObjectInfo, error) {
	infos, err := l.ObjectStore.List(ctx, opts...)
	if l.listed++; l.listed%2 == 1 && len(infos) > 1 {
		infos = infos[:1]
	}
	return infos, err
}

// TestObjectOfLaggingServer: what is stored is read, listed and deleted, whichever server answers.
func TestObjectOfLaggingServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	config := DefaultConfig()
	config.NATS.URL, config.Name, config.Machine = sharedServers(t).URL(), t.Name(), "m1"
	s, err := Connect(ctx, config, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o, err := s.snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	o.store = &lagging{ObjectStore: o.store, asked: map[string]int{}}
	for _, name := range []string{"a", "b"} {
		if _, err := o.put(ctx, name, nil, newRandom(100, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := io.Copy(io.Discard, o.get(ctx, "b")); n != 100 || err != nil {
		t.Errorf("read: %d bytes, %v", n, err)
	}
	list, parts, err := o.list(ctx)
	if len(list) != 2 || len(parts) != 0 || err != nil {
		t.Errorf("list %+v, %v, %v", list, parts, err)
	}
	if err := o.delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	o.patience = 0
	if err := o.sweep(ctx); err != nil {
		t.Error(err)
	}
	if list, parts, err = o.list(ctx); len(list) != 1 || list[0].name != "b" || len(parts) != 0 || err != nil {
		t.Errorf("after a deletion: list %+v, %v, %v", list, parts, err)
	}
	if n, err := io.Copy(io.Discard, o.get(ctx, "b")); n != 100 || err != nil {
		t.Errorf("what stays is read: %d bytes, %v", n, err)
	}
	if _, err := io.Copy(io.Discard, o.get(ctx, "a")); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("what was deleted is read: %v", err)
	}
}

// TestObjectMemory stores and reads many times more than is held.
func TestObjectMemory(t *testing.T) {
	if os.Getenv("ROWHOOK_CLUSTER") == "" {
		t.Skip("make cluster runs it: it stores 400 MiB three times")
	}
	ctx, _, _, o := bucketOf(t)
	const size = 400 << 20
	if _, err := o.put(ctx, "large", nil, newRandom(size, nil)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, o.get(ctx, "large")); err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	if held := mem.Sys - mem.HeapReleased; held > 200<<20 {
		t.Errorf("%d MiB of memory are in use", held>>20)
	}
}

// TestSwapDir ends a swap at each of its steps, and goes on with it.
func TestSwapDir(t *testing.T) {
	t.Parallel()
	const fresh, old = "fresh", "old"
	for name, state := range map[string]struct {
		here, fresh, old string // what is in each directory; empty for none
		want             string
	}{
		"nothing":                   {},
		"never swapped":             {here: old, want: old},
		"fetching":                  {here: old, fresh: "half", want: old},
		"fetching the first":        {fresh: "half"},
		"has made way":              {fresh: fresh, old: old, want: fresh},
		"is there, the old one too": {here: fresh, old: "half removed", want: fresh},
		"the fresh one was lost":    {old: old, want: old},
	} {
		dir := filepath.Join(t.TempDir(), "spool")
		for suffix, content := range map[string]string{"": state.here, freshSuffix: state.fresh, oldSuffix: state.old} {
			if content == "" {
				continue
			}
			if err := errors.Join(os.Mkdir(dir+suffix, 0o700), os.WriteFile(filepath.Join(dir+suffix, "file"), []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if err := recoverSwap(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantAlone(t, name, dir, state.want)
	}
	for _, here := range []string{"", old} {
		dir := filepath.Join(t.TempDir(), "spool")
		if here != "" {
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "more"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		err := errors.Join(os.Mkdir(dir+freshSuffix, 0o700), os.WriteFile(filepath.Join(dir+freshSuffix, "file"), []byte(fresh), 0o600), swapDir(dir))
		if err != nil {
			t.Fatal(err)
		}
		wantAlone(t, "swapped", dir, fresh)
	}
}

// wantAlone looks for a directory with one file of that content and nothing beside it.
func wantAlone(t *testing.T, name, dir, content string) {
	t.Helper()
	beside, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if content == "" {
		if len(beside) > 0 {
			t.Errorf("%s: %v stays", name, beside)
		}
		return
	}
	got, err := os.ReadFile(filepath.Join(dir, "file"))
	files, _ := os.ReadDir(dir)
	if err != nil || string(got) != content || len(beside) != 1 || len(files) != 1 {
		t.Errorf("%s: %q, %v, beside %v, in it %v", name, got, err, beside, files)
	}
}
