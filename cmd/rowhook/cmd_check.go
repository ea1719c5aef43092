package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/cluster"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/environment"
	"rowhook/cmd/rowhook/operation"
)

const checkLong = `Looks at the config, the directories that the agent writes into, the database and the endpoints.
Prints each finding with its remedy. It changes nothing, and sends no request: it only connects to
the endpoints. Exit code 3 when there is an error or a warning.`

func newCheckCommand(c *console) *cobra.Command {
	var asJSON, events bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check config, database and endpoints", Long: checkLong, GroupID: groupPrepare, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			if events {
				return c.listEvents(conf, asJSON)
			}
			return c.check(cmd.Context(), conf, asJSON)
		},
	}
	cmd.Flags().BoolVar(&events, "events", false, "list every event that the mapping can make, and who gets it")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// checkTimeout bounds what check asks of the database and of each endpoint.
const checkTimeout = 30 * time.Second

// checkReport is the output of `rowhook check --json`.
type checkReport struct {
	OK       bool          `json:"ok"` // no error and no warning
	Findings []findingJSON `json:"findings"`
}

// findingJSON is a finding with its severity in words.
type findingJSON struct {
	Severity string `json:"severity"`
	capture.Finding
}

func (c *console) check(ctx context.Context, conf *config.Config, asJSON bool) error {
	found := append(conf.Findings(), directories.Findings(conf)...)
	in := environment.New(conf, readVersion().Version)
	for _, part := range []struct {
		what string
		look func() []capture.Finding
	}{
		{"the database", func() []capture.Finding { return checkSource(ctx, conf, in) }},
		{"the profiles' endpoints", func() []capture.Finding { return checkEndpoints(ctx, conf, in) }},
		{"the cluster's servers", func() []capture.Finding { return checkCluster(ctx, conf) }},
	} {
		answered := c.waiting(part.what)
		found = append(found, part.look()...)
		answered()
	}
	slices.SortStableFunc(found, func(a, b capture.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	bad := slices.ContainsFunc(found, func(f capture.Finding) bool { return f.Severity >= capture.Warning })
	var err error
	if asJSON {
		err = printJSON(c.out, newCheckReport(found, !bad))
	} else {
		err = printCheck(c.runnable(c.out), found)
	}
	if err == nil && bad {
		return findingsError{}
	}
	return err
}

func newCheckReport(found []capture.Finding, ok bool) checkReport {
	report := checkReport{OK: ok, Findings: []findingJSON{}}
	for _, f := range found {
		report.Findings = append(report.Findings, findingJSON{Severity: f.Severity.String(), Finding: f})
	}
	return report
}

// checkable is what check wants of a source.
type checkable interface {
	Identify(ctx context.Context) (capture.Server, error)
	// Check looks at everything that capture needs, and describes the tables; nil where it came no
	// further than the server.
	Check(ctx context.Context, patterns []string) ([]capture.Finding, []*capture.Table, error)
	Tables(ctx context.Context, patterns []string) ([]*capture.Table, error)
	// Writers lists who may insert into a table. It is not complete where our role may not see all.
	Writers(ctx context.Context, table string) (names []string, complete bool, err error)
	Hosts() string
}

// checkSource asks the database. That it cannot be asked is a finding too.
func checkSource(ctx context.Context, c *config.Config, in *environment.Environment) []capture.Finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	source, err := newSource(c, slog.New(slog.DiscardHandler), runningAgent(ctx, c))
	if err != nil {
		return []capture.Finding{sourceFailed(c, "source.url", err)}
	}
	defer source.Close()
	if server, err := source.Identify(ctx); err == nil {
		in.Enter(c.Sandboxed(&server))
	}
	found, tables, err := source.Check(ctx, c.Rules().Tables())
	found = c.AtTables(found)
	if err != nil {
		return append(found, sourceFailed(c, source.Hosts(), err))
	}
	if tables == nil {
		tables, err = source.Tables(ctx, c.Rules().Tables())
	}
	if err != nil {
		if f := sourceFailed(c, source.Hosts(), err); !slices.ContainsFunc(found, func(other capture.Finding) bool { return other.Text == f.Text }) {
			found = append(found, f) // a server that lets nobody in is said once
		}
		return found
	}
	found = append(found, writerFindings(ctx, c, source)...)
	return append(append(c.AtTables(found), c.TableFindings(tables)...), c.ConditionFindings(tables)...)
}

// writerFindings say who may write the tables of context and signals, and so speak for the
// application.
func writerFindings(ctx context.Context, c *config.Config, source checkable) []capture.Finding {
	var found []capture.Finding
	for _, told := range []struct{ table, what string }{
		{c.Source.Context.Table, "who makes changes"}, {c.Source.Signals.Table, "signals"},
	} {
		if told.table == "" {
			continue
		}
		f := capture.Finding{Severity: capture.Info, Code: "writers", Subject: told.table, Table: told.table}
		names, complete, err := source.Writers(ctx, told.table)
		switch {
		case err != nil:
			f = failed("writers", told.table, err)
			f.Table = told.table
		case !complete:
			f.Text = fmt.Sprintf("%s tells %s, and rowhook's account cannot see who may write it", told.table, told.what)
			f.Remedy = "as an administrator: SELECT grantee FROM information_schema.table_privileges WHERE privilege_type = 'INSERT'; and so on for schema_privileges and user_privileges"
		case slices.Contains(names, "PUBLIC"):
			f.Severity = capture.Warning
			f.Text = fmt.Sprintf("anybody may write %s, which tells %s", told.table, told.what)
			f.Remedy = "REVOKE INSERT ON " + quoteTable(c, told.table) + " FROM PUBLIC;"
		default:
			f.Text = fmt.Sprintf("%s tells %s; it may be written by %s", told.table, told.what, strings.Join(names, ", "))
		}
		found = append(found, f)
	}
	return found
}

// quoteTable writes "schema.table" as the database's SQL wants it.
func quoteTable(c *config.Config, name string) string {
	quote := `"`
	if c.Source.MySQL() {
		quote = "`"
	}
	schema, table, _ := capture.ParseTable(name)
	for _, part := range []*string{&schema, &table} {
		*part = quote + strings.ReplaceAll(*part, quote, quote+quote) + quote
	}
	return schema + "." + table
}

// runningAgent returns the id of the agent that runs on the state directory, whose own use of
// the slot is no finding.
func runningAgent(ctx context.Context, c *config.Config) string {
	running, err := agent.ReachRunning(c.State)
	if err != nil {
		return "check"
	}
	defer running.Close()
	var answer operation.AgentAnswer
	if err := running.Call(ctx, "agent", operation.None{}, &answer); err != nil {
		return "check"
	}
	return answer.ID
}

// probesAtOnce is how many endpoints are connected with at the same time.
const probesAtOnce = 16

// checkEndpoints connects to each endpoint that is used in this environment.
func checkEndpoints(ctx context.Context, c *config.Config, in *environment.Environment) []capture.Finding {
	endpoints, err := in.Endpoints(c)
	if err != nil {
		return []capture.Finding{failed("profiles", "profiles", err)}
	}
	failures := make([]error, len(c.Profiles))
	room := make(chan struct{}, probesAtOnce)
	var probes sync.WaitGroup
	for i := range c.Profiles {
		room <- struct{}{}
		probes.Go(func() {
			defer func() { <-room }()
			failures[i] = endpoints[c.Profiles[i].Code].Probe(ctx)
		})
	}
	probes.Wait()
	var found []capture.Finding
	for i, err := range failures {
		if err != nil {
			at := "profiles." + c.Profiles[i].Code
			remedy := cmp.Or(capture.Remedy(err), "start the receiver, or correct the profile's URL; its events wait until it answers")
			found = append(found, capture.Finding{
				Severity: capture.Warning, Code: "endpoint", Subject: at, At: c.Place("profiles", c.Profiles[i].Code, "url"),
				Text: fmt.Sprintf("the endpoint cannot be reached: %s", err), Remedy: remedy,
			})
		}
	}
	return found
}

// checkCluster looks at the servers that the machines of a cluster meet at.
func checkCluster(ctx context.Context, c *config.Config) []capture.Finding {
	if !c.Cluster.Enabled() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	found, err := cluster.Check(ctx, c.Cluster, cluster.Options{Version: readVersion().Version})
	if err != nil {
		found = append(found, failed("cluster", "cluster.nats", err))
	}
	return found
}

// failed is the finding that something could not be looked at.
func failed(code, subject string, err error) capture.Finding {
	return capture.Finding{Severity: capture.Error, Code: code, Subject: subject, Text: err.Error(), Remedy: capture.Remedy(err)}
}

// sourceFailed is the finding that the database could not be asked.
func sourceFailed(c *config.Config, subject string, err error) capture.Finding {
	f := failed("source", subject, err)
	f.At = c.Place("source", "url")
	return f
}

func printCheck(w io.Writer, found []capture.Finding) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(w, "Config, database and endpoints are fine.")
		return err
	}
	if err := printFindings(w, found); err != nil {
		return err
	}
	var counts [3]int
	for _, f := range found {
		counts[f.Severity]++
	}
	_, err := fmt.Fprintf(w, "\n%s, %s, %s\n", plural(counts[capture.Error], "error"),
		plural(counts[capture.Warning], "warning"), plural(counts[capture.Info], "note"))
	return err
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// printFindings prints findings with their remedies indented below.
func printFindings(w io.Writer, found []capture.Finding) error {
	var errs []error
	for _, f := range found {
		severity := f.Severity.String()
		if f.Severity == capture.Info {
			severity = "note"
		}
		about := ""
		if f.At != "" {
			about = f.At + ": "
		}
		if f.Subject != f.At && !strings.Contains(f.Text, f.Subject) { // once is enough
			about += f.Subject + ": "
		}
		_, err := fmt.Fprintf(w, "%-8s %s%s\n", severity, about, f.Text)
		errs = append(errs, err)
		if f.Remedy != "" {
			_, err := fmt.Fprintf(w, "         %s\n", strings.ReplaceAll(f.Remedy, "\n", "\n         "))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// eventRow is one event of `rowhook check --events --json`.
type eventRow struct {
	Type       string   `json:"type"`
	Entry      string   `json:"entry,omitempty"`
	Table      string   `json:"table,omitempty"`
	Title      string   `json:"title,omitempty"`
	Ops        []string `json:"ops"`
	Operations []string `json:"operations,omitempty"`
	Profiles   []string `json:"profiles"`
}

// listEvents prints every event that can come, and the profiles that may get it.
func (c *console) listEvents(conf *config.Config, asJSON bool) error {
	endpoints, err := environment.New(conf, readVersion().Version).Endpoints(conf)
	if err != nil {
		return err
	}
	profiles, err := environment.Profiles(conf, endpoints)
	if err != nil {
		return err
	}
	rows := []eventRow{}
	for _, info := range conf.Rules().Events() {
		row := eventRow{Type: info.Type, Entry: info.Entry, Table: info.Table, Title: info.Title, Ops: info.Ops, Operations: info.Operations, Profiles: []string{}}
		for _, p := range profiles {
			if p.Subscribes(info.Type, info.Entry) {
				row.Profiles = append(row.Profiles, p.Code())
			}
		}
		rows = append(rows, row)
	}
	if asJSON {
		return printJSON(c.out, rows)
	}
	t := newTable("EVENT", "ENTRY", "TABLE", "TITLE", "ON", "PROFILES")
	for _, r := range rows {
		t.add(r.Type, orDash(r.Entry), orDash(r.Table), orDash(r.Title), strings.Join(r.Ops, " "), orDash(strings.Join(r.Profiles, " ")))
	}
	return t.print(c.out)
}
