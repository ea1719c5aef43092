package spool

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"rowhook/delivery"
)

// appendUntilKilled is the child of TestKill: it appends transactions of growing size, acknowledges
// some, and tells on stdout what has become durable.
func appendUntilKilled(dir string) error {
	// Its events are old, and what is delivered must not go, however long it runs.
	s, err := Open(dir, Options{Reserve: -1, History: math.MaxInt64})
	if err != nil {
		return err
	}
	id, err := s.Register("one")
	if err != nil {
		return err
	}
	progress, err := s.Progress(id)
	if err != nil {
		return err
	}
	n := 0
	if position := s.Position(); position != "" {
		if _, err := fmt.Sscanf(position, "p%d", &n); err != nil {
			return err
		}
	}
	go func() {
		for {
			changed := s.DurableChanged()
			fmt.Printf("%s\n", s.Durable())
			<-changed
		}
	}()
	b := s.NewBatch()
	for size := 1; ; size = size%150 + 1 {
		b.Reset()
		for range size {
			b.Add(testEvent(n), []delivery.ProfileID{id})
			n++
			if n%40 == 0 { // a part of an open transaction
				if err := s.Apply(b); err != nil {
					return err
				}
				b.Reset()
			}
		}
		b.Commit(fmt.Sprint("p", n))
		if err := s.Apply(b); err != nil {
			return err
		}
		u := delivery.Update{Progress: &delivery.Progress{Cursor: progress.Cursor + delivery.Seq(size)/2}}
		u.DoneEvents = int64(u.Progress.Cursor - progress.Cursor)
		if err := s.Update(id, u); err != nil {
			return err
		}
		progress = *u.Progress
	}
}

// TestKill kills a process that appends, again and again, and looks at what it left.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	rng := newRand(7)
	checked := 0 // in the rounds before
	for round := range 6 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), "SPOOL_CHILD="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		durable := followUntil(t, out, rng.IntN(10)+2)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// What it still said before it died counts too.
		if last := followUntil(t, out, 1<<30); last > 0 {
			durable = last
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		checked = verifyKilled(t, dir, durable, checked)
		t.Logf("round %d: %d durable, %d found", round, durable, checked)
	}
}

// followUntil reads positions until the child's end, or n of them, and returns the last.
func followUntil(t *testing.T, out io.Reader, n int) (last int) {
	t.Helper()
	lines := bufio.NewScanner(out)
	for range n {
		if !lines.Scan() {
			return last
		}
		if lines.Text() == "" {
			continue
		}
		if _, err := fmt.Sscanf(lines.Text(), "p%d", &last); err != nil {
			return last // a line that the kill cut
		}
	}
	return last
}

// verifyKilled reads what a kill left and returns how many events there are.
func verifyKilled(t *testing.T, dir string, durable, checked int) int {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, holderFile)); err != nil || !json.Valid(b) {
		t.Fatalf("holder %q: %v", b, err)
	}
	s, err := Open(dir, testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	id := register(t, s, "one")
	entries := readAll(t, s, id, 1)
	if len(entries) < durable {
		t.Fatalf("%d events were durable, %d are left", durable, len(entries))
	}
	if want := fmt.Sprint("p", len(entries)); s.Position() != want {
		t.Fatalf("position %s, want %s", s.Position(), want)
	}
	for i, e := range entries {
		if e.Seq != delivery.Seq(i+1) || i >= checked && !reflect.DeepEqual(e.Event, testEvent(i)) {
			t.Fatalf("entry %d is %d: %+v", i, e.Seq, e.Event)
		}
	}
	progress, err := s.Progress(id)
	if err != nil {
		t.Fatal(err)
	}
	backlog, err := s.Backlog(id)
	if want := int64(len(entries)) - int64(progress.Cursor-1); err != nil || backlog.Events != want {
		t.Fatalf("backlog %+v, want %d: %v", backlog, want, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
