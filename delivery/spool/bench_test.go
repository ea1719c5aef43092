package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rowhook/delivery"
)

// benchDir is on a real disk: tmpfs would make fsync free.
func benchDir(b *testing.B) string {
	b.Helper()
	return filepath.Join(b.TempDir(), "spool")
}

// resident returns the process's resident memory in bytes.
func resident(b *testing.B) float64 {
	b.Helper()
	runtime.GC()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(statm))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}

// cpu returns the CPU time that the process has used, in nanoseconds.
func cpu(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkAppend appends transactions as a busy source makes them, synced as in production.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", size), func(b *testing.B) {
			s := openSpool(b, benchDir(b), testOptions(b))
			to := []delivery.ProfileID{register(b, s, "one")}
			events := make([]*delivery.Event, 4096)
			for i := range events {
				events[i] = testEvent(i)
			}
			batch := s.NewBatch()
			b.ReportAllocs()
			n, before := 0, cpu(b)
			for b.Loop() {
				batch.Reset()
				for range size {
					batch.Add(events[n%len(events)], to)
					n++
				}
				batch.Commit("0/16B3748")
				if err := s.Apply(batch); err != nil {
					b.Fatal(err)
				}
			}
			flush(b, s)
			b.StopTimer()
			b.ReportMetric((cpu(b)-before)/float64(n), "cpu-ns/event")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(resident(b)/(1<<20), "MiB-resident")
		})
	}
}

// BenchmarkAppendFsync pays an fsync for each batch of 100, to compare with other stores.
func BenchmarkAppendFsync(b *testing.B) {
	s := openSpool(b, benchDir(b), testOptions(b))
	to := []delivery.ProfileID{register(b, s, "one")}
	batch := s.NewBatch()
	ev := testEvent(1)
	b.ReportAllocs()
	n, before := 0, cpu(b)
	for b.Loop() {
		batch.Reset()
		for range 100 {
			batch.Add(ev, to)
			n++
		}
		batch.Commit("0/16B3748")
		if err := s.Apply(batch); err != nil {
			b.Fatal(err)
		}
		if err := s.sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-before)/float64(n), "cpu-ns/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkRead(b *testing.B) {
	for _, from := range []string{"tail", "store"} {
		b.Run(from, func(b *testing.B) {
			const total = 100_000
			s := openSpool(b, benchDir(b), testOptions(b))
			id := register(b, s, "one")
			for n := 0; n < total; n += 500 {
				appendEvents(b, s, n, n+500, id)
			}
			first := delivery.Seq(1)
			if from == "tail" {
				first = s.tail.first
			}
			var dst []delivery.Entry
			b.ReportAllocs()
			n, next := 0, first
			for b.Loop() {
				entries, at, end, err := s.Read(id, next, dst[:0], 256, 1<<20)
				if err != nil {
					b.Fatal(err)
				}
				n, next, dst = n+len(entries), at, entries
				if end {
					next = first
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}

// BenchmarkUpdate acknowledges 100 events at a time.
func BenchmarkUpdate(b *testing.B) {
	for _, kind := range []string{"in-order", "with-gaps"} {
		b.Run(kind, func(b *testing.B) {
			s := openSpool(b, benchDir(b), testOptions(b))
			id := register(b, s, "one")
			progress := delivery.Progress{Cursor: 1}
			b.ReportAllocs()
			for b.Loop() {
				progress.Cursor += 100
				progress.Done = progress.Done[:0]
				if kind == "with-gaps" {
					for i := range 100 {
						progress.Done = append(progress.Done, progress.Cursor+delivery.Seq(2*i))
					}
				}
				if err := s.Update(id, delivery.Update{Progress: &progress, DoneEvents: 100, DoneBytes: 40_000}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(100*b.N), "ns/event")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	ev, to := testEvent(1), []delivery.ProfileID{1, 2, 3}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEvent(buf[:0], ev, to)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecode(b *testing.B) {
	record := appendEvent(nil, testEvent(1), []delivery.ProfileID{1, 2, 3})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeEvent(record); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReaders has a hundred profiles read a log that none of them has read yet, by turns, as those
// do that lag behind together: each event is for all of them, or for one.
func BenchmarkReaders(b *testing.B) {
	const readers, total, room = 100, 20_000, 40 << 10
	for _, bb := range []struct {
		name string
		each bool // of them gets every event
	}{{"every event", true}, {"a hundredth each", false}} {
		b.Run(bb.name, func(b *testing.B) {
			o := testOptions(b)
			o.Readers = readers
			s := openSpool(b, benchDir(b), o)
			var ids []delivery.ProfileID
			for n := range readers {
				ids = append(ids, register(b, s, fmt.Sprint("p", n)))
			}
			batch := s.NewBatch()
			for n := 0; n < total; {
				batch.Reset()
				for range 100 {
					to := ids
					if !bb.each {
						to = ids[n%readers:][:1]
					}
					batch.Add(testEvent(n), to)
					n++
				}
				batch.Commit("0/16B3748")
				if err := s.Apply(batch); err != nil {
					b.Fatal(err)
				}
			}
			var dst []delivery.Entry
			next := make([]delivery.Seq, readers)
			b.ReportAllocs()
			n, before := 0, cpu(b)
			for b.Loop() {
				for i := range next {
					next[i] = 1
				}
				for done := 0; done < readers; {
					done = 0
					for i, id := range ids {
						entries, at, end, err := s.Read(id, next[i], dst[:0], 256, room)
						if err != nil {
							b.Fatal(err)
						}
						if n, next[i], dst = n+len(entries), at, entries; end {
							done++
						}
					}
				}
			}
			b.ReportMetric((cpu(b)-before)/float64(n), "cpu-ns/event")
			b.ReportMetric(resident(b)/(1<<20), "MiB-resident")
		})
	}
}

// sharedEvents are those of one transaction: they share what its commit and rule made.
func sharedEvents(n int) []*delivery.Event {
	events := make([]*delivery.Event, n)
	for i := range events {
		events[i] = testEvent(i)
		events[i].Making, events[i].Commit = events[0].Making, events[0].Commit
	}
	return events
}

// BenchmarkParts hands transactions on, and takes them as a follower does.
func BenchmarkParts(b *testing.B) {
	for _, size := range []int{1, 100} {
		batch := &Batch{}
		for _, ev := range sharedEvents(size) {
			batch.Add(ev, []delivery.ProfileID{1, 300})
		}
		batch.Commit("0/16B3748")
		parts := partsOfBatch(b, batch, 512<<10)
		b.Run(fmt.Sprintf("encode/events=%d", size), func(b *testing.B) {
			code := func(delivery.ProfileID) string { return "desk" }
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if err := batch.Encode(code, 512<<10, func([]byte, bool) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu(b)-before)/float64(b.N*size), "cpu-ns/event")
		})
		b.Run(fmt.Sprintf("decode/events=%d", size), func(b *testing.B) {
			s := setup(b)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if _, err := s.DecodePart(parts[0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu(b)-before)/float64(b.N*size), "cpu-ns/event")
			b.ReportMetric(float64(len(parts[0]))/float64(size), "bytes/event")
		})
	}
}
