package e2e_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// Setup does nothing that makes the application's statements fail, says so with the way out, and is
// done only when nothing is missing.
func TestSetupIsDoneOnlyWhenNothingIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Major: 18})
	w.exec(`create table proof.priced (id int primary key, net int, gross int generated always as (net * 2) virtual)`, `insert into proof.priced values (1, 1)`,
		`create table proof.kept (id int primary key, net int, gross int generated always as (net * 2) stored)`, `insert into proof.kept values (1, 1)`)
	update := func() {
		t.Helper()
		w.exec(`update proof.priced set net = net + 1`, `update proof.kept set net = net + 1`, `update proof.rows set seq = seq + 1`)
	}
	owner := w.pg.URL(w.pg.db)
	setup := func(mapping string) result {
		t.Helper()
		w.conf.mapping = mapping
		w.write()
		r := w.rowhook("setup", "--apply", "--as", owner)
		update()
		return r
	}
	r := setup("  proof.priced: {events: {net.set: {op: update, set: net}}}\n")
	if r.code != 3 || strings.Contains(r.stderr, "Done") || !strings.Contains(r.stderr, "gross") || !strings.Contains(r.stderr, "without old values") {
		t.Errorf("a virtual column and a rule on old values: %+v", r)
	}
	r = w.rowhook("check")
	if !strings.Contains(r.stdout, "gross") || strings.Contains(r.stdout, "proof.priced REPLICA IDENTITY FULL") {
		t.Errorf("check offers what makes statements fail:\n%s", r.stdout)
	}
	r = setup("  proof.kept: {events: {net.set: {op: update, set: net}}}\n")
	if r.code != 3 || !strings.Contains(r.stderr, `ALTER PUBLICATION "rowhook" SET (publish_generated_columns = stored);`) {
		t.Errorf("a stored column and a rule on old values: %+v", r)
	}
	w.exec(`alter publication rowhook set (publish_generated_columns = stored)`)
	if r = setup("  proof.kept: {events: {net.set: {op: update, set: net}}}\n"); r.code != 0 || !strings.Contains(r.stderr, "Done") || !strings.Contains(r.stdout, "REPLICA IDENTITY FULL") {
		t.Errorf("a stored column that is published: %+v", r)
	}
	if r = setup("  proof.priced: {events: {net.changed: {op: update, if: new.net > 3}}}\n"); r.code != 0 || !strings.Contains(r.stderr, "Done") {
		t.Errorf("a rule without old values: %+v", r)
	}
}

// Under a running agent the application's tables change so that the server refuses its statements,
// or so that rows make no events: readiness, status and the log say so with the cure, and that it
// is mended.
func TestStatementsThatFailAreSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Major: 18})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(t, err)
	admin := free.Addr().String()
	free.Close()
	w.conf.top = "admin: {listen: '" + admin + "'}\n"
	a := w.begin()
	ready := func() (int, string) {
		t.Helper()
		r, err := http.Get("http://" + admin + "/readyz")
		capturetest.Must(t, err)
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		capturetest.Must(t, err)
		return r.StatusCode, string(body)
	}
	for _, test := range []struct{ ail, words, cure string }{
		{`alter table proof.rows add gross bigint generated always as (seq * 2) virtual`, "UPDATE and DELETE NOW", `alter table proof.rows drop gross`},
		{`create table proof.more () inherits (proof.rows)`, "proof.more", `drop table proof.more`},
	} {
		w.exec(test.ail)
		eventually(t, patience, test.ail+" is seen", func() bool {
			w.rowhook("reload") // compares at once, as each minute does
			code, body := ready()
			return code == http.StatusServiceUnavailable && strings.Contains(body, test.words)
		})
		a.says(test.words)
		if r := w.rowhook("status"); r.code != 3 || !strings.Contains(r.stdout, test.words) {
			t.Errorf("status ends with %d: %s", r.code, r.stdout)
		}
		w.exec(test.cure)
		eventually(t, patience, test.cure+" is seen", func() bool {
			w.rowhook("reload")
			code, _ := ready()
			return code == http.StatusOK
		})
	}
	a.term()
}
