package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
)

const failedLong = `Dead letters are deliveries that were given up. They stay, with the reason and the body that was
sent, until they are retried or discarded, or until spool.dead is over. With --source they are
changes that could not be decoded or mapped: they were parked as they came. Once the cause is
fixed, retry maps them again.`

func newFailedCommand(c *console) *cobra.Command {
	cmd := newGroupCommand("failed", "Show, retry and discard dead letters", groupFix,
		newFailedListCommand(c),
		newFailedShowCommand(c),
		newFailedChangeCommand(c, "retry", "Deliver dead letters again, in their keys' order", "retried"),
		newFailedChangeCommand(c, "discard", "Take dead letters away for good", "discarded"),
	)
	cmd.Long = failedLong
	return cmd
}

// failedFlags select dead letters.
type failedFlags struct {
	filter       engine.Filter
	since, until string
	source, all  bool
	json         bool
	table        string
}

func (f *failedFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.filter.Profile, "profile", "", "profile's `code`")
	flags.StringVar(&f.filter.Type, "type", "", "event type, may be a `glob`")
	flags.StringVar(&f.filter.Key, "key", "", "event's `key`: its JSON, or its values joined by commas")
	flags.StringVar(&f.filter.Reason, "reason", "", "`reason` of the last failure, such as status_4xx")
	flags.StringVar(&f.since, "since", "", "given up since `time`: RFC 3339, or how long ago, such as 2h or 7d")
	flags.StringVar(&f.until, "until", "", "given up until `time`, likewise")
	flags.BoolVar(&f.source, "source", false, "dead letters of the source: parked changes")
	flags.StringVar(&f.table, "table", "", "with --source: `schema.table`, may be a glob")
}

// compile checks the flags. Arguments are ids of events, or with --source numbers.
func (f *failedFlags) compile(now time.Time) error {
	var sinceErr, untilErr error
	f.filter.Since, sinceErr = parseMoment(f.since, now)
	f.filter.Until, untilErr = parseMoment(f.until, now)
	err := errors.Join(sinceErr, untilErr)
	empty := f.filter == (engine.Filter{Limit: f.filter.Limit})
	if f.source && !empty {
		err = errors.Join(err, errors.New("--source takes only --table and --all: parked changes have no profile, type or key"))
	}
	if !f.source && f.table != "" {
		err = errors.Join(err, errors.New("--table goes with --source"))
	}
	return err
}

func newFailedListCommand(c *console) *cobra.Command {
	var flags failedFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, the oldest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.compile(time.Now()); err != nil {
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			return c.withControl(func(access *agent.Access) error {
				if flags.source {
					var list operation.ParkedList
					request := operation.ParkedRequest{Table: flags.table, Limit: flags.filter.Limit}
					if err := access.Call(cmd.Context(), "parked/list", request, &list); err != nil {
						return err
					}
					return c.printParked(list, asJSON)
				}
				var items engine.Items
				if err := access.Call(cmd.Context(), "failed/list", operation.FilterRequest{Filter: flags.filter}, &items); err != nil {
					return err
				}
				return c.printItems(items, asJSON, "There are no dead letters.")
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().IntVar(&flags.filter.Limit, "limit", 0, "most lines shown (default 1000)")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

func newFailedShowCommand(c *console) *cobra.Command {
	var asJSON, source bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a dead letter with the body that was sent", Args: oneArg("the event's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withControl(func(access *agent.Access) error {
				if source {
					return c.showParked(cmd, access, args[0], asJSON)
				}
				var letters []engine.Letter
				if err := access.Call(cmd.Context(), "failed/show", operation.DeliveryRequest{Event: args[0]}, &letters); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, letters)
				}
				for i := range letters {
					if err := printLetter(c.out, &letters[i]); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&source, "source", false, "a parked change, by its number; its row is not shown")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// showParked prints what is known of one dead letter of the source.
func (c *console) showParked(cmd *cobra.Command, access *agent.Access, number string, asJSON bool) error {
	seq, err := parseParked(cmd, number)
	if err != nil {
		return err
	}
	var list operation.ParkedList
	if err := access.Call(cmd.Context(), "parked/list", operation.ParkedRequest{Seqs: []delivery.Seq{seq}}, &list); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return &capture.OperatorError{Err: fmt.Errorf("no change is parked under %d", seq), Remedy: "`rowhook failed list --source` shows the numbers"}
	}
	item := list.Items[0]
	if asJSON {
		return printJSON(c.out, item)
	}
	_, err = fmt.Fprintf(c.out, "number       %d\ntable        %s\nentry        %s\nprofile      %s\nreason       %s\nerror        %s\ntransaction  %s\nposition     %s\nchange       %d\ncommitted    %s\nbytes        %d\n",
		item.Seq, orDash(item.Table), orDash(item.Entry), orDash(item.Profile), item.Reason, orDash(item.Error),
		item.Transaction, item.Position, item.Ordinal, item.Time.Format(time.RFC3339Nano), item.Bytes)
	if err == nil && (item.Size > 0 || len(item.Key) > 0) {
		_, err = fmt.Fprintf(c.out, "key          %s\n", compactKey(item.Key))
	}
	if err == nil && item.Size > 0 {
		_, err = fmt.Fprintf(c.out, "size         %d; the change was read past: it cannot be retried, look the row up by its key\n", item.Size)
	}
	return err
}

// parseParked reads the number of a parked change.
func parseParked(cmd *cobra.Command, number string) (delivery.Seq, error) {
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, &usageError{err: fmt.Errorf("%q is no number of a parked change", number), command: cmd.CommandPath()}
	}
	return delivery.Seq(seq), nil
}

func printLetter(w io.Writer, l *engine.Letter) error {
	_, err := fmt.Fprintf(w, "event     %s\nprofile   %s\ntype      %s\ntable     %s\nkey       %s\nposition  %s\ntime      %s\ngiven up  %s\nreason    %s\nstatus    %s\nerror     %s\nattempts  %d in round %d\n",
		l.ID, l.Profile, orDash(l.Type), orDash(l.Table), compactKey(l.Key), orDash(l.Position), l.Time.Format(time.RFC3339Nano),
		l.Since.Format(time.RFC3339), orDash(l.Reason), orDash(strconv.Itoa(l.Status)), orDash(l.Error), l.Attempts, l.Round)
	if err == nil && l.Count > 0 {
		_, err = fmt.Fprintf(w, "unit      %s\nevents    %d\nfirst     %s\nlast      %s\n", l.Unit, l.Count, l.First, l.Last)
	}
	if err != nil || l.Body == "" {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := printBody(w, l.Body, false, len(l.Body), "; --json shows all of it"); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w)
	return err
}

// newFailedChangeCommand is retry or discard.
func newFailedChangeCommand(c *console, name, short, done string) *cobra.Command {
	var flags failedFlags
	cmd := &cobra.Command{
		Use: name + " [ID...]", Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.compile(time.Now()); err != nil {
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			if flags.source {
				return c.changeParked(cmd, name, done, flags, args)
			}
			return c.changeFailed(cmd, name, done, flags, args)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "all of them")
	addJSONFlag(cmd, &flags.json)
	return cmd
}

func (c *console) changeFailed(cmd *cobra.Command, name, done string, flags failedFlags, ids []string) error {
	if len(ids) == 0 && flags.filter == (engine.Filter{}) && !flags.all {
		return &usageError{err: errors.New("which dead letters? Name ids, conditions, or --all"), command: cmd.CommandPath()}
	}
	if len(ids) == 0 {
		ids = []string{""}
	}
	return c.withControl(func(access *agent.Access) error {
		var requests []operation.FilterRequest
		for _, id := range ids {
			request := operation.FilterRequest{User: directories.User(), Filter: flags.filter}
			request.Filter.ID = id
			requests = append(requests, request)
		}
		return countDone(cmd.Context(), c, access, "failed/"+name, requests, done, flags.json)
	})
}

func (c *console) changeParked(cmd *cobra.Command, name, done string, flags failedFlags, numbers []string) error {
	request := operation.ParkedRequest{User: directories.User(), Table: flags.table, All: flags.all || name == "retry" && len(numbers) == 0 && flags.table == ""}
	for _, number := range numbers {
		seq, err := parseParked(cmd, number)
		if err != nil {
			return err
		}
		request.Seqs = append(request.Seqs, seq)
	}
	return c.withControl(func(access *agent.Access) error {
		return countDone(cmd.Context(), c, access, "parked/"+name, []operation.ParkedRequest{request}, done, flags.json)
	})
}

func (c *console) printParked(list operation.ParkedList, asJSON bool) error {
	if asJSON {
		return printJSON(c.out, list)
	}
	if len(list.Items) == 0 {
		_, err := fmt.Fprintln(c.err, "No change is parked.")
		return err
	}
	t := newTable("NUMBER", "TABLE", "ENTRY", "PROFILE", "REASON", "POSITION", "TIME", "ERROR")
	for _, item := range list.Items {
		t.add(fmt.Sprint(item.Seq), orDash(item.Table), orDash(item.Entry), orDash(item.Profile), item.Reason,
			fmt.Sprintf("%s #%d", item.Position, item.Ordinal), item.Time.Format(time.RFC3339), item.Error)
	}
	if err := t.print(c.out); err != nil {
		return err
	}
	if list.More {
		fmt.Fprintln(c.err, "There are more: narrow the list down, or raise --limit.")
	}
	return nil
}
