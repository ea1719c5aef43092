package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// A stall is told from what only looks like one: it begins with the last progress, and there is
// none without something that ought to come.
func TestStall(t *testing.T) {
	t.Parallel()
	behind := capture.Status{End: "0/500", LagBytes: 10}
	waits := behind
	waits.Sender = &capture.SenderStatus{Wait: "WaitForStandbyConfirmation", Reason: "a standby is down", Remedy: "bring it back"}
	works := behind
	works.Sender = &capture.SenderStatus{Works: true}
	binlog := capture.Status{LagBytes: 10, Binlog: &capture.BinlogStatus{LagSeconds: 70}}
	tail := capture.Status{LagBytes: 10, Binlog: &capture.BinlogStatus{}} // bytes that are no transaction
	type step = func(s *sourceSample, i int)
	always := func(st capture.Status) step { return func(s *sourceSample, _ int) { s.stream = &st } }
	for _, test := range []struct {
		name   string
		step   step
		ended  error
		waits  error
		want   bool
		reason string
	}{
		{name: "nothing comes", step: always(behind), want: true},
		{name: "a standby is waited for", step: always(waits), want: true, reason: "a standby is down"},
		{name: "the stream ends again and again", step: always(behind), ended: errors.New("out of memory"), want: true, reason: "out of memory"},
		{name: "the stream waits by itself", step: always(waits), waits: errors.New("tables are not known"), want: true, reason: "tables are not known"},
		{name: "binlog", step: always(binlog), want: true},
		{name: "a binlog's tail", step: always(tail)},
		{name: "all is there", step: always(capture.Status{End: "0/500"})},
		{name: "a large transaction is decoded", step: always(works)},
		{name: "a large transaction comes", step: func(s *sourceSample, i int) { s.stream, s.received = &behind, uint64(i) }},
		{name: "a transaction touches very many rows", step: func(s *sourceSample, i int) { s.stream, s.worked = &behind, int64(i) }},
		{name: "changes are stored", step: func(s *sourceSample, i int) { s.stream, s.changes = &behind, int64(i) }},
		{name: "positions move", step: func(s *sourceSample, i int) { s.stream, s.durable = &behind, capture.Position(rune('a'+i)) }},
		{name: "the server does not answer", step: func(*sourceSample, int) {}},
		{name: "it answers at last", step: func(s *sourceSample, i int) {
			if i == 8 {
				s.stream = &behind
			}
		}},
		{name: "it works at last", step: func(s *sourceSample, i int) {
			if s.stream = &waits; i == 8 {
				s.stream = &works
			}
		}},
	} {
		a := &Agent{workspace: &workspace{}}
		var text strings.Builder
		a.logger = slog.New(slog.NewTextHandler(&text, nil))
		began := time.Now()
		for i := range 9 { // two minutes
			a.ended, a.undescribed = test.ended, test.waits
			s := sourceSample{at: began.Add(time.Duration(i) * sampleInterval)}
			test.step(&s, i)
			a.observe(s)
			if i == 4 && a.sampled.stalled() {
				t.Errorf("%s: stalled after a minute", test.name)
			}
		}
		if a.sampled.stalled() != test.want {
			t.Errorf("%s: stalled %v", test.name, !test.want)
			continue
		}
		if !test.want {
			continue
		}
		stall := a.sampled.stall(began.Add(2 * time.Minute))
		if stall.Reason != test.reason || stall.Seconds != 120 || !strings.Contains(stall.Text, "nothing has come for 2m") {
			t.Errorf("%s: %+v", test.name, stall)
		}
		if n := strings.Count(text.String(), "committed changes do not come through"); n != 1 {
			t.Errorf("%s: the log says so %d times", test.name, n)
		}
		last := a.sampled
		last.at, last.changes = last.at.Add(sampleInterval), last.changes+1
		a.observe(last)
		if a.sampled.stalled() || !strings.Contains(text.String(), "come through again") {
			t.Errorf("%s: a change does not end it", test.name)
		}
		report := operation.StatusReport{Source: operation.SourceStatus{Stalled: stall}}
		if judge(&report); len(report.Attention) != 1 || !strings.Contains(report.Attention[0], test.reason) {
			t.Errorf("%s: status says %q", test.name, report.Attention)
		}
	}
}

// TestBinlogAttention: a position that the server is about to leave behind needs a hand.
func TestBinlogAttention(t *testing.T) {
	t.Parallel()
	for lostIn, want := range map[int64]int{-1: 0, 86400: 0, 30_000: 0, 20_000: 1, 0: 1} {
		r := operation.StatusReport{Source: operation.SourceStatus{Stream: &capture.Status{Binlog: &capture.BinlogStatus{KeepSeconds: 86400, LostInSeconds: lostIn}}}}
		judge(&r)
		if len(r.Attention) != want {
			t.Errorf("lost in %d s: %q", lostIn, r.Attention)
		}
	}
}

// TestAttentionNamesWhatHelps: a source that cannot be reached is named with what to do about it, and
// a delivery log that cannot be written once, not for each profile.
func TestAttentionNamesWhatHelps(t *testing.T) {
	t.Parallel()
	r := operation.StatusReport{
		Source: operation.SourceStatus{Error: "connect: refused", Remedy: "start the server"},
		Profiles: []delivery.ProfileStatus{
			{Profile: "desk", State: delivery.StateWaiting, Reason: delivery.ReasonLog, Attention: true},
			{Profile: "shelf", State: delivery.StateWaiting, Reason: delivery.ReasonGuard, Attention: true},
		},
	}
	if judge(&r); len(r.Attention) != 2 || r.Attention[0] != "source: connect: refused; start the server" || !strings.Contains(r.Attention[1], "profile shelf") {
		t.Errorf("%q", r.Attention)
	}
}
