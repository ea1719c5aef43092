package draft

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// plain is what YAML takes for a text without quotes, in a map, a list and for a key.
var plain = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

// words are those that YAML, in one of its versions, takes for something else than a text.
var words = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}

// text writes a text as YAML takes it back, in quotes where it has to be. Keys are written so: the
// config replaces nothing in them.
func text(s string) string {
	if plain.MatchString(s) && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s) // whose escapes are all YAML's
}

// scalar writes a text as a value, in which the config would take ${NAME} for a variable.
func scalar(s string) string { return text(strings.ReplaceAll(s, "$", "$$")) }

// list writes texts as the items of a list.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = scalar(s)
	}
	return strings.Join(quoted, ", ")
}

// address is what YAML takes for a text without quotes where a block's value stands: most URLs and
// paths.
var address = regexp.MustCompile(`^[A-Za-z./$][A-Za-z0-9_.:/@?=&%+,~${}-]*$`)

// value writes a setting as it is meant: a variable that it names stays one.
func value(s string) string {
	if address.MatchString(s) && !strings.HasSuffix(s, ":") && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}

// comment writes a text for a comment, in which nothing ends the line.
func comment(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
