package main

import (
	"context"
	"errors"
	"fmt"
	"log" //nolint:depguard // http.Server takes no other logger
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/spelling"
)

const listenLong = `Listens for webhooks and prints them: a receiver for trying.

It verifies Standard Webhooks signatures if it knows the secret, marks duplicates, and answers
challenges (GET with ?challenge=, and the OPTIONS handshake of CloudEvents). Let the profile dial
it with
  url: http://127.0.0.1:8080/
  allow_networks: [loopback]`

const listenExample = `  rowhook listen --secret-file desk.key
  rowhook listen --fail 0.3 --delay 2s        a slow receiver that refuses three of ten
  rowhook listen --status 503 --print none    a receiver that is down
  rowhook listen --json --print body          everything, as JSON lines`

// listenAddress is where it listens unless told otherwise.
const listenAddress = "127.0.0.1:8080"

// listenOptions are the flags of `rowhook listen`.
type listenOptions struct {
	addr       string
	secret     string
	secretFile string
	status     int
	fail       float64
	delay      time.Duration
	print      string
	json       bool
}

func newListenCommand(c *console) *cobra.Command {
	o := &listenOptions{}
	cmd := &cobra.Command{
		Use:     "listen",
		Short:   "Receive webhooks and print them, for trying",
		Long:    listenLong,
		Example: listenExample,
		GroupID: groupTry,
		Args:    noArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return o.validate(cmd.Flags().Changed("status")) },
		RunE:    func(cmd *cobra.Command, _ []string) error { return listen(cmd.Context(), c, o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.addr, "addr", listenAddress, "the `address` to listen on")
	flags.StringVar(&o.secret, "secret", "", "verify signatures with this `secret` (whsec_ and base64, or raw text)")
	flags.StringVar(&o.secretFile, "secret-file", "", "verify signatures with the secret in this `file`")
	flags.IntVar(&o.status, "status", http.StatusOK, "answer with this status `code`")
	flags.Float64Var(&o.fail, "fail", 0, "refuse this `share` of the requests, 0 to 1, with --status or 500")
	flags.DurationVar(&o.delay, "delay", 0, "wait this `time` before each answer")
	flags.StringVar(&o.print, "print", "line", "print the `form` of each request: body, line or none")
	addJSONFlag(cmd, &o.json)
	cmd.MarkFlagsMutuallyExclusive("secret", "secret-file")
	return cmd
}

// validate checks the flags, and settles which status is for which request.
func (o *listenOptions) validate(statusGiven bool) error {
	prints := []string{"body", "line", "none"}
	_, _, badAddr := net.SplitHostPort(o.addr)
	switch {
	case badAddr != nil:
		return fmt.Errorf("--addr takes HOST:PORT such as 127.0.0.1:8080, not %q", o.addr)
	case o.status < 200 || o.status > 599:
		return fmt.Errorf("--status takes a status code from 200 to 599, not %d", o.status)
	case !(o.fail >= 0 && o.fail <= 1):
		return fmt.Errorf("--fail takes a share from 0 to 1, not %v", o.fail)
	case o.delay < 0:
		return fmt.Errorf("--delay takes a time such as 2s, not %v", o.delay)
	case !slices.Contains(prints, o.print):
		return fmt.Errorf("--print takes body, line or none, not %q%s", o.print, spelling.DidYouMean(o.print, prints))
	}
	if o.fail > 0 && !statusGiven {
		o.status = http.StatusInternalServerError
	}
	return nil
}

// listen serves until it is told to stop, and then lets requests in flight end.
func listen(ctx context.Context, c *console, o *listenOptions) error {
	secret := o.secret
	if o.secretFile != "" {
		data, err := config.ReadSecret(o.secretFile)
		if at := new(os.PathError); errors.As(err, &at) {
			err = at.Err // the message names the file already
		}
		if err != nil {
			return fmt.Errorf("read the secret file %s: %w", o.secretFile, err)
		}
		if secret = strings.TrimRight(string(data), "\r\n"); secret == "" {
			return fmt.Errorf("the secret file %s is empty", o.secretFile)
		}
	}
	r := newReceiver(c, o, secret)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", o.addr, err)
	}
	server := &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(c.err, "rowhook: ", 0), //nolint:forbidigo // http.Server takes no other logger
	}
	fmt.Fprintf(c.err, "listening on http://%s/ (%s), stop with Ctrl-C\n", listener.Addr(), r.verification())

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("listen on %s: %w", o.addr, err)
	case <-ctx.Done():
	}
	stop() // a second signal stops at once
	return shutDown(server, served)
}

func shutDown(server *http.Server, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-served //nolint:errcheck // it says that it was closed
	return err
}
