package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"rowhook/capture/capturetest"
)

// What look-ups and memory cost is measured beside an agent that does without, in turns: on rows that
// are written once the tables are loaded.

const (
	// Each row names an item, each item a member in no order at all, each member a branch.
	benchItems, benchMembers, benchBranches = 1_000_000, 100_000, 100
	benchLookups                            = `lookups:
  items: {table: proof.items, key: id, columns: [title, member_id]}
  members: {table: proof.members, key: id, columns: [name, branch_id]}
  branches: {table: proof.branches, key: id, columns: [code]}
`
	benchLooking = `  proof.rows:
    lookup:
      item: {from: items, by: id}
      member: {from: members, by: item.member_id}
      branch: {from: branches, by: member.branch_id}
    fields: {id: id, seq: seq, note: note, title: item.title, name: member.name, branch: branch.code}
`
	benchPlain = "  proof.rows: {fields: {id: id, seq: seq, note: note, title: note, name: seq, branch: id}}\n"
)

// lending makes the tables that rows are looked up in, once.
func (m *meter) lending() {
	m.tb.Helper()
	items := benchItems
	if m.quick {
		items = benchMembers
	}
	many := numbers(1000) + " cross join (select g as h from " + numbers(1000) + ") as more"
	m.publish(
		"create table proof.branches (id int primary key, code varchar(20) not null)",
		"create table proof.members (id int primary key, name varchar(50) not null, branch_id int not null)",
		"create table proof.items (id int primary key, title varchar(100) not null, member_id int not null)",
	)("branches", "members", "items")
	for table, insert := range map[string]string{
		"branches": fmt.Sprintf("insert into proof.branches select g - 1, concat('B', g) from %s where g <= %d", numbers(1000), benchBranches),
		"members":  fmt.Sprintf("insert into proof.members select n, concat('Member number ', n), n %% %d from (select (h - 1) * 1000 + g - 1 as n from %s) as all_of_them where n < %d", benchBranches, many, benchMembers),
		"items":    fmt.Sprintf("insert into proof.items select n, concat('The title of the item with the number ', n), (n %% 100000 * 7919) %% %d from (select (h - 1) * 1000 + g - 1 as n from %s) as all_of_them where n < %d", benchMembers, many, items),
	} {
		if rows, err := m.server.query(context.Background(), "select 1 from proof."+table+" limit 1"); err == nil && len(rows) == 0 {
			m.exec(insert)
		}
	}
}

// publish makes tables that are not there, and lets the agent read them.
func (m *meter) publish(create ...string) func(tables ...string) {
	m.tb.Helper()
	return func(tables ...string) {
		for i, table := range tables {
			if _, err := m.server.query(context.Background(), "select 1 from proof."+table+" limit 1"); err == nil {
				continue
			}
			m.exec(create[i])
			if m.server.kind() == "postgres" {
				m.exec("grant select on proof."+table+" to rowhook", "alter publication rowhook add table proof."+table)
			} else {
				m.exec("grant select on proof." + table + " to rowhook@'%'")
			}
		}
	}
}

// loaded waits until a contender has read so many tables.
func (m *meter) loaded(c *contender, tables int) {
	m.tb.Helper()
	m.reads(c)
	eventually(m.tb, 5*time.Minute, c.name+" has read the tables", func() bool {
		elapse(m.tb, 500*time.Millisecond, "", nil)
		var list []struct{ State string }
		r := m.rowhook("backfill", "list", "--json")
		return r.code == 0 && json.Unmarshal([]byte(r.stdout), &list) == nil && len(list) >= tables &&
			!slices.ContainsFunc(list, func(b struct{ State string }) bool { return b.State != "done" })
	})
}

// lookingUp are an agent whose events say what three look-ups give, one by the other, and one whose
// events are as large without.
func (m *meter) lookingUp() []starter {
	m.lending()
	with := func(top, mapping string) func(from string) *agent {
		return func(from string) *agent {
			m.conf.top = top
			defer func() { m.conf.top = "" }()
			return m.startAgent(from, task{mapping: mapping})
		}
	}
	return []starter{{"agent with three look-ups", with(benchLookups, benchLooking)}, {"agent without", with("", benchPlain)}}
}

// tablesOf is how many tables a side of [meter.lookingUp] reads.
func tablesOf(c *contender) int {
	if c.name == "agent without" {
		return 0
	}
	return 3
}

// lookups writes rows whose events say what three look-ups give.
func lookups(rows int) func(m *meter) {
	return func(m *meter) {
		figures := []figure{{what: "events/s", decimals: 0}, {what: "CPU s per 100,000", decimals: 2}, {what: "resident MiB"}}
		m.contest(3, true, m.lookingUp(), figures, func(c *contender) []float64 {
			m.loaded(c, tablesOf(c))
			m.exec(`truncate proof.rows`)
			m.stats("reset")
			used := c.cpu()
			capturetest.Must(m.tb, m.source.fill(context.Background(), 0, rows/100, 100))
			stats := m.received(c, rows)
			return []float64{stats.rate(), (c.cpu() - used).Seconds() * 100_000 / float64(rows), float64(c.memory("VmRSS")) / (1 << 20)}
		})
	}
}

// lookupDelays measures commit to receipt with and without three look-ups.
func lookupDelays(perSecond int) func(m *meter) {
	return func(m *meter) {
		figures := []figure{{what: "p50 ms", decimals: 2}, {what: "p99 ms", decimals: 2}}
		m.contest(3, true, m.lookingUp(), figures, func(c *contender) []float64 {
			m.loaded(c, tablesOf(c))
			return m.delays(c, perSecond, delaysFor)
		})
	}
}

// remembering updates the rows of a table with memory beside those of one with full row images, which
// only PostgreSQL's tables choose each for themselves.
func remembering(rows int) func(m *meter) {
	return func(m *meter) {
		if m.server.kind() != "postgres" {
			m.tb.Skip("MySQL and MariaDB have one row image for all tables")
		}
		const columns = " (id int primary key, seq int, note text)"
		m.publish("create table proof.remembered"+columns, "create table proof.whole"+columns)("remembered", "whole")
		m.exec("alter table proof.whole replica identity full")
		side := func(table, memory string) starter {
			mapping := fmt.Sprintf("  proof.%s: {%sevents: {row.hot: {op: update, becomes: {seq: 7}}}}\n", table, memory)
			return starter{table, func(from string) *agent { return m.startAgent(from, task{mapping: mapping}) }}
		}
		figures := []figure{{what: "CPU s per 100,000", decimals: 2}, {what: "state MiB", decimals: 1}, {what: "WAL bytes an update"}, {what: "resident MiB"}}
		sides := []starter{side("remembered", "memory: {columns: [seq]}, "), side("whole", "")}
		m.contest(3, true, sides, figures, func(c *contender) []float64 {
			for _, table := range []string{"remembered", "whole"} {
				m.exec("truncate proof."+table, fmt.Sprintf("insert into proof.%s select g, g %% 100, '%s' from generate_series(1, %d) g", table, filler, rows), "vacuum analyze proof."+table)
			}
			m.exec("checkpoint")
			if c.name == "remembered" {
				m.loaded(c, 1)
			}
			m.reaches(c, m.logEnd())
			m.exec("update proof." + c.name + " set seq = seq + 1") // what a page's first change costs is not counted
			m.reaches(c, m.logEnd())
			used, from := c.cpu(), m.logEnd()
			const parts = 100
			for i := range parts {
				m.exec(fmt.Sprintf("update proof.%s set seq = seq + 1 where id %% %d = %d", c.name, parts, i))
			}
			end := m.logEnd()
			m.reaches(c, end)
			return []float64{(c.cpu() - used).Seconds() * 100_000 / float64(rows), m.stateSize(), (end - from) / float64(rows), float64(c.memory("VmRSS")) / (1 << 20)}
		})
	}
}

// stateSize is what the agent's state directory takes, in MiB.
func (m *meter) stateSize() float64 {
	m.tb.Helper()
	var bytes int64
	capturetest.Must(m.tb, filepath.WalkDir(m.path("state"), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // it is gone meanwhile
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	}))
	return float64(bytes) / (1 << 20)
}
