package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"

	"rowhook/capture/capturetest"
)

// peerTitle names the peer in the table.
const peerTitle = "pg-logical-replication 2.5.0 and a handler on Node.js"

// peerScript is the handler behind the peer's library.
const peerScript = "testdata/peer.cjs"

// beside drains a backlog beside a peer: a library of another language that brings rows to a handler.
// There is one for PostgreSQL alone. MySQL's and MariaDB's read from a file and an offset, not from a
// GTID set, and whole products are no packages of Go, Debian or npm. `.ci/install bench` fetches it.
func beside(rows int) func(m *meter) {
	return func(m *meter) {
		if m.source.kind() != "postgres" {
			return
		}
		sides := []starter{
			{"agent", func(from string) *agent { return m.startAgent(from, task{}) }},
			{"peer", m.startPeer},
		}
		figures := []figure{{what: "events/s"}, {what: "CPU s per 100,000", decimals: 2}, {what: "peak MiB"}}
		m.contest(3, false, sides, figures, func(c *contender) []float64 {
			stats := m.received(c, rows)
			return []float64{stats.rate(), c.cpuPer100000(rows), c.peak()}
		})
	}
}

// besideLive measures the delay beside a peer.
func besideLive(m *meter) {
	if m.source.kind() != "postgres" {
		return
	}
	sides := []starter{
		{"agent", func(from string) *agent { return m.startAgent(from, task{live: true}) }},
		{"peer", m.startPeer},
	}
	m.contest(3, true, sides, []figure{{what: "p50 ms", decimals: 2}, {what: "p99 ms", decimals: 2}}, func(c *contender) []float64 { return m.delays(c, 200, delaysFor) })
}

func (m *meter) startPeer(from string) *agent {
	m.tb.Helper()
	script, err := filepath.Abs(peerScript)
	capturetest.Must(m.tb, err)
	cmd := exec.Command("node", script)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(toolsDir(), "peers", "current", "node_modules"),
		"PEER_URL="+m.source.url(m.source.address()), "PEER_SLOT="+from, "PEER_TARGET="+m.target)
	return launch(m.tb, cmd)
}
