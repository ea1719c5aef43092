package main

import (
	"log/slog"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
)

// reach reaches the agent or opens the state directory. While the config file has errors, a running
// agent, which goes on with the config it has, can still be asked.
func (c *console) reach() (*agent.Access, error) {
	conf, err := c.config()
	if err == nil {
		return agent.Reach(conf, c.agentOptions(conf))
	}
	if running, cerr := agent.ReachRunning(conf.State); cerr == nil {
		return running, nil
	}
	return nil, err
}

// agentOptions are what the program brings along for the config's state directory.
func (c *console) agentOptions(conf *config.Config) agent.Options {
	return agent.Options{
		Logger: newLogger(conf, c.err), Version: readVersion().Version, ExitCode: exitCode,
		Source: func(conf *config.Config, logger *slog.Logger, id string) (agent.Source, error) {
			return newSource(conf, logger, id)
		},
	}
}

// withControl runs what a command does on a state directory.
func (c *console) withControl(do func(*agent.Access) error) error {
	access, err := c.reach()
	if err != nil {
		return err
	}
	err = do(access)
	if cerr := access.Close(); err == nil {
		err = cerr
	}
	return err
}

// stateDir is where the config file has its state directory, as far as the file can be read.
func (c *console) stateDir() string { return config.StateDir(c.configPath, c.env) }
