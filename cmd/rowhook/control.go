package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
)

// controlSocket is the socket's name in the state directory.
const controlSocket = "rowhook.sock"

// errNoAgent says that no agent listens on the state directory's socket.
var errNoAgent = errors.New("no agent is running on this state directory")

// controlFailure is the answer to an operation that failed.
type controlFailure struct {
	Message string `json:"error"`
	Remedy  string `json:"hint,omitempty"`
	Exit    int    `json:"exit,omitempty"` // of the command; default 1
}

func (f *controlFailure) Error() string { return f.Message }

// Hint returns the remedy for the operator.
func (f *controlFailure) Hint() string { return f.Remedy }

// ExitCode is the command's.
func (f *controlFailure) ExitCode() int { return cmp.Or(f.Exit, exitFailed) }

// operation answers one kind of request. The user is who asks, for the audit log.
type operation func(ctx context.Context, request json.RawMessage) (any, error)

// typed makes an operation of a function over its own request type.
func typed[Req, Resp any](do func(context.Context, Req) (Resp, error)) operation {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var req Req
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		return do(ctx, req)
	}
}

// controlServer answers operations on the state directory's socket.
type controlServer struct {
	StateDir   string
	Operations map[string]operation
	Logger     *slog.Logger
	// ExitCode is the exit code of a command whose operation failed; nil for 1.
	ExitCode func(error) int
}

// Listen opens the socket. The caller holds the state directory's lock, so that a socket
// found there is a dead agent's.
func (s *controlServer) Listen() (net.Listener, error) {
	path, done, err := shortSocketPath(s.StateDir)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale control socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	// The path goes through a descriptor that is closed below: the file is removed by name instead.
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("protect control socket: %w", err)
	}
	return listener, nil
}

// requestPatience is how long a request may take to come, its header and its body.
const requestPatience = 5 * time.Second

// Serve answers until ctx ends, then waits for the operations under way.
func (s *controlServer) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: requestPatience, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug)}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	err := server.Serve(listener)
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		os.Remove(filepath.Join(s.StateDir, controlSocket))
		return nil
	}
	return fmt.Errorf("serve control socket: %w", err)
}

// ServeHTTP answers one operation.
func (s *controlServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	do, known := s.Operations[strings.TrimPrefix(r.URL.Path, "/")]
	if !known || r.Method != http.MethodPost {
		writeControl(w, http.StatusNotFound, &controlFailure{Message: "unknown operation", Remedy: "the agent and this command may be of different versions"})
		return
	}
	// Requests are small and come at once; what operations take is theirs.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(requestPatience))
	request, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		w.Header().Set("Connection", "close") // and the rest of it is not waited for
		writeControl(w, http.StatusBadRequest, &controlFailure{Message: err.Error()})
		return
	}
	_ = deadline.SetReadDeadline(time.Time{})
	answer, err := do(r.Context(), request)
	if err != nil {
		failure := &controlFailure{Message: err.Error(), Remedy: config.Hint(err)}
		if s.ExitCode != nil {
			failure.Exit = s.ExitCode(err)
		}
		writeControl(w, http.StatusUnprocessableEntity, failure)
		return
	}
	writeControl(w, http.StatusOK, answer)
}

// writeControl answers a request with one JSON object.
func writeControl(w http.ResponseWriter, status int, answer any) {
	raw, err := json.Marshal(answer)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"encode answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // who asked may have gone
}

// controlClient asks a running agent.
type controlClient struct{ http *http.Client }

// dialControl returns a client of the agent that runs on the state directory, or errNoAgent.
func dialControl(stateDir string) (*controlClient, error) {
	dial := func(ctx context.Context) (net.Conn, error) {
		path, done, err := shortSocketPath(stateDir)
		if err != nil {
			return nil, err
		}
		defer done()
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := dial(ctx)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, errNoAgent
	case err != nil:
		return nil, fmt.Errorf("reach the agent: %w", err)
	}
	conn.Close()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	return &controlClient{http: &http.Client{Transport: transport}}, nil
}

// Call asks for one operation and decodes its answer into resp.
func (c *controlClient) Call(ctx context.Context, name string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/"+name, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("build request: %w", err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return unanswered(ctx, fmt.Errorf("ask the agent: %w", err))
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return unanswered(ctx, fmt.Errorf("read the agent's answer: %w", err))
	}
	if answer.StatusCode != http.StatusOK {
		failure := &controlFailure{}
		if json.Unmarshal(raw, failure) != nil || failure.Message == "" {
			failure.Message = "the agent answered " + answer.Status
		}
		return failure
	}
	if err := json.Unmarshal(raw, resp); err != nil {
		return fmt.Errorf("decode the agent's answer: %w", err)
	}
	return nil
}

// unanswered adds to what an agent did not answer that it may have been done: it is not asked again.
func unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err // the command's own end
	}
	return &capture.OperatorError{Err: err, Remedy: "the agent ended while it was asked, and may have done it: look with `rowhook status`, then try again"}
}

// Close gives the connections up.
func (c *controlClient) Close() { c.http.CloseIdleConnections() }

// shortSocketPath returns a path of the socket that fits the 107 bytes a Unix socket's name
// may have, however long the state directory's is: through a descriptor of the directory. It is
// valid until done is called.
func shortSocketPath(stateDir string) (path string, done func(), err error) {
	full := filepath.Join(stateDir, controlSocket)
	if len(full) < 100 {
		return full, func() {}, nil
	}
	dir, err := os.Open(stateDir)
	if err != nil {
		return "", nil, fmt.Errorf("open state directory: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlSocket), func() { dir.Close() }, nil
}
