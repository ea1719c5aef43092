package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"rowhook/delivery"
)

// funcs are the functions that templates have besides text/template's own, of which those that write texts are bounded
// (docs/templates.md lists them for users):
//
//	json V           V as JSON: quotes and escapes texts
//	default D V      V, or D where V is empty, NULL or not there
//	upper V, lower V
//	join SEP LIST    the list's values with SEP between them
//	truncate N V     the first N characters
func (r *run) funcs() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) { return r.jsonText(v) },
		"default": func(otherwise, v any) any {
			if v == nil || shown(v) == "" {
				return otherwise
			}
			return v
		},
		"upper":    func(v any) (string, error) { return r.escaped(strings.ToUpper, v) },
		"lower":    func(v any) (string, error) { return r.escaped(strings.ToLower, v) },
		"html":     func(args ...any) (string, error) { return r.escaped(template.HTMLEscapeString, args...) },
		"js":       func(args ...any) (string, error) { return r.escaped(template.JSEscapeString, args...) },
		"urlquery": func(args ...any) (string, error) { return r.escaped(url.QueryEscape, args...) },
		"join":     r.join,
		"truncate": r.truncate,
		"printf":   r.printf,
		"print":    func(args ...any) (string, error) { return r.print(fmt.Sprint, args) },
		"println":  func(args ...any) (string, error) { return r.print(fmt.Sprintln, args) },
		seenFunc:   r.seen,
		showFunc:   r.show,
		memberFunc: memberOf,
	}
}

// show is a value as it is written.
func (r *run) show(v any) (string, error) {
	if text, ok := v.(string); ok {
		return text, nil // its writing is counted
	}
	text := shown(v)
	return text, r.makes(len(text))
}

// seen takes account of a value that is compared.
func (r *run) seen(v any) (any, error) {
	return v, r.looks(sizeOf(v))
}

// sizeOf is the length of a value that is a text or a number, else 0.
func sizeOf(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case number:
		return len(v)
	case digits:
		return len(v)
	}
	return 0
}

// texts are values as they are written, which print and its kin put together. Together they are not
// longer than may be.
func (r *run) texts(args []any, most int) ([]any, error) {
	sum := 0
	for i, v := range args {
		switch v.(type) {
		case nil, map[string]any, []any:
			text := shown(v)
			args[i] = text
			sum += len(text)
		default:
			sum += sizeOf(v)
		}
	}
	if sum > most {
		return nil, errRunaway
	}
	return args, r.makes(sum)
}

// escaped applies a function to a text that it may make longer, several times over.
func (r *run) escaped(escape func(string) string, args ...any) (string, error) {
	args, err := r.texts(args, maxTemplateEscaped)
	if err != nil {
		return "", err
	}
	text, plain := "", false
	if len(args) == 1 {
		text, plain = args[0].(string)
	}
	if !plain {
		text = fmt.Sprint(args...)
	}
	text = escape(text)
	return text, r.makes(len(text))
}

func (r *run) print(print func(...any) string, args []any) (string, error) {
	args, err := r.texts(args, maxTemplateText)
	if err != nil {
		return "", err
	}
	return r.bound(print(args...))
}

func (r *run) jsonText(v any) (string, error) {
	if text, ok := v.(string); ok && len(text) > maxTemplateText {
		return "", errRunaway
	}
	return r.bound(string(appendPlain(nil, v)))
}

func (r *run) join(separator string, list any) (string, error) {
	values, ok := list.([]any)
	if !ok {
		return "", errors.New("join takes a list")
	}
	texts, sum := make([]string, len(values)), len(separator)*len(values)
	for i, v := range values {
		texts[i] = shown(v)
		sum += len(texts[i])
	}
	if sum > maxTemplateText+len(separator) {
		return "", errRunaway
	}
	return r.bound(strings.Join(texts, separator))
}

func (r *run) truncate(n int, v any) (string, error) {
	text, err := r.show(v)
	if err != nil || n < 0 {
		return text, err
	}
	for i := range text {
		if n == 0 {
			text = text[:i]
			break
		}
		n--
	}
	return text, r.looks(len(text))
}

// showFunc is put behind every value that a template writes, seenFunc before what is compared,
// memberFunc in place of chains of fields.
const (
	showFunc   = "_show"
	seenFunc   = "_seen"
	memberFunc = "_member"
)

// memberOf follows a chain of fields. What is NULL or not there has no members: it is nothing, no
// fault.
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

// shown is a value as templates write it: nothing for NULL and what is not there, objects and lists
// as JSON.
func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case number:
		return string(v)
	case digits:
		return string(v)
	case map[string]any, []any:
		return string(appendPlain(nil, v))
	}
	return fmt.Sprint(v)
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
	case digits:
		return delivery.AppendJSONString(dst, string(v))
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

// Bounds of what one verb of printf gives: its width, and of each byte of its argument, which %q
// writes as \U0010ffff at worst.
const (
	widestVerb   = 999
	longestQuote = 10
)

// cuttingVerb only makes a text shorter.
var cuttingVerb = regexp.MustCompile(`%\.[0-9]{1,6}s`)

func (r *run) printf(format string, args ...any) (string, error) {
	if len(format) > maxTemplateText {
		return "", errRunaway
	}
	if wideVerb.MatchString(cuttingVerb.ReplaceAllLiteralString(format, "")) {
		return "", errors.New("printf: widths go up to 999; %.1024s cuts a text, as truncate 1024 does")
	}
	args, err := r.texts(args, maxTemplateText)
	if err != nil {
		return "", err
	}
	verbs, sum, longest := strings.Count(format, "%"), 0, 0
	for _, v := range args {
		n := sizeOf(v)
		sum, longest = sum+n, max(longest, n)
	}
	if strings.Contains(format, "[") { // a verb may name its argument, so that each may give the longest one
		sum = verbs * longest
	}
	if verbs*widestVerb+longestQuote*sum > maxTemplateMade {
		return "", errRunaway
	}
	return r.bound(fmt.Sprintf(format, args...))
}

// bound takes account of a text that a function gives.
func (r *run) bound(text string) (string, error) {
	if len(text) > maxTemplateText {
		return "", errRunaway
	}
	return text, r.makes(len(text))
}
