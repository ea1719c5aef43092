#!/usr/bin/env bash
# NATS JetStream: a publish that ended with a deadline may be stored all the same, much later, and behind messages that the same client published and
# got acknowledged after it. Nats-Msg-Id does not help: it keeps a message from being stored twice, not from coming late. Here the stream's leader is frozen when it
# gets "first", another server takes the lead and stores "second", and "first" comes when the frozen one wakes. Who publishes state has to number
# its messages, and whoever applies them has to pass over a number that is below the last.
#
# Besides: without a majority a publish that is sent again under its id is refused at once, err_code 10158, "duplicate message id is in process", as if
# it were about to be stored.
#
# Seen with nats-server v2.15.3 (three servers, sync always) and nats.go v1.55.0:
#
#   first:               no acknowledgement
#   second:              acknowledged
#   the stream:          second first
#   third, no majority:  no acknowledgement
#   third again:         10158
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
cd "$work"
mkdir bin
GOBIN=$work/bin go install github.com/nats-io/nats-server/v2@v2.15.3

cat >go.mod <<'END'
module late

go 1.25.0

require github.com/nats-io/nats.go v1.55.0
END
cat >main.go <<'END'
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

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

// try calls do, each time with a deadline of its own, until it works: a server without a leader answers nothing.
func try(do func(context.Context) error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			panic(err)
		}
	}
}

func connect(url string) jetstream.JetStream {
	return must(jetstream.New(must(nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond)))))
}

// publish says what became of a message.
func publish(js jetstream.JetStream, text string, wait time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_, err := js.Publish(ctx, "s", []byte(text), jetstream.WithMsgID(text), jetstream.WithRetryAttempts(0))
	if err == nil {
		return "acknowledged"
	}
	if _, code, found := strings.Cut(err.Error(), "err_code="); found {
		code, _, _ = strings.Cut(code, " ")
		return code
	}
	return "no acknowledgement"
}

// freeze stops a process, and returns when all its threads stand.
func freeze(p *os.Process) {
	p.Signal(syscall.SIGSTOP)
	for standing := false; !standing; time.Sleep(time.Millisecond) {
		standing = true
		for _, name := range must(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))) {
			raw, _ := os.ReadFile(name)
			_, state, _ := strings.Cut(string(raw), ") ")
			standing = standing && strings.HasPrefix(state, "T")
		}
	}
}

func main() {
	var ports []int
	for range 6 {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		l.Close()
	}
	url := func(i int) string { return fmt.Sprintf("nats://127.0.0.1:%d", ports[i]) }
	var servers []*os.Process
	for i := range 3 {
		config := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\ncluster { name: c, listen: 127.0.0.1:%d, no_advertise: true, routes: [%q, %q] }\n",
			i, ports[i], fmt.Sprintf("%s/%d", os.Args[1], i), ports[3+i], url(3+(i+1)%3), url(3+(i+2)%3))
		name := fmt.Sprintf("%s/n%d.conf", os.Args[1], i)
		must(0, os.WriteFile(name, []byte(config), 0o600))
		server := exec.Command(os.Args[1]+"/bin/nats-server", "-c", name)
		server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(0, server.Start())
		servers = append(servers, server.Process)
		defer server.Process.Kill()
	}
	any := connect(url(0) + "," + url(1) + "," + url(2))
	leader := 0
	try(func(ctx context.Context) error {
		_, err := any.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}, Replicas: 3})
		return err
	})
	lead := func() {
		try(func(ctx context.Context) error {
			s, err := any.Stream(ctx, "s")
			if err != nil {
				return err
			}
			_, err = fmt.Sscanf(s.CachedInfo().Cluster.Leader, "n%d", &leader)
			return err
		})
	}
	lead()
	frozen, other := connect(url(leader)), connect(url((leader+1)%3))
	try(func(ctx context.Context) error { _, err := frozen.AccountInfo(ctx); return err })
	freeze(servers[leader])
	fmt.Println("first:", publish(frozen, "first", 2*time.Second))
	second := ""
	for end := time.Now().Add(time.Minute); second != "acknowledged" && time.Now().Before(end); {
		second = publish(other, "second", 2*time.Second)
	}
	fmt.Println("second:", second)
	servers[leader].Signal(syscall.SIGCONT)
	var texts []string
	try(func(ctx context.Context) error {
		texts = nil
		s, err := other.Stream(ctx, "s")
		for seq := uint64(1); err == nil && seq <= 2; seq++ {
			var msg *jetstream.RawStreamMsg
			if msg, err = s.GetMsg(ctx, seq); err == nil {
				texts = append(texts, string(msg.Data))
			}
		}
		return err
	})
	fmt.Println("the stream:", strings.Join(texts, " "))

	lead()
	alone := connect(url(leader))
	try(func(ctx context.Context) error { _, err := alone.AccountInfo(ctx); return err })
	freeze(servers[(leader+1)%3])
	freeze(servers[(leader+2)%3])
	fmt.Println("third, no majority:", publish(alone, "third", 2*time.Second))
	fmt.Println("third again:", publish(alone, "third", 2*time.Second))
}
END
GOFLAGS=-mod=mod go run . "$work" >seen
cat seen
diff seen - <<'END'
first: no acknowledgement
second: acknowledged
the stream: second first
third, no majority: no acknowledgement
third again: 10158
END
