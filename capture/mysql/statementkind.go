package mysql

import (
	"bytes"
	"slices"
	"strings"
)

// Which statements in the binlog may change rows is decided by what is known not to: a server has
// more ways to say INSERT than anybody remembers, and a statement that is not known is taken for
// one that changes any table.

// effect is what a statement does to rows.
type effect byte

const (
	nothing   effect = iota // no statement at all
	harmless                // it changes no rows of tables that stay
	truncates               // it empties its table
	changes                 // it changes rows
	unknown                 // nobody here knows
)

// harmlessWords begin statements that change no rows. Of CREATE, SET and ANALYZE some do, see
// [parser.effect].
var harmlessWords = []string{"ALTER", "BACKUP", "CACHE", "CHANGE", "CHECK", "CHECKSUM", "DROP", "FLUSH", "GRANT", "IMPORT", "INSTALL", "KILL", "LOCK", "OPTIMIZE", "PURGE",
	"RELEASE", "RENAME", "REPAIR", "RESET", "REVOKE", "SHOW", "SHUTDOWN", "START", "STOP", "UNINSTALL", "UNLOCK", "USE"}

// changingWords begin statements that change rows, as far as they are known. SELECT is in the
// binlog where it calls a function that does.
var changingWords = []string{"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "DO", "VALUES", "TABLE", "CALL", "EXECUTE"}

// judged is what is known of a statement. table is the one that it changes; an empty name is any.
type judged struct {
	effect       effect
	schema, name string
}

// judge tells what a statement does. Comments that a server may carry out are carried out, unless
// what is left without them is a statement too: then both must come to the same, or it may change
// anything.
func judge(database string, text []byte, how dialect) judged {
	with := newParser(text, how, true).judge(database)
	if !bytes.Contains(text, []byte("/*!")) && !bytes.Contains(text, []byte("/*M!")) {
		return with
	}
	without := newParser(text, how, false).judge(database)
	switch {
	case with == without, without.effect == nothing, without.effect == unknown:
		return with
	case with.effect == nothing, with.effect == unknown:
		return without
	case with.effect == harmless && without.effect == harmless:
		return with
	}
	return judged{effect: changes}
}

// parser reads a statement word by word.
type parser struct {
	lexer
	word string // at hand; empty at the end
}

func newParser(text []byte, how dialect, carryOut bool) *parser {
	p := &parser{lexer: lexer{text: text, dialect: how, carryOut: carryOut}}
	p.next()
	return p
}

func (p *parser) next() { p.word = p.lexer.next() }

// is reports whether one of the words is at hand.
func (p *parser) is(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, p.word) })
}

// skip passes over words that may be there.
func (p *parser) skip(words ...string) {
	for p.is(words...) {
		p.next()
	}
}

// judge takes the statement apart.
func (p *parser) judge(database string) judged {
	p.skip(";", "(")
	for p.is("SET") { // SET STATEMENT name = value, ... FOR another statement
		p.next()
		if !p.is("STATEMENT") {
			return judged{effect: harmless}
		}
		for depth := 0; p.word != "" && (depth > 0 || !p.is("FOR")); p.next() {
			switch p.word {
			case "(":
				depth++
			case ")":
				depth--
			}
		}
		p.next()
		p.skip(";", "(")
	}
	if p.is("ANALYZE") { // of tables, or of a statement that it runs
		p.next()
		p.skip("NO_WRITE_TO_BINLOG", "LOCAL")
		if p.is("TABLE", "TABLES") {
			return judged{effect: harmless}
		}
		for p.is("FORMAT", "=", "JSON", "TRADITIONAL") {
			p.next()
		}
	}
	switch {
	case p.word == "":
		return judged{effect: nothing}
	case p.is("CREATE"):
		return p.create(database)
	case p.is("TRUNCATE"):
		p.next()
		p.skip("TABLE")
		j := p.target(database, truncates)
		if j.name == "" {
			j.effect = changes
		}
		return j
	case p.is(harmlessWords...):
		return judged{effect: harmless}
	case p.is(changingWords...):
		return p.change(database)
	}
	return judged{effect: unknown}
}

// create tells tables that are created with rows from all else.
func (p *parser) create(database string) judged {
	p.next()
	p.skip("OR", "REPLACE")
	if !p.is("TABLE") { // a temporary table is of no interest either
		return judged{effect: harmless}
	}
	p.next()
	p.skip("IF", "NOT", "EXISTS")
	j := p.target(database, harmless)
	for p.word != "" {
		word := p.word
		p.next()
		switch {
		case word == ".": // behind which any word is a name
			p.next()
		case strings.EqualFold(word, "SELECT"), strings.EqualFold(word, "TABLE"),
			strings.EqualFold(word, "VALUES") && !p.is("LESS", "IN"): // which are of partitions
			j.effect = changes
		}
	}
	if p.broken { // who knows what the text behind it is
		return judged{effect: changes}
	}
	return j
}

// change finds the table that a plain INSERT, REPLACE, UPDATE or DELETE changes.
func (p *parser) change(database string) judged {
	several := ""
	switch {
	case p.is("UPDATE"):
		several = "SET"
	case p.is("DELETE"):
		several = "WHERE"
	case !p.is("INSERT", "REPLACE"):
		return judged{effect: changes}
	}
	p.next()
	p.skip("LOW_PRIORITY", "QUICK", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO", "FROM", "HISTORY")
	j := p.target(database, changes)
	if several == "" {
		return j
	}
	for ; p.word != "" && !p.is(several); p.next() {
		if p.is(",", "JOIN", "STRAIGHT_JOIN", "USING", "FROM") {
			return judged{effect: changes} // it names several, and may change any of them
		}
	}
	return j
}

// target reads a table's name.
func (p *parser) target(database string, what effect) judged {
	any := judged{effect: what}
	if p.word == "" || !isName(p.word) {
		return any
	}
	j := judged{what, database, p.name()}
	if p.word == "." {
		p.next()
		if p.word == "" || !isName(p.word) {
			return any
		}
		j.schema, j.name = j.name, p.name()
	}
	if j.name == "" {
		return any
	}
	return j
}

// name takes the name at hand.
func (p *parser) name() string {
	name := p.word
	p.next()
	if name[0] == '`' || name[0] == '"' {
		quote := name[:1]
		name = strings.ReplaceAll(name[1:len(name)-1], quote+quote, quote)
	}
	return name
}

// isName reports whether a word may be a name. Texts in quotes are no words of the lexer's, unless
// the quotes are of names.
func isName(word string) bool {
	return word[0] == '`' || word[0] == '"' || isNameByte(word[0])
}

// dialect is what of a session decides where a text in quotes ends.
type dialect struct {
	noEscapes  bool // a backslash is one
	ansiQuotes bool // names may be in double quotes
	wide       bool // a backslash may be the second half of a character
}

// lexer splits a statement into words, names in their quotes, and single characters. Comments and
// texts are passed over; a text leaves a ' behind.
type lexer struct {
	dialect
	text     []byte
	carryOut bool // /*! and /*M! hold statements
	broken   bool // a text or comment did not end
}

// next returns the next word; empty at the end.
func (l *lexer) next() string {
	for {
		l.text = bytes.TrimLeft(l.text, " \t\r\n\v\f\x00")
		if len(l.text) == 0 {
			return ""
		}
		if l.comment() {
			continue
		}
		n := 0
		for n < len(l.text) && isNameByte(l.text[n]) {
			n++
		}
		c := l.text[0]
		switch {
		case c == '\'' || c == '"' && !l.ansiQuotes:
			l.quoted(c, !l.noEscapes)
			return "'"
		case c == '`' || c == '"':
			return string(l.quoted(c, false))
		}
		n = max(n, 1)
		word := string(l.text[:n])
		l.text = l.text[n:]
		return word
	}
}

// quoted takes what is in quotes, with them.
func (l *lexer) quoted(quote byte, escapes bool) []byte {
	for i := 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case l.wide && c > 0x80:
			i++
		case escapes && c == '\\':
			i++
		case c == quote && i+1 < len(l.text) && l.text[i+1] == quote:
			i++
		case c == quote:
			word := l.text[:i+1]
			l.text = l.text[i+1:]
			return word
		}
	}
	l.text, l.broken = nil, true
	return []byte{'\'', '\''} // no name
}

// comment passes over a comment, or over what makes its content a part of the statement.
func (l *lexer) comment() bool {
	switch t := l.text; {
	case bytes.HasPrefix(t, []byte("/*!")), bytes.HasPrefix(t, []byte("/*M!")):
		if l.carryOut {
			l.text = bytes.TrimLeft(t[bytes.IndexByte(t, '!')+1:], "0123456789")
			return true
		}
		l.text = l.text[2:]
		l.nested()
	case bytes.HasPrefix(t, []byte("/*")):
		_, rest, ok := bytes.Cut(t[2:], []byte("*/"))
		l.text, l.broken = rest, l.broken || !ok
	case bytes.HasPrefix(t, []byte("*/")): // of one that is carried out
		l.text = t[2:]
	case bytes.HasPrefix(t, []byte("#")), bytes.HasPrefix(t, []byte("--")) && (len(t) == 2 || t[2] <= ' '):
		_, l.text, _ = bytes.Cut(t, []byte("\n"))
	default:
		return false
	}
	return true
}

// nested passes over a comment that may hold comments.
func (l *lexer) nested() {
	for depth := 1; depth > 0; {
		end := bytes.Index(l.text, []byte("*/"))
		if end < 0 {
			l.text, l.broken = nil, true
			return
		}
		if begin := bytes.Index(l.text[:end], []byte("/*")); begin >= 0 {
			l.text, depth = l.text[begin+2:], depth+1
			continue
		}
		l.text, depth = l.text[end+2:], depth-1
	}
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '$' || c >= 0x80
}

// Of a query event: the codes of what it tells of its session, in their order, and bits of
// sql_mode.
const (
	queryFlags     = 0
	querySQLMode   = 1
	queryIncrement = 3
	queryCharset   = 4
	queryCatalog   = 6

	modeANSIQuotes = 1 << 2
	modeNoEscapes  = 1 << 20
)

// wideCollations are those of charsets in which a backslash may be the second half of a character:
// big5, sjis, cp932, gbk, gb18030.
var wideCollations = []uint64{1, 84, 13, 88, 95, 96, 28, 87, 248, 249, 250}

// dialectOf reads how a query event's text is to be read, as far as it tells.
func dialectOf(status []byte) dialect {
	var how dialect
	for r := (reader{b: status}); len(r.b) > 0 && !r.fail; {
		switch r.byte() {
		case queryFlags:
			r.take(4)
		case querySQLMode:
			mode := r.uint(8)
			how.ansiQuotes, how.noEscapes = mode&modeANSIQuotes != 0, mode&modeNoEscapes != 0
		case queryCatalog:
			r.take(int(r.byte()))
		case queryIncrement:
			r.take(4)
		case queryCharset:
			how.wide = slices.Contains(wideCollations, r.uint(2))
			return how
		default:
			return how
		}
	}
	return how
}
