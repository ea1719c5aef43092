#!/usr/bin/env bash
# NATS JetStream: KeyValue.Update takes a key's time to live away. The client's documentation says that Update resets it; the value that
# Update writes carries none, and there is no option to give it one. A lease that is created with KeyTTL and renewed by Update, with the
# right revision, therefore never ends: when its holder dies, nobody can ever take it over. A lease that nobody renews ends as it should.
# Renewals have to carry a deadline of their own in the value, or the header Nats-TTL (jetstream.WithMsgTTL on
# the bucket's subject), as the third key shows.
#
# Seen with nats-server v2.15.2 (one server, file storage) and nats.go v1.55.0:
#
#   created for 2 s, not renewed:                gone after 5 s
#   created for 2 s, renewed once by Update:     there after 5 s
#   created for 2 s, renewed with the header:    gone after 5 s
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  chmod -R u+w "$work" && rm -rf "$work"
}
trap finish EXIT
cd "$work"

cat >go.mod <<'END'
module lease

go 1.25.0

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/nats-io/nats.go v1.55.0
)
END
cat >main.go <<'END'
package main

import (
	"context"
	"fmt"
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
	leases := must(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "leases", LimitMarkerTTL: time.Second}))
	const life = 2 * time.Second

	must(leases.Create(ctx, "left", []byte("holder"), jetstream.KeyTTL(life)))
	updated := must(leases.Create(ctx, "updated", []byte("holder"), jetstream.KeyTTL(life)))
	must(leases.Update(ctx, "updated", []byte("holder"), updated))
	published := must(leases.Create(ctx, "published", []byte("holder"), jetstream.KeyTTL(life)))
	must(js.Publish(ctx, "$KV.leases.published", []byte("holder"), jetstream.WithMsgTTL(life), jetstream.WithExpectLastSequencePerSubject(published)))

	time.Sleep(5 * time.Second) // the times are the server's own
	for _, key := range []string{"left", "updated", "published"} {
		there := "there"
		if _, err := leases.Get(ctx, key); err == jetstream.ErrKeyNotFound {
			there = "gone"
		} else if err != nil {
			panic(err)
		}
		fmt.Println(key, there)
	}
}
END
GOFLAGS=-mod=mod go run . "$work/store" >seen
cat seen
diff seen - <<'END'
left gone
updated there
published gone
END
