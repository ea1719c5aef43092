package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestRefusedTransaction holds that what the server cannot send is tried three times, then ends the
// run with the server's own words and a remedy; and that the remedy gives up the transactions that
// cannot be sent, and nothing else.
func TestRefusedTransaction(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 19} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			testRefusedTransaction(t, major)
		})
	}
}

func testRefusedTransaction(t *testing.T, major int) {
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
	pg.Run(t, "create table t (id int primary key, note text)", "create table filler (id int, note text)", "alter table t replica identity full",
		"create publication rowhook for table t where (length(decode(note, 'hex')) > 0)", "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	sink := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	pg.Run(t, "insert into t values (1, '50')")
	sink.await(t, "the first row", hasInsert(sink, 1))
	running.stop(t)
	for bad := range 2 { // the first is refused before it is named, the second after its first row
		good, next := 10*bad+2, 10*bad+3
		pg.Run(t, fmt.Sprintf("insert into t values (%d, '70')", good), "insert into filler select i, repeat('x', 500) from generate_series(1, 300) i")
		if bad == 0 {
			pg.Run(t, "insert into t values (100, 'top secret')")
		} else {
			pg.Run(t, "insert into t values (101, '80'), (102, 'top secret')", "insert into t values (103, 'as secret')")
		}
		pg.Run(t, fmt.Sprintf("insert into t values (%d, '90')", next))

		err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, sink).wait(t)
		var operator *capture.OperatorError
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), "3 times: the server cannot send the transaction") ||
			!strings.Contains(err.Error(), "invalid hexadecimal digit: …") || !strings.Contains(err.Error(), "SQLSTATE 22023") {
			t.Fatalf("run ended with %v", err)
		}
		if strings.Contains(err.Error()+operator.Remedy, "secret") {
			t.Errorf("the error holds row data: %v", err)
		}
		if !strings.Contains(operator.Remedy, "`rowhook run --accept-gap` goes on at ") || !strings.Contains(operator.Remedy, "row filter") {
			t.Errorf("remedy %s", operator.Remedy)
		}
		if !hasInsert(sink, good)() || hasInsert(sink, next)() {
			t.Errorf("came %q", sink.changes())
		}

		var gaps []capture.Started
		running := runSource(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable(), AcceptGap: true, OnStarted: func(s capture.Started) {
			if s.GapTo != "" {
				gaps = append(gaps, s)
			}
		}}, sink)
		sink.await(t, "the row behind", hasInsert(sink, next))
		running.stop(t)
		if len(gaps) != bad+1 || gaps[0].GapFrom == "" || lsnOf(t, gaps[0].GapTo) <= lsnOf(t, gaps[0].GapFrom) {
			t.Errorf("gaps %+v", gaps)
		}
		if !strings.Contains(operator.Remedy, string(gaps[0].GapTo)) {
			t.Errorf("the remedy promised %s, the gap ends at %s", operator.Remedy, gaps[0].GapTo)
		}
	}
	want := []string{`0 insert public.t (id:1 note:"50")`}
	for _, row := range []string{`id:2 note:"70"`, `id:3 note:"90"`, `id:12 note:"70"`, `id:13 note:"90"`} {
		want = append(want, "0 insert public.t ("+row+")")
	}
	if got := sink.changes(); !slices.Equal(got, want) {
		t.Errorf("came %q, want %q", got, want)
	}
	if slot := confirmed(t, pg); slot < lsnOf(t, sink.Durable()) {
		t.Errorf("the slot is at %s, durable is %s", slot, sink.Durable())
	}
}

// TestAcceptedOnce holds that consent to a gap does not outlive it: what is refused after the
// stream has moved ends the run again.
func TestAcceptedOnce(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create table t (id int primary key, note text)", "create publication rowhook for table t where (100 / id > 0)",
		"select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	sink := newListSink("")
	running := runSource(t, newSource(t, pg.DSN), capture.StartOptions{AcceptGap: true}, sink)
	pg.Run(t, "insert into t values (1, 'x')", "insert into t values (0, 'x')")
	err := running.wait(t)
	if !errors.As(err, new(*capture.OperatorError)) || !strings.Contains(err.Error(), "division by zero") {
		t.Errorf("run ended with %v", err)
	}
}

// TestSearch finds the refused transaction among records, wherever pages begin.
func TestSearch(t *testing.T) {
	t.Parallel()
	for shift := pglogrepl.LSN(0); shift < 300; shift += 8 {
		// Records of 40 bytes, each commit one; a page's header stands before the one that begins
		// it.
		const page = 8192
		var begins, ends []pglogrepl.LSN
		for at := 3*page - 4096 + shift; at < 40*page; {
			if at%page == 0 {
				at += 24
			}
			end := at + 40
			if end > (at/page+1)*page {
				end += 24
			}
			begins, ends = append(begins, at), append(ends, end)
			at = end
		}
		for _, bad := range []int{1, 50, 99, 100, 101, 102, 103, 104, 105, 2000} {
			refuses := func(to pglogrepl.LSN) (bool, error) {
				for i := range begins {
					if i > 0 && ends[i-1] >= to {
						return false, nil
					}
					if i == bad {
						return true, nil
					}
				}
				return false, nil
			}
			got, err := search(begins[0]-8, ends[len(ends)-1], refuses)
			if err != nil || got <= begins[bad] || got > begins[bad+1] {
				t.Fatalf("shift %d: record %d at %s: start at %s, the next at %s, %v", shift, bad, begins[bad], got, begins[bad+1], err)
			}
		}
	}
	if _, err := search(8, 1<<20, func(pglogrepl.LSN) (bool, error) { return false, nil }); err == nil {
		t.Error("found a transaction that is not there")
	}
}

func TestServerWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ code, severity, message, want string }{
		{"22P02", "ERROR", `invalid input syntax for type integer: "top "secret"`, `invalid input syntax for type integer: …`},
		{"22003", "FEHLER", `Wert 4711 ist außerhalb von »integer«`, `Wert …`},
		{"22P05", "ERROR", `character with byte sequence 0xf5 0xa1 in encoding "EUC_JP" has no equivalent in encoding "UTF8"`,
			`character with byte sequence … in encoding "EUC_JP" has no equivalent in encoding "UTF8"`},
		{"XX000", "ERROR", "invalid memory alloc request size 1080000003", "invalid memory alloc request size 1080000003"},
	} {
		got := serverWords(&pgconn.PgError{Severity: test.severity, SeverityUnlocalized: "ERROR", Code: test.code, Message: test.message}).Error()
		if strings.Contains(got, "secret") || strings.Contains(got, "4711") || !strings.HasPrefix(got, test.severity) || !strings.Contains(got, "SQLSTATE "+test.code) {
			t.Errorf("%q became %q", test.message, got)
		}
	}
	for code, want := range map[string]bool{"57P01": true, "53200": true, "40001": true, "08006": true, "55006": true, "XX000": false, "22012": false, "54000": false, "": false} {
		if passing(code) != want {
			t.Errorf("passing(%q) is %v", code, !want)
		}
	}
}
