package postgres

import (
	"context"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		pg := startServer(t, capturetest.Options{Major: major}, oneTable)
		s := newSource(t, pg.DSN)
		st, err := s.Status(context.Background(), "")
		capturetest.Must(t, err)
		if st.Slot.Exists || st.End == "" {
			t.Errorf("status %+v", st)
		}
		pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')", insertT(1))
		st, err = s.Status(context.Background(), "")
		capturetest.Must(t, err)
		if !st.Slot.Exists || st.LagBytes == 0 || st.Slot.RetainedBytes < st.LagBytes || st.Slot.WALStatus != "reserved" ||
			st.Slot.SafeBytes != -1 || st.Slot.CatalogAge == 0 || st.Slot.Active || st.Slot.Invalid != "" {
			t.Errorf("status %+v", st)
		}
	}
}

// TestStandbyConfirmation holds that status says why a server sends nothing that waits for a
// standby.
func TestStandbyConfirmation(t *testing.T) {
	t.Parallel()
	for _, major := range []int{17, 19} {
		pg := startServer(t, capturetest.Options{Major: major}, oneTable)
		s := newSource(t, pg.DSN)
		sink := newListSink("")
		running, _ := follow(t, s, capture.StartOptions{}, sink)
		pg.Run(t, "select pg_create_physical_replication_slot('down', true)", "alter system set synchronized_standby_slots = 'down'", "select pg_reload_conf()")
		var st capture.Status
		id := 0
		eventually(t, "the wait", func() bool { // the sender reads its settings again in its own time
			id++
			pg.Run(t, insertT(id))
			var err error
			st, err = s.Status(t.Context(), sink.Durable())
			capturetest.Must(t, err)
			return st.Sender != nil && st.Sender.Wait == "WaitForStandbyConfirmation"
		})
		if !st.Behind() || st.Sender.Works || !strings.Contains(st.Sender.Reason, "synchronized_standby_slots (down)") {
			t.Errorf("status %+v of %+v", st, st.Sender)
		}
		if hasInsert(sink, id)() {
			t.Error("the row came")
		}
		pg.Run(t, "alter system reset synchronized_standby_slots", "select pg_reload_conf()")
		sink.await(t, "the row", hasInsert(sink, id))
		if s.Received() == 0 {
			t.Error("nothing was counted")
		}
		eventually(t, "nothing to be behind", func() bool {
			st, err := s.Status(t.Context(), sink.Durable())
			capturetest.Must(t, err)
			return !st.Behind()
		})
		running.stop(t)
	}
}

// TestSenderAtWork holds that a server which decodes what is not published for us says that it
// works, however long that takes.
func TestSenderAtWork(t *testing.T) {
	t.Parallel()
	for wait, works := range map[[2]string]bool{
		{"", ""}: true, {"IO", "ReorderBufferRead"}: true, {"LWLock", "WALInsert"}: true, {"Timeout", "VacuumDelay"}: true,
		{"Client", "WalSenderWriteData"}: false, {"Activity", "WalSenderMain"}: false, {"Lock", "relation"}: false,
	} {
		if got := senderStatus("rowhook", wait[0], wait[1], ""); got.Works != works || works != (got.Wait == "") {
			t.Errorf("%v is %+v", wait, got)
		}
	}
}
