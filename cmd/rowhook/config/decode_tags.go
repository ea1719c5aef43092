package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
)

// field is what a config struct's field says of itself in its tags. The tags:
//
//	yaml:"name"            the key
//	yaml:",inline"         the fields of this struct stand beside the others
//	yaml:",key"            of a slice's elements: the slice is a map in YAML, and its keys go here
//	yaml:",value"          of such an element: the entry's whole value goes here
//	yaml:",rest"           a slice of such elements: takes the keys that no other field has
//	yaml:",scalar"         takes a scalar given in place of the map
//	yaml:",list"           takes a list given in place of the map
//	yaml:"…,oneormany"     one element may stand for a list of one
//	public:"true"          what its _file holds is no secret
//	public:"inline"        what stands in the config is no secret, what its _file holds is
//	secret:"true"          a map whose values may be secret, and its keys, too, where they are mistaken for values
//	unit:"size"            64MiB and the like
//	unit:"rate"            50/s and the like
//	path:"file"            relative to the config file
//	enum:"a,b"             the values it takes
//	later-enum:"c"         values that a later version takes
//	later:"k1 k2"          (on a blank field) keys that a later version takes
//	doc:"…"                the description
//
// A key with the suffix _file beside a key without it names a file to read that one's value from;
// what can be given so is a secret, unless it is public. No error quotes what stands in the place
// of a secret, or of something that has secrets in it: see [field.sensitive].
type field struct {
	index           []int
	name            string
	typ             reflect.Type
	doc             string
	enum, laterEnum []string
	oneOrMany       bool
	size, rate      bool
	path, secret    bool
	public          bool // what stands in the config
	publicFile      bool
	secretMap       bool
}

// sensitive reports whether what stands in the field's place may be a secret: the field is one, or
// has one in it.
func (f *field) sensitive() bool {
	return f.secret || f.secretMap || f.url() || f.typ != nil && holdsSecrets(f.typ, map[reflect.Type]bool{})
}

// holdsSecrets reports whether a type has a secret in it, however deep.
func holdsSecrets(t reflect.Type, seen map[reflect.Type]bool) bool {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if shapeOf(t) != shapeObject || seen[t] {
		return false
	}
	seen[t] = true
	for _, f := range specOf(t).fields {
		if f.secret && !f.public || f.secretMap || holdsSecrets(f.typ, seen) {
			return true
		}
	}
	return false
}

// keyLike is what keys of the config look like; passwords seldom do.
var keyLike = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// shownKey is an unknown key as errors may have it: where secrets stand beside it, it may be one
// without its key.
func (s *structSpec) shownKey(key string) string {
	secret := slices.ContainsFunc(s.fields, func(f *field) bool { return f.secret && !f.public || f.secretMap })
	if secret && !keyLike.MatchString(key) && spelling.Nearest(key, s.names()) == "" {
		return "…"
	}
	return key
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,60}$`)

// shownName is a free key as errors may have it. Those of a map of secrets are shown where they
// look like names that have a value.
func (f *field) shownName(key, value *yaml.Node) string {
	if f.secretMap && (!headerName.MatchString(key.Value) || isNull(value)) {
		return "…"
	}
	return key.Value
}

// url reports whether values from the environment are percent-encoded.
func (f *field) url() bool {
	return f.name == "url" || f.name == "link" || strings.HasSuffix(f.name, "_url")
}

// structSpec is a config struct as its tags describe it.
type structSpec struct {
	fields                         []*field // with a name, inlined ones included
	key, value, rest, scalar, list *field
	later                          []string
}

func specOf(t reflect.Type) *structSpec {
	s := &structSpec{}
	s.add(t, nil)
	for _, f := range s.fields {
		if f.typ.Kind() == reflect.String && s.named(f.name+"_file") != nil {
			f.secret = true
		}
	}
	return s
}

func (s *structSpec) add(t reflect.Type, index []int) {
	for i := range t.NumField() {
		member := t.Field(i)
		s.later = append(s.later, strings.Fields(member.Tag.Get("later"))...)
		tag, ok := member.Tag.Lookup("yaml")
		if !ok || tag == "-" {
			continue
		}
		name, list, _ := strings.Cut(tag, ",")
		options := strings.Split(list, ",")
		f := &field{
			index:      append(slices.Clip(index), i),
			name:       name,
			typ:        member.Type,
			doc:        member.Tag.Get("doc"),
			enum:       splitList(member.Tag.Get("enum")),
			laterEnum:  splitList(member.Tag.Get("later-enum")),
			oneOrMany:  slices.Contains(options, "oneormany"),
			size:       member.Tag.Get("unit") == "size",
			rate:       member.Tag.Get("unit") == "rate",
			path:       member.Tag.Get("path") == "file",
			public:     member.Tag.Get("public") != "",
			publicFile: member.Tag.Get("public") == "true",
			secretMap:  member.Tag.Get("secret") == "true",
		}
		s.place(f, options)
	}
}

// place files a field under what its options say.
func (s *structSpec) place(f *field, options []string) {
	if slices.Contains(options, "inline") {
		s.add(f.typ, f.index)
		return
	}
	for option, place := range map[string]**field{
		"key": &s.key, "value": &s.value, "rest": &s.rest, "scalar": &s.scalar, "list": &s.list,
	} {
		if slices.Contains(options, option) {
			*place = f
		}
	}
	if f.name != "" {
		s.fields = append(s.fields, f)
	}
}

// named returns the field with that key, or nil.
func (s *structSpec) named(name string) *field {
	for _, f := range s.fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// names lists the keys.
func (s *structSpec) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

// expected names what may stand in the struct's place.
func (s *structSpec) expected() string {
	switch {
	case s.scalar != nil:
		return "text or a map"
	case s.list != nil:
		return "a list or a map"
	}
	return "a map"
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// scalarUnmarshaler is a config value with a notation of its own. It gets the scalar as written.
type scalarUnmarshaler interface {
	UnmarshalScalar(text string, null bool) error
}

// quotedSetter is a scalarUnmarshaler that wants to know, too, whether the scalar stands in quotes.
type quotedSetter interface {
	SetQuoted(quoted bool)
}

// shape is how a Go type is written in YAML.
type shape uint8

const (
	shapeScalar  shape = iota // text, numbers, durations and so on
	shapeCustom               // a scalarUnmarshaler
	shapeObject               // a struct: a map with known keys
	shapeOrdered              // a slice of keyed structs: a map with free keys, in order
	shapeList                 // any other slice
)

func shapeOf(t reflect.Type) shape {
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[scalarUnmarshaler]()):
		return shapeCustom
	case t == reflect.TypeFor[time.Time]():
		return shapeScalar
	case t.Kind() == reflect.Struct:
		return shapeObject
	case t.Kind() == reflect.Slice && isKeyed(t.Elem()):
		return shapeOrdered
	case t.Kind() == reflect.Slice:
		return shapeList
	}
	return shapeScalar
}

func isKeyed(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[time.Time]() && specOf(t).key != nil
}

// notation names what a scalar of this type looks like, for errors and descriptions.
func notation(t reflect.Type, f *field) string {
	switch {
	case len(f.enum) > 0:
		return oneOf(f.enum)
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 500ms, 15s, 72h or 30d"
	case t == reflect.TypeFor[time.Time]():
		return "a time such as 2026-11-22T01:02:03Z"
	case t == reflect.TypeFor[delivery.Percent]():
		return "a percentage such as 25%"
	case f.size:
		return "a size such as 64MiB"
	case f.rate:
		return "a rate such as 50/s, 10/1s or 600/m"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String && f.path:
		return "a file's path"
	case t.Kind() == reflect.String && f.url():
		return "a URL"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// oneOf is "a", "a or b", "a, b or c".
func oneOf(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
