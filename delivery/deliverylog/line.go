package deliverylog

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

// Bounds of what one line keeps of texts that others wrote, in characters.
const (
	maxLogError    = 1000
	maxLogResponse = 1000
)

// AppendLine appends a record as one line of the delivery log, without the newline.
// body is how many characters of the body are kept unless the record says otherwise. Where that is
// none, the line keeps no row data at all: no key, and nothing that the receiver wrote, who may
// repeat what was sent.
func AppendLine(dst []byte, r *delivery.LogRecord, body int) []byte {
	if r.BodyLimit != 0 {
		body = r.BodyLimit
	}
	bare := body <= 0
	l := logLine{append(dst, `{"v":1,"time":`...)}
	l.dst = delivery.AppendJSONTime(l.dst, r.Time)
	l.text(`,"profile":`, r.Profile)
	l.text(`,"outcome":`, string(r.Outcome))
	l.text(`,"event":`, r.Event)
	l.text(`,"type":`, r.Type)
	l.text(`,"table":`, r.Table)
	if !bare {
		l.object(`,"key":`, r.Key)
	}
	l.text(`,"position":`, r.Position)
	l.text(`,"unit":`, r.Unit)
	l.number(`,"count":`, r.Count)
	l.text(`,"first":`, r.First)
	l.text(`,"last":`, r.Last)
	l.number(`,"attempt":`, r.Attempt)
	if r.Round > 1 {
		l.number(`,"round":`, r.Round)
	}
	if r.Epoch != 0 {
		l.dst = strconv.AppendUint(append(l.dst, `,"epoch":`...), r.Epoch, 10)
	}
	l.text(`,"method":`, r.Method)
	l.text(`,"url":`, r.URL)
	l.number(`,"status":`, r.Status)
	l.millis(`,"duration_ms":`, r.Duration)
	l.text(`,"reason":`, r.Reason)
	errorText := r.Error
	if bare && r.Location != "" {
		errorText = strings.ReplaceAll(errorText, r.Location, originOf(r.Location))
	}
	errorText, _ = cutText(errorText, maxLogError)
	l.text(`,"error":`, errorText)
	l.list(`,"flags":`, r.Flags)
	l.time(`,"next_attempt":`, r.NextAttempt)
	l.number(`,"bytes":`, r.Bytes)
	if !bare {
		l.body(r, body)
		l.response(r.Response)
	}
	return append(l.dst, '}')
}

// originOf returns a URL without its path.
func originOf(location string) string {
	scheme, rest, ok := strings.Cut(location, "://")
	if !ok {
		return "elsewhere"
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	return scheme + "://" + host
}

// logLine appends members to a line, leaving out what is empty.
type logLine struct {
	dst []byte
}

func (l *logLine) text(member, value string) {
	if value != "" {
		l.dst = append(l.dst, member...)
		l.dst = delivery.AppendJSONString(l.dst, value)
	}
}

func (l *logLine) number(member string, value int) {
	if value != 0 {
		l.dst = append(l.dst, member...)
		l.dst = strconv.AppendInt(l.dst, int64(value), 10)
	}
}

func (l *logLine) object(member string, value []byte) {
	if len(value) > len("{}") {
		l.dst = append(l.dst, member...)
		l.dst = append(l.dst, value...)
	}
}

func (l *logLine) time(member string, value time.Time) {
	if !value.IsZero() {
		l.dst = append(l.dst, member...)
		l.dst = delivery.AppendJSONTime(l.dst, value)
	}
}

// millis appends a duration in milliseconds with three decimals.
func (l *logLine) millis(member string, value time.Duration) {
	micros := value.Microseconds()
	if micros <= 0 {
		return
	}
	l.dst = append(l.dst, member...)
	l.dst = strconv.AppendInt(l.dst, micros/1000, 10)
	rest := micros % 1000
	l.dst = append(l.dst, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}

func (l *logLine) list(member string, values []string) {
	for i, v := range values {
		if i == 0 {
			l.dst = append(l.dst, member...)
			l.dst = append(l.dst, '[')
		} else {
			l.dst = append(l.dst, ',')
		}
		l.dst = delivery.AppendJSONString(l.dst, v)
	}
	if len(values) > 0 {
		l.dst = append(l.dst, ']')
	}
}

// body appends as much of the body as is kept, and says whether that is all of it.
func (l *logLine) body(r *delivery.LogRecord, limit int) {
	if len(r.Body) == 0 {
		return
	}
	kept, cut := cutText(r.Body, limit)
	if !cut && len(kept) < r.Bytes { // it was streamed: this is only its start
		kept, cut = trimPartialRune(kept), true
	}
	l.dst = append(l.dst, `,"body":`...)
	l.dst = delivery.AppendJSONString(l.dst, kept)
	if cut {
		l.dst = append(l.dst, `,"body_truncated":true`...)
	}
}

func (l *logLine) response(reply []byte) {
	if kept, _ := cutText(trimPartialRune(reply), maxLogResponse); len(kept) > 0 {
		l.dst = append(l.dst, `,"response":`...)
		l.dst = delivery.AppendJSONString(l.dst, kept)
	}
}

// cutText returns the first max characters of s and whether something was left out.
// It never cuts inside a character.
func cutText[S ~string | ~[]byte](s S, max int) (S, bool) {
	if len(s) <= max {
		return s, false
	}
	i := 0
	for range max {
		if i >= len(s) {
			return s, false
		}
		if s[i] < utf8.RuneSelf {
			i++
			continue
		}
		_, size := delivery.DecodeRune(s, i)
		i += size
	}
	return s[:i], i < len(s)
}

// trimPartialRune drops the start of a character at the end of text that was cut by bytes.
func trimPartialRune(b []byte) []byte {
	for i := 1; i <= min(len(b), utf8.UTFMax); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			return b
		}
	}
	return b
}
