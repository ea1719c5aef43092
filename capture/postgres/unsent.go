package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// What the server refuses to send (a value too large to be written out, a row filter that fails, a
// character without a counterpart) it refuses at every attempt, and everything behind it does not
// come. A lost connection is another matter, and retried for ever. The two are told apart by what
// the error is: an answer of the server, and its class.

// refusedError is the server's answer instead of the stream.
type refusedError struct {
	err    error
	answer *pgconn.PgError
	// commit is where the commit record of the transaction begins that was not sent; 0 where the
	// server did not say.
	commit pglogrepl.LSN
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// passing reports whether what the server answers has to do with the moment and not with what it
// was to send: its connections, conflicts with others, its resources, and what its operators do.
func passing(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", "40", "53", "55", "57":
		return true
	}
	return false
}

// failing counts failures at one place.
type failing struct {
	at    pglogrepl.LSN // the position, or where the transaction that fails was committed
	count int
}

func (f *failing) add(at pglogrepl.LSN) int {
	if f.at != at {
		*f = failing{at: at}
	}
	f.count++
	return f.count
}

// judge makes of an error that came back too often at one place what ends the run, or gives up the
// transaction that cannot be sent where that was accepted.
func (r *run) judge(ctx context.Context, err error) error {
	var malformed *streamError
	if errors.As(err, &malformed) {
		if n := r.failing.add(r.position); n >= capture.FailedTries {
			return &capture.OperatorError{Err: fmt.Errorf("at position %s, %d times: %w", r.position, n, err), Remedy: capture.UnreadableRemedy}
		}
		return err
	}
	var refused *refusedError
	if !errors.As(err, &refused) || passing(refused.answer.Code) {
		return err
	}
	at := refused.commit
	if at == 0 {
		at = r.position
	}
	tries := r.failing.add(at)
	if tries < capture.FailedTries {
		return err
	}
	behind, lost := r.behind(ctx, refused)
	if lost != nil {
		return &capture.OperatorError{
			Err: fmt.Errorf("at position %s, %d times: the server cannot send what follows: %w", r.position, tries, err),
			Remedy: fmt.Sprintf("%sto give up everything committed until now: SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn()); then `rowhook run --accept-gap` (the transaction alone was not found: %v)",
				mendFirst(refused.answer), quoteLiteral(r.config.Slot), lost),
		}
	}
	if r.accept {
		r.skip = behind
		r.log.Warn("the server cannot send a transaction, which is given up", "err", err, "position", r.position, "behind", behind)
		return err
	}
	return &capture.OperatorError{
		Err: fmt.Errorf("at position %s, %d times: the server cannot send the transaction whose commit ends before %s: %w", r.position, tries, behind, err),
		Remedy: fmt.Sprintf("%s`rowhook run --accept-gap` goes on at %s, behind that transaction: none of its changes is delivered, and a line of the delivery log and rowhook.gap say so",
			mendFirst(refused.answer), behind),
	}
}

// mendFirst is what is to be done before a transaction is given up, so that the next is not refused
// as well.
func mendFirst(answer *pgconn.PgError) string {
	if strings.HasPrefix(answer.Code, "22") {
		return "fix the publication's row filter, if that is what fails (changes made before are still filtered by the old one); "
	}
	return ""
}

// streamingError explains errors of the server that mean more than a lost connection.
func (r *run) streamingError(what string, answer *pgconn.PgError) error {
	if r.texts != nil {
		answer.Message = r.texts.string(answer.Message)
	}
	err := fmt.Errorf("%s: %w", what, serverWords(answer))
	switch {
	case answer.Code == "42704" && strings.Contains(answer.Message, "publication"):
		return &capture.GapError{
			Stored: position(r.position),
			Text:   fmt.Sprintf("publication %s did not exist yet where the stream stands, or has been dropped since", r.config.Publication),
			Remedy: fmt.Sprintf("`rowhook setup` for the publication; drop the slot (SELECT pg_drop_replication_slot(%s)); then `rowhook run --accept-gap`",
				quoteLiteral(r.config.Slot)),
		}
	case answer.Code == "42501":
		return &capture.OperatorError{Err: err, Remedy: r.rightsRemedy(answer)}
	}
	return &refusedError{err: err, answer: answer}
}

// wordsError is an answer of the server without what it may hold of a row.
type wordsError struct {
	text   string
	answer *pgconn.PgError
}

func (e *wordsError) Error() string { return e.text }
func (e *wordsError) Unwrap() error { return e.answer }

var hexBytes = regexp.MustCompile(`0x[0-9a-f]{2}( 0x[0-9a-f]{2})*`)

// quotes are those that PostgreSQL's messages quote with, in any language.
const quotes = "\"'«»„“”‚‘’「」『』"

// unquoted takes out everything between the first quote and the last.
func unquoted(text string) string {
	first := strings.IndexAny(text, quotes)
	if first < 0 {
		return text
	}
	last := strings.LastIndexAny(text, quotes)
	if last == first {
		return text[:first] + "…"
	}
	_, size := utf8.DecodeRuneInString(text[last:])
	return text[:first] + "…" + text[last+size:]
}

// serverWords are the server's own words about data that does not fit, with what they quote of it
// taken out. Other errors quote nothing but names.
func serverWords(answer *pgconn.PgError) error {
	text := answer.Message
	switch {
	case answer.Code == "22P05" || answer.Code == "22021": // what they quote are encodings
		text = hexBytes.ReplaceAllString(text, "…")
	case strings.HasPrefix(answer.Code, "22") || strings.HasPrefix(answer.Code, "23"):
		text = unquoted(text)
		if i := strings.IndexFunc(text, func(r rune) bool { return r >= '0' && r <= '9' }); i >= 0 && answer.SeverityUnlocalized != answer.Severity {
			text = text[:i] + "…" // in other languages numbers may stand without quotes
		}
	}
	return &wordsError{fmt.Sprintf("%s: %s (SQLSTATE %s)", answer.Severity, text, answer.Code), answer}
}

// How long the server may take to decode up to some place, while a transaction is looked for, and
// how the steps begin.
const (
	locateTimeout = time.Minute
	locateTries   = 40 // while the slot is in use
	locateStep    = 64 << 10
)

// behind returns the first position behind the transaction that cannot be sent: a stream that
// starts there has all others.
func (r *run) behind(ctx context.Context, refused *refusedError) (pglogrepl.LSN, error) {
	if refused.commit != 0 {
		// The server leaves out transactions whose commit record begins before the position that it
		// starts at.
		return refused.commit + 1, nil
	}
	// It refused before it named the transaction. Decoding ends with the same error once it comes
	// that far, if it begins behind what has been given up before.
	if err := r.awaitDurable(ctx, r.position, locateTimeout); err != nil {
		return 0, err
	}
	if durable, err := parsePosition(r.sink.Durable()); err != nil || durable < r.position {
		return 0, fmt.Errorf("position %s is not stored yet", r.position)
	}
	query := r.newQuerier(locateTimeout)
	defer query.close()
	for tries := 0; ; tries++ {
		found, err := r.locate(ctx, query, refused.answer.Code)
		var answer *pgconn.PgError
		if !errors.As(err, &answer) || answer.Code != "55006" || tries > locateTries {
			return found, err
		}
		// The server is not done yet with our former connection, which had the slot.
		if err := capture.Sleep(ctx, retryFirst); err != nil {
			return 0, err
		}
	}
}

// locate looks for the first transaction that is refused with a code.
func (r *run) locate(ctx context.Context, query *querier, code string) (pglogrepl.LSN, error) {
	var found pglogrepl.LSN
	err := query.within(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if r.texts != nil {
			if _, err := c.Exec(ctx, "set client_encoding = "+quoteLiteral(r.texts.name)); err != nil {
				return err
			}
		}
		var text string
		err := c.QueryRow(ctx, `select `+flushedSQL+`::text from pg_catalog.pg_replication_slots where slot_name = $1 and (confirmed_flush_lsn >= $2::text::pg_lsn
  or (pg_catalog.pg_replication_slot_advance($1, $2::text::pg_lsn)).end_lsn is not null)`, r.config.Slot, r.position.String()).Scan(&text)
		if err != nil {
			return err
		}
		end, err := pglogrepl.ParseLSN(text)
		if err != nil {
			return err
		}
		found, err = search(r.position, end, func(to pglogrepl.LSN) (bool, error) { return r.refuses(ctx, c, to, code) })
		return err
	})
	return found, err
}

// flushedSQL is the end of the server's WAL.
const flushedSQL = `(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_flush_lsn() end)`

// refuses decodes up to a position and reports whether that ends with the error. It changes
// nothing.
func (r *run) refuses(ctx context.Context, c *pgx.Conn, to pglogrepl.LSN, code string) (bool, error) {
	_, err := c.Exec(ctx, `select count(*) from pg_catalog.pg_logical_slot_peek_binary_changes($1, $2::text::pg_lsn, null, 'proto_version', '1',
  'publication_names', $3, 'messages', 'true')`, r.config.Slot, to.String(), quoteIdent(r.config.Publication))
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == code {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the transaction: %w", err)
	}
	return false, nil
}

// search finds where a stream has to start to leave out the first transaction that is refused.
// Decoding up to a position takes each record that the one before ends before.
func search(from, end pglogrepl.LSN, refuses func(to pglogrepl.LSN) (bool, error)) (pglogrepl.LSN, error) {
	good, bad := from, pglogrepl.LSN(0)
	for step := pglogrepl.LSN(locateStep); bad == 0; step *= 2 {
		to := min(good+step, end)
		refused, err := refuses(to)
		switch {
		case err != nil:
			return 0, err
		case refused:
			bad = to
		case to == end:
			return 0, fmt.Errorf("look for the transaction: decoding up to %s does not fail", end)
		default:
			good = to
		}
	}
	for bad-good > 1 {
		middle := good + (bad-good)/2
		refused, err := refuses(middle)
		if err != nil {
			return 0, err
		}
		if refused {
			bad = middle
		} else {
			good = middle
		}
	}
	// The record before ends at good, and the commit record begins there, or behind the header of a
	// page.
	const page, longestHeader = 8192, 40
	if good%page == 0 {
		return good + longestHeader + 1, nil
	}
	return bad, nil
}
