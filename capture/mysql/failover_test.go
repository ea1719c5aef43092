package mysql

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// replicated starts a server with a table lib.loans, a replica of it, and a source that may read
// from either.
func replicated(t *testing.T, flavour string) (primary, replica *testServer, source *Source) {
	primary, replica = ownServer(t, flavour, nil), ownServer(t, flavour, nil)
	capturetest.Must(t, replica.Follow(t.Context(), primary.MySQLServer))
	primary.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY)")
	return primary, replica, ofBoth(t, primary, replica)
}

// ofBoth is a source that may read from either server.
func ofBoth(t *testing.T, first, second *testServer) *Source {
	source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://root@127.0.0.1:%d,127.0.0.1:%d/lib", first.Port, second.Port)},
		Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), AgentID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

// TestFailover goes on at a replica that has all transactions, and refuses one that lacks some.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			primary, replica, source := replicated(t, flavour)
			n := newNotes()
			stop := n.capture(t, source, capture.StartOptions{})
			primary.exec(t, "INSERT INTO lib.loans VALUES (1)")
			n.await(t, "id:1}")
			capturetest.Must(t, primary.AwaitReplica(t.Context(), replica.MySQLServer))
			capturetest.Must(t, primary.Crash())
			capturetest.Must(t, replica.Promote(t.Context()))
			replica.exec(t, "INSERT INTO lib.loans VALUES (2)")
			if lines := n.await(t, "id:2}"); len(lines) != 4 {
				t.Errorf("got %q", lines)
			}
			stop()
			capturetest.Must(t, primary.Start())
			// The old primary lacks what the new one has written since.
			var gap *capture.GapError
			if err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n); !errors.As(err, &gap) {
				t.Errorf("the old primary: %v", err)
			}
		})
	}
}
