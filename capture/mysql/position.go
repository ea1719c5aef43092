package mysql

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rowhook/capture"
)

// place is a position taken apart. Its text is a word for each part:
//
//	gtid:SET                         MySQL with GTIDs
//	mariadb:SET                      MariaDB
//	file:UUID/NAME:OFFSET@CREATED    MySQL without; the file's creation time tells files of one name apart
//	at:NAME:OFFSET                   with a set: where that is in the binlog of the server that said it, for lag
//	xa:XID@FROM                      a prepared transaction that waits for its end, and where it can be read again
type place struct {
	mysql    mysqlSet
	maria    mariaSet
	file     filePlace // with a set: the hint
	server   string    // with a file: whose
	prepared []prepared
}

// filePlace is a place in a binlog file.
type filePlace struct {
	name    string
	offset  uint64
	created uint32 // seconds since 1970
}

// reach moves the place to an event's end, as the event says it: in 32 bits, though files grow
// beyond 4 GiB. 0 says nothing.
func (f *filePlace) reach(end uint32) {
	if end == 0 {
		return
	}
	at := f.offset&^(1<<32-1) | uint64(end)
	if at < f.offset {
		if f.offset-at < 1<<31 {
			return // an event that lies before, such as the file's format
		}
		at += 1 << 32
	}
	f.offset = at
}

func (f filePlace) String() string { return f.name + ":" + strconv.FormatUint(f.offset, 10) }

// stamped is the place with the file's creation time.
func (f filePlace) stamped() string {
	return f.String() + "@" + strconv.FormatUint(uint64(f.created), 10)
}

// prepared is an XA transaction that waits for its end.
type prepared struct {
	xid  string // hex.hex.format
	from string // MySQL: its GTID; MariaDB: its GTID, "/" and the set before it; else the place in a file
}

var errPosition = errors.New("not a position of a MySQL or MariaDB source")

// parsePlace reads a position; the empty one is an empty place.
func parsePlace(p capture.Position) (place, error) {
	var out place
	if p == "" {
		return out, nil
	}
	for word := range strings.FieldsSeq(string(p)) {
		kind, value, _ := strings.Cut(word, ":")
		var err error
		switch kind {
		case "gtid":
			out.mysql, err = parseMySQLSet(value)
		case "mariadb":
			out.maria, err = parseMariaSet(value)
		case "file":
			server, rest, ok := strings.Cut(value, "/")
			if !ok {
				err = errPosition
				break
			}
			out.server = server
			out.file, err = parseStamped(rest)
		case "at":
			out.file, err = parseFilePlace(value)
		case "xa":
			xid, from, _ := strings.Cut(value, "@")
			out.prepared = append(out.prepared, prepared{xid, from})
		default:
			err = errPosition
		}
		if err != nil {
			return place{}, fmt.Errorf("position %q: %w", p, err)
		}
	}
	if out.mysql == nil && out.maria == nil && out.server == "" {
		return place{}, fmt.Errorf("position %q: %w", p, errPosition)
	}
	return out, nil
}

func parseFilePlace(s string) (filePlace, error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 1 {
		return filePlace{}, errPosition
	}
	offset, err := strconv.ParseUint(s[colon+1:], 10, 64)
	if err != nil {
		return filePlace{}, errPosition
	}
	return filePlace{name: s[:colon], offset: offset}, nil
}

func parseStamped(s string) (filePlace, error) {
	at, created, _ := strings.Cut(s, "@")
	f, err := parseFilePlace(at)
	stamp, errStamp := strconv.ParseUint(created, 10, 32)
	if err != nil || errStamp != nil {
		return filePlace{}, errPosition
	}
	f.created = uint32(stamp)
	return f, nil
}

func (p *place) empty() bool { return p.mysql == nil && p.maria == nil && p.server == "" }

// byFile says that the place is one in a file.
func (p *place) byFile() bool { return p.server != "" }

// position writes the place.
func (p *place) position() capture.Position {
	b := make([]byte, 0, 128)
	switch {
	case p.mysql != nil:
		b = p.mysql.appendTo(append(b, "gtid:"...))
	case p.maria != nil:
		b = p.maria.appendTo(append(b, "mariadb:"...))
	case p.server != "":
		b = append(b, "file:"+p.server+"/"+p.file.stamped()...)
	default:
		return ""
	}
	if !p.byFile() && p.file.name != "" {
		b = append(append(append(b, " at:"...), p.file.name...), ':')
		b = strconv.AppendUint(b, p.file.offset, 10)
	}
	for _, x := range p.prepared {
		b = append(b, " xa:"+x.xid+"@"+x.from...)
	}
	return capture.Position(b)
}

// clone returns a copy that shares nothing.
func (p *place) clone() place {
	c := *p
	if p.mysql != nil {
		c.mysql = p.mysql.clone()
	}
	if p.maria != nil {
		c.maria = mariaSet{}
		for _, g := range p.maria {
			c.maria.add(g)
		}
	}
	c.prepared = slices.Clone(p.prepared)
	return c
}

// take removes a prepared transaction and returns it.
func (p *place) take(xid string) (prepared, bool) {
	for i, x := range p.prepared {
		if x.xid == xid {
			p.prepared = slices.Delete(p.prepared, i, i+1)
			return x, true
		}
	}
	return prepared{}, false
}

// parseXID reads the id of an XA transaction as the server writes it into statements,
// X'…',X'…',1, and returns it as positions have it.
func parseXID(s string) (string, bool) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimSpace(s), ";"), ",")
	if len(parts) != 3 {
		return "", false
	}
	for i := range parts[:2] {
		hexed, ok := strings.CutPrefix(strings.TrimSpace(parts[i]), "X'")
		hexed, ok2 := strings.CutSuffix(hexed, "'")
		if _, err := hex.DecodeString(hexed); err != nil || !ok || !ok2 {
			return "", false
		}
		parts[i] = strings.ToLower(hexed)
	}
	return parts[0] + "." + parts[1] + "." + strings.TrimSpace(parts[2]), true
}
