package config

import (
	"fmt"
	"regexp"
	"strings"
)

// expandEnv replaces ${NAME} and ${NAME:-default} by the variable's value and $$ by a dollar sign;
// any other dollar sign stays. A variable that is not set and has no default is an error; the
// default also stands in for an empty one, as in a shell. In a URL the values are percent-encoded,
// except where the reference opens the text and so brings the scheme along.
//
// values are the replaced values, for [Config.hide].
func expandEnv(text string, env func(string) (string, bool), url bool) (out string, values []string, err error) {
	if !strings.Contains(text, "$") {
		return text, nil, nil
	}
	var b strings.Builder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), values, nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			rest = after[1:]
		case strings.HasPrefix(after, "{"):
			reference, following, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", nil, fmt.Errorf("${ without its }; a plain dollar sign before { is written $$")
			}
			value, err := lookUpEnv(reference, env)
			if err != nil {
				return "", nil, err
			}
			if value != "" {
				values = append(values, value)
			}
			if url && b.Len() > 0 {
				value = percentEncode(value)
			}
			b.WriteString(value)
			rest = following
		default:
			b.WriteByte('$')
			rest = after
		}
	}
}

// ExpandURL replaces the variables in a URL as the config's URLs have them replaced.
func ExpandURL(raw string, env func(string) (string, bool)) (string, error) {
	expanded, _, err := expandEnv(raw, env, true)
	return expanded, err
}

// lookUpEnv returns the value for the inside of ${…}.
func lookUpEnv(reference string, env func(string) (string, bool)) (string, error) {
	name, fallback, hasFallback := strings.Cut(reference, ":-")
	if !isEnvName(name) {
		return "", fmt.Errorf("${…} takes the name of an environment variable, as in ${NAME} or ${NAME:-default}")
	}
	value, set := env(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !set:
		return "", &unsetError{name}
	}
	return value, nil
}

// unsetError says that there is no environment variable of that name.
type unsetError struct{ name string }

func (e *unsetError) Error() string {
	return fmt.Sprintf("the environment variable %s is not set; ${%s:-default} gives a default", e.name, e.name)
}

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)

// certain reports whether a reference in a secret is one, and not by chance in the secret itself:
// it is named as variables are, and is all there is, unless the text is one that secrets are put
// into.
func (e *unsetError) certain(text string, part bool) bool {
	return variableName.MatchString(e.name) && (part || text == "${"+e.name+"}")
}

func isEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// percentEncode encodes all but the unreserved characters of RFC 3986, so that the
// value stays one part of the URL wherever it stands.
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
