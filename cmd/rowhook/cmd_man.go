package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

const manLong = `Writes a manual page for each command into a directory that is there: rowhook.1, rowhook-run.1 and
so on. Packages are made with it.`

// manualPage is one page, in roff. The help's texts are laid out, not Markdown, as which cobra's own
// generator would read them: lines that are indented keep their places here.
type manualPage struct {
	strings.Builder
}

func newManCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages", Long: manLong, GroupID: groupAbout, Hidden: true, Args: oneArg("directory"),
		RunE: func(cmd *cobra.Command, args []string) error { return writeManual(args[0], cmd.Root()) },
	}
}

// writeManual writes the pages of a command and of those below it.
func writeManual(dir string, cmd *cobra.Command) error {
	err := os.WriteFile(filepath.Join(dir, manualName(cmd)+".1"), manual(cmd), 0o644)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			err = errors.Join(err, writeManual(dir, sub))
		}
	}
	return err
}

// manualName is the name of a command's page.
func manualName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manual is a command's page.
func manual(cmd *cobra.Command) []byte {
	p := &manualPage{}
	fmt.Fprintf(p, ".TH %s 1 \"\" \"rowhook %s\" \"rowhook\"\n", roff(strings.ToUpper(manualName(cmd))), roff(cmd.Root().Version))
	p.section("NAME")
	fmt.Fprintf(p, "%s \\- %s\n", roff(manualName(cmd)), roff(cmd.Short))
	p.section("SYNOPSIS")
	synopsis := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		synopsis = cmd.CommandPath() + " COMMAND [flags]"
	}
	p.text(synopsis)
	p.section("DESCRIPTION")
	p.text(cmd.Long)
	if cmd.Long == "" {
		p.text(cmd.Short + ".")
	}
	if cmd.HasAvailableSubCommands() {
		p.section("COMMANDS")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(p, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(manualName(sub)), roff(sub.Short))
			}
		}
	}
	if cmd.HasAvailableLocalFlags() {
		p.section("OPTIONS")
		p.asItStands(cmd.LocalFlags().FlagUsagesWrapped(manualWidth))
	}
	if cmd.HasAvailableInheritedFlags() {
		p.section("OPTIONS OF ALL COMMANDS")
		p.asItStands(cmd.InheritedFlags().FlagUsagesWrapped(manualWidth))
	}
	if cmd.HasExample() {
		p.section("EXAMPLES")
		p.asItStands(cmd.Example)
	}
	p.section("EXIT STATUS")
	p.text("0 done, 1 failed, 2 usage or config, 3 findings, 4 stream gap.")
	if cmd.HasParent() {
		p.section("SEE ALSO")
		fmt.Fprintf(p, "\\fB%s\\fR(1)\n", roff(manualName(cmd.Parent())))
	} else {
		p.section("FILES")
		p.asItStands("/etc/rowhook/config.yaml   the config\n/var/lib/rowhook           state\n/var/log/rowhook           delivery log\n/usr/share/doc/rowhook     the other pages")
	}
	return []byte(p.String())
}

// manualWidth is for a terminal of 80 columns, less what man indents.
const manualWidth = 72

func (p *manualPage) section(name string) { fmt.Fprintf(p, ".SH %s\n", name) }

// text writes paragraphs. Lines that begin with a blank are kept as they stand.
func (p *manualPage) text(text string) {
	kept := false
	keep := func(on bool) {
		if on != kept {
			kept = on
			p.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n"}[on])
		}
	}
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		line = strings.TrimRight(line, "\n")
		keep(strings.HasPrefix(line, " "))
		if line == "" {
			line = ".PP"
		} else {
			line = roff(line)
		}
		p.WriteString(line + "\n")
	}
	keep(false)
}

// asItStands writes lines that nobody fills or breaks.
func (p *manualPage) asItStands(text string) {
	p.WriteString(".nf\n")
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		p.WriteString(roff(strings.TrimRight(line, "\n")) + "\n")
	}
	p.WriteString(".fi\n")
}

// roff is text in which nothing is a request or an escape. What can be pasted stays ASCII.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
