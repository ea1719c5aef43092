package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"rowhook/cmd/rowhook/cluster/natstest"
)

// makeMachines makes the machines that do the work: one, or several that meet at three servers.
func (st *stage) makeMachines(ctx context.Context, o options, s settings) error {
	if o.machines > 1 {
		began := time.Now()
		var err error
		if st.nats, err = natstest.Start(ctx, natstest.Options{}); err != nil {
			return err
		}
		st.done("three NATS servers that sync each write (%s)", span(time.Since(began)))
	}
	for i := range max(o.machines, 1) {
		dir := st.dir
		if st.nats != nil {
			name := fmt.Sprint("n", i+1)
			dir = filepath.Join(st.dir, name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			s.Cluster = fmt.Sprintf("cluster:\n  nats: {url: %q}\n  name: library\n  machine: %s\n", st.nats.URL(), name)
		}
		m, err := newAgent(o.rowhook, dir, s)
		if err != nil {
			return err
		}
		st.machines = append(st.machines, m)
	}
	st.agent = st.machines[0]
	return nil
}

// killCapturing kills the machine that captures, and asks another one from then on. It returns its
// name, which is empty where there is one machine only.
func (st *stage) killCapturing(ctx context.Context) (name string, err error) {
	victim := st.agent
	if st.nats != nil {
		out, err := st.agent.command(ctx, "status", "--json")
		if err != nil {
			return "", err
		}
		var report struct {
			Cluster struct {
				Captures string `json:"captures"`
			} `json:"cluster"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			return "", fmt.Errorf("read the status: %w", err)
		}
		name = report.Cluster.Captures
		for _, m := range st.machines {
			if filepath.Base(m.dir) == name {
				victim = m
			} else {
				st.agent = m
			}
		}
	}
	if err := victim.stop(syscall.SIGKILL); err == nil {
		return name, errors.New("rowhook was not running")
	}
	return name, nil
}
