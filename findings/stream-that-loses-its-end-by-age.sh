#!/usr/bin/env bash
# NATS JetStream: a stream made with DenyDelete and DenyPurge, which says that nobody takes messages out of it, loses them all the same when
# somebody sets a maximal age: the update is taken, and what is older goes at once. The two settings themselves cannot be taken
# back, so that one would think the messages safe. Who lives by a stream has to look at its limits at each start, and at what is in the place that
# it remembers, as `rowhook check` and `rowhook run` do.
#
# Seen with nats-server v2.15.3 (one server, file storage) and nats.go v1.55.0:
#
#   purge:                        refused (10110, message purge not permitted)
#   delete of a message:          refused (10057, message delete not permitted)
#   allow purge again:            refused (10052, stream configuration update can not cancel deny purge)
#   max_age of a second:          taken
#   messages, first, last:        0 of 3, 4, 3
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"

cat >go.mod <<'END'
module limits

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
	"os"
	"strings"
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

// told is what the server says of a request.
func told(err error) string {
	if err == nil {
		return "taken"
	}
	// Not all of the client's errors can be asked for the server's.
	_, rest, _ := strings.Cut(err.Error(), "err_code=")
	code, _, _ := strings.Cut(rest, " ")
	return "refused " + code
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
	config := jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, DenyDelete: true, DenyPurge: true}
	stream := must(js.CreateStream(ctx, config))
	for range 3 {
		must(js.Publish(ctx, "s", []byte("kept")))
	}
	fmt.Println("purge:", told(stream.Purge(ctx)))
	fmt.Println("delete:", told(stream.DeleteMsg(ctx, 1)))
	open := config
	open.DenyPurge = false
	_, err := js.UpdateStream(ctx, open)
	fmt.Println("allow purge:", told(err))
	config.MaxAge, config.Duplicates = time.Second, time.Second
	_, err = js.UpdateStream(ctx, config)
	fmt.Println("max age:", told(err))
	time.Sleep(3 * time.Second) // the age is the server's own
	state := must(stream.Info(ctx)).State
	fmt.Println("left:", state.Msgs, state.FirstSeq, state.LastSeq)
}
END
GOFLAGS=-mod=mod go run . "$work/store" >seen
cat seen
diff seen - <<'END'
purge: refused 10110
delete: refused 10057
allow purge: refused 10052
max age: taken
left: 0 4 3
END
