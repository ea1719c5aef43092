package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// onMySQL is [production.on] for MySQL and MariaDB.
func (p *production) onMySQL(t *testing.T, m *capturetest.MySQL, state bool) *world {
	t.Helper()
	w := p.elsewhere(t, state)
	w.server = &mysql{MySQL: m, control: controlIn(w.dir)}
	return w
}

// What [TestCloneByDump] holds, of MySQL and MariaDB.
func TestMySQLCloneByDump(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, func(t *testing.T, w *world, m *mysql) {
		p := produce(w)
		restored := w.replica(nil) // of nothing: an empty server
		dump := exec.Command("mysqldump", "--no-defaults", "--user=root", "--socket="+m.Socket, "--databases", "proof")
		text, err := dump.Output()
		capturetest.Must(t, err)
		restored.Run(t, string(text))
		restored.User(t, "rowhook", mysqlPassword, "replication slave, replication client on *.*", "select on proof.rows")
		clone := p.onMySQL(t, restored.MySQL, true)
		a := clone.start()
		a.says("nothing is read from it")
		clone.reports("waiting for adoption", "lineage is", "rowhook source adopt")
		clone.insert(3)
		for _, args := range [][]string{{"profile", "test", "main"}, {"profile", "activate", "main"}} {
			if r := clone.rowhook(args...); r.code != 1 || !strings.Contains(r.stderr, "lineage") {
				t.Errorf("%s: exit %d, %s", args, r.code, r.stderr)
			}
		}
		a.term()
		p.silent(t)
	})
}

// What [TestCloneAtAnotherAddress] holds, of MySQL and MariaDB. MySQL's copy keeps its UUID and is
// captured; MariaDB has no identifier but its address and server id, so its copy is another server.
func TestMySQLCloneAtAnotherAddress(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, func(t *testing.T, w *world, m *mysql) {
		p := produce(w)
		capturetest.Must(t, m.Stop())
		clone := p.onMySQL(t, m.Copy(t, 0), true)
		for range 2 { // after a restart nothing is sent either
			if m.MariaDB {
				a := clone.start()
				a.says("nothing is read from it")
				clone.reports("waiting for adoption", "lineage is", "rowhook source adopt")
				a.term()
				continue
			}
			a := clone.begin()
			clone.insert(3 + clone.number("select count(*) from proof.ledger"))
			clone.reports("hosts is", "rowhook source adopt")
			clone.confirmed(patience)
			a.term()
		}
		p.silent(t)
	})
}

// What [TestCloneThatSaysSo] holds, of MySQL and MariaDB: by the environment, or by a table.
func TestMySQLCloneThatSaysSo(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, func(t *testing.T, w *world, m *mysql) {
		p := produce(w)
		capturetest.Must(t, m.Stop())
		for _, how := range []struct {
			name string
			env  []string
			sql  []string
		}{
			{name: "environment variable", env: []string{"ROWHOOK_ENVIRONMENT=sandbox"}},
			{name: "table", sql: []string{`create database rowhook`, `create table rowhook.environment (environment varchar(20))`,
				`insert into rowhook.environment values ('sandbox')`, `grant select on rowhook.environment to rowhook@'%'`}},
		} {
			for _, state := range []bool{true, false} {
				if !soak() && state != (how.env != nil) {
					continue // each once
				}
				t.Run(fmt.Sprintf("%s, state=%v", how.name, state), func(t *testing.T) {
					clone := p.onMySQL(t, m.Copy(t, m.Port), state)
					clone.env = how.env
					clone.exec(how.sql...)
					own := newReceiver(t)
					a := clone.begin()
					clone.insert(3)
					if state {
						clone.logged(2, "skipped", "sandbox") // what waited in production, and what came
					} else {
						clone.logged(1, "skipped", "sandbox")
					}
					clone.reports("pending: sandbox")
					capturetest.Must(t, os.WriteFile(clone.path("secret"), []byte(secret+"\n"), 0o600))
					if r := clone.rowhook("profile", "activate", "main", "--url", own.url("own"), "--secret-file", clone.path("secret")); r.code != 0 {
						t.Fatalf("activate: exit %d, %s%s", r.code, r.stdout, r.stderr)
					}
					clone.insert(4)
					own.wait(t, "own", 1, patience)
					a.term()
					a = clone.begin() // it outlives a restart
					clone.insert(5)
					own.wait(t, "own", 2, patience)
					a.term()
					own.sound(t)
					p.silent(t)
				})
			}
		}
	})
}

// What [TestStateDirectoryCopied] holds, of MySQL and MariaDB: there is one agent to a source's
// name.
func TestMySQLStateDirectoryCopied(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, func(t *testing.T, w *world, m *mysql) {
		p := produce(w)
		copied := p.onMySQL(t, m.MySQL, true)
		a := p.begin()
		p.hook.wait(t, "main", 2, patience)
		p.heard = p.hook.requests.Load()
		b := copied.start()
		b.says("waiting for the server to notice")
		p.silent(t)
		p.insert(3)
		p.hook.wait(t, "main", 3, patience)
		b.signal(9)
		b.wait(patience)
		a.term()
		p.verify(p.ledger(nil), judge{profile: "main"})
	})
}
