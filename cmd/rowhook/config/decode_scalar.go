package config

import (
	"errors"
	"math"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
)

// scalar decodes text, numbers and the like, and values with a notation of their own.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f *field) {
	custom, isCustom := v.Addr().Interface().(scalarUnmarshaler)
	if _, isLiteral := custom.(*delivery.Literal); isLiteral && n.Kind == yaml.MappingNode {
		d.refuseComparison(n)
		return
	}
	if n.Kind != yaml.ScalarNode || isNull(n) && !isCustom {
		d.refuse(n, "expected %s, got %s", notation(v.Type(), f), describe(n, f))
		return
	}
	text, fromEnv, ok := d.expand(n, f)
	if !ok {
		return
	}
	if isCustom {
		if err := custom.UnmarshalScalar(text, isNull(n)); err != nil {
			d.refuse(n, "%s", hideIn(err.Error(), d.hidden))
		}
		if q, ok := custom.(quotedSetter); ok {
			q.SetQuoted(n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0)
		}
		return
	}
	if f.secret && !f.public && text != "" {
		d.hidden = append(d.hidden, text)
		if !fromEnv {
			d.inline = append(d.inline, [2]int{n.Line, n.Column})
		}
	}
	if f.url() {
		d.urlSecret(n, text)
	}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && !fromEnv
	near, ok := d.set(v, text, quoted, f)
	if ok {
		return
	}
	if slices.Contains(f.laterEnum, text) {
		d.refuse(n, "%s is not in this version of rowhook, which has %s", describe(n, f), oneOf(f.enum))
		return
	}
	if fromEnv {
		near = "" // it would show the value
	}
	d.refuse(n, "expected %s, got %s%s", notation(v.Type(), f), describe(n, f), near)
}

// expand replaces ${NAME} in a scalar.
func (d *decoder) expand(n *yaml.Node, f *field) (text string, fromEnv, ok bool) {
	env := d.env
	if d.known != nil && !d.known[n] {
		env = guestEnv(env)
	}
	text, values, err := expandEnv(n.Value, env, f.url())
	var unset *unsetError
	if errors.As(err, &unset) && f.sensitive() && !unset.certain(n.Value, f.url() || f.secretMap) {
		err = errors.New("there is a ${…} in it that is not a variable's that is set; a dollar sign before { is written $$")
	}
	if err != nil {
		d.refuse(n, "%s", err)
		return "", false, false
	}
	d.hidden = append(d.hidden, values...)
	return text, len(values) > 0, true
}

// urlPassword finds what may be a password in a URL, also in one that is not well formed.
var urlPassword = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^:@/]*:(.+)@`)

// urlSecret notes the password that a URL may hold.
func (d *decoder) urlSecret(n *yaml.Node, text string) {
	parts := urlPassword.FindStringSubmatch(text)
	if parts == nil {
		return
	}
	d.hidden = append(d.hidden, text, parts[1])
	u, err := url.Parse(text)
	if err != nil {
		return
	}
	if password, given := u.User.Password(); given {
		d.hidden = append(d.hidden, password)
		if !strings.Contains(n.Value, "${") {
			d.inline = append(d.inline, [2]int{n.Line, n.Column})
		}
	}
}

// set gives v the value that text says. If it cannot, near may ask what was meant.
func (d *decoder) set(v reflect.Value, text string, quoted bool, f *field) (near string, ok bool) {
	if len(f.enum) > 0 && !slices.Contains(f.enum, text) {
		return spelling.DidYouMean(text, f.enum), false
	}
	switch v.Interface().(type) {
	case time.Duration:
		value, near, ok := ParseDuration(text)
		v.SetInt(int64(value))
		return near, ok
	case time.Time:
		value, err := time.Parse(time.RFC3339, text)
		v.Set(reflect.ValueOf(value))
		return "", err == nil
	case delivery.Percent:
		value, near, ok := parsePercent(text)
		v.SetFloat(value)
		return near, ok
	}
	if f.size {
		value, near, ok := parseSize(text)
		v.SetInt(value)
		return near, ok
	}
	if f.rate {
		if !isRate(text) {
			return meantRate(text), false
		}
		v.SetString(text)
		return "", true
	}
	return d.setPlain(v, text, quoted, f)
}

const withoutQuotes = "; did you mean it without quotes?"

// boolWords are other words for true and false, of YAML 1.1 and of people.
var boolWords = map[string]string{
	"yes": "true", "on": "true", "true": "true", "y": "true", "1": "true",
	"no": "false", "off": "false", "false": "false", "n": "false", "0": "false",
}

// setPlain sets text, booleans and numbers. Text in quotes is neither of the latter.
func (d *decoder) setPlain(v reflect.Value, text string, quoted bool, f *field) (near string, ok bool) {
	var err error
	switch v.Kind() {
	case reflect.String:
		if f.path && text != "" && !filepath.IsAbs(text) {
			text = filepath.Join(d.dir, text)
		}
		v.SetString(text)
		return "", true
	case reflect.Bool:
		v.SetBool(text == "true")
		if text == "true" || text == "false" {
			return withoutQuotes, !quoted
		}
		return spelling.Ask(boolWords[strings.ToLower(text)]), false
	case reflect.Float64:
		var value float64
		value, err = strconv.ParseFloat(text, 64)
		v.SetFloat(value)
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return "", false
		}
	default:
		var value int64
		value, err = strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(value)
	}
	if err == nil && quoted {
		return withoutQuotes, false
	}
	if errors.Is(err, strconv.ErrRange) {
		return ", which is too large", false
	}
	return "", err == nil
}

var durationPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ms|s|m|h|d)`)

// ParseDuration reads durations such as 500ms, 1h30m and 30d, and 0. near proposes what was meant
// instead of a text that is none.
func ParseDuration(text string) (d time.Duration, near string, ok bool) {
	if text == "0" {
		return 0, "", true
	}
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	var sum float64
	for rest := text; ; {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			return 0, meantDuration(text), false
		}
		number, _ := strconv.ParseFloat(part[1], 64)
		sum += number * float64(units[part[2]])
		if sum > math.MaxInt64/2 {
			return 0, ", which is too long", false
		}
		if rest = rest[len(part[0]):]; rest == "" {
			return time.Duration(math.Round(sum)), "", true
		}
	}
}

var looseDuration = regexp.MustCompile(`(?i)^(\d+)\s*(seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|w|msecs?|milliseconds?|[smhd]|)$`)

// meantDuration asks whether a duration with another unit, or none, was meant.
func meantDuration(text string) string {
	parts := looseDuration.FindStringSubmatch(text)
	if parts == nil {
		return ""
	}
	unit := strings.ToLower(parts[2])
	switch {
	case unit == "":
		unit = "s"
	case strings.HasPrefix(unit, "ms"), strings.HasPrefix(unit, "milli"):
		unit = "ms"
	case unit[0] == 'w':
		weeks, err := strconv.ParseInt(parts[1], 10, 32)
		if err != nil {
			return ""
		}
		parts[1], unit = strconv.FormatInt(weeks*7, 10), "d"
	default:
		unit = unit[:1]
	}
	word := parts[1] + unit
	if _, _, ok := ParseDuration(word); !ok {
		return "" // too long
	}
	return spelling.Ask(word)
}

var (
	sizeNotation = regexp.MustCompile(`^(\d{1,18})(B|KiB|MiB|GiB|TiB)$`)
	looseSize    = regexp.MustCompile(`(?i)^(\d{1,18})\s*([kmgt]?)i?b?$`)
)

// parseSize reads sizes such as 100B, 64MiB and 10GiB, and 0, in bytes.
func parseSize(text string) (size int64, near string, ok bool) {
	if text == "0" {
		return 0, "", true
	}
	parts := sizeNotation.FindStringSubmatch(text)
	if parts == nil {
		if loose := looseSize.FindStringSubmatch(text); loose != nil {
			unit := strings.ToUpper(loose[2])
			if unit != "" {
				unit += "i"
			}
			word := loose[1] + unit + "B"
			if _, _, ok := parseSize(word); ok {
				near = spelling.Ask(word)
			}
		}
		return 0, near, false
	}
	number, _ := strconv.ParseInt(parts[1], 10, 64)
	factor := map[string]int64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[parts[2]]
	if number > math.MaxInt64/factor {
		return 0, ", which is too large", false
	}
	return number * factor, "", true
}

func isRate(text string) bool {
	_, err := delivery.ParseRate(text)
	return err == nil
}

// meantRate asks whether so many a second were meant.
func meantRate(text string) string {
	if perSecond := text + "/s"; isRate(perSecond) {
		return spelling.Ask(perSecond)
	}
	return ""
}

var percentNotation = regexp.MustCompile(`^(\d{1,3}(?:\.\d{1,6})?)(%?)$`)

// parsePercent reads 0% to 100% as a fraction.
func parsePercent(text string) (share float64, near string, ok bool) {
	parts := percentNotation.FindStringSubmatch(text)
	if parts == nil {
		return 0, "", false
	}
	number, _ := strconv.ParseFloat(parts[1], 64)
	switch {
	case number > 100:
		return 0, ", which is more than 100%", false
	case parts[2] == "" && number > 0 && number < 1:
		return 0, spelling.Ask(strconv.FormatFloat(math.Round(number*1e6)/1e4, 'f', -1, 64) + "%"), false
	case parts[2] == "":
		return 0, spelling.Ask(parts[1] + "%"), false
	}
	return number / 100, "", true
}
