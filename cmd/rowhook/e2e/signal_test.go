package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// Facts that leave no row are told outright, by a row of the signal table or by a message: once
// they are committed, if they are of a listed type. `check` says who may tell them.
func TestSignals(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testSignals)
}

func testSignals(t *testing.T, w *world) {
	w.conf.source = "  signals: {table: proof.signals, types: {job.finished: {}, user.login: {}}}\n"
	tell := func(typ, key string) string {
		return "insert into proof.signals (type, `key`, data) values ('" + typ + "', '{\"id\":" + key + "}', '{\"seq\":1}')"
	}
	told := []string{tell("job.finished", "1"), "start transaction; " + tell("job.finished", "2") + "; rollback",
		tell("job.lost", "3"), tell("user.login", "4")}
	want := []string{"job.finished 1", "user.login 4"}
	writers := "rowhook's account cannot see who may write it"
	switch s := w.server.(type) {
	case *postgres:
		w.exec(`create table proof.signals (id bigserial primary key, type text not null, key jsonb, data jsonb)`, `create role teller`,
			`grant insert on proof.signals to teller`, `grant select on proof.signals to rowhook`, `alter publication rowhook add table proof.signals`)
		w.conf.source = strings.Replace(w.conf.source, "signals: {", "signals: {message: rowhook.event, ", 1)
		for i := range told {
			told[i] = strings.ReplaceAll(told[i], "`", "")
		}
		told = append(told,
			`select pg_logical_emit_message(false, 'rowhook.event', '{"type":"job.finished","key":{"id":5}}')`,
			`select pg_logical_emit_message(true, 'rowhook.event', '{"type":"job.finished","key":{"id":6}}')`)
		want = append(want, "job.finished 6")
		writers = "proof.signals tells signals; it may be written by postgres, teller"
	case *mysql:
		s.Run(t, "create table proof.signals (type varchar(50) not null, `key` json, data json)", "grant select on proof.signals to rowhook@'%'")
	}
	a := w.begin()
	app := w.connect()
	for _, sql := range told {
		capturetest.Must(t, app.exec(t.Context(), sql))
	}
	w.hook.wait(t, "main", len(want), patience)
	var got []string
	for _, arrived := range w.hook.all("main") {
		if arrived.op != "signal" || arrived.table != "" {
			t.Errorf("op %q, table %q", arrived.op, arrived.table)
		}
		got = append(got, arrived.typ+" "+string(rune('0'+arrived.key)))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	status, _ := w.status()
	source, _ := status["source"].(map[string]any)
	counts, _ := source["counts"].(map[string]any)
	leftOut := map[string]float64{"postgres": 2, "mysql": 1}[w.server.kind()] // the unlisted one, the one outside a transaction
	if counts["notices"] != leftOut {
		t.Errorf("counts %v, want %v notices", counts, leftOut)
	}
	a.says("message left out")
	if r := w.rowhook("check"); !strings.Contains(r.stdout, writers) {
		t.Errorf("check does not say who may write the table: %s", r.stdout)
	}
	a.term()
	w.hook.sound(t)
}
