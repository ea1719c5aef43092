// Rowhook-demo shows rowhook at work in less than a minute: a throwaway PostgreSQL, MySQL
// or MariaDB with a small library in it, two receivers that verify signatures, and the rowhook
// binary between them, set up and run as a DBA would. The library has an ordinary
// morning, a receiver goes away and comes back, rowhook is killed and started again.
//
// It keeps books: each committed change says which events must come of it. It exits 0
// only if every one arrived, signed, in commit order for its key, and nothing else did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

func main() {
	// The kernel ends our children when the thread that started them ends: keep it.
	runtime.LockOSThread()
	o := options{pace: 1}
	flag.StringVar(&o.rowhook, "rowhook", "bin/rowhook", "the rowhook binary")
	flag.StringVar(&o.source, "source", sources[0], "the kind of database: "+strings.Join(sources, ", "))
	flag.StringVar(&o.schemas, "schemas", "testdata/library", "the directory of the library's schemas")
	flag.StringVar(&o.example, "example", "testdata/library/config.yaml", "the config whose mapping is used")
	flag.IntVar(&o.major, "postgres", 0, "the PostgreSQL major version; 0 is the system's")
	flag.IntVar(&o.machines, "cluster", 1, "how many machines do the work; more than one meet at three NATS servers")
	flag.BoolVar(&o.keep, "keep", false, "leave everything running afterwards, until Ctrl-C")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newScreen(os.Stdout)
	err := show(ctx, s, o)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		s.line("\nStopped; everything is cleaned up.")
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "\nrowhook-demo: %v\n", err)
		os.Exit(1)
	}
}
