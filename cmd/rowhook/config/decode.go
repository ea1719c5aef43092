package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"rowhook/cmd/rowhook/spelling"
)

// decoder fills config structs from YAML nodes, strictly: what is not known, not of
// the right kind or given twice is an error with its place, and all errors are
// collected. What the file does not say keeps the value it had, so that defaults are put in before;
// maps are merged key by key, everything else is replaced.
//
// How structs describe themselves is told at [field].
type decoder struct {
	file     string // as named in errors
	dir      string // relative paths start here
	env      func(string) (string, bool)
	readFile func(string) ([]byte, error)
	// prefill gives the elements of ordered maps their defaults, by the elements' type.
	prefill map[reflect.Type]func(entry *yaml.Node) reflect.Value

	// known are the scalars of a guest's config that stand in the config in force, too, at the same
	// place. Only they get environment variables and files. nil is all of them.
	known map[*yaml.Node]bool

	kinds map[reflect.Type]kind // what was found out about types

	path    []string
	errs    configErrors
	hidden  []string   // values that must not be shown: secrets, and whatever came from the environment
	inline  [][2]int   // line and column of each secret that stands in the file itself
	secrets []readFrom // the secret files that were read
}

// readFrom is a secret file, with the place of the key that names it.
type readFrom struct {
	line, column int
	path         string
}

// refuse notes an error at a node, under the current path.
func (d *decoder) refuse(n *yaml.Node, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(d.path) > 0 {
		text = strings.Join(d.path, ".") + ": " + text
	}
	d.errs = append(d.errs, &configError{file: d.file, line: n.Line, column: n.Column, text: text})
}

// in runs decode one key or index further down.
func (d *decoder) in(segment string, decode func()) {
	d.path = append(d.path, segment)
	decode()
	d.path = d.path[:len(d.path)-1]
}

// kind is what a type's tags and methods say of it.
type kind struct {
	shape shape
	spec  *structSpec // of a struct
}

// kindOf returns a type's kind. A mapping may have thousands of entries, all of the same few types.
func (d *decoder) kindOf(t reflect.Type) kind {
	k, known := d.kinds[t]
	if !known {
		k.shape = shapeOf(t)
		if t.Kind() == reflect.Struct {
			k.spec = specOf(t)
		}
		if d.kinds == nil {
			d.kinds = map[reflect.Type]kind{}
		}
		d.kinds[t] = k
	}
	return k
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, f *field) {
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		d.value(n, fresh.Elem(), f)
		v.Set(fresh)
		return
	}
	switch d.kindOf(v.Type()).shape {
	case shapeObject:
		d.object(n, v, f)
	case shapeOrdered:
		d.ordered(n, v, f)
	case shapeList:
		d.list(n, v, f)
	default:
		d.scalar(n, v, f)
	}
}

// list decodes a list, which replaces what was there.
func (d *decoder) list(n *yaml.Node, v reflect.Value, f *field) {
	items := n.Content
	if n.Kind != yaml.SequenceNode {
		if !f.oneOrMany || isNull(n) && shapeOf(v.Type().Elem()) != shapeCustom {
			d.refuse(n, "expected a list, got %s", describe(n, f))
			return
		}
		items = []*yaml.Node{n}
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if n.Kind != yaml.SequenceNode {
			d.value(item, out.Index(i), f)
			break
		}
		d.in(fmt.Sprint(i), func() { d.value(item, out.Index(i), f) })
	}
	v.Set(out)
}

// ordered decodes a map with free keys into a slice of keyed structs, in the file's order.
func (d *decoder) ordered(n *yaml.Node, v reflect.Value, f *field) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.refuse(n, "expected a map, got %s", describe(n, f))
		return
	}
	spec, had := d.kindOf(v.Type().Elem()).spec, v.Len()
	d.entries(n, f.shownName, func(key, value *yaml.Node) {
		at := d.element(v, had, spec, key, value)
		if spec.value != nil {
			inner := *spec.value
			inner.secretMap = f.secretMap
			d.value(value, v.Index(at).FieldByIndex(spec.value.index), &inner)
			return
		}
		d.object(value, v.Index(at), &field{typ: v.Type()})
	})
}

// element finds the element with that key among those that the slice had before the map, or appends
// one with its defaults. No key of the map comes twice. Keys are taken as written: they have no
// variables.
func (d *decoder) element(v reflect.Value, had int, spec *structSpec, key, value *yaml.Node) int {
	for i := range had {
		if v.Index(i).FieldByIndex(spec.key.index).String() == key.Value {
			return i
		}
	}
	elem := reflect.New(v.Type().Elem()).Elem()
	if prefill := d.prefill[elem.Type()]; prefill != nil {
		elem.Set(prefill(value))
	}
	elem.FieldByIndex(spec.key.index).SetString(key.Value)
	v.Set(reflect.Append(v, elem))
	return v.Len() - 1
}

// entries calls visit for each entry of a map whose key is a plain scalar that has not been there
// yet. shown is the key as errors may have it.
func (d *decoder) entries(n *yaml.Node, shown func(key, value *yaml.Node) string, visit func(key, value *yaml.Node)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.refuse(key, "a key must be plain text")
			continue
		}
		d.in(shown(key, value), func() {
			if before := first[key.Value]; before != nil {
				d.refuse(key, "given twice, first in line %d", before.Line)
				return
			}
			first[key.Value] = key
			visit(key, value)
		})
	}
}

// object decodes a struct from a map with known keys, or from what may stand in its place.
func (d *decoder) object(n *yaml.Node, v reflect.Value, f *field) {
	spec := d.kindOf(v.Type()).spec
	switch {
	case n.Kind == yaml.ScalarNode && spec.scalar != nil:
		d.value(n, v.FieldByIndex(spec.scalar.index), spec.scalar)
	case isNull(n):
	case n.Kind == yaml.SequenceNode && spec.list != nil,
		n.Kind == yaml.ScalarNode && spec.list != nil && spec.list.oneOrMany:
		d.value(n, v.FieldByIndex(spec.list.index), spec.list)
	case n.Kind == yaml.MappingNode:
		d.members(n, v, spec)
	default:
		d.refuse(n, "expected %s, got %s", spec.expected(), describe(n, f))
	}
}

func (d *decoder) members(n *yaml.Node, v reflect.Value, spec *structSpec) {
	rest := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	shown := func(key, _ *yaml.Node) string {
		if spec.rest != nil || spec.named(key.Value) != nil {
			return key.Value
		}
		return spec.shownKey(key.Value)
	}
	d.entries(n, shown, func(key, value *yaml.Node) {
		switch f := spec.named(key.Value); {
		case f != nil:
			d.value(value, v.FieldByIndex(f.index), f)
		case spec.rest != nil:
			rest.Content = append(rest.Content, key, value)
		default:
			d.unknown(key, spec)
		}
	})
	if len(rest.Content) > 0 {
		d.ordered(rest, v.FieldByIndex(spec.rest.index), spec.rest)
	}
	d.files(n, v, spec)
}

// unknown refuses a key, which stands at the end of the path.
func (d *decoder) unknown(key *yaml.Node, spec *structSpec) {
	for _, later := range spec.later {
		if later == key.Value {
			d.refuse(key, "not in this version of rowhook")
			return
		}
	}
	names := spec.names()
	near := spelling.Nearest(key.Value, names)
	switch {
	case near != "":
		d.refuse(key, "unknown key%s", spelling.Ask(near))
		path := append(slices.Clone(d.path[:len(d.path)-1]), near)
		d.errs[len(d.errs)-1].meant = strings.Join(path, ".")
	case len(names) <= 14: // as many as the file has sections
		d.refuse(key, "unknown key; expected %s", oneOf(names))
	default:
		d.refuse(key, "unknown key")
	}
}

// describe says what a node is, without showing what must not be shown. Values are
// told as written: with ${NAME}, not with what it stands for.
func describe(n *yaml.Node, f *field) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a map"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case f.sensitive():
		return "another value"
	}
	const most = 60
	if text := []rune(n.Value); len(text) > most {
		return fmt.Sprintf("%q…", string(text[:most]))
	}
	return fmt.Sprintf("%q", n.Value)
}
