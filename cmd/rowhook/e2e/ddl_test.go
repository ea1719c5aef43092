package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Tables change their shape, their names and what they consist of under load; nothing is lost, and
// no event is told in another transaction's shape.
func TestDDLUnderLoad(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testDDLUnderLoad)
}

func testDDLUnderLoad(t *testing.T, w *world) {
	s := w.scenario("ddl-under-load")
	w.hook.keepBodies = true
	w.conf.mapping = "  proof.rows: {}\n  proof.other: {}\n  proof.parted: {key: [id]}\n"
	w.conf.profiles = w.usualProfile("main") + "    subscriptions: [{tables: [proof.rows]}]\n" +
		w.usualProfile("shaped") + "    subscriptions: [{tables: [proof.other, proof.parted]}]\n"
	d := ddlOf(w)
	w.exec(d.before...)
	a := w.begin()
	l := w.load(4, 100, true) // a statement may find its table renamed
	statements := 0
	apply := func(list ...string) {
		for _, sql := range list {
			w.hook.wait(t, "main", w.hook.distinct("main")+10, patience)
			if err := w.server.exec(t.Context(), sql); err != nil {
				t.Fatalf("%.200s: %v", sql, err)
			}
			statements++
		}
	}
	var shapes []string
	for round := range count(1, 10) {
		apply(d.rows...)
		// A table of the same name is another table.
		for range 3 {
			column := fmt.Sprintf("c%d", len(shapes))
			apply(fmt.Sprintf("create table proof.other (%s int, id bigint primary key)", column))
			apply(d.publish...)
			apply(fmt.Sprintf("insert into proof.other values (%d, %d)", round, len(shapes)), "drop table proof.other")
			shapes = append(shapes, column)
		}
		apply(d.parted...)
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	rounds := len(shapes) / 3
	w.hook.wait(t, "shaped", len(shapes)+rounds*d.told, patience)
	a.term()
	w.verify(changes, judge{profile: "main"})
	var got []string
	parted := 0
	for _, b := range w.bodies("shaped") {
		if b.Source.Table == "proof.parted" {
			parted++
			continue
		}
		for name := range b.Data {
			if name != "id" {
				got = append(got, name)
			}
		}
	}
	if !slices.Equal(got, shapes) || parted != rounds*d.told {
		t.Errorf("told in the shapes %v, want %v; %d events of partitions, want %d", got, shapes, parted, rounds*d.told)
	}
	s.did(statements, "statement", "statements")
}

// ddl is what is done to the tables of one kind of server.
type ddl struct {
	before  []string // the tables besides proof.rows
	rows    []string // to proof.rows
	publish []string // what a new proof.other needs
	parted  []string // to proof.parted, from empty to empty
	told    int      // how many changes of rows parted makes
}

func ddlOf(w *world) ddl {
	if w.server.kind() == "postgres" {
		return postgresDDL()
	}
	return mysqlDDL(w.database == "mariadb")
}

func postgresDDL() ddl {
	publish := func(table string) []string {
		return []string{`alter table ` + table + ` replica identity full`, `alter publication rowhook add table ` + table, `grant select on ` + table + ` to rowhook`}
	}
	swap := `begin; lock table proof.rows;
		create table proof.rows_new (like proof.rows including all); insert into proof.rows_new select * from proof.rows;
		` + strings.Join(publish("proof.rows_new"), ";") + `;
		alter table proof.rows rename to rows_old; alter table proof.rows_new rename to rows; commit`
	return ddl{
		before: slices.Concat(
			[]string{`create table proof.parted (id bigint, region text, primary key (id, region)) partition by list (region)`,
				`create table proof.parted_east partition of proof.parted for values in ('east')`, `alter table proof.parted_east replica identity full`,
				`create table proof.parent (id bigint primary key)`, `create table proof.child (id bigint references proof.parent)`,
				`alter publication rowhook set (publish_via_partition_root = true)`},
			publish("proof.parted")),
		rows: []string{
			`alter table proof.rows add column extra text`,
			`alter table proof.rows add column counted bigint not null default 7`,
			`alter table proof.rows rename column extra to renamed`,
			`alter table proof.rows drop column renamed`,
			`alter table proof.rows alter column note type varchar(400)`,
			`alter table proof.rows alter column note type text collate "C"`,
			`alter table proof.rows alter column counted type numeric using counted::numeric`,
			`alter table proof.rows drop column counted`,
			`create type proof.kind as enum ('a', 'b')`,
			`alter table proof.rows add column kind proof.kind not null default 'a'`,
			`alter type proof.kind add value 'c' before 'a'`,
			`alter type proof.kind rename value 'b' to 'd'`,
			`create type proof.kind2 as enum ('d', 'c', 'a'); alter table proof.rows alter column kind drop default,
				alter column kind type proof.kind2 using kind::text::proof.kind2, alter column kind set default 'a'`,
			`alter table proof.rows drop column kind; drop type proof.kind; drop type proof.kind2`,
			`alter table proof.noise add column more text`,
			`vacuum full proof.rows`,
			`alter table proof.noise drop column more`,
			swap, `drop table proof.rows_old`,
			`alter table proof.rows rename to rows_away; commit; alter table proof.rows_away rename to rows`, // there is no such table for a moment
			`insert into proof.parent values (1); insert into proof.child values (1); truncate proof.parent cascade`,
		},
		publish: publish("proof.other"),
		parted: []string{
			`insert into proof.parted values (1, 'east'), (2, 'east')`,
			`create table proof.parted_west (region text not null, id bigint not null, extra int)`,
			`alter table proof.parted_west replica identity full`,
			`alter table proof.parted_west drop column extra`,
			`alter table proof.parted attach partition proof.parted_west for values in ('west')`,
			`insert into proof.parted values (3, 'west')`,
			`update proof.parted set region = 'west' where id = 1`,
			`truncate proof.parted_west`,
			`alter table proof.parted detach partition proof.parted_west`,
			`insert into proof.parted_west values ('west', 9)`, // nobody's any more
			`drop table proof.parted_west`,
			`truncate proof.parted cascade`,
		},
		told: 4,
	}
}

func mysqlDDL(mariadb bool) ddl {
	// As pt-online-schema-change does it: triggers keep the copy up to date, those first that leave
	// nothing stale without the others, and one statement swaps the names.
	swap := []string{
		`create table proof.rows_new like proof.rows`,
		`alter table proof.rows_new add column swapped int default 1 first`,
		`create trigger proof.rows_del after delete on proof.rows for each row delete from proof.rows_new where id = old.id`,
		`create trigger proof.rows_upd after update on proof.rows for each row replace into proof.rows_new (id, seq, note) values (new.id, new.seq, new.note)`,
		`create trigger proof.rows_ins after insert on proof.rows for each row replace into proof.rows_new (id, seq, note) values (new.id, new.seq, new.note)`,
		`insert ignore into proof.rows_new (id, seq, note) select id, seq, note from proof.rows lock in share mode`,
		`rename table proof.rows to proof.rows_old, proof.rows_new to proof.rows`,
		`drop table proof.rows_old`,
		`alter table proof.rows drop column swapped`,
	}
	d := ddl{
		before: []string{
			`create table proof.parted (id bigint primary key, v int) partition by range (id) (partition p0 values less than (100), partition p1 values less than (200))`,
			`create table proof.swap (id bigint primary key, v int)`,
			`create table proof.other (id int)`, `grant select on proof.other to rowhook@'%'`, `grant select on proof.parted to rowhook@'%'`, `drop table proof.other`,
		},
		rows: slices.Concat([]string{
			`alter table proof.rows add column extra text`,
			`alter table proof.rows add column counted bigint unsigned not null default 7 first`,
			`alter table proof.rows rename column extra to renamed`,
			`alter table proof.rows drop column renamed`,
			`alter table proof.rows modify note varchar(400) not null after id`,
			`alter table proof.rows modify counted decimal(20,3) not null default 7.5`,
			`alter table proof.rows add column kind enum('a', 'b') not null default 'a', add column bits bit(3) default b'101'`,
			`alter table proof.rows modify kind enum('c', 'b', 'a') not null default 'a'`,
			`alter table proof.rows convert to character set latin1`,
			`alter table proof.rows convert to character set utf8mb4`,
			`alter table proof.rows drop column counted, drop column kind, drop column bits`,
			`alter table proof.rows partition by hash (id) partitions 4`,
			`alter table proof.rows coalesce partition 2`,
			`alter table proof.rows remove partitioning`,
			`optimize table proof.rows`,
			`alter table proof.rows modify note longtext not null after seq`,
			`rename table proof.rows to proof.rows_away; rename table proof.rows_away to proof.rows`, // there is no such table for a moment
		}, swap),
		parted: []string{
			`insert into proof.parted values (1, 1), (101, 1), (102, 1)`,
			`alter table proof.parted add partition (partition p2 values less than (300))`,
			`insert into proof.parted values (201, 1)`,
			`alter table proof.parted truncate partition p0`,
			`alter table proof.parted exchange partition p1 with table proof.swap`,
			`update proof.parted set v = 2 where id = 201`,
			`truncate table proof.swap`,
			`alter table proof.parted drop partition p2`,
			`truncate table proof.parted`,
		},
		told: 5,
	}
	if mariadb {
		d.rows = append(d.rows,
			`alter table proof.rows add column hidden int invisible default 3, add column packed text compressed default 'x'`,
			`alter table proof.rows add column ip inet6 default '::1', add column ident uuid default uuid()`,
			`alter table proof.rows drop column hidden, drop column packed, drop column ip, drop column ident, algorithm=copy`,
			`create or replace sequence proof.numbers start with 1 cache 2`,
			`select next value for proof.numbers, next value for proof.numbers, next value for proof.numbers`,
			`create or replace table proof.scratch (id int) engine=Aria`,
			`alter table proof.rows wait 30 force`,
			`drop sequence proof.numbers`, `drop table proof.scratch`)
	}
	return d
}
