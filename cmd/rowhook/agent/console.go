package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/catalogue"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/console"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
)

// newConsole makes the web console over the agent's operations.
func newConsole(a *Agent) *console.Console {
	all := a.operations()
	maps.Copy(all, a.consoleOperations())
	return console.New(operationCalls(all), console.Options{
		Logger: a.logger,
		Mark:   stateMark(a.config().State),
		Holder: func(token string) (string, bool, bool) {
			admin := &a.config().Admin
			if !admin.Console { // it was turned off: whoever is in is out, open pages included
				return "", false, false
			}
			return admin.Holder(token)
		},
		Hosts: func() []string { return a.config().Admin.Hosts },
	})
}

// stateMark tells agents on one machine apart by their state directories.
func stateMark(dir string) string {
	if whole, err := filepath.Abs(dir); err == nil {
		dir = whole
	}
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:4])
}

// operationCalls calls operations in this process, as the socket would.
type operationCalls map[string]control.Operation

var _ console.Agent = operationCalls(nil)

// Call implements [console.Agent].
func (o operationCalls) Call(ctx context.Context, name string, req, resp any) error {
	do, known := o[name]
	if !known {
		return fmt.Errorf("there is no operation %s", name)
	}
	raw, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	answer, err := do(ctx, raw)
	if err != nil {
		return err
	}
	if raw, err = json.Marshal(answer); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return json.Unmarshal(raw, resp)
}

// consoleOperations are what only the console asks for. They change nothing.
func (a *Agent) consoleOperations() map[string]control.Operation {
	return map[string]control.Operation{
		console.OpLog: control.Typed(a.logPage),
		console.OpAudit: control.Typed(func(_ context.Context, q console.AuditQuery) (console.AuditPage, error) {
			return a.audit.page(q)
		}),
		console.OpEvents: control.Typed(func(ctx context.Context, _ operation.None) (catalogue.Catalogue, error) {
			return a.catalogue(ctx)
		}),
		console.OpConfig: control.Typed(func(context.Context, operation.None) (console.ConfigInForce, error) {
			text, err := a.config().Masked()
			return console.ConfigInForce{File: a.config().File(), Text: text}, err
		}),
		console.OpConfigCheck: control.Typed(a.checkText),
		console.OpHistory: control.Typed(func(context.Context, operation.None) (console.Series, error) {
			return a.history.Series(), nil
		}),
	}
}

const (
	// pageBudget is how long a page of the delivery log is looked for.
	pageBudget = 2 * time.Second
	// bodyBudget is how long one page may read the spool for whole bodies.
	bodyBudget = 2 * time.Second
)

// logPage returns a page of the delivery log.
func (a *Agent) logPage(ctx context.Context, q console.LogQuery) (console.LogPage, error) {
	statuses, err := delivery.ParseStatuses(q.Status...)
	if err != nil {
		return console.LogPage{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, pageBudget)
	defer cancel()
	bodies := &pageBodies{ctx: ctx, workspace: a.workspace}
	found := console.LogPage{Lines: []json.RawMessage{}}
	page, err := deliverylog.ReadPage(ctx, deliverylog.Query{
		Path: a.config().Log.Deliveries, Profile: q.Profile, Event: q.Event, Type: q.Type, Status: statuses, Outcome: q.Outcome,
		URL: q.URL, Payload: q.Payload, Since: q.Since, Until: q.Until, FullBody: bodies.find, InGroup: bodies.inGroup,
	}, q.From, q.Most, func(line []byte, _ deliverylog.ParsedRecord) error {
		found.Lines = append(found.Lines, slices.Clone(line))
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		found.None = true
		return found, nil
	}
	found.Next, found.Reached, found.Undecided = page.Next, page.Reached, page.Undecided
	return found, err
}

// pageBodies finds whole bodies in the spool for one page, which has no index by id: it gives up
// after a while.
type pageBodies struct {
	ctx       context.Context // the page's
	workspace *workspace
	spent     time.Duration
}

func (b *pageBodies) ask(rec *deliverylog.ParsedRecord, member string) operation.BodyAnswer {
	if b.spent > bodyBudget {
		return operation.BodyAnswer{}
	}
	began := time.Now()
	defer func() { b.spent += time.Since(began) }()
	answer, err := b.workspace.body(b.ctx, operation.BodyRequest{
		Profile: rec.Profile, Event: rec.Event, Unit: rec.Unit, Count: rec.Count, First: rec.First, Last: rec.Last, Member: member,
	})
	if err != nil {
		return operation.BodyAnswer{}
	}
	return answer
}

func (b *pageBodies) find(rec *deliverylog.ParsedRecord) ([]byte, bool) {
	answer := b.ask(rec, "")
	return answer.Body, answer.Found
}

func (b *pageBodies) inGroup(rec *deliverylog.ParsedRecord, event string) delivery.Truth {
	return b.ask(rec, event).InGroup()
}

// auditBlock is how much of the audit log is read at once.
const auditBlock = 64 << 10

// page returns a page of the audit log, the newest line first. A line that is no JSON, torn by a
// crash, is passed over.
func (a *auditLog) page(q console.AuditQuery) (console.AuditPage, error) {
	found := console.AuditPage{Lines: []operation.AuditLine{}}
	file, err := os.Open(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("read the audit log: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return found, fmt.Errorf("read the audit log: %w", err)
	}
	end := info.Size()
	if q.Before > 0 {
		end = min(end, q.Before)
	}
	for end > 0 {
		start := max(0, end-auditBlock)
		block := make([]byte, end-start)
		if _, err := file.ReadAt(block, start); err != nil && !errors.Is(err, io.EOF) {
			return found, fmt.Errorf("read the audit log: %w", err)
		}
		if start > 0 { // the first line of the block is whole in the one before
			i := slices.Index(block, '\n') + 1
			if i == len(block) || i == 0 {
				i = 0 // a line that is longer than a block is none of ours
			}
			block, start = block[i:], start+int64(i)
		}
		lines := slices.Collect(strings.Lines(string(block)))
		for _, text := range slices.Backward(lines) {
			end -= int64(len(text))
			var line operation.AuditLine
			if json.Unmarshal([]byte(text), &line) != nil || line.Command == "" || q.Profile != "" && line.Profile != q.Profile {
				continue
			}
			found.Lines = append(found.Lines, line)
			if len(found.Lines) == q.Most {
				found.Next = end
				return found, nil
			}
		}
		end = start
	}
	return found, nil
}

// catalogue describes every event, with the mapped tables as the database has them now.
func (a *Agent) catalogue(ctx context.Context) (catalogue.Catalogue, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	c := a.config()
	tables, problem := a.sourceNow().Tables(ctx, c.Rules().Tables())
	all, err := catalogue.Of(c, a.sourceName(), tables)
	if problem != nil {
		all.Problem = problem.Error()
	}
	return all, err
}

// checkText says what is wrong or odd about a config that somebody pasted, against the database
// that the agent works on. What it names of this machine is not looked at, unless the config in
// force names it there, too: an account of the console is none of this machine.
func (a *Agent) checkText(ctx context.Context, r console.ConfigText) (console.ConfigFindings, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	now := a.config()
	next, err := now.ParseGuest([]byte(r.Text))
	var found console.ConfigFindings
	var all []capture.Finding
	for _, one := range capture.Errors(err) {
		if next.Unlooked(one) {
			all = append(all, capture.Finding{Severity: capture.Info, Code: "unlooked", Text: one.Error(), Remedy: capture.Remedy(one)})
			continue
		}
		found.Errors = append(found.Errors, console.ConfigProblem{Text: one.Error(), Remedy: capture.Remedy(one)})
	}
	if len(found.Errors) == 0 && next.Rules() != nil {
		all = append(all, a.checkGuest(ctx, next)...)
	}
	slices.SortStableFunc(all, func(x, y capture.Finding) int { return int(y.Severity) - int(x.Severity) })
	for _, f := range all {
		f = next.Hide(f)
		found.Findings = append(found.Findings, console.Finding{Severity: f.Severity.String(), Finding: f})
	}
	return found, nil
}

// checkGuest is what is odd about a config that can be read.
func (a *Agent) checkGuest(ctx context.Context, next *config.Config) []capture.Finding {
	all := next.GuestFindings()
	if _, err := next.StartOnly(a.startedWith); err != nil {
		for _, one := range capture.Errors(err) {
			all = append(all, capture.Finding{Severity: capture.Warning, Code: "restart", Text: one.Error(), Remedy: capture.Remedy(one)})
		}
	}
	patterns := next.Rules().Tables()
	drift, err := a.sourceNow().Drift(ctx, patterns)
	if err != nil {
		return append(all, unasked(a.sourceNow().Hosts(), err))
	}
	all = append(all, next.AtTables(drift)...)
	tables, err := a.sourceNow().Tables(ctx, patterns)
	if err != nil {
		return append(all, unasked(a.sourceNow().Hosts(), err))
	}
	all = append(append(all, next.TableFindings(tables)...), next.ConditionFindings(tables)...)
	return all
}

// unasked is the finding that the database could not be asked.
func unasked(hosts string, err error) capture.Finding {
	return capture.Finding{Severity: capture.Error, Code: "source", Subject: hosts, Text: err.Error(), Remedy: capture.Remedy(err)}
}

// checkTimeout bounds what a check asks of the database.
const checkTimeout = 20 * time.Second

// historyPace is how often what the console plots is noted.
const historyPace = time.Minute

// noteHistory keeps a point of what the console plots, once in a while, if there is a console. It
// goes along with the samples of the source and has no clock of its own.
func (a *Agent) noteHistory(sampled *capture.Status, at time.Time) {
	if !a.config().Admin.Console || at.Sub(a.noted) < historyPace-sampleInterval/2 {
		return
	}
	a.noted = at
	profiles, err := a.engine.Status()
	if err != nil {
		return // the next one may
	}
	sample := console.Sample{At: at}
	if t := a.term.Load(); t != nil {
		sample.Events = t.pipe.Counts().Events
	}
	for i := range profiles {
		sample.Backlog += profiles[i].BacklogEvents
		sample.Failures += profiles[i].Outcomes[delivery.OutcomeRetrying] + profiles[i].Outcomes[delivery.OutcomeDead]
	}
	if sampled != nil {
		sample.Lag = sampled.LagBytes
	}
	a.history.Add(sample)
}
