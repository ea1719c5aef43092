package draft

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rowhook/capture"
)

// proposals are what a table's columns suggest.
type proposals struct {
	actor     string // as YAML
	operation string // a column
	secret    []string
	personal  []string
	events    []eventProposal
}

// eventProposal is an event beside the record events.
type eventProposal struct{ typ, rule, note string }

// propose looks at names, types and constraints. It proposes only what the stream can decide.
func propose(l capture.Listing) proposals {
	var p proposals
	t := l.Table
	p.actor, p.operation = actorOf(t)
	for i, column := range t.Columns {
		switch {
		case slices.Contains(t.Key, i) || column.Identity && t.Identity == capture.IdentityIndex:
		case isSecret(column.Name):
			p.secret = append(p.secret, column.Name)
		case isPersonal(column.Name):
			p.personal = append(p.personal, column.Name)
		}
	}
	if t.Identity != capture.IdentityFull && (t.FullSQL == "" || t.NoFull != "") || t.WholeRows != "" {
		return p // no rule may look at old values
	}
	note := ""
	if t.Identity != capture.IdentityFull {
		note = "; needs whole old rows"
	}
	n := &namer{subject: subjectOf(t.Name), taken: map[string]bool{}}
	candidates := func(each func(i int, column capture.Column)) {
		for i, column := range t.Columns {
			if column.Omitted == "" && !slices.Contains(t.Key, i) {
				each(i, column)
			}
		}
	}
	candidates(func(i int, column capture.Column) {
		if l.Facts[i].Nullable && isMoment(column) {
			p.events = append(p.events, eventProposal{
				typ: n.name(past(column.Name), column.Name+"_set", wordOf(column, i)+"_set"), rule: "{op: update, set: " + scalar(column.Name) + "}",
				note: "NULL before, a value now" + note,
			})
		}
	})
	candidates(func(i int, column capture.Column) {
		for k, label := range labelsOf(column, l.Facts[i]) {
			rule := "{op: update, becomes: {" + text(column.Name) + ": " + scalar(label) + "}"
			if plainWord(label) == "" && label != "" { // its type cannot say it, and receivers may show this
				rule += ", as: {desc: " + scalar(label) + "}"
			}
			p.events = append(p.events, eventProposal{
				typ:  n.name(label, column.Name+"_"+label, fmt.Sprintf("%s_%d", wordOf(column, i), k+1)),
				rule: rule + "}", note: "another value before" + note,
			})
		}
	})
	return p
}

// labelsOf lists the values of a column that are states.
func labelsOf(c capture.Column, facts capture.ColumnFacts) []string {
	labels := facts.Labels
	if len(labels) == 0 && c.Type.Kind != capture.List {
		labels = c.Type.Labels
	}
	if len(labels) > maxLabels {
		return nil
	}
	return labels
}

// maxLabels is how many values a column may have that each get an event: more are codes, not states.
const maxLabels = 20

// namer gives event types that differ from each other, in one table.
type namer struct {
	subject string
	taken   map[string]bool
}

// name makes a type of the first of the words that leaves something and is not taken.
func (n *namer) name(words ...string) string {
	for number := 1; ; number++ {
		word := fmt.Sprintf("change_%d", number)
		if number <= len(words) {
			word = plainWord(words[number-1])
		}
		typ := n.subject + "." + word
		if word != "" && !n.taken[typ] {
			n.taken[typ] = true
			return typ
		}
	}
}

// subjectOf is what the rows of a table are called in event types: its name, in the singular where
// English makes that plain.
func subjectOf(table string) string {
	word := plainWord(table)
	switch {
	case word == "" || word == "rowhook" || word == "record":
		return "row"
	case strings.HasSuffix(word, "ies") && len(word) > 4:
		word = strings.TrimSuffix(word, "ies") + "y"
	case strings.HasSuffix(word, "sses"), strings.HasSuffix(word, "xes"), strings.HasSuffix(word, "ches"), strings.HasSuffix(word, "shes"):
		word = strings.TrimSuffix(word, "es")
	case strings.HasSuffix(word, "ss"), strings.HasSuffix(word, "us"), strings.HasSuffix(word, "is"), len(word) < 4:
	default:
		word = strings.TrimSuffix(word, "s")
	}
	if word == "rowhook" || word == "record" {
		return "row"
	}
	return word
}

var (
	camel    = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	notPlain = regexp.MustCompile(`[^a-z0-9]+`)
)

// plainWord writes a name with small letters, digits and underscores alone; it is empty where letters
// of other scripts would be lost.
func plainWord(name string) string {
	for _, r := range name {
		if r >= 0x80 {
			return ""
		}
	}
	return strings.Trim(notPlain.ReplaceAllString(strings.ToLower(camel.ReplaceAllString(name, "${1}_$2")), "_"), "_")
}

// wordOf is a column's name in event types, or its place in the table where letters of other scripts
// would be lost. Types have no others.
func wordOf(c capture.Column, place int) string {
	if word := plainWord(c.Name); word != "" {
		return word
	}
	return fmt.Sprintf("column_%d", place+1)
}

// momentWords end the names of columns that say when something happened.
var momentWords = []string{"at", "on", "date", "time", "datetime", "timestamp", "ts"}

// past is what happened, by the name of the column that says when: returned_at is returned.
func past(column string) string {
	parts := strings.Split(plainWord(column), "_")
	if n := len(parts); n > 1 && slices.Contains(momentWords, parts[n-1]) {
		parts = parts[:n-1]
	}
	return strings.Join(parts, "_")
}

// housekeeping are the first words of times that say nothing of what a row is about.
var housekeeping = []string{"updated", "modified", "changed", "created", "inserted", "touched", "last", "update", "modify", "create", "insert", "indexed", "synced"}

// isMoment reports whether a column says when something happened to the row, once.
func isMoment(c capture.Column) bool {
	parts := strings.Split(plainWord(c.Name), "_")
	if slices.Contains(housekeeping, parts[0]) {
		return false
	}
	switch c.Type.Kind {
	case capture.Instant, capture.DateTime:
		return true
	case capture.Date:
		return len(parts) > 1 && slices.Contains(momentWords, parts[len(parts)-1]) && parts[0] != "birth"
	}
	return false
}

// editors are the words before _by of columns that name who changed a row last, likeliest first.
var editors = []string{"updated", "modified", "changed", "edited", "last_updated", "last_modified", "last_changed"}

// actorOf finds the columns that say who changed a row last, and how.
func actorOf(t *capture.Table) (actor, operation string) {
	columns := map[string]string{} // by their plain words
	for _, c := range t.Columns {
		if c.Type.Kind == capture.Text || c.Type.Kind == capture.Integer || c.Type.Kind == capture.Bigint {
			columns[plainWord(c.Name)] = c.Name
		}
	}
	first := func(words ...string) string {
		for _, word := range words {
			if name := columns[word]; name != "" {
				return name
			}
		}
		return ""
	}
	for _, word := range editors {
		id := first(word+"_by", word+"_by_id", word+"_user", word+"_user_id")
		if id != "" && actor == "" {
			actor = "{id: " + scalar(id)
			if name := first(word+"_by_name", word+"_user_name", word+"_name"); name != "" {
				actor += ", name: " + scalar(name)
			}
			actor += "}"
		}
		if operation == "" {
			operation = first(word + "_via")
		}
	}
	return actor, operation
}

// secretWords are in the names of columns that hold secrets, personalWords in those that tell of
// people.
var (
	secretWords   = []string{"password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "apikey", "api_key", "private_key", "salt", "password_hash", "passwordhash", "otp"}
	personalWords = []string{"email", "emails", "mail", "phone", "phones", "telephone", "mobile", "fax", "birthday", "birthdate", "birth", "dob", "ssn", "address", "addresses", "passport"}
)

func isSecret(column string) bool { return hasWord(column, secretWords) }

func isPersonal(column string) bool { return hasWord(column, personalWords) }

func hasWord(column string, words []string) bool {
	name := "_" + plainWord(column) + "_"
	return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(name, "_"+word+"_") })
}
