package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/spelling"
)

// console is what a command has of the outside world.
type console struct {
	in  io.Reader
	out io.Writer // data
	err io.Writer // messages
	env func(string) (string, bool)

	screen io.Writer // the terminal that messages go to; nil where they do not

	configPath string
	given      bool           // -c was: remedies repeat it
	remedies   *regexp.Regexp // commands as remedies name them
	started    bool           // a command's own code runs; before that, every error is one of usage
}

// config loads the config file that -c names.
func (c *console) config() (*config.Config, error) { return config.Load(c.configPath, c.env, "") }

// colours reports whether w is a terminal that takes colours.
func (c *console) colours(w io.Writer) bool {
	if value, set := c.env("NO_COLOR"); set && value != "" {
		return false
	}
	if term, _ := c.env("TERM"); term == "dumb" {
		return false
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// The groups of commands in the help, by what one is doing.
const (
	groupPrepare = "prepare"
	groupRun     = "run"
	groupFix     = "fix"
	groupTry     = "try"
	groupAbout   = "about"
)

const rootLong = `rowhook tails a database's replication stream, turns row changes into events and
delivers them as signed webhooks.`

const rootExample = `  rowhook init --url URL           a config to start from, of the tables that are there
  rowhook check                    what stands in the way, with the SQL that cures it
  rowhook setup --apply            make what the database needs
  rowhook run                      the agent
  rowhook status                   how it is doing`

// newRootCommand builds the command tree.
func newRootCommand(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:           "rowhook",
		Short:         "Row changes as webhooks",
		Long:          rootLong,
		Example:       rootExample,
		Version:       readVersion().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          showHelp,
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("rowhook {{.Version}}\n")
	root.PersistentFlags().StringVarP(&c.configPath, "config", "c", "", "the config `file` (default: $ROWHOOK_CONFIG, or ./config.yaml where there is one,\nelse /etc/rowhook/config.yaml)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // fails only for a flag that is not there
	root.AddGroup(
		&cobra.Group{ID: groupPrepare, Title: "Prepare"},
		&cobra.Group{ID: groupRun, Title: "Run and watch"},
		&cobra.Group{ID: groupFix, Title: "Fix"},
		&cobra.Group{ID: groupTry, Title: "Try"},
		&cobra.Group{ID: groupAbout, Title: "About"},
	)
	root.SetHelpCommand(newHelpCommand())
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate("{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}\n\n{{end}}{{.UsageString}}")

	root.AddCommand(
		newInitCommand(c),
		newCheckCommand(c),
		newSetupCommand(c),
		newRunCommand(c),
		newStatusCommand(c),
		newReloadCommand(c),
		newHandoverCommand(c),
		newLogCommand(c),
		newExplainCommand(c),
		newQueueCommand(c),
		newFailedCommand(c),
		newReplayCommand(c),
		newBackfillCommand(c),
		newTriggerCommand(c),
		newProfileCommand(c),
		newSourceCommand(c),
		newListenCommand(c),
		newTryCommand(c),
		newSchemaCommand(c),
		newVersionCommand(c),
		newCompletionCommand(c),
		newManCommand(),
	)
	c.remedies = commandPattern(root)
	c.markStart(root)
	return root
}

// usageTemplate is the second part of every help page.
const usageTemplate = `Usage:
  {{if .Runnable}}{{if .HasParent}}{{.UseLine}}{{else}}{{.Name}} COMMAND [-c FILE] [flags]{{end}}{{else}}{{.CommandPath}} COMMAND [flags]{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}{{$commands := .Commands}}{{if .Groups}}{{range $group := .Groups}}
{{- $any := false}}{{range $commands}}{{if and (eq .GroupID $group.ID) .IsAvailableCommand}}{{$any = true}}{{end}}{{end}}{{if $any}}

{{$group.Title}}:{{range $commands}}{{if and (eq .GroupID $group.ID) .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{else}}

Commands:{{range $commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Flags of all commands:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if not .HasParent}}

Exit codes: 0 done, 1 failed, 2 usage or config, 3 findings, 4 stream gap.{{end}}
{{- if .HasAvailableSubCommands}}
{{.CommandPath}} COMMAND --help tells more.{{end}}
`

// markStart notes when a command's own code begins to run, so that what went wrong before
// is told as an error of usage.
func (c *console) markStart(cmd *cobra.Command) {
	if own := cmd.RunE; own != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.started = true
			c.findConfig()
			return own(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		c.markStart(sub)
	}
}

// newGroupCommand is a command that only holds others; alone it shows its help.
func newGroupCommand(use, short, group string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, GroupID: group, Args: unknownCommand, RunE: showHelp}
	cmd.AddCommand(commands...)
	return cmd
}

// newHelpCommand is the help command, which unlike cobra's own refuses what is not a command.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "help [COMMAND]",
		Short:                 "Tell more about a command",
		GroupID:               groupAbout,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err == nil && about.HasSubCommands() {
				err = unknownCommand(about, rest)
			}
			if err != nil {
				return &usageError{err: err, command: cmd.Root().Name()}
			}
			return about.Help()
		},
	}
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// unknownCommand refuses what is not a command's name, with the nearest that is.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return fmt.Errorf("there is no command %q%s", strings.Join(append(strings.Fields(cmd.CommandPath())[1:], args[0]), " "), spelling.DidYouMean(args[0], names))
}

// noArgs refuses arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	return nil
}

// oneArg wants exactly one argument, named what in the error.
func oneArg(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return errors.New("missing " + what)
		case len(args) > 1:
			return fmt.Errorf("unexpected argument %q", args[1])
		}
		return nil
	}
}
