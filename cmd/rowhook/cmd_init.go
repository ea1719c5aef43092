package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/draft"
	"rowhook/delivery"
)

const initLong = `Writes a config from the tables that a database has: each with its record events, and with
proposals as comments where columns suggest more. Its profile sends to ` + "`rowhook listen`" + `. It asks
for what is not given, on a terminal, and changes nothing in the database.

The config has no password: one in the URL goes to a file beside it, db.password, and the secret
that requests are signed with to listen.secret. A URL may name variables, as the config's own may:
postgres://rowhook:${DB_PASSWORD}@host/library. No file is ever overwritten, but for a config of
comments alone, as packages bring it.`

const initExample = `  rowhook init                                                  asks
  rowhook init --url postgres://rowhook@db.example.org/library --password-file /etc/rowhook/db
  rowhook init --url mysql://rowhook@127.0.0.1/library --tables 'circulation.*,catalog.items' -o -`

// listed is what one can ask of a database that no config is about yet.
type listed interface {
	// List tells of all tables, views and the like that the patterns name what a mapping would want
	// to know.
	List(ctx context.Context, patterns []string) ([]capture.Listing, error)
}

// initFlags are the flags of `rowhook init`.
type initFlags struct {
	url, passwordFile string
	tables            []string
	output            string
}

func newInitCommand(c *console) *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use: "init", Short: "Write a config from the tables of a database", Long: initLong, Example: initExample, GroupID: groupPrepare, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.output == "" && cmd.Flags().Changed("config") {
				flags.output = c.configPath
			}
			return c.init(cmd.Context(), flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.url, "url", "", "the database's `URL`, as source.url has it")
	f.StringVar(&flags.passwordFile, "password-file", "", "`file` that holds the database password, for source.password_file")
	f.StringSliceVar(&flags.tables, "tables", nil, "`globs` of the tables to map, such as circulation.*; default: those that the account may read")
	f.StringVarP(&flags.output, "output", "o", "", "the `file` to write, - for standard output (default: that of -c, or ./config.yaml)")
	return cmd
}

// initTimeout bounds what init asks of the database.
const initTimeout = 2 * checkTimeout

// initial is a config on its way from the database to its files.
type initial struct {
	console  *console
	flags    initFlags
	terminal *terminal // nil where nobody can be asked
	path     string    // of the config; empty for standard output
	db       draft.Database
	source   capture.SourceConfig
	asked    string // the password, where it was asked for
	password string // to be written to a file
}

func (c *console) init(ctx context.Context, flags initFlags) error {
	in := &initial{console: c, flags: flags}
	if flags.url == "" {
		if in.terminal = terminalOf(c); in.terminal == nil {
			return &usageError{err: errors.New("missing --url: nobody can be asked, since standard input is no terminal"), command: "rowhook init"}
		}
		if err := in.askURL(); err != nil {
			return err
		}
	}
	if err := in.settle(); err != nil {
		return err
	}
	if err := in.choosePath(); err != nil {
		return err
	}
	answered := c.waiting("the database")
	choice, err := in.choose(ctx)
	answered()
	if err != nil {
		return err
	}
	return in.write(choice)
}

// usage is an error in what was given.
func (in *initial) usage(flag string, err error) error {
	var of *capture.ConfigError
	if errors.As(err, &of) {
		err = &capture.OperatorError{Err: of.Err, Remedy: of.Remedy}
	}
	return &usageError{err: fmt.Errorf("%s: %w", flag, err), command: "rowhook init"}
}

// settle takes the URL apart: what the config says, and what we connect with.
func (in *initial) settle() error {
	raw := in.flags.url
	kind := draft.Kind(raw)
	if kind == "" {
		return in.usage("--url", errors.New("expected postgres://user@host/database or mysql://user@host/database"))
	}
	if err := capture.CheckURL(raw); err != nil {
		return in.usage("--url", err)
	}
	rest, password, err := draft.TakePassword(raw)
	if err != nil {
		return in.usage("--url", err)
	}
	in.db.Type, in.db.URL = kind, strings.Replace(rest, "mariadb://", "mysql://", 1)
	if in.password = in.asked; password != "" {
		in.password = password
	}
	in.source.Type = kind
	if in.source.URL, err = config.ExpandURL(in.db.URL, in.console.env); err != nil {
		return in.usage("--url", err)
	}
	in.source.Password = in.password
	if in.flags.passwordFile != "" {
		if in.password != "" {
			return in.usage("--password-file", errors.New("given beside a password"))
		}
		secret, err := config.ReadSecret(in.flags.passwordFile)
		if err != nil {
			return in.usage("--password-file", err)
		}
		if in.source.Password = strings.TrimRight(string(secret), "\r\n"); in.source.Password == "" {
			return in.usage("--password-file", errors.New("the file is empty"))
		}
	}
	return nil
}

// choosePath finds where the config goes, and refuses to overwrite what is there.
func (in *initial) choosePath() error {
	in.path = in.flags.output
	if in.path == "" && in.terminal != nil {
		var err error
		if in.path, err = in.terminal.ask("File to write (config.yaml): "); err != nil {
			return err
		}
	}
	switch in.path {
	case "":
		in.path = "config.yaml"
	case "-":
		in.path = ""
		return nil
	}
	if _, err := os.Lstat(in.path); err == nil && !onlyComments(in.path) {
		return existsError(in.path)
	}
	return nil
}

// choose asks the database for its tables, and whoever is there which ones are wanted.
func (in *initial) choose(ctx context.Context) (draft.Choice, error) {
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	source, err := bareSource(in.source)
	if err != nil {
		return draft.Choice{}, in.usage("--url", err)
	}
	defer source.Close()
	patterns, named := in.flags.tables, len(in.flags.tables) > 0
	for _, pattern := range patterns {
		if _, _, ok := capture.ParseTable(pattern); !ok {
			return draft.Choice{}, in.usage("--tables", fmt.Errorf("%q is not schema.table, such as *.%s or circulation.*", pattern, strings.Trim(pattern, ".")))
		}
	}
	if !named {
		patterns = []string{"*.*"}
		if database := source.Database(); in.db.Type == draft.MySQL && database != "" && !strings.Contains(database, ".") {
			patterns = []string{database + ".*"}
		}
	}
	list, err := source.List(ctx, patterns)
	if err == nil && len(list) == 0 && !named && patterns[0] != "*.*" {
		patterns = []string{"*.*"} // the URL's database is only a name
		list, err = source.List(ctx, patterns)
	}
	if err != nil {
		return draft.Choice{}, err
	}
	list = once(list)
	if err := missingPatterns(patterns, list, named); err != nil {
		return draft.Choice{}, err
	}
	if in.terminal != nil && !named {
		if list, named, err = in.askTables(list); err != nil {
			return draft.Choice{}, err
		}
	}
	choice := draft.Choose(list, named)
	if len(choice.Mapped) == 0 {
		return choice, nothingMapped(choice)
	}
	in.db.Product = product(ctx, source)
	if source.Database() == "" {
		in.db.Name = commonSchema(choice, source.Hosts())
	}
	return choice, nil
}

// once sorts tables and takes each once.
func once(list []capture.Listing) []capture.Listing {
	slices.SortFunc(list, func(a, b capture.Listing) int { return strings.Compare(a.Table.String(), b.Table.String()) })
	return slices.CompactFunc(list, func(a, b capture.Listing) bool {
		return a.Table.Schema == b.Table.Schema && a.Table.Name == b.Table.Name
	})
}

// missingPatterns says which of the patterns name nothing.
func missingPatterns(patterns []string, list []capture.Listing, named bool) error {
	var missing []string
	for _, pattern := range patterns {
		if !slices.ContainsFunc(list, func(l capture.Listing) bool { return matches(pattern, l) }) {
			missing = append(missing, pattern)
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case !named:
		return &capture.OperatorError{Err: errors.New("the database shows no table to this account"),
			Remedy: "GRANT SELECT on the tables that events are to be made of, or name another account or database in --url"}
	}
	return &capture.OperatorError{Err: fmt.Errorf("no table matches %s, or none that this account may see", strings.Join(missing, ", ")),
		Remedy: "--tables takes schema.table with * in either part; without it all tables are taken"}
}

// matches compares names as loosely as the servers do that know no case.
func matches(pattern string, l capture.Listing) bool {
	return delivery.MatchGlob(strings.ToLower(pattern), strings.ToLower(l.Table.String()))
}

// nothingMapped says why no table can be mapped.
func nothingMapped(c draft.Choice) error {
	const most = 10
	var reasons, remedies []string
	for i, l := range c.Left {
		if i == most {
			reasons = append(reasons, fmt.Sprintf("and %d more", len(c.Left)-most))
			break
		}
		reasons = append(reasons, l.Table.String()+" "+l.Left)
		if l.Remedy != "" {
			remedies = append(remedies, l.Remedy)
		}
	}
	return &capture.OperatorError{Err: fmt.Errorf("no table can be mapped: %s", strings.Join(reasons, "; ")), Remedy: strings.Join(remedies, "\n")}
}

// product says who answers, as far as our account may ask; it is for people.
func product(ctx context.Context, from source) string {
	name := "database " + from.Database()
	if from.Database() == "" {
		name = "the databases"
	}
	name += " on " + from.Hosts()
	server, err := from.Identify(ctx)
	switch v := server.Version; {
	case err != nil || v == 0:
		return name
	case server.MariaDB:
		return fmt.Sprintf("%s, MariaDB %d.%d", name, v/10000, v/100%100)
	case v >= 100000: // PostgreSQL's
		return fmt.Sprintf("%s, PostgreSQL %d", name, v/10000)
	default:
		return fmt.Sprintf("%s, MySQL %d.%d", name, v/10000, v/100%100)
	}
}

// commonSchema is a name for a source whose URL has none: the one database that is mapped, or else
// the host.
func commonSchema(c draft.Choice, hosts string) string {
	name := c.Mapped[0].Table.Schema
	for _, l := range c.Mapped {
		if l.Table.Schema != name {
			host, _, _ := strings.Cut(hosts, ",")
			host, _, _ = strings.Cut(host, ":")
			return filepath.Base(host)
		}
	}
	return name
}

// The files that init writes beside the config, and the variables that stand for them where it
// writes none.
const (
	passwordFile     = "db.password"
	secretFile       = "listen.secret"
	passwordVariable = "ROWHOOK_DB_PASSWORD"
	secretVariable   = "ROWHOOK_LISTEN_SECRET"
)

// write writes the files, the config last, and says what comes next.
func (in *initial) write(choice draft.Choice) error {
	dir := filepath.Dir(in.path)
	to := draft.Receiver{Code: "listen", URL: "http://" + listenAddress + "/", Networks: []string{"loopback"}}
	switch {
	case in.flags.passwordFile != "":
		path, err := filepath.Abs(in.flags.passwordFile)
		if err != nil {
			return err
		}
		in.db.Password = draft.Setting{Key: "password_file", Value: strings.ReplaceAll(path, "$", "$$")}
	case in.password != "" && in.path == "":
		in.db.Password = draft.Setting{Key: "password", Value: "${" + passwordVariable + "}"}
	case in.password != "":
		in.db.Password = draft.Setting{Key: "password_file", Value: "./" + passwordFile}
	case in.db.Type != draft.MySQL:
		if given, _ := in.console.env("PGPASSWORD"); given != "" && !strings.Contains(in.db.URL, "${") {
			in.db.Password = draft.Setting{Key: "password", Value: "${PGPASSWORD}"}
		}
	}
	if in.path == "" {
		to.Secret = draft.Setting{Key: "secret", Value: "${" + secretVariable + "}"}
		to.Note = "rowhook listen --secret \"$" + secretVariable + "\", until your receiver is there"
		_, err := in.console.out.Write(draft.Config(in.db, choice, to, draft.Place{}))
		return err
	}
	to.Secret = draft.Setting{Key: "secret_file", Value: "./" + secretFile}
	to.Note = "rowhook listen --secret-file " + secretFile + ", until your receiver is there"
	f := &newFiles{dir: dir}
	if in.password != "" {
		f.secret(passwordFile, in.password)
	}
	f.secretOrOwn(secretFile, newSecret())
	f.create(in.path, draft.Config(in.db, choice, to, in.place()), 0o644)
	if f.err != nil {
		f.undo()
		return f.err
	}
	in.tell(choice, f)
	return nil
}

// machineDirectory and machineLog are the places of a package, or of one who followed README: what the
// agent of this machine reads, and where it logs.
const (
	machineDirectory = "/etc/rowhook"
	machineLog       = "/var/log/rowhook"
)

// ofMachine reports whether the config is the one of this machine's agent.
func (in *initial) ofMachine() bool {
	path, err := filepath.Abs(in.path)
	return err == nil && filepath.Dir(path) == machineDirectory
}

// place is where the agent of this machine logs, if somebody has made the directory for it.
func (in *initial) place() draft.Place {
	if info, err := os.Stat(machineLog); err == nil && info.IsDir() && in.ofMachine() {
		return draft.Place{Deliveries: filepath.Join(machineLog, "deliveries.jsonl")}
	}
	return draft.Place{}
}

// tell says what was written and how to go on.
func (in *initial) tell(choice draft.Choice, f *newFiles) {
	c := in.console
	c.configPath = in.path
	c.findConfig()
	fmt.Fprintf(c.err, "Wrote %s: %s mapped, %s", in.path, plural(len(choice.Mapped), "table"), plural(len(choice.Left), "table")+" left out")
	if len(choice.Left) > 0 {
		fmt.Fprint(c.err, " (the reasons stand in it)")
	}
	fmt.Fprintln(c.err, ".")
	for _, path := range f.secrets {
		fmt.Fprintf(c.err, "Wrote %s, which only the agent's user should read.\n", path)
	}
	listen := filepath.Join(f.dir, secretFile)
	run := "rowhook run                   "
	if in.ofMachine() && directories.HasUnit() {
		run = "systemctl enable --now rowhook"
	}
	fmt.Fprintf(c.err, `
Read it, and take the # away from the proposals that you want. Then
  rowhook listen --secret-file %s    the receiver, in another terminal
  rowhook check                      what is still missing
  rowhook setup                      the SQL for it
  rowhook setup --apply --as URL     runs that, with the login of the tables' owner
  %s     the agent
`, listen, run)
}

// askURL asks where the database is, and for its password where none is given.
func (in *initial) askURL() error {
	for {
		answer, err := in.terminal.ask("Database (postgres://user@host/database or mysql://user@host/database): ")
		if err != nil {
			return err
		}
		in.flags.url = answer
		if err = in.settle(); err == nil {
			break
		}
		fmt.Fprintf(in.console.err, "%s\n", err)
	}
	if in.password != "" || in.flags.passwordFile != "" || strings.Contains(in.flags.url, "${") {
		return nil
	}
	var err error
	in.asked, err = in.terminal.askSecret("Its password (none if empty): ")
	return err
}

// askTables shows the tables and asks which ones are wanted; named says that some were named.
func (in *initial) askTables(list []capture.Listing) (wanted []capture.Listing, named bool, err error) {
	const most = 50
	all := draft.Choose(list, false).Mapped
	fmt.Fprintf(in.console.err, "There are %s that can be mapped:\n", plural(len(all), "table"))
	for i, l := range all {
		if i == most {
			fmt.Fprintf(in.console.err, "  and %d more\n", len(all)-most)
			break
		}
		fmt.Fprintf(in.console.err, "  %s\n", l.Table)
	}
	for {
		answer, err := in.terminal.ask("Which ones (globs with commas, such as circulation.*; all if empty): ")
		if err != nil {
			return nil, false, err
		}
		globs := strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' })
		if len(globs) == 0 {
			return list, false, nil
		}
		wanted = nil
		for _, l := range list {
			if slices.ContainsFunc(globs, func(glob string) bool { return matches(glob, l) }) {
				wanted = append(wanted, l)
			}
		}
		if len(wanted) > 0 {
			return wanted, true, nil
		}
		fmt.Fprintln(in.console.err, "That is none of them.")
	}
}
