package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rowhook/cmd/rowhook/cluster/natstest"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// childTB is what a child's machine reports to.
type childTB struct{ testing.TB }

func (childTB) Helper() {}

func (childTB) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (childTB) Errorf(format string, args ...any) {
	fmt.Printf("wrong %s\n", fmt.Sprintf(format, args...))
}

func (t childTB) Error(args ...any) { t.Errorf("%s", fmt.Sprint(args...)) }

func (t childTB) Fatal(args ...any) {
	t.Error(args...)
	os.Exit(1)
}

func (t childTB) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// child is a machine in a process of its own. It reads what the source has, "grow N", and writes what
// arrives, and how far it is, "at POSITION BACKLOG". At the end of its input it leaves in order.
func child() {
	words := strings.Split(os.Getenv("CLUSTER_CHILD"), "|")
	profiles, _ := strconv.Atoi(words[4])
	b := newBed(context.Background(), childTB{}, words[0], words[1], profiles)
	b.tell = os.Stdout
	m := &machine{bed: b, name: words[2], dir: words[3]}
	m.start()
	b.machines = append(b.machines, m)
	go func() {
		err := <-m.ended
		m.ended <- err
		if err != nil {
			b.t.Fatalf("Run ended with %v", err)
		}
	}()
	left := make(chan struct{})
	go func() {
		defer close(left)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			to, _ := strconv.Atoi(strings.TrimPrefix(in.Text(), "grow "))
			b.grow(to)
		}
	}()
	for tick, told := time.NewTicker(20*time.Millisecond), ""; ; {
		select {
		case <-left:
			b.check(m.replica.Leave(b.ctx))
			b.check(m.stop())
			return
		case <-tick.C:
		}
		var backlog int64
		for _, code := range b.profiles {
			left, err := m.spool.Backlog(m.ids[code])
			b.check(err)
			backlog += left.Events
		}
		if now := fmt.Sprintf("at %s %d", m.spool.Position(), backlog); now != told {
			fmt.Println(now)
			told = now
		}
	}
}

// offspring is a child as its parent sees it.
type offspring struct {
	bed   *bed
	name  string
	dir   string
	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{}

	mu sync.Mutex
	at string
}

func (o *offspring) start() {
	b := o.bed
	o.cmd = exec.Command(os.Args[0])
	o.cmd.Env = append(os.Environ(), "CLUSTER_CHILD="+strings.Join([]string{b.config.NATS.URL, b.config.Name, o.name, o.dir, strconv.Itoa(len(b.profiles))}, "|"))
	o.cmd.Stderr = testLog{b.t}
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := o.cmd.StdoutPipe()
	b.check(err)
	o.in, err = o.cmd.StdinPipe()
	b.check(err)
	b.check(o.cmd.Start())
	o.ended = make(chan struct{})
	o.at = ""
	go func() {
		defer close(o.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			o.read(lines.Text())
		}
	}()
	o.grow()
}

func (o *offspring) grow() { fmt.Fprintf(o.in, "grow %d\n", o.bed.lastTx) }

func (o *offspring) read(line string) {
	var a arrival
	var code string
	if at, ok := strings.CutPrefix(line, "at "); ok {
		o.mu.Lock()
		o.at = at
		o.mu.Unlock()
	} else if wrong, ok := strings.CutPrefix(line, "wrong "); ok {
		o.bed.t.Errorf("%s: %s", o.name, wrong)
	} else if n, _ := fmt.Sscan(line, &code, (*uint64)(&a.seq), &a.epoch, &a.at); n == 4 {
		a.machine = o.name
		o.bed.arrive(code, a)
	}
}

// signal sends the process a signal.
func (o *offspring) signal(s syscall.Signal) { _ = o.cmd.Process.Signal(s) }

// kill ends the process as kill -9 does.
func (o *offspring) kill() {
	o.signal(syscall.SIGKILL)
	<-o.ended
	_ = o.cmd.Wait()
}

// TestFaults kills and freezes machines and servers in turn and at random under load. Nothing is
// lost, out of order, or begun by who does not own it any more.
func TestFaults(t *testing.T) {
	t.Parallel()
	rounds := 3
	if soak() {
		rounds = 50
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rounds)*testPatience)
	defer cancel()
	servers, err := natstest.Start(ctx, natstest.Options{MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Close()
	b := newBed(ctx, t, servers.URL(), "faults", 5)
	var all []*offspring
	for _, name := range names("m", 3) {
		o := &offspring{bed: b, name: name, dir: filepath.Join(t.TempDir(), "spool")}
		all = append(all, o)
		o.start()
		defer o.kill()
	}
	r := rand.New(rand.NewPCG(uint64(rounds), 7))
	for round := range rounds {
		at := b.lastTx
		b.growing(all, at+100)
		o, server := all[r.IntN(len(all))], r.IntN(3)
		switch fault := round % 6; fault {
		case 0:
			t.Log("kill machine", o.name)
			o.kill()
			b.growing(all, at+200)
			o.start()
		case 1:
			if leader, err := servers.Leader(ctx, "rowhook-faults"); err == nil && r.IntN(2) == 0 {
				server = leader
			}
			t.Log("kill server", server)
			servers.Kill(server)
			b.growing(all, at+200)
			b.check(servers.Restart(server))
		case 2:
			t.Log("freeze machine", o.name)
			o.signal(syscall.SIGSTOP)
			b.growing(all, at+200)
			pause(ctx, time.Duration(4+r.IntN(6))*time.Second) // beyond its lease, or not
			o.signal(syscall.SIGCONT)
		case 3:
			t.Log("freeze server", server)
			servers.Stop(server)
			b.growing(all, at+200)
			pause(ctx, time.Duration(1+r.IntN(8))*time.Second)
			servers.Continue(server)
		case 4:
			t.Log("kill all servers")
			for i := range 3 {
				servers.Kill(i)
			}
			b.growing(all, at+200)
			for i := range 3 {
				b.check(servers.Restart(i))
			}
		case 5:
			t.Log("kill all machines")
			for _, o := range all {
				o.kill()
			}
			b.growing(all, at+200)
			for _, o := range all {
				o.start()
			}
		}
		b.growing(all, at+300)
		want := fmt.Sprintf("%d 0", b.lastTx)
		began := time.Now()
		b.await("everything captured and delivered", func() bool {
			for _, o := range all {
				o.mu.Lock()
				at := o.at
				o.mu.Unlock()
				if at != want {
					return false
				}
			}
			return true
		})
		t.Log("all is delivered after", time.Since(began).Round(10*time.Millisecond))
		b.arrived(len(b.wanted()))
	}
	for _, o := range all {
		b.check(o.in.Close())
		<-o.ended
		sp, err := spool.Open(o.dir, testSpool)
		b.check(err)
		b.same(o.name, sp, b.wanted())
		b.check(sp.Close())
	}
	repeats := 0
	for _, arrivals := range b.got {
		seen := map[delivery.Seq]bool{}
		for _, a := range arrivals {
			if seen[a.seq] {
				repeats++
			}
			seen[a.seq] = true
		}
	}
	t.Logf("%d events, %d repeats, %d faults", len(b.wanted()), repeats, rounds)
}

// growing lets the source have transactions up to one.
func (b *bed) growing(all []*offspring, to int) {
	b.mu.Lock()
	b.lastTx = to
	b.mu.Unlock()
	for _, o := range all {
		o.grow()
	}
}
