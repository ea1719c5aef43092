package webhook

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// BenchmarkSend compares an attempt with what a bare net/http client makes of the same body and receiver. Both read the
// reply to its end; the client does not sign, classify or guard.
func BenchmarkSend(b *testing.B) {
	body := []byte(`{"id":"evt_1","data":{"text":"` + strings.Repeat("x", 360) + `"}}`)
	server := receiver(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	})
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	b.Cleanup(client.CloseIdleConnections)
	s, _ := sender(b, profile(server.URL))
	req := delivery.Request{ID: "evt_1", Body: body, ContentType: "application/json"}
	for name, send := range map[string]func() bool{
		"bare": func() bool {
			resp, err := client.Post(server.URL, "application/json", bytes.NewReader(body))
			if err != nil {
				return false
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			return resp.StatusCode == 200
		},
		"sender": func() bool {
			reply := s.Send(context.Background(), &req)
			return reply.Class == delivery.ClassOK
		},
	} {
		b.Run(name+"/one", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !send() {
					b.Fatal("not delivered")
				}
			}
		})
		b.Run(name+"/lanes", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !send() {
						b.Error("not delivered")
						return
					}
				}
			})
		})
	}
}

func BenchmarkSign(b *testing.B) {
	s := newSigner([]signingKey{{key: []byte(testSecret)}})
	body := bytes.Repeat([]byte("x"), 400)
	b.ReportAllocs()
	for b.Loop() {
		s.sign("evt_1", "1614265330", body, time.Time{})
	}
}
