package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// agent is the rowhook binary with a config, used as a DBA would.
type agent struct {
	binary, dir string
	process     *exec.Cmd
	ended       chan error
}

const configTemplate = `# Written by the demonstration.
source:
  {{.Source}}
  name: library

state: ./state

# From testdata/library/config.yaml:
{{.Mapping}}
defaults:
  allow_networks: [loopback]            # the receivers are on this machine
  retry: {initial: 250ms, max: 1s}      # this has to be over in a minute

profiles:
  desk:
    name: Circulation desk
    url: {{.Desk}}
    secret: {{.Secret}}
    subscriptions: [{events: ["loan.*", "user.*"]}]
  search:
    name: Search index
    url: {{.Search}}
    secret: {{.Secret}}
    subscriptions: [{tables: ["catalog.*"]}]

log:
  deliveries: ./deliveries.jsonl
{{.Cluster}}`

// settings fill the config in.
type settings struct{ Source, Mapping, Desk, Search, Secret, Cluster string }

// exampleMapping is the mapping of the library's config.
func exampleMapping(example string) (string, error) {
	text, err := os.ReadFile(example)
	if err != nil {
		return "", err
	}
	_, mapping, found := strings.Cut(string(text), "\nmapping:\n")
	mapping, _, ends := strings.Cut(mapping, "\n# ---")
	if !found || !ends {
		return "", fmt.Errorf("%s has no mapping with a section behind it", example)
	}
	return "mapping:\n" + mapping, nil
}

// newAgent writes the config into dir.
func newAgent(binary, dir string, s settings) (*agent, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	if err := template.Must(template.New("config").Parse(configTemplate)).Execute(&text, s); err != nil {
		return nil, fmt.Errorf("write config: %w", err)
	}
	a := &agent{binary: binary, dir: dir}
	if err := os.WriteFile(a.config(), []byte(text.String()), 0o600); err != nil {
		return nil, fmt.Errorf("write config: %w", err)
	}
	return a, nil
}

func (a *agent) config() string     { return filepath.Join(a.dir, "config.yaml") }
func (a *agent) log() string        { return filepath.Join(a.dir, "rowhook.log") }
func (a *agent) deliveries() string { return filepath.Join(a.dir, "deliveries.jsonl") }

// findings is the exit code of a command that has something to say.
const findings = 3

// command runs one rowhook command to its end and returns what it printed.
func (a *agent) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, a.binary, append(args, "-c", a.config())...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != findings {
		return "", fmt.Errorf("rowhook %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// start starts `rowhook run`, its messages going to a file.
func (a *agent) start() error {
	log, err := os.OpenFile(a.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start rowhook: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(a.binary, "run", "-c", a.config())
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own, so that Ctrl-C reaches us alone and things end in order; and no
	// longer life than ours.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start rowhook: %w", err)
	}
	a.process, a.ended = cmd, make(chan error, 1)
	go func(ended chan<- error) { ended <- cmd.Wait() }(a.ended)
	return nil
}

// stop ends the agent with a signal and returns how it ended; nil when it does not run.
func (a *agent) stop(signal syscall.Signal) error {
	if a.process == nil {
		return nil
	}
	process := a.process
	a.process = nil
	if err := process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop rowhook: %w", err)
	}
	select {
	case err := <-a.ended:
		return err
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("rowhook did not stop within 30 seconds"), process.Process.Kill())
	}
}

// tail is the end of the agent's log, for when things go wrong.
func (a *agent) tail() string {
	raw, err := os.ReadFile(a.log())
	if err != nil {
		return ""
	}
	return string(raw[max(0, len(raw)-3000):])
}
