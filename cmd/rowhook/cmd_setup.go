package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/cluster"
	"rowhook/cmd/rowhook/config"
)

const setupLong = `Prints the SQL that the source still needs for the mapped tables: grants, publication, replica
identities. --apply runs it, as the owner that --as names or as rowhook's own role. PGPASSWORD can
give the owner's password. After --apply it prints what is still missing, as check does, with exit
code 3. It refuses what would make the application's own statements fail, and says what to do.

The first run creates the slot, so that nothing keeps WAL before somebody reads it. --slot creates
it now. --remove drops slot and publication.

--context-trigger makes triggers on the mapped tables that report who makes a change, for
applications that cannot report it themselves.`

// preparable is what setup wants of a source.
type preparable interface {
	// Survey describes the tables that the patterns name, and says what capture lacks of them. It
	// asks with the login that setup uses.
	Survey(ctx context.Context, ownerURL string, patterns []string) ([]*capture.Table, []capture.Finding, error)
	// SetupSQL says what setup would run, Setup runs it, Remove takes it away.
	SetupSQL(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error)
	Setup(ctx context.Context, opts capture.SetupOptions) ([]capture.Statement, error)
	Remove(ctx context.Context, ownerURL string) ([]capture.Statement, error)
	// ContextTriggers says what triggers would tell who makes changes; it creates and removes
	// them, too.
	ContextTriggers(ctx context.Context, opts capture.TriggerOptions) ([]capture.Statement, error)
}

// setupFlags are the flags of `rowhook setup`.
type setupFlags struct {
	apply, remove, slot bool
	trigger             bool
	owner               string
	json                bool
}

func newSetupCommand(c *console) *cobra.Command {
	var flags setupFlags
	cmd := &cobra.Command{
		Use: "setup", Short: "Print or run the SQL that the source needs", Long: setupLong, GroupID: groupPrepare, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			return c.setup(cmd.Context(), conf, flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.apply, "apply", false, "run the statements")
	f.StringVar(&flags.owner, "as", "", "`URL` of a login that owns the tables")
	f.BoolVar(&flags.slot, "slot", false, "create the slot too")
	f.BoolVar(&flags.trigger, "context-trigger", false, "triggers that tell user, application and client address: print, --apply or --remove them")
	f.BoolVar(&flags.remove, "remove", false, "drop slot and publication")
	addJSONFlag(cmd, &flags.json)
	return cmd
}

// statementJSON is a statement of `rowhook setup --json`.
type statementJSON struct {
	SQL     string `json:"sql"`
	Why     string `json:"why"`
	Applied bool   `json:"applied"`
}

func (c *console) setup(ctx context.Context, conf *config.Config, flags setupFlags) error {
	source, err := newSource(conf, slog.New(slog.DiscardHandler), "setup")
	if err != nil {
		return err
	}
	defer source.Close()
	answered := c.waiting("the cluster's servers")
	err = c.setupCluster(ctx, conf, flags)
	answered()
	if err != nil {
		return err
	}
	answered = c.waiting("the database")
	plan, err := c.plan(ctx, conf, source, flags)
	answered()
	if flags.apply && !flags.remove && !flags.trigger {
		return c.applied(ctx, conf, source, flags, plan, err)
	}
	if len(plan) == 0 && err != nil {
		return err
	}
	if flags.json {
		rows := []statementJSON{}
		for _, s := range plan {
			rows = append(rows, statementJSON{SQL: s.SQL, Why: s.Why, Applied: err == nil && (flags.apply || flags.remove)})
		}
		if perr := printJSON(c.out, rows); perr != nil {
			return perr
		}
		return err
	}
	if perr := printPlan(c.out, plan); perr != nil {
		return perr
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.err, setupVerdict(flags, len(plan)))
	return nil
}

// setupCluster makes the stream of a cluster, or says that it would.
func (c *console) setupCluster(ctx context.Context, conf *config.Config, flags setupFlags) error {
	if !conf.Cluster.Enabled() || flags.remove || flags.trigger {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	steps, err := cluster.Setup(ctx, conf.Cluster, cluster.Options{Version: readVersion().Version}, flags.apply)
	if err != nil {
		return fmt.Errorf("set the cluster up: %w", err)
	}
	for _, step := range steps {
		did := "is to be done by setup --apply, or by the first `rowhook run`"
		if flags.apply {
			did = "done"
		}
		fmt.Fprintf(c.err, "cluster: %s: %s\n", step, did)
	}
	return nil
}

// applied reports what a setup did, and what is amiss still: it is done only when nothing is.
// refused is what it would not do, or why it did nothing.
func (c *console) applied(ctx context.Context, conf *config.Config, from preparable, flags setupFlags, plan []capture.Statement, refused error) error {
	if refused != nil && !errors.As(refused, new(*capture.RefusedError)) {
		return refused
	}
	found, err := leftToSetUp(ctx, conf, from, flags.owner)
	if err != nil {
		return errors.Join(refused, fmt.Errorf("look at what setup made: %w", err))
	}
	if flags.json {
		rows := []statementJSON{}
		for _, s := range plan {
			rows = append(rows, statementJSON{SQL: s.SQL, Why: s.Why, Applied: true})
		}
		err = printJSON(c.out, rows)
	} else {
		err = printPlan(c.out, plan)
	}
	if err != nil {
		return err
	}
	if len(found) == 0 && refused == nil {
		fmt.Fprintln(c.err, setupVerdict(flags, len(plan)))
		return nil
	}
	if len(found) > 0 {
		if len(plan) > 0 {
			fmt.Fprintln(c.err, "The statements above have been run. What is left:")
		}
		err = printFindings(c.err, found)
	}
	return errors.Join(refused, err, findingsError{})
}

// leftToSetUp is what the minute's comparison finds, and what the mapping lacks.
func leftToSetUp(ctx context.Context, c *config.Config, from preparable, owner string) ([]capture.Finding, error) {
	tables, found, err := from.Survey(ctx, owner, c.Rules().Tables())
	if err != nil {
		return nil, err
	}
	found = append(c.AtTables(found), c.TableFindings(tables)...)
	return slices.DeleteFunc(found, func(f capture.Finding) bool { return f.Severity < capture.Warning }), nil
}

// plan makes the statements and, with --apply, runs them.
func (c *console) plan(ctx context.Context, conf *config.Config, from preparable, flags setupFlags) ([]capture.Statement, error) {
	if flags.trigger {
		return from.ContextTriggers(ctx, capture.TriggerOptions{
			Tables: mappedTables(conf), Message: conf.Source.Context.Message, Table: conf.Source.Context.Table,
			Owner: flags.owner, Apply: flags.apply, Remove: flags.remove,
		})
	}
	if flags.remove {
		return from.Remove(ctx, flags.owner)
	}
	options, err := setupOptions(ctx, conf, from, flags)
	if err != nil {
		return nil, err
	}
	if flags.apply {
		return from.Setup(ctx, options)
	}
	return from.SetupSQL(ctx, options)
}

// mappedTables are the tables of the mapping's entries, without those of context and signals.
func mappedTables(c *config.Config) []string {
	var list []string
	for _, event := range c.Rules().Events() {
		if event.Table != "" && !slices.Contains(list, event.Table) {
			list = append(list, event.Table)
		}
	}
	return list
}

// setupOptions finds the tables whose rules need whole old rows.
func setupOptions(ctx context.Context, c *config.Config, from preparable, flags setupFlags) (capture.SetupOptions, error) {
	tables, _, err := from.Survey(ctx, flags.owner, c.Rules().Tables())
	if err != nil {
		return capture.SetupOptions{}, err
	}
	options := capture.SetupOptions{Tables: c.Rules().Tables(), Full: map[string]string{}, Slot: flags.slot, Owner: flags.owner}
	for _, table := range tables {
		if needs := c.Rules().Needs(table); len(needs) > 0 {
			options.Full[table.String()] = fmt.Sprintf("%s needs the old value of %s", needs[0].Why, needs[0].Column)
		}
	}
	return options, nil
}

func printPlan(w io.Writer, plan []capture.Statement) error {
	for _, s := range plan {
		why := ""
		if s.Why != "" {
			why = "-- " + strings.ReplaceAll(s.Why, "\n", "\n-- ") + "\n"
		}
		if _, err := fmt.Fprintf(w, "%s%s;\n", why, strings.TrimSuffix(s.SQL, ";")); err != nil {
			return err
		}
	}
	return nil
}

func setupVerdict(flags setupFlags, count int) string {
	switch {
	case flags.trigger && count > 0 && flags.remove:
		return "Removed."
	case flags.trigger && count > 0 && flags.apply:
		return "Done. New changes of the mapped tables tell who made them."
	case count == 0 && flags.trigger && !flags.remove:
		return "Nothing is missing: every mapped table has its trigger."
	case count == 0 && flags.remove:
		return "There is nothing to remove."
	case count == 0:
		return "Nothing is missing. `rowhook check` looks at the rest, `rowhook run` starts the agent."
	case flags.remove:
		return "Removed. The state directory can be deleted now."
	case flags.apply:
		return "Done. `rowhook check` looks at the rest, `rowhook run` starts the agent."
	}
	return "Nothing has been changed: pass these to the database's own client as the tables' owner, or add --apply --as URL."
}
