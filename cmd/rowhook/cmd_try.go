package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/try"
)

const tryLong = `Puts recorded changes through the mapping. Shows the events that they make, who would get them, and
with --bodies the requests.

It requires no database, no network, no state directory and no secret files. It signs nothing, and
does not show configured headers, the identification key and secrets. With --from-database it asks
the database for the mapped tables' columns, types and keys, and for nothing else: lines then need
no key and no types.

A change is one line of JSON, from FILE or from standard input:
  {"table":"circulation.loans","op":"update","key":["loan_id"],
   "old":{"loan_id":1000,"returned_at":null},"new":{"loan_id":1000,"returned_at":"2026-11-22T01:02:03Z"}}

  op           insert, update, delete or truncate
  old, new     the rows, as the stream would carry them: an update on a table without REPLICA
               IDENTITY FULL has no old. What an update's new leaves out has old's value; anything
               else left out is not known
  key          the primary key; once for each table is enough
  types        {"due_at":"timestamptz"}: SQL types of columns. Otherwise they are guessed from the
               values: integers, decimals, booleans, RFC 3339 times, dates, text, and JSON for
               objects and lists
  transaction  consecutive lines with the same one are one transaction; without it, each line is
               its own
  time         of the commit, in RFC 3339; default 2000-01-01T00:00:00Z
  position     of the commit, as payloads have it
  context      {"actor":{"id":"aa010001","name":"Mina"},"operation":"web_form"}; holds from here to
               the end of the transaction
  signal       {"type":"job.finished","key":{…},"data":{…}} in place of a change

Without --from-database a table has the columns that any of its lines names, in rows or in types:
name there each column that the mapping mentions, those under exclude too. Empty lines and lines
that begin with # are ignored. The same input and config always give the same output, ids included.

A change that cannot be mapped or decided, and a signal that is left out, are shown with their
reason, exit code 3. With --expect only a difference from the file gives exit code 3.`

const tryExample = `  echo '{"table":"circulation.loans","op":"insert","new":{"loan_id":1}}' | rowhook try --from-database --bodies
  rowhook try changes.jsonl
  rowhook try --bodies < changes.jsonl
  rowhook try changes.jsonl --expect expected.jsonl --update     write down what comes today
  rowhook try changes.jsonl --expect expected.jsonl              and hold every later config to it`

// tryOptions are the flags of `rowhook try`.
type tryOptions struct {
	bodies, json, update, fromDatabase bool
	expect                             string
}

func newTryCommand(c *console) *cobra.Command {
	o := &tryOptions{}
	cmd := &cobra.Command{
		Use:     "try [FILE...]",
		Short:   "Show what recorded changes would send",
		Long:    tryLong,
		Example: tryExample,
		GroupID: groupTry,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if o.update && o.expect == "" {
				return errors.New("--update needs --expect, which names the file to write")
			}
			if !cmd.Flags().Changed("bodies") {
				o.bodies = o.json || o.expect != ""
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.try(cmd.Context(), o, args) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.bodies, "bodies", false, "show each request's headers and body; --json and --expect do unless this is false")
	flags.StringVar(&o.expect, "expect", "", "compare the output, as of --json, with this `file`")
	flags.BoolVar(&o.update, "update", false, "write the file that --expect names")
	flags.BoolVar(&o.fromDatabase, "from-database", false, "take the tables' columns, types and keys from the database")
	addJSONFlag(cmd, &o.json)
	return cmd
}

func (c *console) try(ctx context.Context, o *tryOptions, files []string) error {
	conf, live, err := c.tryConfig(ctx, o.fromDatabase)
	if err != nil {
		return err
	}
	changes, err := try.Read(files, c.in)
	if err != nil {
		return err
	}
	name, err := sourceName(conf)
	if err != nil {
		return err
	}
	results, err := try.Run(conf, name, changes, live)
	switch {
	case err != nil:
		return err
	case o.expect != "":
		return c.tryExpected(o, results)
	case o.json:
		err = results.WriteJSON(c.out, o.bodies)
	default:
		err = results.WriteText(c.out, o.bodies)
	}
	if err == nil && results.Problems() {
		return findingsError{}
	}
	return err
}

// tryStandIn stands for secrets whose files are not on this machine: where a config is tested,
// nothing is sent.
const tryStandIn = "whsec_bm8gc2VjcmV0LCBub3RoaW5nIGlzIHNlbnQ="

// tryConfig loads the config, and asks its database for the mapped tables if that is wanted.
func (c *console) tryConfig(ctx context.Context, fromDatabase bool) (*config.Config, []*capture.Table, error) {
	if !fromDatabase {
		conf, err := config.Load(c.configPath, c.env, tryStandIn)
		return conf, nil, err
	}
	conf, err := c.config()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	source, err := newSource(conf, slog.New(slog.DiscardHandler), "try")
	if err != nil {
		return nil, nil, err
	}
	defer source.Close()
	tables, err := source.Tables(ctx, conf.Rules().Tables())
	return conf, tables, err
}

// tryExpected holds the results to the file, or writes it.
func (c *console) tryExpected(o *tryOptions, results *try.Results) error {
	var got bytes.Buffer
	if err := results.WriteJSON(&got, o.bodies); err != nil {
		return err
	}
	if o.update {
		if err := os.WriteFile(o.expect, got.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write what is expected: %w", err)
		}
		_, err := fmt.Fprintf(c.err, "%s has %s.\n", o.expect, plural(results.Len(), "line"))
		return err
	}
	want, err := os.ReadFile(o.expect)
	if err != nil {
		return &capture.OperatorError{Err: fmt.Errorf("read what is expected: %w", err), Remedy: "--update writes the file"}
	}
	same, err := try.Compare(c.err, o.expect, want, got.Bytes())
	if err == nil && !same {
		return findingsError{}
	}
	return err
}
