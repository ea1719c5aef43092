package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"rowhook/capture"
	"rowhook/capture/mysql"
	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
)

// source is the host database as the agent and the commands use it. Each kind of database has a
// room of its own.
type source interface {
	// Run streams into the sink until ctx ends; it reconnects by itself.
	Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error
	// Identify connects as for streaming and says who answers.
	Identify(ctx context.Context) (capture.Server, error)
	// Status says how the stream stands, as the server sees it, when everything before durable is
	// stored.
	Status(ctx context.Context, durable capture.Position) (capture.Status, error)
	// Received counts what has come of the stream: while it grows, something comes.
	Received() uint64
	// Check looks at everything that capture needs; Drift only at what can change while it runs.
	Check(ctx context.Context, patterns []string) ([]capture.Finding, error)
	Drift(ctx context.Context, patterns []string) ([]capture.Finding, error)
	// Tables describes the tables that the patterns name.
	Tables(ctx context.Context, patterns []string) ([]*capture.Table, error)
	// Survey is Tables and Drift at once, asked with the login that setup uses.
	Survey(ctx context.Context, ownerURL string, patterns []string) ([]*capture.Table, []capture.Finding, error)
	// SetupSQL says what setup would run, Setup runs it, Remove takes it away.
	SetupSQL(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error)
	Setup(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error)
	Remove(ctx context.Context, ownerURL string) ([]capture.Statement, error)
	// Writers lists who may insert into a table. It is not complete where our role may not see all.
	Writers(ctx context.Context, table string) (names []string, complete bool, err error)
	// ContextTriggers says what triggers would tell who makes changes; it creates and removes
	// them, too.
	ContextTriggers(ctx context.Context, opts capture.TriggerOptions) ([]capture.Statement, error)
	// DecodeRaw decodes a parked change again.
	DecodeRaw(ctx context.Context, raw capture.Raw) (*capture.Change, error)
	// Hosts and Database are as configured.
	Hosts() string
	Database() string
	Close()
}

// newSource makes the source. It does not connect. The agent's id marks its connections.
func newSource(c *config.Config, logger *slog.Logger, agent string) (source, error) {
	s, err := openSource(c, logger, agent)
	if err != nil {
		return nil, c.Explain(fmt.Errorf("source: %w", err))
	}
	return s, nil
}

func openSource(c *config.Config, logger *slog.Logger, agent string) (source, error) {
	if c.Source.MySQL() {
		wanted := func(schema, table string) bool { // the mapping is about it
			name := schema + "." + table
			return slices.ContainsFunc(c.Rules().Tables(), func(pattern string) bool { return delivery.MatchGlob(pattern, name) })
		}
		return mysql.New(c.Source.SourceConfig, mysql.Options{
			Logger: logger, AgentID: agent, ServerID: uint32(c.Source.ServerID), Wanted: wanted, Comments: c.Source.Context.Comment,
		})
	}
	return postgres.New(c.Source.SourceConfig, postgres.Options{Logger: logger, AgentID: agent})
}

// sourceName is the source's name in payloads.
func sourceName(c *config.Config) (string, error) {
	if c.Source.Name != "" {
		return c.Source.Name, nil
	}
	source, err := openSource(c, slog.New(slog.DiscardHandler), "") // connects to nothing yet
	if err != nil {
		return "", err
	}
	defer source.Close()
	return source.Database(), nil
}
