// Package e2e has the end-to-end tests: the real binary against real PostgreSQL, MySQL and MariaDB,
// real HTTP over TCP, real files and real kill -9.
//
// One oracle judges every test. The writer keeps a ledger of what it committed, the receiver keeps
// one of what it was sent, and the delivery log must tell the same story (verify in
// oracle_test.go).
//
// `make test` runs each scenario with small counts. `make soak` runs them in full, with
// ROWHOOK_SOAK=1, and again and again, with ROWHOOK_SOAK_HOURS. No test sleeps: everything waits
// for a condition with a deadline. What each scenario did and what came of it is a row of one table
// (scenarios_test.go), which docs/proof.md shows.
//
// `make bench` compares the agent with a floor: a bare receive loop and a bare HTTP client
// (bench_*_test.go).
//
// The tests know the binary by its commands, files and requests only.
package e2e
