package postgres

import (
	"fmt"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// TestList: what a mapping would want to know of each table, view and the like, seen with an account
// that may read one of them.
func TestList(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, `create role reader login`, `create schema app`, `grant usage on schema app to reader`,
		`create type app.state as enum ('new', 'old')`, `create domain app.light as text check (value in ('red', 'green'))`,
		`create table app.loans (id int primary key, status text not null check (status in ('OPEN', 'LOST')), back timestamptz, state app.state, light app.light,
			checked text check (length(checked) > 1))`,
		`grant select on app.loans to reader`, `create table app.keyless (id int)`, `create table app.whole (id int)`, `alter table app.whole replica identity full`,
		`create view app.seen as select 1 as id`, `create unlogged table app.fleeting (id int primary key)`, `create table app."a*" (id int primary key)`,
		`create table app.parts (id int primary key) partition by range (id)`, `create table app.parts_1 partition of app.parts for values from (1) to (10)`)
	list, err := newSource(t, pg.TCP("postgres", "reader")).List(t.Context(), []string{"app.*", "public.none"})
	capturetest.Must(t, err)
	var lines []string
	for _, l := range list {
		line := fmt.Sprintf("%s left %q denied %t full %t", l.Table, l.Left, l.Denied, l.Table.FullSQL != "")
		for i, f := range l.Facts {
			line += fmt.Sprintf(" %s %t %v%v", l.Table.Columns[i].Name, f.Nullable, f.Labels, l.Table.Columns[i].Type.Labels)
		}
		lines = append(lines, line)
	}
	want := `app.a* left "has a name that no mapping can say: a schema with a dot, or one of * ? [" denied false full false
app.fleeting left "is unlogged or temporary: its changes are not in the WAL" denied true full false
app.keyless left "has no usable replica identity: publishing it would make the application's UPDATE and DELETE fail" denied true full true id true [][]
app.loans left "" denied false full true id false [][] status false [OPEN LOST][] back true [][] state true [][new old] light true [red green][] checked true [][]
app.parts left "" denied true full true id false [][]
app.seen left "is a view" denied true full false
app.whole left "has no key by which its rows could be told apart" denied true full false id true [][]`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
