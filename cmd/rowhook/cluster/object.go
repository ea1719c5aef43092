package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pieceBytes is how large the pieces are in which an object is stored. ObjectStore.Put publishes
	// without waiting, up to 4,000 chunks of 128 KiB, each of which has five seconds to be acknowledged:
	// servers that sync always do not take more than a few hundred in that time.
	pieceBytes = 8 << 20
	// pieceTime is how long a piece may take to be stored, or read.
	pieceTime = 15 * time.Second
	// pieceTries is how often a piece is stored, or read, until that has failed. With the pauses between
	// that is longer than servers take to choose a leader.
	pieceTries = 6
	piecePause = time.Second
	lagPause   = 200 * time.Millisecond
	// orphanTime is how long pieces stay whose object may still come.
	orphanTime = time.Hour
	metaBytes  = "bytes" // metadata of an object: its size
)

// objects stores large objects in a bucket of JetStream: pieces NAME.000000 and so on, then, under the
// name itself, the SHA-256 of each, 32 bytes, in order. So memory is bounded, nothing is lost when
// servers change, and what is under its name is whole. Each piece is read back before the next:
// a chunk that the client sends again, since nobody answered, has the bytes of whatever chunk is next
// by then, which only its digest tells.
type objects struct {
	bucket   string
	store    jetstream.ObjectStore
	stream   jetstream.Stream
	chunk    uint32        // bytes of a message
	patience time.Duration // orphanTime, but for tests
}

func newObjects(ctx context.Context, js jetstream.JetStream, store jetstream.ObjectStore, bucket string) (*objects, error) {
	stream, err := js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", bucket, err)
	}
	// The servers' limit counts the subject and the client's headers, too.
	chunk := max(1<<10, min(128<<10, js.Conn().MaxPayload()-(4<<10)))
	return &objects{bucket, store, stream, uint32(chunk), orphanTime}, nil
}

// storedObject is an object that is whole.
type storedObject struct {
	name     string
	meta     map[string]string
	size     uint64
	modified time.Time
}

func pieceName(name string, n int) string { return fmt.Sprintf("%s.%06d", name, n) }

// pieceOf returns the name of the object that a piece is of.
func pieceOf(piece string) (name string, ok bool) {
	at := strings.LastIndexByte(piece, '.')
	if at < 0 {
		return "", false
	}
	_, err := strconv.Atoi(piece[at+1:])
	return piece[:at], err == nil
}

// put stores what is read from in, with metadata, under a name that no object had before.
func (o *objects) put(ctx context.Context, name string, meta map[string]string, in io.Reader) (size uint64, err error) {
	piece := make([]byte, pieceBytes)
	var sums []byte
	for n := 0; err == nil; n++ {
		var read int
		read, err = io.ReadFull(in, piece)
		if read == 0 {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err := o.putPiece(ctx, pieceName(name, n), nil, piece[:read]); err != nil {
			return 0, err
		}
		sum := sha256.Sum256(piece[:read])
		sums = append(sums, sum[:]...)
		size += uint64(read)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("store the object %s: %w", name, err)
	}
	meta = maps.Clone(meta)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[metaBytes] = strconv.FormatUint(size, 10)
	return size, o.putPiece(ctx, name, meta, sums)
}

// putPiece stores a piece, and looks whether that is what is stored.
func (o *objects) putPiece(ctx context.Context, name string, meta map[string]string, piece []byte) error {
	return o.try(ctx, "store "+name, func(ctx context.Context) error {
		_, err := o.store.Put(ctx, jetstream.ObjectMeta{Name: name, Metadata: meta, Opts: &jetstream.ObjectMetaOptions{ChunkSize: o.chunk}}, bytes.NewReader(piece))
		if err != nil {
			return err
		}
		for n := 1; ; n++ {
			stored, err := o.read(ctx, name)
			if err == nil && !bytes.Equal(stored, piece) {
				err = errOtherBytes
			}
			// What was stored under the name before may be what is answered.
			if err == nil || n == pieceTries || !pause(ctx, lagPause) {
				return err
			}
		}
	})
}

// read returns what is under a name. Each server of the bucket answers reads, and one that lags behind
// says of what it does not have yet that there is no such object: only the server that leads knows.
func (o *objects) read(ctx context.Context, name string) ([]byte, error) {
	for {
		raw, err := o.store.GetBytes(ctx, name)
		if !errors.Is(err, jetstream.ErrObjectNotFound) {
			return raw, err
		}
		if there, asked := o.there(ctx, name); asked != nil {
			return nil, asked
		} else if !there {
			return nil, err
		}
		if !pause(ctx, lagPause) {
			return nil, context.Cause(ctx)
		}
	}
}

// there reports whether there is an object, by the server that leads the bucket.
func (o *objects) there(ctx context.Context, name string) (bool, error) {
	led, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(o.metaSubject(name)))
	if err != nil || len(led.State.Subjects) == 0 {
		return false, err
	}
	info, err := o.store.GetInfo(ctx, name, jetstream.GetObjectInfoShowDeleted())
	return err != nil || !info.Deleted, nil
}

// metaSubject is the subject of an object's own message; of all objects' for "".
func (o *objects) metaSubject(name string) string {
	prefix := "$O." + o.bucket + ".M."
	if name == "" {
		return prefix + ">"
	}
	return prefix + base64.URLEncoding.EncodeToString([]byte(name))
}

// infos returns what is in the bucket, all that its leader knew of when it was asked: a server that
// lags behind lists less.
func (o *objects) infos(ctx context.Context) (infos []*jetstream.ObjectInfo, err error) {
	err = o.try(ctx, "list what is", func(ctx context.Context) error {
		led, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(o.metaSubject("")))
		if err != nil {
			return err
		}
		infos, err = o.store.List(ctx, jetstream.ListObjectsShowDeleted())
		if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
			return err
		}
		for _, info := range infos {
			delete(led.State.Subjects, o.metaSubject(info.Name))
		}
		if len(led.State.Subjects) > 0 {
			return errLags
		}
		infos = slices.DeleteFunc(infos, func(info *jetstream.ObjectInfo) bool { return info.Deleted })
		return nil
	})
	return infos, err
}

// errLags is of a list that lacks what is there.
var errLags = errors.New("the server that answers lags behind")

var errOtherBytes = errors.New("other bytes are stored than were sent")

// try does something with a piece until it comes about.
func (o *objects) try(ctx context.Context, what string, do func(context.Context) error) error {
	for n := 1; ; n++ {
		limited, cancel := context.WithTimeout(ctx, pieceTime)
		err := do(limited)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case n < pieceTries && !errors.Is(err, jetstream.ErrObjectNotFound):
			pause(ctx, piecePause*time.Duration(n))
			continue
		}
		return fmt.Errorf("%s in the bucket %s: %w", what, o.bucket, err)
	}
}

// get reads an object. Reading it fails where it is not as it was stored.
func (o *objects) get(ctx context.Context, name string) io.Reader {
	return &objectReader{ctx: ctx, from: o, name: name}
}

// objectReader has one piece of an object at a time.
type objectReader struct {
	ctx   context.Context
	from  *objects
	name  string
	sums  []byte // of the pieces to come
	next  int
	piece []byte
	err   error
}

// Read implements [io.Reader].
func (r *objectReader) Read(p []byte) (int, error) {
	for len(r.piece) == 0 && r.err == nil {
		r.err = r.advance()
	}
	if len(r.piece) == 0 {
		return 0, r.err
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// advance reads the next piece, or ahead of the first one what they are.
func (r *objectReader) advance() error {
	if r.next == 0 {
		if err := r.begin(); err != nil {
			return err
		}
	}
	if len(r.sums) == 0 {
		return io.EOF
	}
	name := pieceName(r.name, r.next)
	sum := r.sums[:sha256.Size]
	err := r.from.try(r.ctx, "read "+name, func(ctx context.Context) (err error) {
		r.piece, err = r.from.read(ctx, name)
		if err == nil && sha256.Sum256(r.piece) != [sha256.Size]byte(sum) {
			err = errOtherBytes
		}
		return err
	})
	if err != nil {
		r.piece = nil
		return err
	}
	r.sums = r.sums[sha256.Size:]
	r.next++
	return nil
}

func (r *objectReader) begin() error {
	return r.from.try(r.ctx, "read "+r.name, func(ctx context.Context) (err error) {
		r.sums, err = r.from.read(ctx, r.name)
		if err == nil && len(r.sums)%sha256.Size != 0 {
			err = errOtherBytes
		}
		return err
	})
}

// list returns the objects that are whole, and the names of those of which there are but pieces, with
// when the last of these came.
func (o *objects) list(ctx context.Context) (whole []storedObject, parts map[string]time.Time, err error) {
	infos, err := o.infos(ctx)
	if err != nil {
		return nil, nil, err
	}
	parts = map[string]time.Time{}
	for _, info := range infos {
		if name, piece := pieceOf(info.Name); piece {
			if info.ModTime.After(parts[name]) {
				parts[name] = info.ModTime
			}
			continue
		}
		size, err := strconv.ParseUint(info.Metadata[metaBytes], 10, 64)
		if err == nil {
			whole = append(whole, storedObject{info.Name, info.Metadata, size, info.ModTime})
		}
	}
	for _, object := range whole {
		delete(parts, object.name)
	}
	return whole, parts, nil
}

// delete takes an object and its pieces away, so that nothing of them stays.
func (o *objects) delete(ctx context.Context, name string) error {
	infos, err := o.infos(ctx)
	if err != nil {
		return err
	}
	names := []string{name}
	for _, info := range infos {
		if of, piece := pieceOf(info.Name); piece && of == name {
			names = append(names, info.Name)
		}
	}
	for _, name := range names { // the object first: what is under its name is whole
		err := o.try(ctx, "delete "+name, func(ctx context.Context) error { return o.deletePiece(ctx, name) })
		if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
			return err
		}
	}
	return nil
}

// deletePiece takes away what is under one name.
func (o *objects) deletePiece(ctx context.Context, name string) error {
	err := o.store.Delete(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		if there, asked := o.there(ctx, name); asked != nil || there {
			err = cmp.Or(asked, errLags)
		}
	}
	if err != nil {
		return err
	}
	// A note of the deletion would stay for ever, and be read with each list.
	return o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.metaSubject(name)))
}

// sweep takes away what is left of objects, and pieces, that were not stored to their end. Somebody
// may be at one that is young.
func (o *objects) sweep(ctx context.Context) error {
	_, parts, err := o.list(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if time.Since(parts[name]) < o.patience {
			continue
		}
		if err := o.delete(ctx, name); err != nil {
			return err
		}
	}
	if err := o.sweepChunks(ctx); err != nil {
		return fmt.Errorf("tidy the bucket %s: %w", o.bucket, err)
	}
	return nil
}

// sweepChunks takes away chunks that no piece has.
func (o *objects) sweepChunks(ctx context.Context) error {
	prefix := "$O." + o.bucket + ".C."
	// The chunks first: a piece is known once all of its own are there.
	info, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return err
	}
	pieces, err := o.infos(ctx)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		delete(info.State.Subjects, prefix+piece.NUID)
	}
	for subject := range info.State.Subjects {
		last, err := o.stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && time.Since(last.Time) < o.patience {
			continue
		}
		if err == nil {
			err = o.stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
