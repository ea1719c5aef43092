// Package control is the socket by which commands reach a running agent.
//
// A running agent owns the spool, so commands ask it. [Server] listens on a Unix socket in the
// state directory, which only its owner can enter; [Client] asks. An [Operation] is one POST of one
// JSON object. One JSON object answers it, or a [Failure].
//
// A request that does not come within seconds is given up. An operation takes as long as it takes.
// When the agent ends while it is asked, the client says so and does not ask again: what it asked
// for may have been done.
//
// The package does not know what operations there are. Their requests and answers are the words of
// package operation.
package control
