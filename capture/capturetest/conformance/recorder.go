package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture"
)

// recorder is a [capture.Sink] that writes down what it gets, as lines of text, and
// checks that the source keeps the sink's protocol.
type recorder struct {
	holes bool // the stream holds changes of other tables too, which count
	t     testing.TB

	mu      sync.Mutex
	news    chan struct{} // closed and replaced at each commit
	done    []transaction
	durable capture.Position
	frozen  bool          // durable stays where it is
	hold    chan struct{} // not nil: Busy
	changes int           // all that came, in open transactions too
	refused int           // how many commits are still to be refused
	working chan struct{} // not nil: the next commit takes as long as the source lets it; closed once it does
	heed    func() error  // the source's

	// Only the source's goroutine touches these.
	open    *transaction
	ordinal int
}

// transaction is one committed transaction as it came.
type transaction struct {
	capture.Transaction
	end   capture.Position
	lines []string
	// described holds the description of each line's table.
	described []string
}

var _ capture.Sink = (*recorder)(nil)

func newRecorder(t testing.TB, durable capture.Position) *recorder {
	return &recorder{t: t, durable: durable, news: make(chan struct{})}
}

func (r *recorder) Begin(tx *capture.Transaction) error {
	if r.open != nil {
		r.t.Errorf("begin of %s inside %s", tx.ID, r.open.ID)
	}
	if tx.ID == "" || tx.Identity == "" || tx.Position == "" {
		r.t.Errorf("transaction lacks id, identity or position: %+v", *tx)
	}
	if age := time.Since(tx.Time); age > time.Hour || age < -time.Hour || tx.Time.Location() != time.UTC {
		r.t.Errorf("transaction %s has the time %s", tx.ID, tx.Time)
	}
	r.open, r.ordinal = &transaction{Transaction: *tx}, 0
	return nil
}

// next checks an ordinal: they count from 0, without holes where the stream has only what is
// wanted.
func (r *recorder) next(ordinal int) {
	if r.open == nil {
		r.t.Errorf("change outside a transaction")
		r.open = &transaction{}
	}
	if ordinal < r.ordinal || ordinal > r.ordinal && !r.holes {
		r.t.Errorf("transaction %s: ordinal %d where %d was due", r.open.ID, ordinal, r.ordinal)
	}
	r.ordinal = ordinal + 1
	r.mu.Lock()
	r.changes++
	r.mu.Unlock()
}

func (r *recorder) add(description, line string) {
	r.open.described = append(r.open.described, description)
	r.open.lines = append(r.open.lines, line)
}

func (r *recorder) Change(c *capture.Change) error {
	r.next(c.Ordinal)
	if len(c.Raw.Change) == 0 {
		r.t.Errorf("%s of %s: no raw change", c.Op, c.Table)
	}
	for _, row := range []capture.Row{c.Old, c.New} {
		if row != nil && len(row) != len(c.Table.Columns) {
			r.t.Errorf("%s of %s: %d values for %d columns", c.Op, c.Table, len(row), len(c.Table.Columns))
			return nil
		}
	}
	wrong := map[capture.Op]bool{
		capture.Insert:   c.Old != nil || c.New == nil,
		capture.Update:   c.New == nil,
		capture.Delete:   c.New != nil || c.Old == nil,
		capture.Truncate: c.New != nil || c.Old != nil,
	}[c.Op]
	if wrong {
		r.t.Errorf("%s of %s: old row %t, new row %t", c.Op, c.Table, c.Old != nil, c.New != nil)
	}
	line := c.Op.String() + " " + c.Table.Name
	if c.Old != nil {
		line += " " + row(c.Table, c.Old, nil)
	}
	if c.Old != nil && c.New != nil {
		line += " ->"
	}
	if c.New != nil {
		line += " " + row(c.Table, c.New, c.Old)
	}
	r.add(describe(c.Table), line)
	return nil
}

func (r *recorder) Message(m *capture.Message) error {
	r.next(m.Ordinal)
	r.add("", fmt.Sprintf("message %q", m.Content))
	return nil
}

func (r *recorder) Park(u *capture.Undecoded) error {
	r.next(u.Ordinal)
	r.t.Errorf("parked a change of %s: %v", u.Table, u.Err)
	return nil
}

func (r *recorder) Commit(end capture.Position) error {
	if r.open == nil {
		r.t.Errorf("commit at %s outside a transaction", end)
		return nil
	}
	if end == "" {
		r.t.Errorf("transaction %s ends at no position", r.open.ID)
	}
	r.open.end = end
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open.lines) > 0 {
		if r.refused > 0 {
			r.refused--
			return fmt.Errorf("refused: %w", capture.ErrAgain)
		}
		if r.working != nil {
			close(r.working)
			r.working = nil
			if err := r.takeLong(); err != nil {
				return err
			}
		}
		r.done = append(r.done, *r.open)
	}
	r.open = nil
	r.advance(end)
	return nil
}

// takeLong works until the source ends that. The lock is held, but not meanwhile.
func (r *recorder) takeLong() error {
	heed := r.heed
	r.mu.Unlock()
	defer r.mu.Lock()
	step, deadline := time.NewTicker(time.Millisecond), time.After(patience)
	defer step.Stop()
	for {
		select {
		case <-step.C:
			if err := heed(); err != nil {
				return err
			}
		case <-deadline:
			r.t.Errorf("the source did not end a commit within %s", patience)
			return nil
		}
	}
}

// refuse has the sink not take so many transactions.
func (r *recorder) refuse(commits int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = commits
}

// work has the next commit take as long as the source lets it. What it returns is closed once it is at work.
func (r *recorder) work() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.working = make(chan struct{})
	return r.working
}

// Heed implements [capture.Heeder].
func (r *recorder) Heed(source func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heed = source
}

// advance moves on and wakes who waits. The lock is held.
func (r *recorder) advance(end capture.Position) {
	if !r.frozen {
		r.durable = end
	}
	close(r.news)
	r.news = make(chan struct{})
}

func (r *recorder) Abort() { r.open = nil }

func (r *recorder) Idle(end capture.Position) error {
	if r.open != nil {
		r.t.Errorf("idle at %s inside transaction %s", end, r.open.ID)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(end)
	return nil
}

func (r *recorder) Busy() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold == nil {
		return nil
	}
	return r.hold
}

func (r *recorder) Durable() capture.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.durable
}

// freeze keeps Durable where it is.
func (r *recorder) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}

// block makes the sink busy until release is called.
func (r *recorder) block() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hold := make(chan struct{})
	r.hold = hold
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hold = nil
		close(hold)
	}
}

// seen returns how many changes have come.
func (r *recorder) seen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes
}

// await waits until a transaction with that line has been committed.
func (r *recorder) await(t testing.TB, line string) {
	t.Helper()
	deadline := time.After(patience)
	checked := 0
	for {
		r.mu.Lock()
		news, done := r.news, r.done
		r.mu.Unlock()
		for ; checked < len(done); checked++ {
			for _, l := range done[checked].lines {
				if l == line {
					return
				}
			}
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("%q did not arrive within %s; so far:\n%s", line, patience, r.golden())
		}
	}
}

// transactions returns what has been committed so far.
func (r *recorder) transactions() []transaction {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]transaction(nil), r.done...)
}

// golden is what came, without what differs from run to run and server to server.
func (r *recorder) golden() []byte {
	var out bytes.Buffer
	described := map[string]string{}
	for _, tx := range r.transactions() {
		if strings.Contains(tx.lines[0], " "+finishTable.name+" ") {
			continue
		}
		out.WriteString("transaction\n")
		for i := 0; i < len(tx.lines); {
			if d := tx.described[i]; d != "" {
				name, _, _ := strings.Cut(d, " ")
				if described[name] != d {
					described[name] = d
					fmt.Fprintf(&out, "  table %s\n", d)
				}
			}
			i += writeRun(&out, tx.lines[i:])
		}
	}
	return out.Bytes()
}

// writeRun writes the first line, or a long run of lines of one kind as its first,
// a digest and its last. It returns how many lines that was.
func writeRun(out *bytes.Buffer, lines []string) int {
	kind := func(line string) string {
		head, _, _ := strings.Cut(line, "{")
		return head
	}
	n := 1
	for n < len(lines) && kind(lines[n]) == kind(lines[0]) {
		n++
	}
	if n <= 10 {
		fmt.Fprintf(out, "  %s\n", lines[0])
		return 1
	}
	digest := sha256.Sum256([]byte(strings.Join(lines[1:n-1], "\n")))
	fmt.Fprintf(out, "  %s\n  … %d more like it, sha256 %x…\n  %s\n", lines[0], n-2, digest[:6], lines[n-1])
	return n
}

var kinds = [...]string{"other", "text", "integer", "bigint", "decimal", "float", "bool", "instant", "datetime", "date", "json", "list", "bytes", "time"}

// describe is a table's description: columns, kinds, and the places in the key.
func describe(t *capture.Table) string {
	columns := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = c.Name + " " + kinds[c.Type.Kind]
	}
	for place, i := range t.Key {
		columns[i] += " key" + strconv.Itoa(place+1)
	}
	return t.Name + " (" + strings.Join(columns, ", ") + ")"
}

// row writes a row's values. An unchanged value is shown as what it was: databases
// differ in whether they send it.
func row(t *capture.Table, values, old capture.Row) string {
	parts := make([]string, len(values))
	for i, v := range values {
		if v.State == capture.Unchanged && old != nil {
			v = old[i]
		}
		parts[i] = t.Columns[i].Name + "=" + value(t.Columns[i].Type, v)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

// value writes a value: its text where databases agree on it, else its payload form.
func value(typ *capture.Type, v capture.Value) string {
	switch {
	case v.State == capture.Unknown:
		return "unknown"
	case v.State == capture.Unchanged:
		return "unchanged"
	case v.State == capture.Null:
		return "null"
	case len(v.Text) > 200:
		digest := sha256.Sum256(v.Text)
		return fmt.Sprintf("<%d bytes, sha256 %x…>", len(v.Text), digest[:6])
	case typ.Kind == capture.Text:
		return strconv.Quote(string(v.Text))
	case typ.Kind == capture.Integer || typ.Kind == capture.Bigint || typ.Kind == capture.Decimal || typ.Kind == capture.Date:
		return string(v.Text)
	}
	payload, ok := typ.AppendJSON(nil, v.Text)
	if !ok {
		return "misfit " + string(payload)
	}
	var compact bytes.Buffer // JSON differs in blanks
	if err := json.Compact(&compact, payload); err != nil {
		return fmt.Sprintf("%s: %v", payload, err)
	}
	return compact.String()
}
