package postgres

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// The types of a table whose columns get others, and the migration that does so after it has
// changed a row.
var (
	goneTypes = []string{
		"create domain flag as bool", "create domain cents as int", "create domain money2 as cents", "create type mood as enum ('a', 'b')",
		"create domain stamps as timestamptz[]", "create type pair as (x int, y text)", "create domain moods as mood",
		`create table gone (id int primary key, a cents, aa money2, b flag, m mood, ms mood[], s stamps, p pair, dm moods, fs flag[])`,
		"alter table gone replica identity full",
	}
	goneRow       = `insert into gone values (1, 5, 6, true, 'a', '{a,b}', '{"2026-11-22 01:02:03+00"}', '(1,z)', 'b', '{t,f}')`
	goneMigration = `begin; update gone set a = a * 100;
alter table gone alter a type bigint, alter aa type text, alter b type text, alter m type text, alter ms type text[] using ms::text[], alter s type text,
  alter p type text, alter dm type text, alter fs type text;
drop domain money2, flag, moods, stamps, cents; drop type mood, pair; commit`
)

const (
	goneKnown = `a:5 aa:6 b:true m:"a" ms:["a","b"] s:["2026-11-22T01:02:03.000000Z"] p:"(1,z)" dm:"b" fs:[true,false]`
	// What the stream itself tells is what domains are over. The rest is the database's text,
	// flagged (!), and compared with nothing (~).
	goneTold = `a:5 aa:6 b:true m:~!"a" ms:~!"{a,b}" s:["2026-11-22T01:02:03.000000Z"] p:~!"(1,z)" dm:~!"b" fs:~!"{t,f}"`
)

func goneUpdate(row string) string {
	return "0 update public.gone (id:1 " + row + ") -> (id:1 " + strings.Replace(row, "a:5 ", "a:500 ", 1) + ")"
}

// TestTypesGone holds that a value whose type is gone when it is looked up is what the type made
// it, as far as that is known, and never taken for a text.
func TestTypesGone(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 19} {
		pg := startServer(t, capturetest.Options{Major: major}, goneTypes...)
		pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
		// The agent is stopped meanwhile.
		pg.Run(t, goneRow, goneMigration)
		sink := &rawSink{listSink: newListSink("")}
		s := newSource(t, pg.DSN)
		running, _ := follow(t, s, capture.StartOptions{}, sink)
		sink.await(t, "both changes", func() bool { return len(sink.changes()) == 2 })
		running.stop(t)
		want := []string{"0 insert public.gone (id:1 " + goneTold + ")", goneUpdate(goneTold)}
		if got := sink.changes(); !slices.Equal(got, want) {
			t.Errorf("PostgreSQL %d: came\n%s\nwant\n%s", major, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		// So it is when the change was parked and comes again.
		for i, raw := range sink.raw {
			change, err := s.DecodeRaw(t.Context(), raw)
			capturetest.Must(t, err)
			if got := changeLine(change); got != want[i] {
				t.Errorf("PostgreSQL %d: parked and decoded again: %s", major, got)
			}
		}
	}
}

// TestTypesReplaced holds that a running agent knows types that go with the first change it sees of
// a table, also when its connection is cut meanwhile.
func TestTypesReplaced(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, goneTypes...)
	pg.Run(t, goneRow)
	sink := newListSink("")
	started := make(chan capture.Started, 10)
	s := newSource(t, pg.DSN)
	running := runSource(t, s, capture.StartOptions{OnStarted: func(s capture.Started) { started <- s }}, sink)
	<-started
	pg.Run(t, "select pg_terminate_backend(pid) from pg_stat_replication", goneMigration,
		"create domain flag as text", "alter table gone alter b type flag", "update gone set b = 'plain'")
	sink.await(t, "both changes", func() bool { return len(sink.changes()) == 2 })
	<-started
	running.stop(t)
	got := sink.changes()
	if got[0] != goneUpdate(goneKnown) {
		t.Errorf("came\n%s\nwant\n%s", got[0], goneUpdate(goneKnown))
	}
	if !strings.Contains(got[1], `b:"plain" m:"a" ms:["a","b"]`) || strings.ContainsAny(got[1], "!~") {
		t.Errorf("after it came %s", got[1])
	}
}

// TestTableGone holds that of a table which the catalog does not have any more NULL in an old row
// is not taken for known: the table may have been partitioned, where only the partition's key was
// logged.
func TestTableGone(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create table p (id int primary key, note text, n int) partition by range (id)",
		"create table p1 partition of p for values from (0) to (10)", "alter table p replica identity full")
	pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	pg.Run(t, "insert into p values (1, 'x', 7)", "update p set id = 2", "drop table p")
	sink := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	sink.await(t, "both changes", func() bool { return len(sink.changes()) == 2 })
	running.stop(t)
	want := []string{`0 insert public.p (id:1 note:"x" n:7)`, `0 update public.p (id:1 note:? n:?) -> (id:2 note:"x" n:7)`}
	if got := sink.changes(); !slices.Equal(got, want) {
		t.Errorf("came %q, want %q", got, want)
	}
}

// TestDescription holds that what is kept of a parked change's table is read again.
func TestDescription(t *testing.T) {
	t.Parallel()
	relation := message('R', uint32(7), "public", "loans", 'd', uint16(2), byte(1), "id", uint32(20001), uint32(0), byte(0), "more", uint32(20001), uint32(0))
	m, err := parseRelation(relation)
	capturetest.Must(t, err)
	announced := map[uint32]typeMessage{}
	for _, raw := range [][]byte{message('Y', uint32(20001), "", "int4"), message('Y', uint32(20002), "public", "mood")} {
		told, err := parseType(raw)
		capturetest.Must(t, err)
		announced[told.oid] = told
	}
	raw := newDescription(m, announced).raw(newEncoding("WIN1252", nil), relation)
	again, encoding, err := parseDescription(raw)
	if err != nil || encoding != "WIN1252" || again.name != "loans" || len(again.types) != 1 || again.types[20001].name != "int4" {
		t.Errorf("read %+v in %s, %v", again, encoding, err)
	}
	if _, encoding, err := parseDescription(relation); err != nil || encoding != encodingUTF8 {
		t.Errorf("without types: %s, %v", encoding, err)
	}
	for n := range raw {
		if _, _, err := parseDescription(raw[:n]); !errors.As(err, new(*streamError)) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// TestRolledBackAlter holds that rows of which the server tells wrong columns, since the catalog
// was vacuumed behind an ALTER that was rolled back to a savepoint, are parked where that can be
// seen, and that a transaction which it cannot decode for that reason can be passed.
func TestRolledBackAlter(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Settings: map[string]string{"autovacuum": "off"}}, "create table t (id int primary key, a int, b text)")
	sink := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	conn := pg.Connect(t, pg.DSN)
	vacuumed := func(before, after string) {
		t.Helper()
		pg.Run(t, "vacuum")
		pasteInto(t, conn, "begin; savepoint s; "+before+"; rollback to s")
		pg.Run(t, "vacuum")
		pasteInto(t, conn, after+"; commit")
	}
	vacuumed("alter table t rename a to aa; alter table t rename b to bb; alter table t alter aa set statistics 5; alter table t alter bb set statistics 5",
		"insert into t values (1, 1, 'one'); alter table t rename a to x; insert into t values (2, 2, 'two');"+
			"alter table t rename b to a; alter table t rename x to b; insert into t values (3, 3, 'three')")
	pg.Run(t, "insert into t values (4, 4, 'four')")
	sink.await(t, "the last row", hasInsert(sink, 4))
	vacuumed("alter table t alter b type bigint; alter table t alter a type varchar(20)",
		"alter table t alter b type bigint; insert into t values (5, 5, 'five'); alter table t alter a type varchar(20)")
	var operator *capture.OperatorError
	if err := running.wait(t); !errors.As(err, &operator) || !strings.Contains(err.Error(), "3 times: the server cannot send the transaction") ||
		!strings.Contains(err.Error(), "unexpected duplicate") || !strings.Contains(operator.Remedy, "--accept-gap") {
		t.Fatalf("run ended with %v", err)
	}
	running = runSource(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable(), AcceptGap: true}, sink)
	pg.Run(t, "insert into t values (6, 6, 'six')")
	sink.await(t, "the row behind", hasInsert(sink, 6))
	running.stop(t)
	want := []string{
		`0 insert public.t (id:1 a:1 b:"one")`,
		`1 park public.t: the server described the table with two columns "b": it takes it for what it was not when the row was written`,
		`2 insert public.t (id:3 b:3 a:"three")`,
		`0 insert public.t (id:4 b:4 a:"four")`,
		`0 insert public.t (id:6 b:6 a:"six")`,
	}
	if got := sink.changes(); !slices.Equal(got, want) {
		t.Errorf("came\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
