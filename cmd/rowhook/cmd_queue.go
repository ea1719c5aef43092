package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"rowhook/delivery"
)

// withControl runs what a command does on a state directory.
func (c *console) withControl(do func(*control) error) error {
	control, err := c.reach()
	if err != nil {
		return err
	}
	err = do(control)
	if cerr := control.close(); err == nil {
		err = cerr
	}
	return err
}

func newQueueCommand(c *console) *cobra.Command {
	return newGroupCommand("queue", "Show and change what waits", groupMend,
		newQueueListCommand(c),
		newDeliveryCommand(c, "retry-now ID", "Try a waiting delivery at once", "queue/retry-now", "is tried now"),
		newDeliveryCommand(c, "skip ID", "Give a waiting delivery up; it becomes a dead letter", "queue/skip", "is a dead letter now"),
	)
}

func newQueueListCommand(c *console) *cobra.Command {
	var filter delivery.Filter
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List what waits, the oldest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withControl(func(control *control) error {
				var items delivery.Items
				if err := control.call(cmd.Context(), "queue/list", filterRequest{Filter: filter}, &items); err != nil {
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

// newDeliveryCommand is a command that does one thing to one waiting delivery.
func newDeliveryCommand(c *console, use, short, operation, done string) *cobra.Command {
	request := deliveryRequest{User: osUser()}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: oneArg("the event's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Event = args[0]
			return c.withControl(func(control *control) error {
				if err := control.call(cmd.Context(), operation, request, &none{}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(c.err, "%s %s.\n", request.Event, done)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&request.Profile, "profile", "", "profile's `code`, when the event waits for several")
	return cmd
}

// printItems prints deliveries for people or as JSON.
func (c *console) printItems(items delivery.Items, asJSON bool, empty string) error {
	if asJSON {
		if items.Items == nil {
			items.Items = []delivery.Item{}
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

func printItemTable(w io.Writer, items []delivery.Item, now time.Time) error {
	t := newTable("PROFILE", "STATE", "TYPE", "KEY", "AGE", "TRIES", "NEXT TRY", "LAST FAILURE", "ID")
	for i := range items {
		item := &items[i]
		next, failure := "-", orDash(item.Reason)
		if !item.NextAttempt.IsZero() {
			next = "in " + humanDuration(max(item.NextAttempt.Sub(now), 0))
		}
		if item.Status > 0 {
			failure = fmt.Sprintf("%s (%d)", failure, item.Status)
		}
		t.add(item.Profile, item.State, orDash(item.Type), describeItem(item), humanDuration(now.Sub(item.Time)),
			fmt.Sprint(item.Attempts), next, failure, item.ID)
	}
	return t.print(w)
}

// describeItem is an event's key, or of how many events a group is.
func describeItem(item *delivery.Item) string {
	if item.Count == 0 {
		return compactKey(item.Key)
	}
	return fmt.Sprintf("%s of %d", item.Unit, item.Count)
}

// countDone calls an operation once for each of the requests and prints how many it took in hand.
func countDone[Req any](ctx context.Context, c *console, control *control, operation string, requests []Req, done string, asJSON bool) error {
	var changed delivery.Changed
	for _, request := range requests {
		var one delivery.Changed
		if err := control.call(ctx, operation, request, &one); err != nil {
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
