package cluster

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"rowhook/capture"
	"rowhook/delivery/spool"
)

const (
	// leastGrowth is by how much the stream grows until a snapshot is worth it.
	leastGrowth = 1 << 30
	// snapshotsKept is how many snapshots stay: somebody may be reading the one before the last.
	snapshotsKept = 2
	lookInterval  = 10 * time.Second
	// keptTime is long enough that a machine which was away for a moment need not fetch a snapshot.
	keptTime = 10 * time.Minute
)

// streamLineage is metadata of the stream: which cluster it is of.
const streamLineage = "rowhook-lineage"

// Metadata of a snapshot's object.
const (
	metaLineage = "lineage"
	metaCovers  = "covers"
)

func (s *Stream) snapshots(ctx context.Context) (*objects, error) {
	store, err := s.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: s.bucket(), Description: "snapshots of rowhook's spools", Storage: jetstream.FileStorage, Replicas: s.config.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", s.bucket(), err)
	}
	return newObjects(ctx, s.js, store, s.bucket())
}

// upload stores a directory as a snapshot.
func (s *Stream) upload(ctx context.Context, dir, lineage string, covers uint64) (object string, err error) {
	store, err := s.snapshots(ctx)
	if err != nil {
		return "", err
	}
	object = fmt.Sprintf("%020d-%s", covers, newLineage()[:8])
	read, write := io.Pipe()
	defer read.Close()
	go func() { write.CloseWithError(pack(write, dir)) }()
	_, err = store.put(ctx, object, map[string]string{metaLineage: lineage, metaCovers: strconv.FormatUint(covers, 10)}, read)
	return object, err
}

// stored is a snapshot in the bucket.
type stored struct {
	object string
	covers uint64
	bytes  uint64
}

// list returns a cluster's snapshots, the newest first. The bucket may have some of another one that
// had the name before.
func (s *Stream) list(ctx context.Context, lineage string) (list []stored, err error) {
	store, err := s.snapshots(ctx)
	if err != nil {
		return nil, err
	}
	whole, _, err := store.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range whole {
		covers, err := strconv.ParseUint(o.meta[metaCovers], 10, 64)
		if err == nil && o.meta[metaLineage] == lineage {
			list = append(list, stored{o.name, covers, o.size})
		}
	}
	slices.SortFunc(list, func(a, b stored) int { return cmp.Compare(b.covers, a.covers) })
	return list, nil
}

// fetch puts a snapshot of a cluster in the place of a spool's directory. What was there is gone only
// once the snapshot is whole.
func (s *Stream) fetch(ctx context.Context, object, lineage, dir string) error {
	store, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	fresh := dir + freshSuffix
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := unpack(store.get(ctx, object), fresh); err != nil {
		return fmt.Errorf("unpack the snapshot %s: %w", object, err)
	}
	if err := forgetSelf(fresh, lineage); err != nil {
		return err
	}
	if err := swapDir(dir); err != nil {
		return fmt.Errorf("put the snapshot %s in the place of %s: %w", object, dir, err)
	}
	return nil
}

// forgetSelf takes the machine out of a spool that it came from. What a cluster began with does not say
// otherwise that it is that cluster's.
func forgetSelf(dir, lineage string) error {
	sp, err := spool.Open(dir, spool.Options{Passing: true, Reserve: -1})
	if err != nil {
		return err
	}
	mine := selfValue{lineage: lineage}
	return errors.Join(sp.SetMeta(valueSelf, mine.encode()), sp.Close())
}

// pack writes a directory's files as a tar.
func pack(w io.Writer, dir string) error {
	out := tar.NewWriter(w)
	if err := out.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return out.Close()
}

// unpack makes a directory of a tar, with plain files only.
func unpack(in io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	files := tar.NewReader(in)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeDir:
			if name := strings.TrimSuffix(header.Name, "/"); name != "." {
				err = root.Mkdir(name, 0o700)
			}
		case tar.TypeReg:
			err = unpackFile(root, header.Name, files)
		default:
			err = fmt.Errorf("%s is no plain file", header.Name)
		}
		if err != nil {
			return err
		}
	}
	// What follows the end of the tar is read too: the object ends there, or is another one.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return syncDir(dir)
}

func unpackFile(root *os.Root, name string, in io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Sync(), f.Close())
}

func newLineage() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// servePatience is how long a start waits for servers that do not answer.
const servePatience = time.Minute

// Prepare makes a spool's directory one that can follow the stream, before it is opened: of a new
// cluster it begins the stream, and of one that is behind the stream's first message, or empty, it
// makes what the last snapshot has. That takes as long as it takes, as long as the servers answer.
func (s *Stream) Prepare(ctx context.Context, dir string) error {
	if err := recoverSwap(dir); err != nil {
		return err
	}
	for {
		has, err := s.inspect(dir)
		if err != nil {
			return err
		}
		known, err := s.known(ctx)
		switch {
		case err != nil:
			return err
		case known.begun:
			if ready, err := s.prepareJoin(ctx, dir, has, known); ready || err != nil {
				return err
			}
		case has.core.rest != 0:
			return otherStream("it is empty, and this machine has applied messages of it")
		default:
			if err := s.begin(ctx, dir, has); err != nil {
				return err
			}
		}
	}
}

// knownStream is what a stream says of the cluster that it is of.
type knownStream struct {
	begun   bool
	first   uint64 // message that is left
	lineage string // empty when it does not say
	origin  string // the snapshot that the cluster began with, while the first message is there
}

// known asks for the stream.
func (s *Stream) known(ctx context.Context) (k knownStream, err error) {
	ctx, cancel := context.WithTimeout(ctx, servePatience)
	defer cancel()
	info, err := s.info(ctx)
	if err != nil {
		return k, err
	}
	k = knownStream{begun: info.State.LastSeq > 0, first: info.State.FirstSeq, lineage: info.Config.Metadata[streamLineage]}
	if !k.begun || k.first != 1 {
		return k, nil
	}
	raw, err := s.message(ctx, 1)
	if err != nil {
		return k, err
	}
	if raw == nil { // trimmed meanwhile
		return s.known(ctx)
	}
	e, err := decodeEnvelope(raw)
	if err != nil {
		return k, err
	}
	msg, err := decodeMessage(e.body)
	if err != nil {
		return k, err
	}
	start, ok := msg.(genesis)
	if !ok {
		return k, otherStream("it does not begin with a cluster's beginning")
	}
	k.lineage, k.origin = start.lineage, start.snapshot
	return k, nil
}

// Forget makes a spool one of a machine that is alone, if it was a replica. Whoever writes to it
// without the stream calls it first: a cluster would take it for what it was. The epochs of the next one
// go on where those of this one end, since receivers may refuse lower ones.
func Forget(sp *spool.Spool) error {
	var values [4][]byte
	for i, key := range []string{valueLog, valueRest, valueTable, valueFloor} {
		var err error
		if values[i], err = sp.Meta(key); err != nil {
			return err
		}
	}
	if len(values[1]) > 0 {
		c, err := loadCore(values[0], values[1], values[2], values[3])
		if err == nil {
			err = sp.SetMeta(valueFloor, c.state.encodeFloor())
		}
		if err != nil {
			return err
		}
	}
	for _, key := range []string{valueLog, valueRest, valueTable, valueSelf} {
		value, err := sp.Meta(key)
		if err == nil && len(value) > 0 {
			err = sp.SetMeta(key, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inspected is what a spool's directory has.
type inspected struct {
	core *core
	past bool // of a machine that was alone, or began the cluster
	self selfValue
}

// inspect looks into a spool's directory.
func (s *Stream) inspect(dir string) (has inspected, err error) {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		has.core, err = loadCore(nil, nil, nil, nil)
		return has, err
	}
	sp, err := spool.Open(dir, spool.Options{Passing: true, Reserve: -1})
	if err != nil {
		return has, err
	}
	defer func() { err = errors.Join(err, sp.Close()) }()
	var values [5][]byte
	for i, key := range []string{valueLog, valueRest, valueTable, valueSelf, valueFloor} {
		if values[i], err = sp.Meta(key); err != nil {
			return has, err
		}
	}
	if has.core, err = loadCore(values[0], values[1], values[2], values[4]); err != nil {
		return has, err
	}
	has.past = sp.Position() != "" || sp.End() > 0 || len(values[4]) > 0
	has.self, err = decodeSelf(values[3])
	return has, err
}

// begin publishes a cluster's first message. What a machine has that was alone goes before it, as a
// snapshot. One that tried before has the same lineage still: what it said then may be stored yet.
func (s *Stream) begin(ctx context.Context, dir string, has inspected) error {
	lineage, object := has.self.lineage, ""
	if lineage == "" {
		lineage = newLineage()
	}
	if has.past {
		sp, err := spool.Open(dir, spool.Options{Passing: true, Reserve: -1})
		if err != nil {
			return err
		}
		// So that this machine knows later that the cluster began with what it has.
		mine := selfValue{lineage: lineage}
		err = sp.SetMeta(valueSelf, mine.encode())
		copied := dir + ".snapshot"
		if err == nil {
			err = checkpoint(ctx, sp, copied)
		}
		if err = errors.Join(err, sp.Close()); err != nil {
			return err
		}
		object, err = s.upload(ctx, copied, lineage, 0)
		if err = errors.Join(err, os.RemoveAll(copied)); err != nil {
			return err
		}
	}
	e := envelope{machine: s.config.machine(), lane: laneMembership, n: 1, body: encodeMessage(genesis{lineage: lineage, snapshot: object})}
	ctx, cancel := context.WithTimeout(ctx, servePatience)
	defer cancel()
	for {
		err := s.request(ctx, func(ctx context.Context) error {
			_, err := s.js.Publish(ctx, s.subject(), e.bytes(), jetstream.WithExpectLastSequence(0))
			return err
		})
		var api *jetstream.APIError
		if err == nil || errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			return nil // it has begun, by this message or another one
		}
		if !pause(ctx, retryPause) {
			return fmt.Errorf("begin the stream %s: %w", s.Name(), err)
		}
	}
}

// checkpoint copies a spool into a directory, which may be left from before.
func checkpoint(ctx context.Context, sp *spool.Spool, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return sp.Checkpoint(ctx, dir)
}

// prepareJoin makes a directory ready to follow a stream that has begun, or brings it a step further.
func (s *Stream) prepareJoin(ctx context.Context, dir string, has inspected, stream knownStream) (ready bool, err error) {
	known := has.core.state.lineage
	switch {
	case known != "" && stream.lineage != "" && known != stream.lineage:
		return false, otherStream("it is of another cluster than the spool in " + dir)
	case known != "" && has.core.next >= stream.first:
		return true, nil
	case known == "" && has.past && (stream.lineage == "" || has.self.lineage != stream.lineage):
		return false, &capture.OperatorError{
			Err:    fmt.Errorf("the spool in %s is of a machine that was alone, and the cluster %s has begun without it", dir, s.config.Name),
			Remedy: fmt.Sprintf("if nothing in it is needed any more, move %s away and start rowhook again: it fetches what the cluster has", dir),
		}
	case known == "" && stream.first == 1 && (has.past || stream.origin == ""):
		return true, nil // from the beginning
	}
	list, err := s.list(ctx, stream.lineage)
	if err != nil {
		return false, err
	}
	if known == "" && stream.origin != "" {
		// What the cluster began with is taken away when there are newer ones.
		list = append([]stored{{object: stream.origin}}, list...)
	}
	for _, snapshot := range list {
		if snapshot.covers+1 < stream.first || stream.lineage == "" {
			continue
		}
		if err := s.fetch(ctx, snapshot.object, stream.lineage, dir); !errors.Is(err, jetstream.ErrObjectNotFound) {
			return false, err // the stream may have been trimmed meanwhile
		}
	}
	return false, &GapError{
		Text:   fmt.Sprintf("its first message is %d, and the bucket %s has no snapshot that leads there", stream.first, s.bucket()),
		Remedy: "see whether the bucket was emptied: `nats object ls " + s.bucket() + "`. A machine that still runs writes a new snapshot when it captures; start this one again then",
		Passes: true,
	}
}

// limits are when snapshots are written and messages removed.
type limits struct {
	growth uint64        // bytes that the stream grows by at least until a snapshot is written
	kept   time.Duration // how long messages stay that a snapshot covers
	look   time.Duration // how often the stream's size is asked for
}

// keeper is what a process knows of the stream's size.
type keeper struct {
	base   uint64 // the stream's bytes when the last snapshot was seen, as far as they are still there
	covers uint64 // by that snapshot, whoever wrote it
	last   uint64 // size of the last snapshot that this process wrote
	marks  []place
}

// place is the end of the stream at some time.
type place struct {
	at  time.Time
	seq uint64
}

// keepSnapshots looks at the stream's size. While this machine captures it writes a snapshot when the
// stream has grown, and removes what the last one covers.
func (r *Replica) keepSnapshots(ctx context.Context) error {
	var k keeper
	for {
		info, err := r.stream.info(ctx)
		if err == nil {
			err = r.keepSnapshot(ctx, &k, info)
		}
		if err != nil && ctx.Err() == nil {
			r.logger.Warn("the cluster's stream could not be looked after", "err", err)
		}
		if !pause(ctx, r.limits.look) {
			return nil
		}
	}
}

func (r *Replica) keepSnapshot(ctx context.Context, k *keeper, info *jetstream.StreamInfo) error {
	now, st := time.Now(), &info.State
	r.mu.Lock()
	r.told = StreamView{Asked: now, Bytes: st.Bytes, Messages: st.Msgs, First: st.FirstSeq, Last: st.LastSeq}
	covers, captures, lineage := r.core.state.latest.covers, r.ownedNow(captureSeat) != 0, r.core.state.lineage
	r.mu.Unlock()
	k.marks = append(k.marks, place{now, st.LastSeq})
	var old uint64
	for len(k.marks) > 1 && now.Sub(k.marks[1].at) >= r.limits.kept {
		old = k.marks[1].seq
		k.marks = k.marks[1:]
	}
	k.base = min(k.base, st.Bytes)
	if covers != k.covers {
		k.base, k.covers = st.Bytes, covers
	}
	if !captures {
		return nil
	}
	if info.Config.Metadata[streamLineage] != lineage { // the first message, which says it, goes
		if err := r.stream.mark(ctx, info.Config, lineage); err != nil {
			return err
		}
	}
	if before := min(covers, old) + 1; before > st.FirstSeq {
		if err := r.stream.purge(ctx, before); err != nil {
			return err
		}
	}
	if st.Bytes-k.base <= max(r.limits.growth, 2*k.last) {
		return nil
	}
	if err := r.snapshot(ctx, k); err != nil {
		return err // it is tried again at the next look
	}
	k.base = st.Bytes
	return nil
}

// snapshot stores what this replica has, and tells the others.
func (r *Replica) snapshot(ctx context.Context, k *keeper) error {
	dir := filepath.Join(r.self.Scratch, "snapshot")
	defer os.RemoveAll(dir)
	lineage, covers, err := r.copySpool(ctx, dir)
	if err != nil {
		return err
	}
	object, err := r.stream.upload(ctx, dir, lineage, covers)
	if err != nil {
		return err
	}
	if _, err := r.say(ctx, laneMembership, snapshot{object: object, covers: covers}); err != nil {
		return err
	}
	list, err := r.stream.list(ctx, lineage)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		k.last = list[0].bytes
	}
	store, err := r.stream.snapshots(ctx)
	for i := snapshotsKept; err == nil && i < len(list); i++ {
		err = store.delete(ctx, list[i].object)
	}
	if err != nil {
		return err
	}
	return store.sweep(ctx)
}

// copySpool copies the spool as of one message, or of a later one: each write has the values that go
// with it. Who opens the copy needs those behind covers. What is applied meanwhile does not wait.
func (r *Replica) copySpool(ctx context.Context, dir string) (lineage string, covers uint64, err error) {
	lineage, covers, err = r.stampNow()
	if err == nil {
		err = r.checkpoint(ctx, r.Spool, dir)
	}
	return lineage, covers, err
}

// stampNow writes how far this replica is into its spool. The messages since the last that had an
// effect are not in the spool's values otherwise.
func (r *Replica) stampNow() (lineage string, covers uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.short { // the values would say that the spool has what it has not
		return "", 0, errors.New("copy the spool: it has no room for what comes next")
	}
	s := r.core.state
	err = r.UpdateAll(nil, spool.Value{Key: valueRest, Value: s.encodeRest()}, spool.Value{Key: valueTable, Value: s.encodeTable()})
	return s.lineage, s.resume() - 1, err
}
