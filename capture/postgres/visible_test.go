package postgres

import (
	"context"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestCatalogOfTheTransaction holds that a table is described by the catalog after the transaction
// that changed it, though the stream has its rows before others see it: until a synchronous standby
// answers.
func TestCatalogOfTheTransaction(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Settings: map[string]string{"synchronous_commit": "local"}},
		"create table t (id int primary key, other int not null)", "create unique index by_other on t (other)", "alter table t replica identity full",
		"alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()")
	sink := &keySink{listSink: newListSink("")}
	follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	pg.Run(t, "insert into t values (1, 1)")
	sink.await(t, "the first row", func() bool { return len(sink.changes()) == 1 })
	committed := make(chan error, 1)
	go func() {
		committed <- pg.Exec(context.Background(), "postgres", "set synchronous_commit = on",
			"begin; alter table t drop constraint t_pkey; alter table t replica identity using index by_other; insert into t values (2, 2); commit")
	}()
	for sent := false; !sent; {
		rows := pg.Rows(t, "select bool_and(sent_lsn >= pg_current_wal_flush_lsn()) and (select count(*) from pg_stat_activity where wait_event = 'SyncRep') = 1 from pg_stat_replication")
		sent = rows[0][0] == "t"
	}
	pg.Run(t, "alter system reset synchronous_standby_names", "select pg_reload_conf()")
	capturetest.Must(t, <-committed)
	sink.await(t, "the second row", func() bool { return len(sink.changes()) == 2 })
	if sink.keys[0] != "id" || sink.keys[1] != "other" {
		t.Errorf("keys %q", sink.keys)
	}
}

// keySink notes the first column of each change's key.
type keySink struct {
	*listSink
	keys []string
}

func (s *keySink) Change(c *capture.Change) error {
	s.mu.Lock()
	s.keys = append(s.keys, c.Table.Columns[c.Table.Key[0]].Name)
	s.mu.Unlock()
	return s.listSink.Change(c)
}

func TestSees(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		snapshot string
		xid      uint32
		want     bool
	}{
		{"10:20:", 19, true}, {"10:20:", 20, false}, {"10:20:12,15", 15, false}, {"10:20:12,15", 14, true},
		{"4294967290:4294967300:4294967298", 2, false}, {"4294967290:4294967300:", 4294967292, true}, {"4294967290:4294967294:", 3, false},
		{"8589934592:8589934600:", 7, true},
	} {
		if got, err := sees(c.snapshot, c.xid); got != c.want || err != nil {
			t.Errorf("%s sees %d: %v, %v", c.snapshot, c.xid, got, err)
		}
	}
	if _, err := sees("x", 1); err == nil {
		t.Error("a malformed snapshot is taken")
	}
}
