// Package agent runs what a config describes, and does what commands ask.
//
// An [Agent] joins the rooms. The source pushes into the pipeline, the pipeline fills the spool,
// the engine empties it. Around them it looks after reloads, health, metrics, the admin pages, and
// tables and a spool that need a person.
//
// A state directory belongs to one agent, one source and one machine. Until the first connection
// has shown that they are the ones it is pinned to, deliveries wait: it may be a clone.
//
// What a command asks for is an operation. Most need no database, and so no running agent. [Reach]
// gives a command the running agent, or opens the state directory and does the same there. Whatever
// changes something writes a line in state/audit.jsonl, which [History] reads.
//
// Files, by what they are about:
//
//   - agent.go, connection.go, adopt.go, identity.go: the connection to the source, and whose it is
//   - workspace.go, build.go, sandbox.go: the state directory and the rooms over it
//   - reload.go, reload_files.go, removed.go: another config while it runs
//   - access.go, operations.go, profiles.go, parked.go, replay.go, audit.go: what commands ask for
//   - status.go, stall.go, health.go, metrics.go, admin.go, watch.go: how it stands
//   - console.go: what the web console asks for besides
//
// The package speaks with no database and prints nothing. The program gives it the source, in
// [Options], and shows its answers, which are words of package operation.
package agent
