#!/usr/bin/env bash
# NATS JetStream: ObjectStore.Put says that an object is stored, of which a chunk has another chunk's bytes. The client publishes
# chunks without waiting, all from one buffer and one message. A chunk that nobody answers, as happens while servers choose a
# leader, it sends again 250 ms later, with what the buffer holds by then. Number of chunks and size are right; only reading the object tells, by
# its digest. So what was put has to be read back before it is relied on, or before its source is thrown away.
#
# Here nobody answers the second of three chunks, since the bucket's stream does not listen to chunks for a moment.
#
# Seen with nats-server v2.15.3 (one server) and nats.go v1.55.0:
#
#   put: 12 bytes in 3 chunks, <nil>
#   stored: aaaa cccc cccc
#   get: nats: received a corrupt object, digests do not match
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"

cat >go.mod <<'END'
module object

go 1.25.0

require (
	github.com/nats-io/nats-server/v2 v2.15.3
	github.com/nats-io/nats.go v1.55.0
)
END
cat >main.go <<'END'
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return v
}

// source gives a chunk with each Read, and calls step before.
type source struct {
	n    int
	step func(n int)
}

func (s *source) Read(p []byte) (int, error) {
	s.n++
	s.step(s.n)
	if s.n > 3 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = byte('a' + s.n - 1)
	}
	return len(p), nil
}

func main() {
	s := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: os.Args[1], NoSigs: true}))
	s.Start()
	defer s.Shutdown()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server did not start")
	}
	js := must(jetstream.New(must(nats.Connect(s.ClientURL()))))
	bucket := must(js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "b"}))
	stream := must(js.Stream(ctx, "OBJ_b"))
	config := stream.CachedInfo().Config
	listen := func(subjects ...string) {
		config.Subjects = subjects
		must(js.UpdateStream(ctx, config))
	}

	info, err := bucket.Put(ctx, jetstream.ObjectMeta{Name: "o", Opts: &jetstream.ObjectMetaOptions{ChunkSize: 4}}, &source{step: func(n int) {
		switch n {
		case 2:
			listen("$O.b.M.>")
		case 3:
			time.Sleep(100 * time.Millisecond) // until the client has heard that nobody answers
			listen("$O.b.C.>", "$O.b.M.>")
		}
	}})
	fmt.Printf("put: %d bytes in %d chunks, %v\n", info.Size, info.Chunks, err)
	fmt.Print("stored:")
	last := must(stream.Info(ctx)).State.LastSeq
	for seq := uint64(1); seq <= last; seq++ {
		if msg, err := stream.GetMsg(ctx, seq); err == nil && len(msg.Data) == 4 {
			fmt.Printf(" %s", msg.Data)
		}
	}
	_, err = bucket.GetBytes(ctx, "o")
	fmt.Printf("\nget: %v\n", err)
}
END
GOFLAGS=-mod=mod go run . "$work/store" >seen
cat seen
diff seen - <<'END'
put: 12 bytes in 3 chunks, <nil>
stored: aaaa cccc cccc
get: nats: received a corrupt object, digests do not match
END
