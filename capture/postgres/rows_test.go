package postgres

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// streamed sets a server up, runs a script and returns its changes as lines.
func streamed(t *testing.T, major int, setup []string, script []string, changes int) []string {
	t.Helper()
	pg := startServer(t, capturetest.Options{Major: major}, setup...)
	pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	pg.Run(t, script...)
	sink := newListSink("")
	running := runSource(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	sink.await(t, "all changes", func() bool { return len(sink.changes()) >= changes })
	running.stop(t)
	return sink.changes()
}

// outOfLine makes a text that is stored out of line: TOAST compresses repetitions away.
const outOfLine = "(select string_agg(md5(i::text), '') from generate_series(1, 200) i)"

func TestWhatIsKnownOfRows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		setup, script []string
		want          []string
	}{
		{
			name:  "default identity",
			setup: []string{"create table t (id int primary key, a text, b int)"},
			script: []string{
				"insert into t values (1, 'x', null)",
				"update t set a = 'y' where id = 1",
				"update t set id = 2 where id = 1",
				"delete from t where id = 2",
			},
			want: []string{
				`0 insert public.t (id:1 a:"x" b:null)`,
				`0 update public.t (id:1 a:? b:?) -> (id:1 a:"y" b:null)`,
				`0 update public.t (id:1 a:? b:?) -> (id:2 a:"y" b:null)`,
				`0 delete public.t (id:2 a:? b:?)`,
			},
		},
		{
			name: "index identity",
			setup: []string{"create table t (id int primary key, code text not null, n int)",
				"create unique index by_code on t (code)", "alter table t replica identity using index by_code"},
			script: []string{
				"insert into t values (1, 'a', 5)",
				"update t set n = 6",
				"update t set code = 'b'",
				"delete from t",
			},
			want: []string{
				`0 insert public.t (id:1 code:"a" n:5)`,
				`0 update public.t (id:? code:"a" n:?) -> (id:1 code:"a" n:6)`,
				`0 update public.t (id:? code:"a" n:?) -> (id:1 code:"b" n:6)`,
				`0 delete public.t (id:? code:"b" n:?)`,
			},
		},
		{
			name:  "full identity",
			setup: []string{"create table t (a text, b int)", "alter table t replica identity full"},
			script: []string{
				"insert into t values ('x', null)",
				"update t set b = 1",
				"delete from t",
			},
			want: []string{
				`0 insert public.t (a:"x" b:null)`,
				`0 update public.t (a:"x" b:null) -> (a:"x" b:1)`,
				`0 delete public.t (a:"x" b:1)`,
			},
		},
		{
			name:   "no identity",
			setup:  []string{"create table t (a text)", "alter table t replica identity nothing"},
			script: []string{"insert into t values ('x')"},
			want:   []string{`0 insert public.t (a:"x")`},
		},
		{
			name:  "toast",
			setup: []string{"create table t (id int primary key, big text, n int)", "create table f (like t including all)", "alter table f replica identity full"},
			script: []string{
				"begin; insert into t values (1, " + outOfLine + ", 1); insert into f select * from t; commit",
				"update t set n = 2", "update f set n = 2", "update t set big = null", "update t set id = 2",
			},
			want: []string{
				`0 insert public.t (id:1 big:<6402 bytes> n:1)`,
				`1 insert public.f (id:1 big:<6402 bytes> n:1)`,
				`0 update public.t (id:1 big:? n:?) -> (id:1 big:= n:2)`,
				`0 update public.f (id:1 big:<6402 bytes> n:1) -> (id:1 big:<6402 bytes> n:2)`,
				`0 update public.t (id:1 big:? n:?) -> (id:1 big:null n:2)`,
				`0 update public.t (id:1 big:? n:?) -> (id:2 big:null n:2)`,
			},
		},
		{
			name:  "truncate and messages",
			setup: []string{"create table a (id int primary key)", "create table b (id int primary key)"},
			script: []string{
				`begin; insert into a values (1); select pg_logical_emit_message(true, 'rowhook', '{"actor":1}');
				 select pg_logical_emit_message(false, 'rowhook', 'ignored'); truncate a, b; insert into b values (2); commit`,
				"select pg_logical_emit_message(true, 'alone', '')",
			},
			want: []string{
				`0 insert public.a (id:1)`,
				`1 message rowhook {"actor":1}`,
				`2 truncate public.a`,
				`3 truncate public.b`,
				`4 insert public.b (id:2)`,
				`0 message alone `,
			},
		},
		{
			name:  "schema changes",
			setup: []string{"create table t (id int primary key, a text)", "alter table t replica identity full"},
			script: []string{
				"insert into t values (1, '7')",
				"alter table t add b int default 5", "update t set a = '8'",
				"alter table t alter a type int using a::int", "update t set a = 9",
				"alter table t rename a to c", "alter table t drop b", "update t set c = 10",
				"alter table t rename to u", "insert into u values (2, 0)",
				"drop table u", "create table u (name text primary key)", "insert into u values ('new')",
				"begin; create table v (id int primary key); insert into v values (1); alter table v add w text; insert into v values (2, 'w'); commit",
			},
			want: []string{
				`0 insert public.t (id:1 a:"7")`,
				`0 update public.t (id:1 a:"7" b:5) -> (id:1 a:"8" b:5)`,
				`0 update public.t (id:1 a:8 b:5) -> (id:1 a:9 b:5)`,
				`0 update public.t (id:1 c:9) -> (id:1 c:10)`,
				`0 insert public.u (id:2 c:0)`,
				`0 insert public.u (name:"new")`,
				`0 insert public.v (id:1)`,
				`1 insert public.v (id:2 w:"w")`,
			},
		},
		{
			name: "partitions",
			setup: []string{"create table p (id int, day int, note text, primary key (id, day)) partition by range (day)",
				"create table p1 partition of p for values from (0) to (10)",
				"create table p2 partition of p for values from (10) to (20)"},
			script: []string{
				"insert into p values (1, 1, 'a'), (2, 11, null)",
				"update p set note = 'b' where id = 1",
				"update p set day = 12 where id = 1", // moves
				"delete from p where id = 2",
			},
			want: []string{
				`0 insert public.p (id:1 day:1 note:"a")`,
				`1 insert public.p (id:2 day:11 note:null)`,
				`0 update public.p (id:1 day:1 note:?) -> (id:1 day:1 note:"b")`,
				`0 delete public.p (id:1 day:1 note:?)`,
				`1 insert public.p (id:1 day:12 note:"b")`,
				`0 delete public.p (id:2 day:11 note:?)`,
			},
		},
		{
			name: "full root, one partition that is not",
			setup: []string{"create table p (id int, day int, note text, primary key (id, day)) partition by range (day)",
				"create table p1 partition of p for values from (0) to (10)",
				"create table p2 partition of p for values from (10) to (20)",
				"alter table p replica identity full", "alter table p1 replica identity full"},
			script: []string{
				"insert into p values (1, 1, 'a'), (2, 11, 'b'), (3, 2, null)",
				"update p set note = 'c' where id < 3",
				"delete from p",
			},
			want: []string{
				`0 insert public.p (id:1 day:1 note:"a")`,
				`1 insert public.p (id:2 day:11 note:"b")`,
				`2 insert public.p (id:3 day:2 note:null)`,
				`0 update public.p (id:1 day:1 note:"a") -> (id:1 day:1 note:"c")`,
				`1 update public.p (id:2 day:11 note:?) -> (id:2 day:11 note:"c")`,
				`0 delete public.p (id:3 day:2 note:?)`, // FULL, but nothing in the tuple shows it
				`1 delete public.p (id:1 day:1 note:"c")`,
				`2 delete public.p (id:2 day:11 note:?)`,
			},
		},
		{
			name: "full partitions of a root that is not",
			setup: []string{"create table p (id int, day int, note text, primary key (id, day)) partition by range (day)",
				"create table p1 partition of p for values from (0) to (10)", "alter table p1 replica identity full"},
			script: []string{"insert into p values (1, 1, null)", "update p set note = 'c'", "delete from p"},
			want: []string{
				`0 insert public.p (id:1 day:1 note:null)`,
				`0 update public.p (id:1 day:1 note:null) -> (id:1 day:1 note:"c")`,
				`0 delete public.p (id:1 day:1 note:"c")`,
			},
		},
	}
	for _, test := range tests {
		for _, major := range []int{14, 15, 18} {
			t.Run(test.name+"/"+strconv.Itoa(major), func(t *testing.T) {
				t.Parallel()
				got := streamed(t, major, test.setup, test.script, len(test.want))
				if !slices.Equal(got, test.want) {
					t.Errorf("streamed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
				}
			})
		}
	}
}
