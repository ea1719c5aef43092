package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
)

type echoRequest struct {
	Text string `json:"text"`
}

func TestControlSocket(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{
		"short path":                       t.TempDir(),
		"path longer than a socket's name": filepath.Join(t.TempDir(), strings.Repeat("long/", 30)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Dial(dir); !errors.Is(err, ErrNoAgent) {
				t.Fatalf("dial without an agent: %v", err)
			}
			server := &Server{StateDir: dir, Logger: slog.New(slog.DiscardHandler), Operations: map[string]Operation{
				"echo": Typed(func(_ context.Context, r echoRequest) (echoRequest, error) { return r, nil }),
				"fail": func(context.Context, json.RawMessage) (any, error) {
					return nil, &capture.OperatorError{Err: errors.New("no such profile"), Remedy: "see `rowhook profile list`"}
				},
			}}
			listener, err := server.Listen()
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- server.Serve(ctx, listener) }()

			client, err := Dial(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			var got echoRequest
			if err := client.Call(t.Context(), "echo", echoRequest{Text: "loan"}, &got); err != nil || got.Text != "loan" {
				t.Errorf("echo = %+v, %v", got, err)
			}
			for text, refused := range map[string]bool{"Z\xfcrich": true, "Zürich": false, "\uFFFD": false, `\ufffd`: false, `\\ufffd`: false, "\\\xff": true, `\ufffd` + "\xff": true} {
				got.Text = ""
				err := client.Call(t.Context(), "echo", echoRequest{Text: text}, &got)
				if refused != (err != nil) || !refused && got.Text != text || refused && !strings.Contains(err.Error(), "not in UTF-8") {
					t.Errorf("%q: %q, %v", text, got.Text, err)
				}
			}
			err = client.Call(t.Context(), "fail", struct{}{}, &got)
			if err == nil || err.Error() != "no such profile" || capture.Remedy(err) != "see `rowhook profile list`" {
				t.Errorf("fail = %v, remedy %q", err, capture.Remedy(err))
			}
			if err := client.Call(t.Context(), "unheard-of", struct{}{}, &got); err == nil {
				t.Error("an unknown operation was answered")
			}
			info, err := os.Stat(filepath.Join(dir, socketName))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket: %v, %v", info.Mode(), err)
			}
			stop()
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
			if _, err := Dial(dir); !errors.Is(err, ErrNoAgent) {
				t.Errorf("dial after the agent stopped: %v", err)
			}
		})
	}
}

// A dead agent leaves its socket behind; the next one takes its place.
func TestControlSocketOfADeadAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := &Server{StateDir: dir, Logger: slog.New(slog.DiscardHandler)}
	first, err := server.Listen()
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if _, err := Dial(dir); !errors.Is(err, ErrNoAgent) {
		t.Errorf("dial a dead agent's socket: %v", err)
	}
	second, err := server.Listen()
	if err != nil {
		t.Fatalf("listen over a dead agent's socket: %v", err)
	}
	second.Close()
}

// A request whose body does not come is given up, so that it keeps no descriptor for ever.
func TestControlSocketGivesUpHalfARequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := &Server{StateDir: dir, Logger: slog.New(slog.DiscardHandler), Operations: map[string]Operation{
		"echo": Typed(func(_ context.Context, r echoRequest) (echoRequest, error) { return r, nil }),
	}}
	listener, err := server.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	conn, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("answer %q, %v", answer, err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
