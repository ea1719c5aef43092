package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

func newQueueCommand(c *console) *cobra.Command {
	return newGroupCommand("queue", "Show and change what waits", groupFix,
		newQueueListCommand(c),
		newRetryNowCommand(c),
		newSkipCommand(c),
	)
}

// queueStates are the states of what waits.
var queueStates = []string{"pending", "in_flight", "retrying", "blocked", "held"}

func newQueueListCommand(c *console) *cobra.Command {
	var filter engine.Filter
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what waits, the oldest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if filter.State != "" && !slices.Contains(queueStates, filter.State) {
				err := fmt.Errorf("there is no state %q%s", filter.State, meantOr(filter.State, queueStates))
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			return c.withControl(func(access *agent.Access) error {
				var items engine.Items
				if err := access.Call(cmd.Context(), "queue/list", operation.FilterRequest{Filter: filter}, &items); err != nil {
					return err
				}
				return c.printItems(items, asJSON, "Nothing waits.")
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&filter.Profile, "profile", "", "profile's `code`")
	f.StringVar(&filter.Key, "key", "", "event's `key`: its JSON, or its values joined by commas")
	f.StringVar(&filter.State, "state", "", "`state`: pending, in_flight, retrying, blocked or held")
	f.StringVar(&filter.Type, "type", "", "event type, may be a `glob`")
	f.IntVar(&filter.Limit, "limit", 0, "most lines shown (default 1000)")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

const retryNowLong = `Makes due at once what waits for another try: one delivery, or with --profile or --all
everything. An endpoint that is left alone (after 401, for example) is tried at once too. It
spends nothing: a reply that does not count against the delivery still does not.`

func newRetryNowCommand(c *console) *cobra.Command {
	var all, asJSON bool
	request := operation.DeliveryRequest{User: directories.User()}
	cmd := &cobra.Command{
		Use: "retry-now [ID]", Short: "Try at once what waits for another try", Long: retryNowLong,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("unexpected argument %q", args[1])
			case len(args) == 1 && all:
				return errors.New("an event's id and --all do not go together")
			case len(args) == 0 && !all && request.Profile == "":
				return errors.New("name an event's id, --profile CODE for all that waits for one profile, or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(access *agent.Access) error {
				if len(args) == 1 {
					return c.changeDelivery(cmd.Context(), access, "queue/retry-now", request, args[0], "is tried now")
				}
				hastened := []engine.Hastened{}
				if err := access.Call(cmd.Context(), "queue/retry-all", request, &hastened); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, hastened)
				}
				return c.printHastened(hastened)
			})
		},
	}
	cmd.Flags().StringVar(&request.Profile, "profile", "", "profile's `code`: all that waits for it, or, with an id, when the event waits for several")
	cmd.Flags().BoolVar(&all, "all", false, "all that waits, for any profile")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func (c *console) printHastened(hastened []engine.Hastened) error {
	if len(hastened) == 0 {
		_, err := fmt.Fprintln(c.err, "Nothing waits for another try.")
		return err
	}
	for _, h := range hastened {
		text := plural(h.Retries, "delivery")
		if h.Retries != 1 {
			text = fmt.Sprintf("%d deliveries", h.Retries)
		}
		if h.Endpoint {
			text = "the endpoint, and " + text + " that waited for it,"
		}
		if _, err := fmt.Fprintf(c.err, "%s: %s tried now.\n", h.Profile, text); err != nil {
			return err
		}
	}
	return nil
}

func newSkipCommand(c *console) *cobra.Command {
	request := operation.DeliveryRequest{User: directories.User()}
	cmd := &cobra.Command{
		Use: "skip ID", Short: "Give a waiting delivery up; it becomes a dead letter", Args: oneArg("the event's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(access *agent.Access) error {
				return c.changeDelivery(cmd.Context(), access, "queue/skip", request, args[0], "is a dead letter now")
			})
		},
	}
	cmd.Flags().StringVar(&request.Profile, "profile", "", "profile's `code`, when the event waits for several")
	return cmd
}

// changeDelivery does one thing to one waiting delivery.
func (c *console) changeDelivery(ctx context.Context, access *agent.Access, name string, request operation.DeliveryRequest, id, done string) error {
	request.Event = id
	if err := access.Call(ctx, name, request, &operation.None{}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.err, "%s %s.\n", id, done)
	return err
}

// printItems prints deliveries for people or as JSON.
func (c *console) printItems(items engine.Items, asJSON bool, empty string) error {
	if asJSON {
		if items.Items == nil {
			items.Items = []engine.Item{}
		}
		return printJSON(c.out, items)
	}
	if len(items.Items) == 0 {
		_, err := fmt.Fprintln(c.err, empty)
		return err
	}
	if err := printItemTable(c.out, items.Items, time.Now()); err != nil {
		return err
	}
	if items.More {
		fmt.Fprintln(c.err, "There are more: narrow the list down, or raise --limit.")
	}
	return nil
}

func printItemTable(w io.Writer, items []engine.Item, now time.Time) error {
	t := newTable("PROFILE", "STATE", "TYPE", "KEY", "AGE", "TRIES", "NEXT TRY", "LAST FAILURE", "ID")
	for i := range items {
		item := &items[i]
		next, failure := "-", orDash(item.Reason)
		if !item.NextAttempt.IsZero() {
			next = "in " + operation.FormatDuration(max(item.NextAttempt.Sub(now), 0))
		}
		if item.Status > 0 {
			failure = fmt.Sprintf("%s (%d)", failure, item.Status)
		}
		t.add(item.Profile, item.State, orDash(item.Type), describeItem(item), operation.FormatDuration(now.Sub(item.Time)),
			fmt.Sprint(item.Attempts), next, failure, item.ID)
	}
	return t.print(w)
}

// describeItem is an event's key, or of how many events a group is.
func describeItem(item *engine.Item) string {
	if item.Count == 0 {
		return compactKey(item.Key)
	}
	return fmt.Sprintf("%s of %d", item.Unit, item.Count)
}

// countDone calls an operation once for each of the requests and prints how many it took in hand.
func countDone[Req any](ctx context.Context, c *console, access *agent.Access, name string, requests []Req, done string, asJSON bool) error {
	var changed engine.Changed
	for _, request := range requests {
		var one engine.Changed
		if err := access.Call(ctx, name, request, &one); err != nil {
			return err
		}
		changed.Count, changed.More = changed.Count+one.Count, changed.More || one.More
	}
	if asJSON {
		return printJSON(c.out, changed)
	}
	if _, err := fmt.Fprintf(c.err, "%d %s.\n", changed.Count, done); err != nil {
		return err
	}
	if changed.More {
		fmt.Fprintln(c.err, "There are more, which could not be taken before these have made room: repeat the command later.")
	}
	return nil
}
