package webhook

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rowhook/delivery"
)

// spent is what a way of sending took.
type spent struct {
	wall, cpu time.Duration
}

func (s *spent) measure(work func()) {
	begin, before := time.Now(), processCPU()
	work()
	s.wall += time.Since(begin)
	s.cpu += processCPU() - before
}

func processCPU() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkSend compares an attempt with what a bare net/http client makes of the same body and
// receiver, in turns of 200 requests. Both read the reply to its end; the client does not sign,
// classify or guard. The receiver's share of the work is in both figures, since it runs in the same
// process.
func BenchmarkSend(b *testing.B) {
	body := []byte(`{"id":"evt_1","data":{"text":"` + strings.Repeat("x", 360) + `"}}`)
	server := receiver(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	})
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.Cleanup(client.CloseIdleConnections)
	s, _ := sender(b, profile(server.URL))
	req := delivery.Request{ID: "evt_1", Body: body, Head: delivery.Head{ContentType: "application/json"}}
	bare := func() {
		resp, err := client.Post(server.URL, "application/json", bytes.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	ours := func() {
		if reply := s.Send(context.Background(), &req); reply.Class != delivery.ClassOK {
			b.Error(reply.Error)
		}
	}
	for _, lanes := range []int{1, 8} {
		b.Run(map[int]string{1: "lane", 8: "lanes8"}[lanes], func(b *testing.B) {
			const turn = 200
			var floor, figure spent
			for done := 0; done < b.N; done += turn {
				floor.measure(func() { inLanes(lanes, turn, bare) })
				figure.measure(func() { inLanes(lanes, turn, ours) })
			}
			n := float64((b.N + turn - 1) / turn * turn)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(floor.wall)/n, "bare-ns")
			b.ReportMetric(float64(figure.wall)/n, "send-ns")
			b.ReportMetric(float64(figure.wall)/float64(floor.wall), "wall-ratio")
			b.ReportMetric(float64(figure.cpu)/float64(floor.cpu), "cpu-ratio")
		})
	}
	b.Run("allocs-bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bare()
		}
	})
	b.Run("allocs-send", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ours()
		}
	})
}

// inLanes makes n requests, as many at once as there are lanes.
func inLanes(lanes, n int, send func()) {
	var wg sync.WaitGroup
	for range lanes {
		wg.Go(func() {
			for range n / lanes {
				send()
			}
		})
	}
	wg.Wait()
}

func BenchmarkSign(b *testing.B) {
	s := newSigner(nil, []signingKey{{key: []byte(testSecret)}})
	body := bytes.Repeat([]byte("x"), 400)
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = s.sign("evt_1", "1614265330", body, nil, time.Time{})
	}
}
