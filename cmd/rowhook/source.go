package main

import (
	"fmt"
	"log/slog"
	"slices"

	"rowhook/capture"
	"rowhook/capture/mysql"
	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/draft"
	"rowhook/delivery"
)

// source is the host database with all that the agent and the commands want of it. Each kind of
// database has a room of its own.
type source interface {
	agent.Source
	checkable
	preparable
	listed
}

// newSource makes the source. It does not connect. The id marks its connections.
func newSource(c *config.Config, logger *slog.Logger, id string) (source, error) {
	s, err := openSource(c, logger, id)
	if err != nil {
		return nil, c.Explain(fmt.Errorf("source: %w", err))
	}
	return s, nil
}

func openSource(c *config.Config, logger *slog.Logger, id string) (source, error) {
	if c.Source.MySQL() {
		wanted := func(schema, table string) bool { // the mapping is about it
			name := schema + "." + table
			return slices.ContainsFunc(c.Rules().Tables(), func(pattern string) bool { return delivery.MatchGlob(pattern, name) })
		}
		return mysql.New(c.Source.SourceConfig, mysql.Options{
			Logger: logger, AgentID: id, ServerID: uint32(c.Source.ServerID), Wanted: wanted, Comments: c.Source.Context.Comment,
		})
	}
	return postgres.New(c.Source.SourceConfig, postgres.Options{Logger: logger, AgentID: id})
}

// bareSource makes a source to look at a database that no config is about yet.
func bareSource(c capture.SourceConfig) (source, error) {
	if c.Type == draft.MySQL {
		return mysql.New(c, mysql.Options{Logger: slog.New(slog.DiscardHandler), AgentID: "init"})
	}
	return postgres.New(c, postgres.Options{Logger: slog.New(slog.DiscardHandler), AgentID: "init"})
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
