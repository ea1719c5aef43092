package mysql

import (
	"fmt"
	"strings"

	"rowhook/capture"
)

// startFacts are what decideStart goes by.
type startFacts struct {
	server    serverFacts
	stored    place
	start     string
	acceptGap bool
	refused   string // why the server refused to stream from stored; empty when it did not
}

// startPlan is where to start.
type startPlan struct {
	from    place
	gap     bool // the stored position was given up
	resumed bool
}

const gapRemedy = "`rowhook run --accept-gap` goes on without what is missing; read the tables again where the receivers need it whole"

// decideStart holds the rules of where a stream may begin. A stored position is never given up
// unless the operator said so, and must fit the server: not beyond what it has, and not before what
// it has removed; a place in a file only on the server it was read from.
func decideStart(f startFacts) (startPlan, error) {
	if err := f.server.unfit(); err != nil {
		return startPlan{}, err
	}
	if f.stored.empty() {
		return decideFirstStart(f)
	}
	lost := whyLost(f)
	if lost == "" {
		return startPlan{from: f.stored.clone(), resumed: true}, nil
	}
	if !f.acceptGap {
		return startPlan{}, &capture.GapError{Stored: f.stored.position(), Server: f.server.End, Text: lost, Remedy: gapRemedy}
	}
	return startPlan{from: f.server.end.clone(), gap: true}, nil
}

// unfit says what about the server's settings makes its binlog useless; nil when it is fine.
func (f *serverFacts) unfit() error {
	refuse := func(text, remedy string) error {
		return &capture.OperatorError{Err: fmt.Errorf("%s", text), Remedy: remedy}
	}
	switch {
	case f.end.empty():
		return refuse(noBinlog, noBinlogRemedy)
	case f.format != "ROW":
		return refuse("binlog_format is "+f.format, setSQL(f.MariaDB, "binlog_format", "ROW"))
	case f.rowMeta != "FULL":
		return refuse("binlog_row_metadata is "+f.rowMeta+": the binlog lacks names, signs and labels", setSQL(f.MariaDB, "binlog_row_metadata", "FULL"))
	}
	return nil
}

// whyLost says why the stored position does not fit the server; empty when it does.
func whyLost(f startFacts) string {
	stored, server := &f.stored, &f.server
	switch {
	case f.refused != "":
		return f.refused
	case stored.maria != nil && !server.MariaDB, stored.mysql != nil && server.MariaDB:
		return "the stored position is of the other kind of server (MySQL or MariaDB)"
	case stored.mysql != nil && !server.GTID:
		return "the stored position is a set of GTIDs, but gtid_mode is not ON"
	case stored.byFile() && (server.MariaDB || stored.server != server.Lineage):
		return "the stored position is a place in a binlog file of server " + stored.server + ", which says nothing on server " + server.Lineage
	case stored.mysql != nil && !server.end.mysql.contains(stored.mysql):
		return "the server has not executed all transactions of the stored position"
	case stored.mysql != nil && !stored.mysql.contains(server.purged):
		return "the server has removed binlog files that hold transactions after the stored position"
	case stored.maria != nil && !server.end.maria.contains(stored.maria):
		return "the server's binlog ends before the stored position"
	}
	return ""
}

// decideFirstStart is decideStart without a stored position.
func decideFirstStart(f startFacts) (startPlan, error) {
	switch strings.TrimSpace(f.start) {
	case "", "now", "slot":
		return startPlan{from: f.server.end.clone()}, nil
	}
	asked, err := parsePlace(capture.Position(f.start))
	if err != nil {
		return startPlan{}, &capture.OperatorError{Err: fmt.Errorf("start: %w", err), Remedy: "--start now or --start with a position, as `rowhook status` shows them"}
	}
	f.stored = asked
	if lost := whyLost(f); lost != "" {
		return startPlan{}, &capture.OperatorError{Err: fmt.Errorf("start at %s: %s", f.start, lost), Remedy: "--start now or another position"}
	}
	return startPlan{from: asked}, nil
}
