package control

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
)

// socketName is the socket's name in the state directory.
const socketName = "rowhook.sock"

// exitFailed is the exit code of a command whose failure has no code of its own, exitUsage that of a
// command that was written wrongly.
const exitFailed, exitUsage = 1, 2

// ErrNoAgent says that no agent listens on the state directory's socket.
var ErrNoAgent = errors.New("no agent is running on this state directory")

// Failure is the answer to an operation that failed.
type Failure struct {
	Message string `json:"error"`
	Remedy  string `json:"hint,omitempty"`
	Exit    int    `json:"exit,omitempty"` // of the command; default 1
}

func (f *Failure) Error() string { return f.Message }

// RemedyText returns the remedy for the operator.
func (f *Failure) RemedyText() string { return f.Remedy }

// ExitCode is the command's.
func (f *Failure) ExitCode() int { return cmp.Or(f.Exit, exitFailed) }

// Operation answers one kind of request.
type Operation func(ctx context.Context, request json.RawMessage) (any, error)

// Typed makes an [Operation] of a function over its own request type.
func Typed[Req, Resp any](do func(context.Context, Req) (Resp, error)) Operation {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var req Req
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		return do(ctx, req)
	}
}

// Server answers operations on the state directory's socket.
type Server struct {
	StateDir   string
	Operations map[string]Operation
	Logger     *slog.Logger
	// ExitCode is the exit code of a command whose operation failed; nil for 1.
	ExitCode func(error) int
}

// Listen opens the socket. The caller holds the state directory's lock, so that a socket
// found there is a dead agent's.
func (s *Server) Listen() (net.Listener, error) {
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
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
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
		os.Remove(filepath.Join(s.StateDir, socketName))
		return nil
	}
	return fmt.Errorf("serve control socket: %w", err)
}

// ServeHTTP answers one operation.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	do, known := s.Operations[strings.TrimPrefix(r.URL.Path, "/")]
	if !known || r.Method != http.MethodPost {
		WriteAnswer(w, http.StatusNotFound, &Failure{Message: "unknown operation", Remedy: "the agent and this command may be of different versions"})
		return
	}
	// Requests are small and come at once; what operations take is theirs.
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(requestPatience))
	request, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		w.Header().Set("Connection", "close") // and the rest of it is not waited for
		WriteAnswer(w, http.StatusBadRequest, &Failure{Message: err.Error()})
		return
	}
	_ = deadline.SetReadDeadline(time.Time{})
	answer, err := do(r.Context(), request)
	if err != nil {
		failure := &Failure{Message: err.Error(), Remedy: capture.Remedy(err)}
		if s.ExitCode != nil {
			failure.Exit = s.ExitCode(err)
		}
		WriteAnswer(w, http.StatusUnprocessableEntity, failure)
		return
	}
	WriteAnswer(w, http.StatusOK, answer)
}

// WriteAnswer answers a request with one JSON object.
func WriteAnswer(w http.ResponseWriter, status int, answer any) {
	raw, err := json.Marshal(answer)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"error":"encode answer"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // who asked may have gone
}

// Client asks a running agent.
type Client struct{ http *http.Client }

// Dial returns a client of the agent that runs on the state directory, or [ErrNoAgent].
func Dial(stateDir string) (*Client, error) {
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
		return nil, ErrNoAgent
	case err != nil:
		return nil, fmt.Errorf("reach the agent: %w", err)
	}
	conn.Close()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	return &Client{http: &http.Client{Transport: transport}}, nil
}

// Call asks for one operation and decodes its answer into resp.
func (c *Client) Call(ctx context.Context, name string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	if replaced(body) {
		return &Failure{Message: "a value is not in UTF-8, and the agent takes no other", Remedy: "set the terminal and its input to UTF-8", Exit: exitUsage}
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
		failure := &Failure{}
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

// replaced reports whether a text was not UTF-8: such bytes become an escape, that a text's own
// characters never do.
func replaced(body []byte) bool {
	const escape = `\ufffd`
	for at := 0; ; {
		i := bytes.Index(body[at:], []byte(escape))
		if i < 0 {
			return false
		}
		at += i
		before := 0
		for before < at && body[at-1-before] == '\\' {
			before++
		}
		if before%2 == 0 {
			return true
		}
		at += len(escape)
	}
}

// unanswered adds to what an agent did not answer that it may have been done: it is not asked
// again.
func unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err // the command's own end
	}
	return &capture.OperatorError{Err: err, Remedy: "the agent ended while it was asked, and may have done it: look with `rowhook status`, then try again"}
}

// Close gives the connections up.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// shortSocketPath returns a path of the socket that fits the 107 bytes a Unix socket's name
// may have, however long the state directory's is: through a descriptor of the directory. It is
// valid until done is called.
func shortSocketPath(stateDir string) (path string, done func(), err error) {
	full := filepath.Join(stateDir, socketName)
	if len(full) < 100 {
		return full, func() {}, nil
	}
	dir, err := os.Open(stateDir)
	if err != nil {
		return "", nil, fmt.Errorf("open state directory: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName), func() { dir.Close() }, nil
}
