package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestShow runs the whole demonstration, without the time for people to read along.
func TestShow(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "rowhook")
	if out, err := exec.Command("go", "build", "-o", binary, "../rowhook").CombinedOutput(); err != nil {
		t.Fatalf("build rowhook: %v\n%s", err, out)
	}
	for name, o := range map[string]options{
		"postgres": {source: "postgres"}, "mysql": {source: "mysql"}, "mariadb": {source: "mariadb"}, "three machines": {source: "mariadb", machines: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := show(t.Context(), &screen{out: &out}, options{rowhook: binary, source: o.source, machines: o.machines, schemas: "../../testdata/library", example: "../../testdata/library/config.yaml", pace: 0.1})
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), "The books balance.") {
				t.Errorf("the books are not shown:\n%s", out.String())
			}
			for _, who := range []string{"by Mina, desk", "by Grace, kiosk"} {
				if !strings.Contains(out.String(), who) {
					t.Errorf("nothing was told %s:\n%s", who, out.String())
				}
			}
		})
	}
}

// TestBalance checks that the books only balance when they should.
func TestBalance(t *testing.T) {
	t.Parallel()
	a, b := lends(1, "b-1", 1), renews(1)
	created, renewed := a.events[0], b.events[0]
	for _, c := range []struct {
		name    string
		arrived []arrival
		good    bool
		want    balance
	}{
		{"all", []arrival{came("1", created), came("2", renewed)}, true, balance{}},
		{"one repeated", []arrival{came("1", created), came("1", created), came("2", renewed)}, true, balance{repeated: 1}},
		{"one missing", []arrival{came("1", created)}, false, balance{missing: 1}},
		{"another order", []arrival{came("2", renewed), came("1", created)}, false, balance{disordered: []string{"?"}}},
		{"one too many", []arrival{came("1", created), came("2", renewed), came("3", renewed)}, false, balance{surplus: 1}},
		{"of a key that has none", []arrival{came("1", created), came("2", renewed), came("3", loanEvent("created", 9))}, false, balance{surplus: 1}},
		{"to the wrong receiver", []arrival{came("1", created), came("2", renewed), came("3", expectation{search, created.kind, created.key})}, false, balance{surplus: 1}},
		{"a forgery", []arrival{came("1", created), came("2", renewed), {expectation: created, id: "3"}}, false, balance{forged: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			book := newLedger()
			book.expect(len(a.sql), a.events)
			book.expect(len(b.sql), b.events)
			for i := range c.arrived {
				book.arrive(&c.arrived[i])
			}
			got := book.balance()
			if got.good() != c.good || got.missing != c.want.missing || got.surplus != c.want.surplus ||
				got.repeated != c.want.repeated || got.forged != c.want.forged || len(got.disordered) != len(c.want.disordered) {
				t.Errorf("balance is %+v, want %+v", got, c.want)
			}
		})
	}
}

func came(id string, e expectation) arrival { return arrival{expectation: e, id: id, genuine: true} }

// TestReceiverRefusesForgeries sends the receiver what nobody signed.
func TestReceiverRefusesForgeries(t *testing.T) {
	t.Parallel()
	book := newLedger()
	r := newReceiver(desk, "whsec_c2VjcmV0c2VjcmV0c2VjcmV0", book, func(*arrival) {})
	w := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/desk", strings.NewReader(`{"type":"loan.created","key":{"loan_id":1}}`))
	request.Header.Set("webhook-id", "evt_1")
	request.Header.Set("webhook-timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	request.Header.Set("webhook-signature", "v1,AAAA")
	r.ServeHTTP(w, request)
	if b := book.balance(); w.Code != http.StatusUnauthorized || b.forged != 1 || b.good() {
		t.Errorf("answered %d, books are %+v", w.Code, b)
	}
}

func TestActs(t *testing.T) {
	t.Parallel()
	if a := regretted(); len(a.events) != 0 || !a.undone || !strings.HasSuffix(new(postgresLibrary).script(&a), "rollback") {
		t.Errorf("what is regretted must come to nothing: %+v", a)
	}
	says := says("Mina", "desk", lends(1, "b-1", 1))
	if len(says.sql) != 1 || len(says.events) != 1 {
		t.Errorf("one who says who she is makes %d changes and %d events", len(says.sql), len(says.events))
	}
	for _, l := range []library{&postgresLibrary{}, &mysqlLibrary{}} {
		if script := l.script(&says); !strings.Contains(script, "Mina") || !strings.HasSuffix(script, ";\ncommit") {
			t.Errorf("%T: the script is\n%s", l, script)
		}
	}
	if a := rush(10); len(a.sql) != 20 || len(a.events) != 20 {
		t.Errorf("a rush of 10 loans is %d changes and %d events", len(a.sql), len(a.events))
	}
}

func TestScreenIsPlainWithoutATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out}
	s.arrival(&arrival{expectation: loanEvent("created", 7), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), lag: 1234 * time.Microsecond, genuine: true})
	if want := "  10:00:00.000    > desk    loan.created     loan_id 7      1.2 ms   signature ok\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
