package natstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"rowhook/cmd/rowhook/cluster/natstest"
)

// TestKilledLeader: another server leads, and has what was acknowledged; so has the one that was
// killed once it is started again.
func TestKilledLeader(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, err := natstest.Start(ctx, natstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	js := connect(t, c.URL())
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("acknowledged")); err != nil {
		t.Fatal(err)
	}
	first := leader(ctx, t, c)
	c.Kill(first)
	if second := leader(ctx, t, c); second == first {
		t.Errorf("server %d leads, which was killed", first)
	}
	if err := c.Restart(first); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	js = connect(t, c.ServerURL(first))
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		s, err := js.Stream(try, "s")
		if err == nil {
			var msg *jetstream.RawStreamMsg
			if msg, err = s.GetMsg(try, 1); err == nil && string(msg.Data) != "acknowledged" {
				t.Errorf("the message is %q", msg.Data)
			}
		}
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func leader(ctx context.Context, t *testing.T, c *natstest.Cluster) int {
	t.Helper()
	i, err := c.Leader(ctx, "s")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
