package config

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// syntaxRemedies say what usually is behind a message of yaml.v3.
var syntaxRemedies = map[string]string{
	"did not find expected key":                              "the indentation does not fit the lines above, or a : is missing",
	"could not find expected ':'":                            "a : is missing, or the indentation does not fit the lines above",
	"did not find expected '-' indicator":                    "the indentation does not fit the list above",
	"mapping values are not allowed in this context":         "text with \": \" in it needs quotes; a map begins on a line of its own",
	"did not find expected ',' or '}'":                       "a { is not closed, or a comma is missing",
	"did not find expected ',' or ']'":                       "a [ is not closed, or a comma is missing",
	"found incompatible YAML document":                       "the line %YAML names another version than 1.1: take it out",
	"found unexpected end of stream":                         "a quote is not closed",
	"found character that cannot start any token":            "text that begins with @, ` or % needs quotes",
	"block sequence entries are not allowed in this context": "a list begins on a line of its own",
}

var (
	yamlLine      = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxError gives an error of yaml.v3 its place. yaml.v3 tells lines at most, and often the one
// where the map or list around the mistake begins.
func syntaxError(file string, data []byte, err error) *configError {
	parts := yamlLine.FindStringSubmatch(err.Error())
	e := &configError{file: file, line: 1, column: 1, text: parts[2], remedy: syntaxRemedies[parts[2]]}
	lines := strings.SplitAfter(string(data), "\n")
	if anchor := unknownAnchor.FindStringSubmatch(e.text); anchor != nil {
		// Neither is named: a secret without quotes may begin with *.
		e.text, e.remedy = "there is no anchor for this alias before it", "a text that begins with * needs quotes"
		for i, line := range lines {
			if at := strings.Index(line, "*"+anchor[1]); at >= 0 {
				e.line, e.column = i+1, at+1
				return e
			}
		}
	}
	if number, err := strconv.Atoi(parts[1]); err == nil {
		e.line = mistakenLine(lines, max(1, min(number, len(lines))))
	}
	rest := strings.TrimLeft(lines[e.line-1], " \t")
	indent := lines[e.line-1][:len(lines[e.line-1])-len(rest)]
	e.column = len(indent) + 1
	if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
		e.column, e.remedy = tab+1, "YAML is indented with spaces, never with tabs"
	}
	return e
}

// mistakenLine returns the line after the longest beginning of the file that is good YAML, looking
// from the line before told on, and told when there is none.
func mistakenLine(lines []string, told int) int {
	const far = 400 // lines; a parse for each has to be worth it
	mistaken := told
	for end := max(told-1, 1); end < min(len(lines), told+far); end++ {
		var document yaml.Node
		head := strings.Join(lines[:end], "")
		if yaml.NewDecoder(bytes.NewReader([]byte(head))).Decode(&document) == nil {
			mistaken = end + 1
		}
	}
	return mistaken
}
