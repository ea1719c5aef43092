package postgres

import (
	"errors"
	"strings"
	"testing"

	"rowhook/capture"
)

func TestDecideStart(t *testing.T) {
	t.Parallel()
	slot := slotState{exists: true, plugin: "pgoutput", database: "library", confirmed: 100}
	used, invalid, other, foreign := slot, slot, slot, slot
	used.used = true
	invalid.invalid = "wal_removed"
	other.plugin = "wal2json"
	foreign.database = "other"
	tests := []struct {
		name  string
		facts startFacts
		want  startPlan
		gap   string // part of a GapError's text
		err   string // part of an OperatorError's text
	}{
		{"first start", startFacts{}, startPlan{create: true}, "", ""},
		{"first start from now, without a slot", startFacts{start: "now"}, startPlan{create: true}, "", ""},
		{"first start at a position, without a slot", startFacts{start: "0/64"}, startPlan{}, "", "no WAL from 0/64 is kept"},
		{"unused slot", startFacts{slot: slot}, startPlan{from: 100}, "", ""},
		{"used slot", startFacts{slot: used}, startPlan{}, "already in use", ""},
		{"used slot, from where it stands", startFacts{slot: used, start: "slot"}, startPlan{from: 100}, "", ""},
		{"used slot, from now", startFacts{slot: used, start: "now"}, startPlan{from: 200}, "", ""},
		{"used slot, from a position", startFacts{slot: used, start: "0/96"}, startPlan{from: 150}, "", ""},
		{"from before the slot", startFacts{slot: used, start: "0/63"}, startPlan{}, "", "positions from 0/64 to 0/C8"},
		{"from beyond the end", startFacts{slot: used, start: "0/C9"}, startPlan{}, "", "positions from 0/64 to 0/C8"},
		{"from nonsense", startFacts{slot: used, start: "yesterday"}, startPlan{}, "", "not an LSN"},
		{"invalid slot, nothing stored", startFacts{slot: invalid}, startPlan{}, "invalidated", ""},
		{"invalid slot, nothing stored, from now", startFacts{slot: invalid, start: "now"}, startPlan{drop: true, create: true}, "", ""},
		{"other plugin", startFacts{slot: other}, startPlan{}, "", "plugin"},
		{"other database", startFacts{slot: foreign, stored: 100}, startPlan{}, "", "database other"},
		{"resume", startFacts{slot: used, stored: 150}, startPlan{from: 150, resumed: true}, "", ""},
		{"resume at the slot's position", startFacts{slot: used, stored: 100}, startPlan{from: 100, resumed: true}, "", ""},
		{"resume at the end", startFacts{slot: used, stored: 200}, startPlan{from: 200, resumed: true}, "", ""},
		{"start is for first starts", startFacts{slot: used, stored: 150, start: "now"}, startPlan{from: 150, resumed: true}, "", ""},
		{"slot gone", startFacts{stored: 150}, startPlan{}, "is gone", ""},
		{"slot gone, accepted", startFacts{stored: 150, acceptGap: true}, startPlan{create: true, gap: true}, "", ""},
		{"slot invalid", startFacts{slot: invalid, stored: 150}, startPlan{}, "invalidated (wal_removed)", ""},
		{"slot invalid, accepted", startFacts{slot: invalid, stored: 150, acceptGap: true}, startPlan{drop: true, create: true, gap: true}, "", ""},
		{"slot moved on", startFacts{slot: slot, stored: 99}, startPlan{}, "moved beyond", ""},
		{"slot moved on, accepted", startFacts{slot: slot, stored: 99, acceptGap: true}, startPlan{from: 100, gap: true}, "", ""},
		{"server behind", startFacts{slot: slot, stored: 201}, startPlan{}, "ends before", ""},
		{"server behind, accepted", startFacts{slot: slot, stored: 201, acceptGap: true}, startPlan{from: 100, gap: true}, "", ""},
		{"failover in time", startFacts{slot: slot, stored: 150, timeline: 2, branch: 150}, startPlan{from: 150, resumed: true}, "", ""},
		{"failover that lost WAL", startFacts{slot: slot, stored: 151, timeline: 2, branch: 150}, startPlan{}, "branched off at 0/96", ""},
		{"failover to a stranger", startFacts{slot: slot, stored: 150, timeline: 2}, startPlan{}, "does not come from timeline 2", ""},
		{"older timeline", startFacts{slot: slot, stored: 150, timeline: 4}, startPlan{}, "older than the stored", ""},
		{"failover that lost WAL, accepted", startFacts{slot: slot, stored: 151, timeline: 2, branch: 150, acceptGap: true}, startPlan{from: 150, gap: true}, "", ""},
		{"failover that lost WAL to a slot beyond it, accepted", startFacts{slot: slot, stored: 151, timeline: 2, branch: 99, acceptGap: true}, startPlan{from: 100, gap: true}, "", ""},
		{"acceptance without a gap", startFacts{slot: slot, stored: 150, acceptGap: true}, startPlan{from: 150, resumed: true}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.facts.server = capture.Server{Timeline: 3, Database: "library"}
			test.facts.end, test.facts.slotName = 200, "rowhook"
			got, err := decideStart(test.facts)
			if got != test.want {
				t.Errorf("plan %+v, want %+v", got, test.want)
			}
			var gap *capture.GapError
			if errors.As(err, &gap) != (test.gap != "") || gap != nil && (!strings.Contains(gap.Text, test.gap) || gap.Remedy == "") {
				t.Errorf("error %v, want a gap %q", err, test.gap)
			}
			var operator *capture.OperatorError
			if errors.As(err, &operator) != (test.err != "") || operator != nil && (!strings.Contains(err.Error(), test.err) || operator.Remedy == "") {
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

func TestTimelineHistory(t *testing.T) {
	t.Parallel()
	const history = "1\t0/3000158\tno recovery target specified\n\n2\t0/5000000\tafter transaction\n"
	for stored, want := range map[int32]uint64{1: 0x3000158, 2: 0x5000000, 3: 0} {
		if got, err := parseHistory(history, stored); err != nil || uint64(got) != want {
			t.Errorf("timeline %d was left at %s (%v), want %X", stored, got, err, want)
		}
	}
	if _, err := parseHistory("one 0/1 reason", 1); err == nil {
		t.Error("nonsense is taken")
	}
}
