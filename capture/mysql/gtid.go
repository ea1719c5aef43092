package mysql

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// sid is where MySQL's transaction ids come from: a server and, since 8.3, a tag.
type sid struct {
	server [16]byte
	tag    string
}

// appendUUID appends the server's UUID. A busy server's positions are written once a transaction,
// so this and what follows writes into the caller's bytes.
func (s sid) appendUUID(b []byte) []byte {
	b = append(hex.AppendEncode(b, s.server[:4]), '-')
	b = append(hex.AppendEncode(b, s.server[4:6]), '-')
	b = append(hex.AppendEncode(b, s.server[6:8]), '-')
	b = append(hex.AppendEncode(b, s.server[8:10]), '-')
	return hex.AppendEncode(b, s.server[10:])
}

// gtid is one transaction's id on MySQL.
type gtid struct {
	sid
	number int64
}

func (g gtid) String() string {
	b := append(g.appendUUID(make([]byte, 0, 64)), ':')
	if g.tag != "" {
		b = append(append(b, g.tag...), ':')
	}
	return string(strconv.AppendInt(b, g.number, 10))
}

// interval is a run of numbers, both ends included.
type interval struct{ from, to int64 }

// mysqlSet is a set of MySQL's transaction ids: sorted, disjoint intervals by origin.
type mysqlSet map[sid][]interval

// parseMySQLSet reads a set as the server writes it, tags included.
func parseMySQLSet(text string) (mysqlSet, error) {
	set := mysqlSet{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.Join(strings.Fields(part), "")
		if part == "" {
			continue
		}
		uuid, rest, _ := strings.Cut(part, ":")
		server, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
		if err != nil || len(server) != 16 || rest == "" {
			return nil, fmt.Errorf("%q is no set of transaction ids", part)
		}
		s := sid{server: [16]byte(server)}
		for item := range strings.SplitSeq(rest, ":") {
			if isTag(item) {
				s.tag = strings.ToLower(item)
				continue
			}
			i, err := parseInterval(item)
			if err != nil {
				return nil, err
			}
			set.addInterval(s, i)
		}
	}
	return set, nil
}

func isTag(s string) bool {
	return s != "" && !isDigit(s[0]) && len(s) <= 32 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func parseInterval(s string) (interval, error) {
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	a, errA := strconv.ParseInt(from, 10, 64)
	b, errB := strconv.ParseInt(to, 10, 64)
	if errA != nil || errB != nil || a < 1 || b < a {
		return interval{}, fmt.Errorf("%q is no interval of transaction numbers", s)
	}
	return interval{a, b}, nil
}

func (set mysqlSet) add(g gtid) {
	list := set[g.sid]
	// Nearly always the next number of the last interval.
	if n := len(list); n > 0 && list[n-1].to == g.number-1 {
		list[n-1].to++
		return
	}
	set.addInterval(g.sid, interval{g.number, g.number})
}

func (set mysqlSet) addInterval(s sid, i interval) {
	list := append(set[s], i)
	slices.SortFunc(list, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	merged := list[:1]
	for _, next := range list[1:] {
		if last := &merged[len(merged)-1]; next.from <= last.to+1 {
			last.to = max(last.to, next.to)
		} else {
			merged = append(merged, next)
		}
	}
	set[s] = merged
}

// remove takes one id out.
func (set mysqlSet) remove(g gtid) {
	var list []interval
	for _, i := range set[g.sid] {
		if g.number < i.from || g.number > i.to {
			list = append(list, i)
			continue
		}
		if i.from < g.number {
			list = append(list, interval{i.from, g.number - 1})
		}
		if g.number < i.to {
			list = append(list, interval{g.number + 1, i.to})
		}
	}
	if set[g.sid] = list; len(list) == 0 {
		delete(set, g.sid)
	}
}

// contains reports whether every id of other is in the set.
func (set mysqlSet) contains(other mysqlSet) bool {
	for s, list := range other {
		for _, i := range list {
			if !slices.ContainsFunc(set[s], func(have interval) bool { return have.from <= i.from && i.to <= have.to }) {
				return false
			}
		}
	}
	return true
}

func (set mysqlSet) clone() mysqlSet {
	c := make(mysqlSet, len(set))
	for s, list := range set {
		c[s] = slices.Clone(list)
	}
	return c
}

func (set mysqlSet) sorted() []sid {
	if len(set) == 1 {
		for s := range set {
			return []sid{s}
		}
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b sid) int {
		return cmp.Or(slices.Compare(a.server[:], b.server[:]), cmp.Compare(a.tag, b.tag))
	})
}

// String writes the set as the server does.
func (set mysqlSet) String() string { return string(set.appendTo(nil)) }

func (set mysqlSet) appendTo(b []byte) []byte {
	var last sid
	for i, s := range set.sorted() {
		if i == 0 || s.server != last.server {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.appendUUID(b)
		}
		last = s
		if s.tag != "" {
			b = append(append(b, ':'), s.tag...)
		}
		for _, iv := range set[s] {
			b = strconv.AppendInt(append(b, ':'), iv.from, 10)
			if iv.to > iv.from {
				b = strconv.AppendInt(append(b, '-'), iv.to, 10)
			}
		}
	}
	return b
}

// encode writes the set as the server takes it in a dump command. With tags, the count and
// each tag's length are written differently; servers before 8.3 know only the plain form.
func (set mysqlSet) encode() []byte {
	sids := set.sorted()
	tagged := slices.ContainsFunc(sids, func(s sid) bool { return s.tag != "" })
	count := uint64(len(sids))
	if tagged {
		count = 1<<56 | count<<8 | 1
	}
	le := binary.LittleEndian
	b := le.AppendUint64(nil, count)
	for _, s := range sids {
		b = append(b, s.server[:]...)
		if tagged {
			b = append(append(b, byte(len(s.tag)<<1)), s.tag...)
		}
		b = le.AppendUint64(b, uint64(len(set[s])))
		for _, i := range set[s] {
			b = le.AppendUint64(b, uint64(i.from))
			b = le.AppendUint64(b, uint64(i.to+1))
		}
	}
	return b
}

// mariaGTID is one transaction's id on MariaDB.
type mariaGTID struct {
	domain, server uint32
	number         uint64
}

func (g mariaGTID) String() string { return string(g.appendTo(make([]byte, 0, 32))) }

func (g mariaGTID) appendTo(b []byte) []byte {
	b = append(strconv.AppendUint(b, uint64(g.domain), 10), '-')
	b = append(strconv.AppendUint(b, uint64(g.server), 10), '-')
	return strconv.AppendUint(b, g.number, 10)
}

// mariaSet is how far each of MariaDB's domains has come.
type mariaSet map[uint32]mariaGTID

func parseMariaSet(text string) (mariaSet, error) {
	set := mariaSet{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		fields := strings.Split(part, "-")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%q is no transaction id", part)
		}
		domain, errD := strconv.ParseUint(fields[0], 10, 32)
		server, errS := strconv.ParseUint(fields[1], 10, 32)
		number, errN := strconv.ParseUint(fields[2], 10, 64)
		if errD != nil || errS != nil || errN != nil {
			return nil, fmt.Errorf("%q is no transaction id", part)
		}
		set[uint32(domain)] = mariaGTID{uint32(domain), uint32(server), number}
	}
	return set, nil
}

func (set mariaSet) add(g mariaGTID) { set[g.domain] = g }

// contains reports whether every domain of other is in the set and has come as far.
func (set mariaSet) contains(other mariaSet) bool {
	for domain, g := range other {
		if have, ok := set[domain]; !ok || have.number < g.number {
			return false
		}
	}
	return true
}

func (set mariaSet) String() string { return string(set.appendTo(nil)) }

func (set mariaSet) appendTo(b []byte) []byte {
	if len(set) == 1 { // as nearly always: there is nothing to sort
		for _, g := range set {
			return g.appendTo(b)
		}
	}
	for i, domain := range slices.Sorted(maps.Keys(set)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = set[domain].appendTo(b)
	}
	return b
}
