package agent

import (
	"context"
	"log/slog"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
)

// Options are what the program brings along.
type Options struct {
	Logger  *slog.Logger
	Version string // of the program
	// ExitCode is the exit code of a command whose operation failed; nil for 1.
	ExitCode func(error) int
	// QuietPeriod is how long changed files of the config are left alone, so that who writes them
	// can finish; 0 is a quarter of a second.
	QuietPeriod time.Duration
	// Source makes the source that the config names, without connecting to it. The id marks its
	// connections.
	Source func(c *config.Config, logger *slog.Logger, id string) (Source, error)
}

// Source is the host database as an agent uses it.
type Source interface {
	// Run streams into the sink until ctx ends; it reconnects by itself.
	Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error
	// Identify connects as for streaming and says who answers.
	Identify(ctx context.Context) (capture.Server, error)
	// Status says how the stream stands, as the server sees it, when everything before durable is
	// stored.
	Status(ctx context.Context, durable capture.Position) (capture.Status, error)
	// Received counts what has come of the stream: while it grows, something comes.
	Received() uint64
	// Drift looks at what capture needs and can change while it runs.
	Drift(ctx context.Context, patterns []string) ([]capture.Finding, error)
	// Tables describes the tables that the patterns name.
	Tables(ctx context.Context, patterns []string) ([]*capture.Table, error)
	// Reader returns what reads existing rows beside the stream; it does not connect.
	Reader() capture.Reader
	// DecodeRaw decodes a parked change again.
	DecodeRaw(ctx context.Context, raw capture.Raw) (*capture.Change, error)
	// Hosts and Database are as configured.
	Hosts() string
	Database() string
	Close()
}
