package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/operation"
)

const explainLong = `Tells what became of each change of a row that the stream has carried, as far back as there is
something left: which rules held, which did not and on which value, which profiles got the event
and which did not, and each delivery's attempts and end. ENTRY is a mapping entry or a table;
KEY=VALUE are the columns of its key, with their values as payloads have them.

Changes that made no event are in an account of limited size (account.max_size). Events are there
as long as the spool keeps them (spool.history), attempts as long as the delivery log does. The end
of the output says before which time there is nothing, and what was left out.`

const explainExample = `  rowhook explain circulation.loans loan_id=1000
  rowhook explain circulation.loans loan_id=1000 --since 2h --json
  rowhook explain --event evt_ruzjsfbtorti3ofwekpnm3keui`

func newExplainCommand(c *console) *cobra.Command {
	var request operation.ExplainRequest
	var since string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "explain ENTRY KEY=VALUE...", Short: "Tell what became of a row's changes", Long: explainLong, Example: explainExample,
		GroupID: groupRun,
		Args: func(_ *cobra.Command, args []string) error {
			var err error
			if request.Most < 0 {
				return fmt.Errorf("--limit %d: expected a number of changes", request.Most)
			}
			request.Entry, request.Key, err = parseRow(args, request.Event)
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if request.Since, err = parseMoment(since, time.Now()); err != nil {
				return &usageError{err: err, command: cmd.CommandPath()}
			}
			return c.withControl(func(access *agent.Access) error {
				var told operation.Explanation
				if err := access.Call(cmd.Context(), "explain", request, &told); err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.out, told)
				}
				return printExplanation(c.out, c.err, &told)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.Event, "event", "", "event's `id`, in place of a row: the change that made it")
	f.StringVar(&since, "since", "", "changes since `time`: RFC 3339, or how long ago, such as 2h or 7d")
	f.IntVar(&request.Most, "limit", 0, "most changes shown, the newest (default 1000)")
	addJSONFlag(cmd, &asJSON)
	return cmd
}

// parseRow reads the entry and its key, or that an event is asked about.
func parseRow(args []string, event string) (entry string, key []operation.KeyPart, err error) {
	switch {
	case event != "" && len(args) > 0:
		return "", nil, errors.New("--event takes the place of ENTRY KEY=VALUE")
	case event != "":
		return "", nil, nil
	case len(args) == 0:
		return "", nil, errors.New("missing the mapping entry or the table, and the row's key, such as circulation.loans loan_id=1000")
	case len(args) == 1:
		return "", nil, errors.New("missing the row's key, such as loan_id=1000")
	}
	key, err = operation.ParseKey(args[1:])
	return args[0], key, err
}

// printExplanation prints changes for people, the oldest first, and what is not known of them.
func printExplanation(out, messages io.Writer, told *operation.Explanation) error {
	if told.More {
		fmt.Fprintln(messages, "There are older changes: narrow them down with --since, or raise --limit.")
	}
	for i := range told.Changes {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := printChange(out, &told.Changes[i]); err != nil {
			return err
		}
	}
	if len(told.Perhaps) > 0 {
		fmt.Fprintf(out, "%sOf these it is not known whether they are of the row:\n", map[bool]string{true: "\n"}[len(told.Changes) > 0])
		for i := range told.Perhaps {
			if err := printChange(out, &told.Perhaps[i]); err != nil {
				return err
			}
		}
	}
	if len(told.Changes) == 0 {
		fmt.Fprintln(messages, "Nothing is known of a change.")
	}
	for _, note := range told.Notes() {
		fmt.Fprintln(messages, note)
	}
	return nil
}

func printChange(w io.Writer, c *operation.ExplainedChange) error {
	head := []string{orDash(operation.FormatMoment(c.Time)), orDash(c.Op)}
	if c.Key != nil {
		head = append(head, compactKey(c.Key))
	}
	if c.Moved {
		head = append(head, "(another key before)")
	}
	if c.Transaction != "" {
		head = append(head, fmt.Sprintf("transaction %s #%d", c.Transaction, c.Ordinal))
	}
	if c.Position != "" {
		head = append(head, "at "+c.Position)
	}
	if a := c.Actor; a != nil {
		head = append(head, "by "+strings.TrimSpace(a.ID+" "+a.Name))
	}
	if c.Operation != "" {
		head = append(head, "operation "+c.Operation)
	}
	switch {
	case c.Entry != "":
		head = append(head, "entry "+c.Entry)
	case c.Table != "":
		head = append(head, "table "+c.Table)
	}
	lines := []string{strings.Join(head, "  ")}
	if f := c.Folded; f != nil {
		what := "stands for"
		if f.Nothing {
			what = "nothing is left of"
		}
		lines = append(lines, fmt.Sprintf("  %s %d changes of its row: %s", what, f.Count, f.Text))
	}
	if c.From != "account" && (c.Parked == nil || c.Entry != "") {
		lines = append(lines, "  its rules' verdicts are not known any more, or were not written down")
	}
	switch a := c.About; {
	case a == nil:
	case a.Standing == operation.StandingUndecided:
		lines = append(lines, "  whether the row is this entry's cannot be decided: "+a.Text)
	default:
		lines = append(lines, "  the row is not this entry's: "+a.Text)
	}
	for i := range c.Lookups {
		lines = append(lines, "  looked up "+c.Lookups[i].Text)
	}
	for i := range c.Parts {
		lines = append(lines, "  listed "+c.Parts[i].Text)
	}
	if p := c.Parked; p != nil {
		lines = append(lines, "  "+parkedWords(p))
	}
	for i := range c.Rules {
		if r := &c.Rules[i]; c.About == nil || c.About.Standing == operation.StandingUndecided || r.Standing == operation.StandingHolds {
			lines = append(lines, "  "+ruleWords(r))
		}
	}
	if len(c.Events) == 0 && c.Parked == nil {
		lines = append(lines, "  no event")
	}
	for i := range c.Events {
		e := &c.Events[i]
		lines = append(lines, fmt.Sprintf("  event %s  %s", e.Type, e.ID))
		for k := range e.Profiles {
			lines = append(lines, profileLines(&e.Profiles[k], e.Unsearched)...)
		}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.ReplaceAll(line, "\n", `\n`)); err != nil {
			return err
		}
	}
	return nil
}

// ruleWords is a rule's verdict on one line.
func ruleWords(r *operation.ExplainedRule) string {
	switch r.Standing {
	case operation.StandingFails:
		return fmt.Sprintf("rule %s does not hold: %s", r.Rule, r.Text)
	case operation.StandingUndecided:
		return fmt.Sprintf("rule %s cannot be decided: %s", r.Rule, r.Text)
	}
	return fmt.Sprintf("rule %s %s", r.Rule, r.Text)
}

func parkedWords(p *operation.ExplainedParked) string {
	text := "was parked (" + p.Reason + ")"
	if p.Number > 0 {
		text = fmt.Sprintf("is parked as %d (%s)", p.Number, p.Reason)
	}
	if p.Profile != "" {
		text += " for profile " + p.Profile
	}
	if p.Changes > 0 {
		text += fmt.Sprintf(", with all %d changes of its row", p.Changes)
	}
	if p.Error != "" {
		text += ": " + p.Error
	}
	return text
}

// profileLines tell an event's way to a profile. Unsearched says that it may wait, too.
func profileLines(p *operation.ExplainedProfile, unsearched bool) []string {
	if why := p.Words(); why != "" && len(p.Attempts) == 0 {
		not := "does not get it"
		if p.Match == "undecided" {
			not = "cannot be decided"
		}
		return []string{fmt.Sprintf("    %s  %s: %s", p.Profile, not, why)}
	}
	state := p.State
	switch {
	case state != "":
	case unsearched:
		state = "was not looked for among what waits"
	default:
		state = "nothing is known of its delivery any more"
	}
	lines := []string{fmt.Sprintf("    %s  %s", p.Profile, state)}
	if p.Earlier > 0 {
		lines = append(lines, fmt.Sprintf("      %d earlier lines", p.Earlier))
	}
	for i := range p.Attempts {
		lines = append(lines, "      "+attemptWords(&p.Attempts[i]))
	}
	return lines
}

// attemptWords is a line of the delivery log, shortened.
func attemptWords(a *operation.ExplainedAttempt) string {
	parts := []string{operation.FormatMoment(a.Time), string(a.Outcome)}
	if a.Attempt > 0 {
		text := fmt.Sprintf("attempt %d", a.Attempt)
		if a.Round > 1 {
			text += fmt.Sprintf(" of round %d", a.Round)
		}
		parts = append(parts, text)
	}
	if a.Group != "" {
		parts = append(parts, fmt.Sprintf("in %s of %d", a.Group, a.Count))
	}
	if a.Status > 0 {
		parts = append(parts, fmt.Sprint(a.Status))
	}
	if a.DurationMS > 0 {
		parts = append(parts, "in "+operation.FormatDuration(time.Duration(a.DurationMS*float64(time.Millisecond))))
	}
	if a.Reason != "" {
		parts = append(parts, a.Reason)
	}
	text := strings.Join(parts, "  ")
	if a.Error != "" {
		text += ": " + a.Error
	}
	return text
}
