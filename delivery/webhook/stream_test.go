package webhook

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

// numbers is a streamed body of a few megabytes, and how often it was written.
func numbers(written *atomic.Int64) (*delivery.Stream, []byte) {
	piece := bytes.Repeat([]byte("0123456789abcdef"), 64)
	whole := bytes.Repeat(piece, 3000)
	return &delivery.Stream{Size: int64(len(whole)), Write: func(w io.Writer) error {
		written.Add(1)
		for range 3000 {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	}}, whole
}

// TestStream sends a body that is rendered while it goes out: with its length and signature, or
// compressed.
func TestStream(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*delivery.ProfileConfig){
		"signed": func(*delivery.ProfileConfig) {},
		"alma":   func(c *delivery.ProfileConfig) { c.Signature = "alma" },
		"github": func(c *delivery.ProfileConfig) { c.Signature = "github" },
		"plain":  func(c *delivery.ProfileConfig) { c.Secret, c.Signature = "", "none" },
		"gzip":   func(c *delivery.ProfileConfig) { c.HTTP.Gzip = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var written atomic.Int64
			stream, whole := numbers(&written)
			server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				length := int64(len(body))
				if name == "gzip" {
					zip, zerr := gzip.NewReader(bytes.NewReader(body))
					if zerr != nil {
						t.Error(zerr)
						return
					}
					body, _ = io.ReadAll(zip)
					length = -1
				}
				if err != nil || !bytes.Equal(body, whole) || r.ContentLength != length {
					t.Errorf("%d bytes came, content-length %d: %v", len(body), r.ContentLength, err)
				}
				if err := VerifyAny(format.Products(), r.Header, body, time.Now(), testSecret); name != "plain" && err != nil {
					t.Error(err)
				}
			})
			cfg := profile(server.URL)
			cfg.MaxBody = 1000        // does not hold for what is streamed
			cfg.Timeout = time.Minute // a busy machine compresses slowly
			change(&cfg)
			s, _ := sender(t, cfg)
			for range 3 {
				if reply := s.Send(t.Context(), &delivery.Request{ID: "grp_1", Stream: stream}); reply.Class != delivery.ClassOK {
					t.Errorf("%+v", reply)
				}
			}
			want := int64(6)
			if name == "plain" {
				want = 3
			}
			if written.Load() != want {
				t.Errorf("written %d times", written.Load())
			}
		})
	}
}

// TestStreamThatEndsEarly has a receiver that answers without reading, and bodies that cannot be
// written: when Send has returned, nothing uses the body any more.
func TestStreamThatEndsEarly(t *testing.T) {
	t.Parallel()
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	s, _ := sender(t, profile(server.URL))
	var under, written atomic.Int64
	stream, _ := numbers(&written)
	write := stream.Write
	stream.Write = func(w io.Writer) error {
		under.Add(1)
		defer under.Add(-1)
		return write(w)
	}
	reply := s.Send(t.Context(), &delivery.Request{ID: "grp_1", Stream: stream})
	if reply.Status != http.StatusServiceUnavailable && reply.Class != delivery.ClassNetwork || under.Load() != 0 {
		t.Errorf("%+v, %d writing", reply, under.Load())
	}
	broken := errors.New("secret text of a row")
	for _, after := range []int64{0, 1} { // in the first pass, or while it is sent
		calls := int64(0)
		reply := s.Send(t.Context(), &delivery.Request{ID: "grp_1", Stream: &delivery.Stream{Size: 1 << 20, Write: func(w io.Writer) error {
			if calls++; calls > after {
				return broken
			}
			_, err := w.Write(make([]byte, 1<<20))
			return err
		}}})
		if reply.Class == delivery.ClassOK || bytes.Contains([]byte(reply.Error), []byte("row")) {
			t.Errorf("%+v", reply)
		}
	}
}
