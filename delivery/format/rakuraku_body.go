package format

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"rowhook/delivery"
)

// rakuraku speaks as the webhooks of RakuRaku WebDatabase do, in both of its units. Members come in this order; what does
// not apply is absent, never null:
//
//	{"appName","execUserName","execUserId","appCode","type","url","eventTime","key","data"}
//
// url is there for a single record that was inserted or updated, key where the profile has an identification key. data is
// an object for unit record and a list for unit type; each record has the key's item first, then the others, and of a deleted
// record there is nothing but the key. A step of a workflow is told behind data, as workflow. An entry without a code sends neither the app's members nor data, as logins are told.
// Bodies are canonical (see [canon]).
type rakuraku struct {
	appID     string
	base      string // of urls
	key       string
	codeField string
	null      string // what stands for NULL; empty leaves the item out
	zone      *time.Location
	date      string // layouts
	datetime  string
	entries   map[string]delivery.RakurakuEntry
	work      sync.Pool // of *rakurakuWork
}

// rakurakuWork is the working space of one body.
type rakurakuWork struct {
	canon canon
	in    xmlWriter // reads JSON objects
	inner xmlWriter // reads lists in them
	text  []byte
	id    []byte
	buf   []byte // of a group
	plain bytes.Buffer
	plans []*rakurakuPlan // of the events met last
}

func newRakuraku(cfg delivery.ProfileConfig) (*rakuraku, error) {
	own := cfg.Rakuraku
	r := &rakuraku{
		appID: own.AppID, base: strings.TrimRight(own.URLBase, "/"), key: cfg.IdentificationKey,
		codeField: "appCode", entries: own.Entries,
		work: sync.Pool{New: func() any { return new(rakurakuWork) }},
	}
	refuse := func(text, remedy string, path ...string) error {
		return &delivery.ConfigError{Path: append([]string{"profiles", cfg.Code, "rakuraku"}, path...), Text: text, Remedy: remedy}
	}
	if own.AppCodeField != "" {
		r.codeField = own.AppCodeField
	}
	switch own.NullValue {
	case "", "empty":
		r.null = `""`
	case "null":
		r.null = "null"
	case "omit":
	default:
		return nil, refuse(fmt.Sprintf("%q is not known", own.NullValue), "write empty, null or omit", "null_value")
	}
	zone := own.Timezone
	if zone == "" {
		zone = "Asia/Tokyo"
	}
	base := string(appendCanonicalString(nil, r.base))
	r.base = base[1 : len(base)-1]
	var err error
	if r.zone, err = time.LoadLocation(zone); err != nil {
		return nil, refuse(fmt.Sprintf("%q is not a time zone", zone), "write its name in the IANA database, such as UTC or Asia/Tokyo", "timezone")
	}
	var ok bool
	if r.date, ok = layout(own.DateFormat, "2006-01-02"); !ok {
		return nil, refuse(fmt.Sprintf("%q is not a format of dates", own.DateFormat), layoutRemedy, "date_format")
	}
	if r.datetime, ok = layout(own.DatetimeFormat, "2006-01-02 15:04:05"); !ok {
		return nil, refuse(fmt.Sprintf("%q is not a format of times", own.DatetimeFormat), layoutRemedy, "datetime_format")
	}
	return r, nil
}

const layoutRemedy = "write YYYY or YY, MM or M, DD or D, hh, mm and ss, with other signs between them: YYYY/MM/DD hh:mm:ss"

// layout turns a format such as YYYY-MM-DD into Go's layout.
func layout(format, fallback string) (string, bool) {
	if format == "" {
		return fallback, true
	}
	if strings.ContainsAny(format, "0123456789_") {
		return "", false
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	tokens := strings.NewReplacer("YYYY", "2006", "YY", "06", "MM", "01", "M", "1", "DD", "02", "D", "2", "hh", "15", "mm", "04", "ss", "05")
	out := tokens.Replace(format)
	return out, !strings.ContainsAny(out, letters)
}

// Head returns the body's media type.
func (r *rakuraku) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: "application/json; charset=UTF-8"}
}

// GroupHead returns the body's media type.
func (r *rakuraku) GroupHead(*delivery.Group) delivery.Head { return r.Head(nil) }

// AppendBody appends the message of one record to dst.
func (r *rakuraku) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	w := r.work.Get().(*rakurakuWork)
	defer r.work.Put(w)
	start := len(dst)
	dst, err := r.appendEnvelope(dst, ev, w, true)
	if err == nil && ev.Code != "" {
		dst, err = r.appendRecord(append(dst, `,"data":`...), ev, w)
		if workflow := r.entries[ev.Entry].Workflow; err == nil && workflow.Given() && hasItems(ev) {
			dst, err = r.appendWorkflow(append(dst, `,"workflow":`...), ev, workflow)
		}
	}
	if err != nil {
		return dst[:start], fmt.Errorf("format event %s: %w", ev.ID, err)
	}
	return append(dst, '}'), nil
}

// appendWorkflow appends the step of a workflow that a row tells, which is no item of the record.
func (r *rakuraku) appendWorkflow(dst []byte, ev *delivery.Event, workflow delivery.RakurakuWorkflow) ([]byte, error) {
	dst = append(dst, '{')
	start := len(dst)
	for _, part := range [...]struct{ name, member string }{{"step", workflow.Step}, {"status", workflow.Status}, {"comment", workflow.Comment}} {
		if part.member == "" {
			continue
		}
		var in xmlWriter
		found, null, text := false, false, ""
		err := in.members(ev.Data, func(name, value []byte) error {
			if !found && string(name) == part.member {
				found, null, text = true, string(value) == "null", unquoted(value)
			}
			return nil
		})
		if err != nil {
			return dst, err
		}
		if !found {
			return dst, fmt.Errorf("rakuraku.workflow.%s: the payload has no %q", part.name, part.member)
		}
		if null && r.null == "" {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), part.name...), `":`...)
		if null {
			dst = append(dst, r.null...)
		} else {
			dst = appendCanonicalString(dst, text)
		}
	}
	return append(dst, '}'), nil
}

// WriteGroup writes the message of one operation: all its records in a list.
func (r *rakuraku) WriteGroup(out io.Writer, g *delivery.Group) error {
	w := r.work.Get().(*rakurakuWork)
	defer r.work.Put(w)
	b, err := r.appendEnvelope(w.buf[:0], g.First, w, false)
	if err != nil {
		return fmt.Errorf("format event %s: %w", g.First.ID, err)
	}
	if g.First.Code == "" {
		_, err := out.Write(append(b, '}'))
		return err
	}
	b = append(b, `,"data":[`...)
	comma := false
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		if b, err = r.appendRecord(b, ev, w); err != nil {
			return fmt.Errorf("format event %s: %w", ev.ID, err)
		}
		if len(b) < groupPiece {
			continue
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = append(b, ']', '}')
	if cap(b) <= 4*groupPiece {
		w.buf = b
	}
	_, err = out.Write(b)
	return err
}

// appendEnvelope appends everything before data.
func (r *rakuraku) appendEnvelope(dst []byte, ev *delivery.Event, w *rakurakuWork, single bool) ([]byte, error) {
	app := ev.Code != ""
	dst = append(dst, '{')
	if app {
		dst = appendCanonicalString(append(dst, `"appName":`...), ev.Title)
		dst = append(dst, ',')
	}
	dst = appendCanonicalString(append(dst, `"execUserName":`...), ev.Actor.Name)
	dst = appendCanonicalString(append(dst, `,"execUserId":`...), ev.Actor.ID)
	if app {
		dst = append(append(append(dst, `,"`...), r.codeField...), `":`...)
		dst = appendCanonicalString(dst, ev.Code)
	}
	dst = appendCanonicalString(append(dst, `,"type":`...), rakurakuType(ev))
	if app && single && hasItems(ev) {
		var err error
		if dst, err = r.appendURL(append(dst, `,"url":`...), ev, w); err != nil {
			return dst, err
		}
	}
	dst = append(dst, `,"eventTime":"`...)
	dst = appendClock(dst, ev.Time.In(r.zone))
	dst = append(dst, '"')
	if r.key != "" {
		dst = appendCanonicalString(append(dst, `,"key":`...), r.key)
	}
	return dst, nil
}

// hasItems reports whether the event tells a whole record.
func hasItems(ev *delivery.Event) bool {
	switch ev.Op {
	case "insert", "update", "read":
		return true
	}
	return false
}

// rakurakuType is the kind of operation: the mapping's name for the event, else by what happened to
// the row.
func rakurakuType(ev *delivery.Event) string {
	if text, ok := given(ev, "event"); ok && text != nil {
		return *text
	}
	switch ev.Op {
	case "insert", "read":
		return "APP_DATA_INSERT"
	case "update":
		return "APP_DATA_UPDATE"
	case "delete":
		return "APP_DATA_DELETE"
	}
	return asConstant(ev.Type)
}

// appendURL appends the record's permalink: the product's own under url_base, else the entry's
// link, which is empty for a record that has none.
func (r *rakuraku) appendURL(dst []byte, ev *delivery.Event, w *rakurakuWork) ([]byte, error) {
	if r.base == "" && (ev.Link != "" || r.entries[ev.Entry].Linked) {
		return appendCanonicalString(dst, ev.Link), nil
	}
	var err error
	if w.text, err = appendTexts(w.text[:0], ev.Key, '-'); err != nil {
		return dst, err
	}
	if ev.Marks != nil {
		plan, err := w.plan(r, ev)
		if err != nil {
			return dst, err
		}
		dst = append(dst, plan.url...)
	} else {
		dst = r.appendURLHead(append(dst, '"'), r.app(ev))
	}
	return append(appendQueryEscaped(dst, w.text), '"'), nil
}

// appendURLHead appends the product's permalink up to the key's value.
func (r *rakuraku) appendURLHead(dst []byte, app string) []byte {
	key := app + "_main_primarykey"
	for _, part := range [...]string{r.base, "/RakWDB/top/"} {
		dst = append(dst, part...)
	}
	dst = appendQueryEscaped(dst, app)
	dst = appendQueryEscaped(append(dst, "?np=19&rkwa_primarykey_field="...), key)
	return append(appendQueryEscaped(append(dst, '&'), key), '=')
}

// inQuery says which bytes stand for themselves in a query's value.
var inQuery = func() (plain [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~") {
		plain[c] = true
	}
	return plain
}()

// appendQueryEscaped appends a text as url.QueryEscape has it, but with spaces that every reader
// takes for spaces.
func appendQueryEscaped[S ~string | ~[]byte](dst []byte, s S) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; inQuery[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return dst
}

// app is the app's id, which the items' ids begin with.
func (r *rakuraku) app(ev *delivery.Event) string {
	if id := r.entries[ev.Entry].AppID; id != "" {
		return id
	}
	if r.appID != "" {
		return r.appID
	}
	return ev.Code
}
