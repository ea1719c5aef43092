package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// onMySQLs runs a scenario of MySQL and MariaDB.
func onMySQLs(t *testing.T, own settings, scenario func(t *testing.T, w *world, m *mysql)) {
	for _, name := range []string{"mysql", "mariadb"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, name, own[name])
			scenario(t, w, w.server.(*mysql))
		})
	}
}

// replica starts an empty server of the world's kind.
func (w *world) replica(own map[string]string) *mysql {
	w.tb.Helper()
	start := capturetest.StartMySQL
	if w.database == "mariadb" {
		start = startMariaDB
	}
	return &mysql{MySQL: start(w.tb, capturetest.MySQLOptions{Settings: own}), control: w.server.(*mysql).control}
}

// reached waits until the replica has all that the world's server has.
func (w *world) reached(replica *mysql) {
	w.tb.Helper()
	capturetest.Must(w.tb, w.server.(*mysql).AwaitReplica(w.tb.Context(), replica.MySQLServer))
}

// orElse gives the agent a second host, as a legitimate successor.
func (w *world) orElse(replica *mysql) {
	w.tb.Helper()
	id := "select @@global.server_uuid"
	if replica.MariaDB {
		id = "select concat(@@global.hostname, ':', @@global.port, ':', @@global.server_id)"
	}
	w.conf.url = w.server.url(w.server.address() + "," + replica.address())
	w.conf.source = fmt.Sprintf("  servers: [%q]\n", replica.Rows(w.tb, id)[0][0])
}

// following starts a replica that has all that the world's server has, and that the agent may turn
// to.
func (w *world) following(own map[string]string) *mysql {
	w.tb.Helper()
	replica := w.replica(own)
	capturetest.Must(w.tb, replica.Follow(w.tb.Context(), w.server.(*mysql).MySQLServer))
	w.reached(replica)
	w.orElse(replica)
	return replica
}

// beginBoth starts the agent and has one row arrive, at the receiver and the replica.
func (w *world) beginBoth(replica *mysql) *agent {
	w.tb.Helper()
	a := w.begin()
	w.insert(1)
	w.hook.wait(w.tb, "main", 1, patience)
	w.reached(replica)
	return a
}

// takeOver makes a replica the world's server.
func (w *world) takeOver(replica *mysql) {
	w.tb.Helper()
	capturetest.Must(w.tb, replica.Promote(w.tb.Context()))
	w.server = replica
}

// A primary dies and a replica takes over that has all its transactions: the agent goes on by
// itself by their ids, and nothing is lost or repeated.
func TestFailoverReplica(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, testFailoverReplica)
}

func testFailoverReplica(t *testing.T, w *world, m *mysql) {
	s := w.scenario("failover-mysql")
	replica := w.following(nil)
	a := w.begin()
	l := w.load(4, 200, false)
	w.hook.wait(t, "main", 200, patience)
	wrote := l.stop(t)
	w.reached(replica)
	capturetest.Must(t, m.Crash())
	crashed := time.Now()
	w.takeOver(replica)
	w.streaming(a)
	pause := time.Since(crashed)
	l = w.load(4, 200, false)
	w.hook.wait(t, "main", w.hook.distinct("main")+200, patience)
	changes := w.ledger(append(wrote, l.stop(t)...))
	w.hook.wait(t, "main", len(changes), patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	s.did(1, "promotion", "promotions")
	s.most("longest pause", pause.Milliseconds(), "ms")
}

// A replica that lacks what has been delivered already is another history: the agent says so and
// stops.
func TestFailoverReplicaBehind(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, testFailoverReplicaBehind)
}

func testFailoverReplicaBehind(t *testing.T, w *world, m *mysql) {
	s := w.scenario("failover-mysql")
	replica := w.following(nil)
	a := w.beginBoth(replica)
	stop := "stop replica"
	if m.MariaDB {
		stop = "stop slave"
	}
	replica.Run(t, stop)
	w.insert(2) // errant: the replica never gets it
	w.hook.wait(t, "main", 2, patience)
	w.logCount("main", 2)
	w.confirmed(patience)
	capturetest.Must(t, m.Crash())
	w.takeOver(replica)
	if code := a.wait(patience); code != 4 {
		t.Errorf("ended with %d, want 4", code)
	}
	a.says("--accept-gap")
	w.exec(`insert into proof.ledger (id, seq, op) values (2, 1, 'insert')`) // it was committed, on the old primary
	w.goesOnAfterGap(s, 3)
	s.did(1, "replica behind the agent told", "replicas behind the agent told")
}

// What somebody wrote on a replica alone is part of the history once that is the primary: it
// arrives while its binlog is there, and is a gap when that has been purged.
func TestFailoverErrant(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, testFailoverErrant)
}

func testFailoverErrant(t *testing.T, w *world, m *mysql) {
	s := w.scenario("failover-mysql")
	replica := w.following(nil)
	a := w.beginBoth(replica)
	if m.MariaDB {
		replica.Run(t, "set global gtid_domain_id = 7") // else it could not write after its primary
	}
	capturetest.Must(t, replica.exec(t.Context(), "begin;"+insertion(2)+"commit"))
	capturetest.Must(t, m.Crash())
	w.takeOver(replica)
	w.streaming(a)
	w.hook.wait(t, "main", 2, patience)
	w.logCount("main", 2)
	a.term()

	w.insert(3)
	capturetest.Must(t, replica.lose(t.Context()))
	w.refuses(4, "--accept-gap")
	w.exec(`delete from proof.ledger where id = 3`) // what the gap swallows
	w.goesOnAfterGap(s, 4)
	s.did(1, "errant transaction delivered", "errant transactions delivered")
	s.did(1, "replica with purged binlog told", "replicas with purged binlog told")
}

// A place in a file says nothing on another server, though its files are named the same: what is
// there is another server's.
func TestFailoverByFile(t *testing.T) {
	t.Parallel()
	noGTID := map[string]string{"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"}
	w := newWorldOf(t, "mysql", noGTID)
	s := w.scenario("failover-mysql")
	other := newWorldOf(t, "mysql", noGTID).server.(*mysql)
	w.orElse(other)
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.logCount("main", 1)
	a.term()
	// Longer than the place we have: a reader that trusts names would go on in the middle of it.
	capturetest.Must(t, other.exec(t.Context(), `insert into proof.noise (filler) select repeat('x', 500) from `+numbers(2000)))
	capturetest.Must(t, other.exec(t.Context(), `insert into proof.ledger (id, seq, op) values (1, 1, 'insert')`))
	same := "show binary logs"
	if ours, theirs := w.value(same), other.Rows(t, same)[0][0]; ours != theirs {
		t.Fatalf("the files are %s and %s, want one name", ours, theirs)
	}
	capturetest.Must(t, w.server.(*mysql).Crash())
	w.server = other
	w.refuses(4, "binlog file", "--accept-gap")
	w.goesOnAfterGap(s, 2)
	s.did(1, "same file name on another server refused", "same file names on other servers refused")
}

// A replica that does not write what it replicates into its own binlog cannot continue: the agent
// says so and stops.
func TestFailoverWithoutReplicaUpdates(t *testing.T) {
	t.Parallel()
	onMySQLs(t, nil, testFailoverWithoutReplicaUpdates)
}

func testFailoverWithoutReplicaUpdates(t *testing.T, w *world, m *mysql) {
	s := w.scenario("failover-mysql")
	setting := "log_replica_updates"
	if m.MariaDB {
		setting = "log_slave_updates"
	}
	replica := w.following(map[string]string{setting: "OFF"})
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.logCount("main", 1)
	w.reached(replica)
	a.term()
	w.insert(2)
	w.reached(replica)
	capturetest.Must(t, m.Crash())
	w.takeOver(replica)
	w.refuses(4, "--accept-gap")
	w.exec(`delete from proof.ledger where id = 2`) // what the gap swallows
	w.goesOnAfterGap(s, 3)
	s.did(1, "replica without "+setting+" told", "replicas without "+setting+" told")
}
