package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
)

const logLong = `Searches the delivery log, which has one line for each attempt and each end of a delivery.
All conditions must hold. --payload searches the body as far as the log kept it (log.body
characters), and the whole of it while the spool has the event. The end of the output says how
many lines could not be decided. --event shows the body too, up to 4000 characters of it; what
was sent is whole.`

const logExample = `  rowhook log --profile desk --outcome dead --since 2h
  rowhook log --payload key.loan_id=1000 --json
  rowhook log --status 5xx -f`

// logFlags are the conditions of `rowhook log`.
type logFlags struct {
	query        deliverylog.Query
	statuses     []string
	outcome      string
	since, until string
	follow, json bool
}

func newLogCommand(c *console) *cobra.Command {
	var flags logFlags
	cmd := &cobra.Command{
		Use: "log", Short: "Search the delivery log", Long: logLong, Example: logExample,
		GroupID: groupRun, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			return c.searchLog(cmd.Context(), conf, flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.query.Profile, "profile", "", "profile's `code`, may be a glob")
	f.StringVar(&flags.query.Event, "event", "", "event's `id`")
	f.StringVar(&flags.query.Type, "type", "", "event type, may be a `glob`")
	f.StringSliceVar(&flags.statuses, "status", nil, "HTTP `status`: a code, 4xx or a range such as 400-499")
	f.StringVar(&flags.outcome, "outcome", "", "delivered, dead, discarded, dropped, dry_run, skipped, undecidable,\nunmapped, retrying, held or interrupted")
	f.StringVar(&flags.query.URL, "url", "", "`text` that the URL contains")
	f.StringArrayVar(&flags.query.Payload, "payload", nil, "`PATH=VALUE` of a member of the body, such as key.loan_id=1000; may be repeated")
	f.StringVar(&flags.since, "since", "", "`time`: RFC 3339, or how long ago, such as 2h or 7d")
	f.StringVar(&flags.until, "until", "", "`time`, likewise")
	f.BoolVarP(&flags.follow, "follow", "f", false, "go on with lines as they come")
	addJSONFlag(cmd, &flags.json)
	return cmd
}

// searchLog prints the lines that fit.
func (c *console) searchLog(ctx context.Context, conf *config.Config, flags logFlags) error {
	query, err := flags.compile(time.Now())
	if err != nil {
		return &usageError{err: err, command: "rowhook log"}
	}
	query.Path = conf.Log.Deliveries
	if err := knownToLog(ctx, conf, query.Profile); err != nil {
		return err
	}
	bodies := &bodyLookup{ctx: ctx, console: c, config: conf}
	defer bodies.close()
	query.FullBody, query.InGroup = bodies.find, bodies.inGroup
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	undecided, err := deliverylog.Search(ctx, query, func(line []byte, rec deliverylog.ParsedRecord) error {
		if flags.json {
			_, err := fmt.Fprintf(c.out, "%s\n", strings.TrimRight(string(line), "\n"))
			return err
		}
		if err := printLogLine(c.out, rec); err != nil || query.Event == "" {
			return err
		}
		return printBody(c.out, string(rec.Body), rec.BodyTruncated, rec.Bytes, "")
	})
	if undecided > 0 {
		fmt.Fprintf(c.err, "rowhook: %d more lines could not be decided: they keep only a part of the body, and the spool has it no more\n", undecided)
	}
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(c.err, "There is no delivery log at %s yet.\n", query.Path)
		return nil
	}
	return err
}

// errFound ends a search at its first line.
var errFound = errors.New("found")

// knownToLog refuses a profile, or a glob, that fits none of the config. One that the config no
// longer has is known as long as the delivery log has a line of it.
func knownToLog(ctx context.Context, conf *config.Config, profile string) error {
	if profile == "" {
		return nil
	}
	var codes []string
	for i := range conf.Profiles {
		if delivery.MatchGlob(profile, conf.Profiles[i].Code) {
			return nil
		}
		codes = append(codes, conf.Profiles[i].Code)
	}
	_, err := deliverylog.Search(ctx, deliverylog.Query{Path: conf.Log.Deliveries, Profile: profile},
		func([]byte, deliverylog.ParsedRecord) error { return errFound })
	switch {
	case errors.Is(err, errFound):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	missing := &control.Failure{
		Message: fmt.Sprintf("neither the config nor the delivery log has a profile %q%s", profile, spelling.DidYouMean(profile, codes)),
	}
	if len(codes) > 0 {
		missing.Remedy = "profiles are: " + strings.Join(codes, ", ")
	}
	return missing
}

// meantOr proposes the word that was most likely meant, or else tells all that there are.
func meantOr(word string, words []string) string {
	if meant := spelling.DidYouMean(word, words); meant != "" {
		return meant
	}
	return "; there are " + strings.Join(words, ", ")
}

// compile checks the flags' notation.
func (f *logFlags) compile(now time.Time) (deliverylog.Query, error) {
	q := f.query
	q.Follow = f.follow
	q.Outcome = delivery.Outcome(f.outcome)
	if f.outcome != "" && !slices.Contains(delivery.Outcomes(), q.Outcome) {
		var names []string
		for _, o := range delivery.Outcomes() {
			names = append(names, string(o))
		}
		return q, fmt.Errorf("there is no outcome %q%s", f.outcome, meantOr(f.outcome, names))
	}
	var err, sinceErr, untilErr error
	q.Status, err = delivery.ParseStatuses(f.statuses...)
	q.Since, sinceErr = parseMoment(f.since, now)
	q.Until, untilErr = parseMoment(f.until, now)
	for _, pair := range q.Payload {
		if path, _, ok := strings.Cut(pair, "="); !ok || path == "" {
			err = errors.Join(err, fmt.Errorf("--payload %q: expected PATH=VALUE, such as key.loan_id=1000", pair))
		}
	}
	return q, errors.Join(err, sinceErr, untilErr)
}

// parseMoment reads a time or how long ago it was; empty is the zero time.
func parseMoment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation("2006-01-02", s, time.Local); err == nil {
		return t, nil
	}
	d, _, ok := config.ParseDuration(s)
	if !ok || d < 0 {
		return time.Time{}, fmt.Errorf("%q is no time: expected 2026-11-22T10:00:00Z, 2026-11-22, or how long ago, such as 2h or 7d", s)
	}
	return now.Add(-d), nil
}

// printLogLine prints one line of the log for people.
func printLogLine(w io.Writer, rec deliverylog.ParsedRecord) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-11s %s  %s %s", rec.Time.Local().Format("2006-01-02 15:04:05.000"), rec.Outcome, orDash(rec.Profile), orDash(rec.Type), describeRecord(&rec))
	if rec.Attempt > 0 {
		fmt.Fprintf(&b, "  attempt %d", rec.Attempt)
	}
	if rec.Round > 1 {
		fmt.Fprintf(&b, " of round %d", rec.Round)
	}
	if rec.Status > 0 {
		fmt.Fprintf(&b, "  %d", rec.Status)
	}
	if rec.Duration > 0 {
		fmt.Fprintf(&b, " in %s", operation.FormatDuration(rec.Duration))
	}
	if rec.Reason != "" {
		fmt.Fprintf(&b, "  %s", rec.Reason)
	}
	if rec.Error != "" {
		fmt.Fprintf(&b, ": %s", rec.Error)
	}
	if !rec.NextAttempt.IsZero() {
		fmt.Fprintf(&b, "  next %s", rec.NextAttempt.Local().Format("15:04:05"))
	}
	if rec.Unit == "" && rec.Count > 0 {
		fmt.Fprintf(&b, "  %s to %s", rec.First, rec.Last)
	} else {
		fmt.Fprintf(&b, "  %s", orDash(rec.Event))
	}
	_, err := fmt.Fprintf(w, "%s\n", strings.ReplaceAll(b.String(), "\n", `\n`)) // a record is a line
	return err
}

// describeRecord is an event's key, of how many events a group is, or how many attempts were
// collapsed.
func describeRecord(rec *deliverylog.ParsedRecord) string {
	if rec.Count == 0 {
		return compactKey(rec.Key)
	}
	if rec.Unit == "" {
		return fmt.Sprintf("%d attempts", rec.Count)
	}
	return fmt.Sprintf("%s of %d", rec.Unit, rec.Count)
}

// shownBody is how many characters of a body are shown to people.
const shownBody = 4000

// printBody shows a body of a number of bytes, cut at shownBody characters; truncated says that it
// is only a part already, and rest where the rest is.
func printBody(w io.Writer, body string, truncated bool, size int, rest string) error {
	if body == "" {
		return nil
	}
	shown := body
	if n := 0; len(body) > shownBody {
		for i := range body {
			if n++; n > shownBody {
				shown = body[:i]
				break
			}
		}
	}
	if _, err := fmt.Fprintf(w, "%s\n", shown); err != nil {
		return err
	}
	if truncated || len(shown) < len(body) {
		_, err := fmt.Fprintf(w, "… cut here; %s were sent%s\n", humanBytes(int64(size)), rest)
		return err
	}
	return nil
}

// compactKey writes a key as column=value pairs, or as it is when it is no flat object.
func compactKey(raw []byte) string {
	if len(raw) == 0 {
		return "-"
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return string(raw)
	}
	var parts []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return string(raw)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return string(raw)
		}
		parts = append(parts, fmt.Sprintf("%v=%s", name, strings.Trim(string(value), `"`)))
	}
	return strings.Join(parts, " ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// bodyLookup finds whole bodies of events in the spool, through the agent or directly.
// It opens what it needs at the first line that needs it, and gives up after a while: the
// spool has no index by id, so that each look reads what it holds.
type bodyLookup struct {
	ctx     context.Context
	console *console
	config  *config.Config
	access  *agent.Access
	spent   time.Duration
	failed  bool
}

// lookupBudget is how long one search may read the spool.
const lookupBudget = 10 * time.Second

// find returns the whole body that a line is about.
func (l *bodyLookup) find(rec *deliverylog.ParsedRecord) ([]byte, bool) {
	answer := l.ask(rec, "")
	return answer.Body, answer.Found
}

// inGroup tells whether an event is in the group that a line is about.
func (l *bodyLookup) inGroup(rec *deliverylog.ParsedRecord, event string) delivery.Truth {
	return l.ask(rec, event).InGroup()
}

func (l *bodyLookup) ask(rec *deliverylog.ParsedRecord, member string) operation.BodyAnswer {
	if l.failed || l.spent > lookupBudget {
		return operation.BodyAnswer{}
	}
	began := time.Now()
	defer func() { l.spent += time.Since(began) }()
	if l.access == nil {
		var err error
		if l.access, err = agent.Reach(l.config, l.console.agentOptions(l.config)); err != nil {
			l.failed = true
			return operation.BodyAnswer{}
		}
	}
	var answer operation.BodyAnswer
	request := operation.BodyRequest{
		Profile: rec.Profile, Event: rec.Event, Unit: rec.Unit, Count: rec.Count, First: rec.First, Last: rec.Last, Member: member,
	}
	if err := l.access.Call(l.ctx, "body", request, &answer); err != nil {
		return operation.BodyAnswer{}
	}
	return answer
}

func (l *bodyLookup) close() {
	if l.access != nil {
		l.access.Close()
	}
}
