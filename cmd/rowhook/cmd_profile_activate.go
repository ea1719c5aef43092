package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
)

const activateLong = `Sends the profile's challenge to its endpoint and prints the answer. If the endpoint agrees, the
profile is active. Otherwise it stays as it is, and the exit code is 1. Without a challenge the
profile is active at once. A paused profile becomes active too, and gets what was held.

The agent does the same by itself at its start and after a change of the URL, until the endpoint
agrees.

A sandbox ignores production URLs, secrets and headers: a profile without a sandbox block is
pending there. --url gives it a URL for this environment only, kept in the state directory.`

func newProfileActivateCommand(c *console) *cobra.Command {
	var asJSON bool
	var url, secretFile string
	cmd := &cobra.Command{
		Use: "activate CODE", Short: "Ask a profile's endpoint whether it wants deliveries", Long: activateLong, Args: oneArg("the profile's code"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if secretFile != "" && url == "" {
				return &usageError{err: errors.New("--secret-file goes with --url"), command: cmd.CommandPath()}
			}
			secret, err := readGivenSecret(secretFile)
			if err != nil {
				return err
			}
			return c.withControl(func(access *agent.Access) error {
				var answer operation.EndpointAnswer
				request := operation.ActivateRequest{User: directories.User(), Profile: args[0], URL: url, Secret: secret}
				answered := c.waiting("the endpoint")
				err := access.Call(cmd.Context(), "profile/activate", request, &answer)
				answered()
				if err != nil {
					return err
				}
				return c.printAnswer(answer, asJSON, "the challenge")
			})
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "in a sandbox: the `URL` that the profile has here, and nowhere else")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "with --url: `file` that holds the signing secret here")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

const testLong = `Sends the profile an event of type rowhook.test, signed and in the profile's format, whatever the
profile's state, and prints the reply. The exit code is 1 when the reply does not mean delivered.
The delivery log has a line of it; nothing else is kept.`

func newProfileTestCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test CODE", Short: "Send a profile a signed test event", Long: testLong, Args: oneArg("the profile's code"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(access *agent.Access) error {
				var answer operation.EndpointAnswer
				request := operation.DeliveryRequest{User: directories.User(), Profile: args[0]}
				answered := c.waiting("the endpoint")
				err := access.Call(cmd.Context(), "profile/test", request, &answer)
				answered()
				if err != nil {
					return err
				}
				return c.printAnswer(answer, asJSON, "test event "+answer.Event)
			})
		},
	}
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// printAnswer prints what an endpoint said, and fails when it was no yes.
func (c *console) printAnswer(a operation.EndpointAnswer, asJSON bool, to string) error {
	var err error
	if asJSON {
		err = printJSON(c.out, a)
	} else {
		err = printAnswerText(c.out, a, to)
	}
	if err == nil && !a.OK {
		return answerError(a)
	}
	return err
}

func printAnswerText(w io.Writer, a operation.EndpointAnswer, to string) error {
	took := operation.FormatDuration(time.Duration(a.DurationMS * float64(time.Millisecond)))
	var err error
	switch {
	case !a.Asked:
	case a.Status == 0:
		_, err = fmt.Fprintf(w, "no reply to %s after %s\n", to, took)
	default:
		_, err = fmt.Fprintf(w, "reply to %s: status %d in %s\n", to, a.Status, took)
	}
	if err == nil && a.Response != "" {
		_, err = fmt.Fprintf(w, "%s\n", strings.TrimRight(a.Response, "\n"))
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%s is %s\n", a.Profile, a.State)
	}
	return err
}

// answerError is why an endpoint's answer was no yes.
func answerError(a operation.EndpointAnswer) error {
	why := a.Error
	if why == "" {
		why = fmt.Sprintf("the reply's status %d does not mean delivered", a.Status)
	}
	remedy := ""
	switch a.Reason {
	case "challenge":
		remedy = "the endpoint has to answer the challenge as `rowhook listen` does; a wrong URL is the usual cause"
	case "guard":
		remedy = "allow_networks opens the dial guard for a profile"
	}
	return &capture.OperatorError{Err: fmt.Errorf("profile %s: %s", a.Profile, why), Remedy: remedy}
}

// readGivenSecret reads the secret that goes with --url.
func readGivenSecret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	raw, err := config.ReadSecret(path)
	if err != nil {
		return "", fmt.Errorf("read --secret-file: %w", err)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if secret == "" {
		return "", &os.PathError{Op: "read", Path: path, Err: errors.New("the file is empty")}
	}
	return secret, nil
}
