package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"rowhook/delivery"
)

// templateFuncs are the functions that templates have besides text/template's own, of which those that write texts are bounded:
//
//	json V           V as JSON: quotes and escapes texts
//	default D V      V, or D where V is empty, NULL or not there
//	upper V, lower V
//	join SEP LIST    the list's values with SEP between them
//	truncate N V     the first N characters
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) { return boundText(string(appendPlain(nil, v))) },
		"default": func(otherwise, v any) any {
			if v == nil || shown(v) == "" {
				return otherwise
			}
			return v
		},
		"upper": func(v any) string { return strings.ToUpper(shown(v)) },
		"lower": func(v any) string { return strings.ToLower(shown(v)) },
		"join": func(separator string, list any) (string, error) {
			values, ok := list.([]any)
			if !ok {
				return "", errors.New("join takes a list")
			}
			texts := make([]string, len(values))
			for i, v := range values {
				texts[i] = shown(v)
			}
			return boundText(strings.Join(texts, separator))
		},
		"truncate": func(n int, v any) string {
			text := shown(v)
			if n < 0 || utf8.RuneCountInString(text) <= n {
				return text
			}
			return string([]rune(text)[:n])
		},
		"printf":   boundedPrintf,
		"print":    func(args ...any) (string, error) { return boundText(fmt.Sprint(shownAll(args)...)) },
		"println":  func(args ...any) (string, error) { return boundText(fmt.Sprintln(shownAll(args)...)) },
		showFunc:   shown,
		memberFunc: memberOf,
	}
}

// showFunc is put behind every value that a template writes, memberFunc in place of chains of fields.
const (
	showFunc   = "_show"
	memberFunc = "_member"
)

// memberOf follows a chain of fields. What is NULL or not there has no members: it is nothing, no fault.
func memberOf(v any, names ...string) (any, error) {
	for _, name := range names {
		switch object := v.(type) {
		case nil:
			return nil, nil
		case map[string]any:
			v = object[name]
		default:
			return nil, fmt.Errorf("%s: not a member of an object", name)
		}
	}
	return v, nil
}

// shown is a value as templates write it: nothing for NULL and what is not there, objects and lists as JSON.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case number:
		return string(v)
	case map[string]any, []any:
		return string(appendPlain(nil, v))
	}
	return fmt.Sprint(v)
}

// shownAll has print and its kin see as texts what templates write as texts.
func shownAll(args []any) []any {
	for i, v := range args {
		switch v.(type) {
		case nil, map[string]any, []any:
			args[i] = shown(v)
		}
	}
	return args
}

// appendPlain appends a template's value as JSON, with the names of objects in order.
func appendPlain(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case string:
		return delivery.AppendJSONString(dst, v)
	case number:
		return append(dst, v...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case []any:
		dst = append(dst, '[')
		for i, member := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendPlain(dst, member)
		}
		return append(dst, ']')
	case map[string]any:
		var room [32]string
		names := room[:0]
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		dst = append(dst, '{')
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(delivery.AppendJSONString(dst, name), ':')
			dst = appendPlain(dst, v[name])
		}
		return append(dst, '}')
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return delivery.AppendJSONString(dst, fmt.Sprint(v))
	}
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// wideVerb is a verb whose width or precision could make a huge text.
var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*(\*|[0-9]{4})`)

func boundedPrintf(format string, args ...any) (string, error) {
	if wideVerb.MatchString(format) {
		return "", errors.New("printf: widths go up to 999")
	}
	return boundText(fmt.Sprintf(format, shownAll(args)...))
}

func boundText(text string) (string, error) {
	if len(text) > maxTemplateText {
		return "", errRunaway
	}
	return text, nil
}
