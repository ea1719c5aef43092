package e2e_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// body is a native payload as the receiver got it.
type body struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Source struct {
		Table string `json:"table"`
		Op    string `json:"op"`
		Seq   int    `json:"seq"`
	} `json:"source"`
	Key         map[string]any `json:"key"`
	Data        map[string]any `json:"data"`
	Previous    map[string]any `json:"previous"`
	Unavailable []string       `json:"unavailable"`
}

// bodies are the payloads that a profile accepted, in order.
func (w *world) bodies(profile string) []body {
	w.tb.Helper()
	var bodies []body
	for _, a := range w.hook.all(profile) {
		if !a.accepted {
			continue
		}
		var b body
		if err := json.Unmarshal(a.body, &b); err != nil {
			w.tb.Fatalf("body: %v: %.200q", err, a.body)
		}
		bodies = append(bodies, b)
	}
	return bodies
}

// A table that changed while the agent was down is read with the shape that each
// transaction had.
func TestDDLAcrossRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.keepBodies = true
	w.begin().term()
	w.exec(`insert into proof.rows values (1, 1, 'old')`,
		`alter table proof.rows add column colour text`,
		`insert into proof.rows values (2, 1, 'new', 'red')`,
		`alter table proof.rows rename column colour to color`,
		`update proof.rows set color = 'blue' where id = 2`,
		`alter table proof.rows drop column color`,
		`insert into proof.rows values (3, 1, 'newest')`)
	a := w.begin()
	w.hook.wait(t, "main", 4, patience)
	a.term()
	shapes := map[string]map[string]any{}
	for _, b := range w.bodies("main") {
		shapes[fmt.Sprintf("%v %s", b.Key["id"], b.Source.Op)] = b.Data
	}
	want := map[string]map[string]any{
		"1 insert": {"id": 1.0, "seq": 1.0, "note": "old"},
		"2 insert": {"id": 2.0, "seq": 1.0, "note": "new", "colour": "red"},
		"2 update": {"id": 2.0, "seq": 1.0, "note": "new", "color": "blue"},
		"3 insert": {"id": 3.0, "seq": 1.0, "note": "newest"},
	}
	if !reflect.DeepEqual(shapes, want) {
		t.Errorf("got  %v\nwant %v", shapes, want)
	}
}

// TRUNCATE is no change of a row: nobody hears of it unless a rule names it.
func TestTruncate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.keepBodies = true
	w.exec(`create table proof.named (id bigint primary key)`, `alter publication rowhook add table proof.named`, `grant select on proof.named to rowhook`)
	w.conf.mapping = "  proof.rows: {}\n  proof.named:\n    events:\n      named.added: {op: insert}\n      named.emptied: {op: truncate}\n"
	a := w.begin()
	w.exec(`insert into proof.rows values (1, 1, 'kept')`, `insert into proof.named values (1)`,
		`truncate proof.rows`, `truncate proof.named`, `truncate proof.rows, proof.named`,
		`insert into proof.rows values (2, 1, 'kept')`)
	w.hook.wait(t, "main", 5, patience)
	a.term()
	got := map[string]int{}
	for _, b := range w.bodies("main") {
		got[b.Type+" "+b.Source.Op]++
	}
	want := map[string]int{"record.inserted insert": 2, "named.added insert": 1, "named.emptied truncate": 2}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A row that moves between partitions is deleted in one and inserted in the other; to
// receivers it is one update of the root.
func TestPartitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.keepBodies = true
	w.exec(`create table proof.parted (id bigint, region text, seq bigint, primary key (id, region)) partition by list (region)`,
		`create table proof.parted_east partition of proof.parted for values in ('east')`,
		`create table proof.parted_west partition of proof.parted for values in ('west')`,
		`alter table proof.parted replica identity full`,
		`alter table proof.parted_east replica identity full`,
		`alter table proof.parted_west replica identity full`,
		`alter publication rowhook add table proof.parted`,
		`alter publication rowhook set (publish_via_partition_root = true)`,
		`grant select on proof.parted to rowhook`)
	w.conf.mapping = "  proof.parted: {key: [id]}\n"
	a := w.begin()
	w.exec(`insert into proof.parted values (1, 'east', 1), (2, 'west', 1)`,
		`update proof.parted set region = 'west', seq = 2 where id = 1`,
		`update proof.parted set seq = 2 where id = 2`,
		`delete from proof.parted where id = 2`)
	w.hook.wait(t, "main", 5, patience)
	a.term()
	var got []string
	for _, b := range w.bodies("main") {
		if b.Source.Table != "proof.parted" {
			t.Errorf("an event of %s, want the root", b.Source.Table)
		}
		if b.Key["id"] == 1.0 {
			got = append(got, fmt.Sprintf("%s %v<-%v", b.Source.Op, b.Data["region"], b.Previous["region"]))
		}
	}
	if want := []string{"insert east<-<nil>", "update west<-east"}; !reflect.DeepEqual(got, want) {
		t.Errorf("row 1: %q, want %q", got, want)
	}
}

// A change that a rule cannot be decided for is parked, said, and retried in order once
// the cause is fixed; the stream goes on meanwhile.
func TestUndecidable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.conf.mapping = "  proof.rows:\n    events:\n      note.changed: {op: update, changed: [note]}\n      row.added: {op: insert}\n"
	a := w.begin()
	w.exec(`insert into proof.rows values (1, 1, 'kept')`,
		`alter table proof.rows replica identity default`,
		`update proof.rows set note = 'other', seq = 2 where id = 1`,
		`insert into proof.rows values (2, 1, 'kept')`)
	w.hook.wait(t, "main", 2, patience)
	var listed result
	eventually(t, patience, "the change is a dead letter of the source", func() bool {
		listed = w.rowhook("failed", "list", "--source", "--json")
		return listed.code == 0 && strings.Contains(listed.stdout, "proof.rows")
	})
	if strings.Contains(listed.stdout, "other") {
		t.Errorf("the list tells row data:\n%s", listed.stdout)
	}
	a.says("parked")
	shown := w.rowhook("failed", "show", "--source", "1")
	if shown.code != 0 || !strings.Contains(shown.stdout, "proof.rows") || strings.Contains(shown.stdout, "other") {
		t.Errorf("show ends with %d:\n%s%s", shown.code, shown.stdout, shown.stderr)
	}
	if _, code := w.status(); code != 3 {
		t.Errorf("status ends with %d while a change is parked, want 3", code)
	}
	// The application goes on after the cure.
	w.exec(`alter table proof.rows replica identity full`, `update proof.rows set note = 'third', seq = 3 where id = 1`)
	w.hook.wait(t, "main", 3, patience)
	a.term()
}
