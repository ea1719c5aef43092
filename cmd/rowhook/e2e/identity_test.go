package e2e_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// wideUpdate is what is told of one update of a row with a wide column.
type wideUpdate struct {
	key      string
	wide     string // "unavailable", "null" or the start of the value
	previous string // the columns whose old value is told
}

func (u wideUpdate) compare(other wideUpdate) int {
	return cmp.Or(cmp.Compare(u.key, other.key), cmp.Compare(u.wide, other.wide), cmp.Compare(u.previous, other.previous))
}

// An unchanged TOAST column is not in the stream: under FULL its value comes from the old row,
// otherwise it is said to be unavailable, never null; so is what a shortened row image of a binlog
// leaves out. The key is known in any case, also when it changes.
func TestTOAST(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) {
		if w.server.kind() == "postgres" {
			testTOAST(t, w)
		} else {
			testRowImages(t, w)
		}
	})
}

func testTOAST(t *testing.T, w *world) {
	s := w.scenario("toast")
	short, null := wideUpdate{"1", "unavailable", ""}, wideUpdate{"2", "null", ""}
	identities := map[string]struct {
		sql  string
		want []wideUpdate
	}{
		"bydefault": {"default", []wideUpdate{short, {"2", "unavailable", "id"}, null}},
		"byindex":   {"using index byindex_code", []wideUpdate{short, {"2", "unavailable", "code"}, null}},
		"byfull":    {"full", []wideUpdate{{"1", "wide", "small"}, {"2", "wide", "code id"}, {"2", "null", "wide"}}},
		"bynothing": {"nothing", nil}, // PostgreSQL itself refuses to update what is published
	}
	var mapping strings.Builder
	for name, identity := range identities {
		w.exec(`create table proof.`+name+` (id bigint primary key, code text not null, small int, wide text)`,
			`alter table proof.`+name+` alter column wide set storage external`,
			`create unique index `+name+`_code on proof.`+name+` (code)`,
			`alter table proof.`+name+` replica identity `+identity.sql,
			`alter publication rowhook add table proof.`+name, `grant select on proof.`+name+` to rowhook`)
		fmt.Fprintf(&mapping, "  proof.%s: {}\n", name)
	}
	w.conf.mapping = "  proof.rows: {}\n" + mapping.String()
	w.wideProfiles("proof.by*")
	a := w.begin()
	l := w.load(2, 50, false)
	rows := count(1, 50)
	for range rows {
		for name, identity := range identities {
			w.exec(`insert into proof.` + name + ` values (1, 'a', 1, repeat('wide', 5000))`)
			for _, sql := range []string{`set small = 2`, `set id = 2, code = 'b'`, `set wide = null`} {
				err := w.server.exec(t.Context(), `update proof.`+name+` `+sql)
				if refused := err != nil && strings.Contains(err.Error(), "replica identity"); refused != (identity.want == nil) {
					t.Errorf("%s: update ends with %v", name, err)
				}
			}
			w.exec(`alter publication rowhook set table proof.rows`, `delete from proof.`+name, // it is about the updates
				`alter publication rowhook set table proof.rows, proof.bydefault, proof.byindex, proof.byfull, proof.bynothing`)
		}
	}
	w.hook.wait(t, "wide", rows*(4+9), patience)
	w.finishUnderLoad(a, l)
	got := w.wideUpdates()
	for name, identity := range identities {
		var want []wideUpdate
		for range rows {
			want = append(want, identity.want...)
		}
		// Under INDEX the old key is not known, so that what follows a change of the key may
		// overtake what was before it.
		told := got["proof."+name]
		slices.SortFunc(told, wideUpdate.compare)
		slices.SortFunc(want, wideUpdate.compare)
		if !slices.Equal(told, want) {
			t.Errorf("%s: got %+v, want %+v", name, told, want)
		}
	}
	s.did(rows*13, "change of a wide row under DEFAULT, INDEX, FULL or NOTHING", "changes of wide rows under DEFAULT, INDEX, FULL and NOTHING")
}

func testRowImages(t *testing.T, w *world) {
	s := w.scenario("toast")
	w.exec(`create table proof.wide (id bigint primary key, code varchar(10) not null, small int, wide longtext)`, `grant select on proof.wide to rowhook@'%'`)
	w.conf.mapping = "  proof.rows: {}\n  proof.wide: {}\n"
	w.wideProfiles("proof.wide")
	a := w.begin()
	l := w.load(2, 50, false)
	want := map[string][]wideUpdate{
		"full":    {{"1", "wide", "small"}, {"2", "wide", "id"}, {"2", "null", "wide"}},
		"noblob":  {{"1", "unavailable", "small"}, {"2", "unavailable", "id"}, {"2", "null", ""}},
		"minimal": {{"1", "unavailable", ""}, {"2", "unavailable", "id"}, {"2", "null", ""}},
	}
	var all []wideUpdate
	conn := w.connect()
	rows := count(1, 50)
	for range rows {
		for _, image := range []string{"full", "noblob", "minimal"} {
			capturetest.Must(t, conn.exec(context.Background(), `set session binlog_row_image = '`+image+`';
				insert into proof.wide values (1, 'a', 1, repeat('wide', 5000)); update proof.wide set small = 2;
				update proof.wide set id = 2; update proof.wide set wide = null; delete from proof.wide`))
			all = append(all, want[image]...)
		}
	}
	w.hook.wait(t, "wide", rows*15, patience)
	w.finishUnderLoad(a, l)
	if got := w.wideUpdates()["proof.wide"]; !reflect.DeepEqual(got, all) {
		t.Errorf("got %+v, want %+v", got, all)
	}
	s.did(rows*15, "change of a wide row in a full, short or minimal image", "changes of wide rows in full, short and minimal images")
}

// wideProfiles has proof.rows told to one profile, and other tables to another.
func (w *world) wideProfiles(tables string) {
	w.hook.keepBodies = true
	w.conf.profiles = w.usualProfile("main") + "    subscriptions: [{tables: [proof.rows]}]\n" +
		w.usualProfile("wide") + "    concurrency: 1\n    subscriptions: [{tables: [\"" + tables + "\"]}]\n"
}

// finishUnderLoad ends the load and the agent, and has the oracle judge.
func (w *world) finishUnderLoad(a *agent, l *load) {
	w.tb.Helper()
	changes := w.ledger(l.stop(w.tb))
	w.hook.wait(w.tb, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
}

// wideUpdates are the updates that were told, by table.
func (w *world) wideUpdates() map[string][]wideUpdate {
	w.tb.Helper()
	updates := map[string][]wideUpdate{}
	for _, b := range w.bodies("wide") {
		if b.Source.Op != "update" {
			continue
		}
		u := wideUpdate{key: fmt.Sprint(b.Key["id"]), previous: strings.Join(slices.Sorted(maps.Keys(b.Previous)), " ")}
		value, present := b.Data["wide"]
		switch {
		case !present && slices.Contains(b.Unavailable, "wide"):
			u.wide = "unavailable"
		case present && value == nil:
			u.wide = "null"
		default:
			u.wide = fmt.Sprintf("%.4s", value)
		}
		updates[b.Source.Table] = append(updates[b.Source.Table], u)
	}
	return updates
}

// How a role, a session or a server likes its dates, texts and numbers does not change payloads.
func TestRoleSettings(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testRoleSettings)
}

func testRoleSettings(t *testing.T, w *world) {
	s := w.scenario("role-settings")
	table, row, likings := postgresLikings()
	if w.server.kind() == "mysql" {
		table, row, likings = mysqlLikings()
		// Packages of MariaDB 11.8 differ in what languages they bring.
		if err := w.connect().exec(t.Context(), "set lc_time_names = 'de_DE'"); err != nil {
			likings = slices.DeleteFunc(likings, func(liking string) bool { return strings.Contains(liking, "lc_time_names") })
		}
	}
	w.exec(table...)
	w.conf.mapping = "  proof.rows: {}\n  proof.typed: {}\n"
	w.wideProfiles("proof.typed")
	a := w.begin()
	l := w.load(2, 50, false)
	w.exec(fmt.Sprintf(row, 1))
	w.hook.wait(t, "wide", 1, patience)
	a.term()
	for i, liking := range likings {
		w.exec(liking)
		a = w.begin()
		w.exec(fmt.Sprintf(row, i+2))
		w.hook.wait(t, "wide", i+2, patience)
		a.term()
	}
	a = w.begin()
	w.finishUnderLoad(a, l)
	bodies := w.bodies("wide")
	for _, b := range bodies {
		delete(b.Data, "id")
	}
	first := bodies[0].Data
	for i, b := range bodies[1:] {
		if !reflect.DeepEqual(first, b.Data) {
			t.Errorf("after %s:\n%v\nbefore:\n%v", likings[i], b.Data, first)
		}
	}
	if first["at"] != "2026-11-22T01:02:03.456789Z" || first["raw"] != "AP8Q" {
		t.Errorf("typed row: %v", first)
	}
	s.did(len(likings), "setting", "settings")
}

func postgresLikings() (table []string, row string, likings []string) {
	return []string{`create table proof.typed (id bigint primary key, at timestamptz, day date, raw bytea, span interval, real8 float8)`,
			`alter publication rowhook add table proof.typed`, `grant select on proof.typed to rowhook`},
		`insert into proof.typed values (%d, '2026-11-22 01:02:03.456789+00', '2026-11-22', '\x00ff10', '1 year 2 mons 3 days 04:05:06.78', 0.1::float8 + 0.2::float8)`,
		[]string{`alter role rowhook set datestyle = 'SQL, DMY'`, `alter role rowhook set timezone = 'Asia/Kolkata'`,
			`alter role rowhook set bytea_output = 'escape'`, `alter role rowhook set intervalstyle = 'sql_standard'`,
			`alter role rowhook set extra_float_digits = -5`, `alter role rowhook set client_encoding = 'LATIN1'`,
			`alter role rowhook set search_path = 'nowhere'`}
}

func mysqlLikings() (table []string, row string, likings []string) {
	return []string{`create table proof.typed (id bigint primary key, at timestamp(6) null, day date, raw varbinary(10), span time(2), real8 double, note text)`,
			`grant select on proof.typed to rowhook@'%'`},
		`begin; set time_zone = '+00:00'; insert into proof.typed values (%d, '2026-11-22 01:02:03.456789', '2026-11-22', x'00ff10', '-838:59:58.99', 0.1e0 + 0.2e0, 'é'); commit`,
		[]string{`set global time_zone = '+05:30'`, `set global character_set_server = 'latin1'`, `set global collation_server = 'latin1_swedish_ci'`,
			`set global sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH'`, `set global lc_time_names = 'de_DE'`,
			`set global init_connect = 'set names latin1'`, `set global sql_mode = default`}
}

// A mapped table without a key is a finding of its own: the other tables go on, and the application
// can still change its rows, which PostgreSQL would refuse were the table published. Once it has an
// identity it is told like any other.
func TestIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	s := w.scenario("identity")
	w.exec(`create table proof.keyless (id bigint, note text)`, `grant select on proof.keyless to rowhook`, `insert into proof.keyless values (1, 'before')`)
	w.conf.mapping = "  proof.rows: {}\n  proof.keyless: {key: [id]}\n"
	w.wideProfiles("proof.keyless")
	w.write()
	checked := w.rowhook("check")
	if checked.code != 3 || !strings.Contains(checked.stdout, "proof.keyless") || !strings.Contains(checked.stdout, "REPLICA IDENTITY FULL") {
		t.Errorf("check ends with %d and says\n%s%s", checked.code, checked.stdout, checked.stderr)
	}
	a := w.begin()
	l := w.load(2, 50, false)
	updates := count(20, 500)
	for i := range updates {
		w.exec(fmt.Sprintf(`update proof.keyless set note = 'unpublished %d'`, i))
	}
	w.exec(`alter table proof.keyless replica identity full`, `alter publication rowhook add table proof.keyless`)
	for i := range updates {
		w.exec(fmt.Sprintf(`update proof.keyless set note = 'published %d'`, i))
	}
	w.hook.wait(t, "wide", updates, patience)
	w.finishUnderLoad(a, l)
	for _, b := range w.bodies("wide") {
		if note, _ := b.Data["note"].(string); !strings.HasPrefix(note, "published") {
			t.Errorf("told of %q", note)
		}
	}
	s.did(2*updates, "update of a table without a key", "updates of a table without a key")
}
