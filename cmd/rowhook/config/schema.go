package config

import (
	"path"
	"reflect"
	"strings"
	"time"

	"rowhook/delivery"
)

// schemaBuilder makes the JSON Schema (2020-12) of the config file from the same structs and tags
// that [decoder] reads it by. It takes what the decoder takes, as far as JSON Schema can say it;
// keys and values of later versions are not in it. Every scalar but a secret's place may be a
// ${NAME}, since its value is known only when the file is loaded.
type schemaBuilder struct {
	definitions schemaNode
	defaults    map[reflect.Type]reflect.Value
}

// schemaNode is a JSON Schema.
type schemaNode = map[string]any

// Schema is the JSON Schema of the config file.
func Schema() map[string]any {
	b := &schemaBuilder{defaults: prototypes(), definitions: schemaNode{
		"text":     schemaNode{"type": []string{"string", "number", "boolean"}},
		"variable": schemaNode{"type": "string", "pattern": `\$\{`, "description": "an environment variable, as ${NAME} or ${NAME:-default}"},
		"duration": notationSchema(`^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+)$`, notation(reflect.TypeFor[time.Duration](), &field{}), 0),
		"size":     notationSchema(`^(0|[0-9]{1,18}(B|KiB|MiB|GiB|TiB))$`, notation(reflect.TypeFor[int64](), &field{size: true}), 0),
		"rate":     notationSchema(`^([1-9][0-9]{0,6}/([0-9]+(\.[0-9]+)?)?(ms|s|m|h)([0-9].*)?)?$`, notation(reflect.TypeFor[string](), &field{rate: true}), nil),
		"percent":  notationSchema(`^(100|[0-9]{1,2}(\.[0-9]{1,6})?)%$`, notation(reflect.TypeFor[delivery.Percent](), &field{}), nil),
	}}
	root := b.properties(reflect.TypeFor[Config](), specOf(reflect.TypeFor[Config]()))
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "rowhook's config file"
	root["required"] = []string{"source", "mapping"}
	root["type"] = "object"

	properties := root["properties"].(schemaNode)
	properties["mapping"].(schemaNode)["minProperties"] = 1
	properties["mapping"].(schemaNode)["patternProperties"] = schemaNode{ // a name that is no schema.table needs a table
		`^[^.]*$`: schemaNode{"allOf": []schemaNode{properties["mapping"].(schemaNode)["additionalProperties"].(schemaNode)}, "type": "object", "required": []string{"table"}},
	}
	properties["profiles"].(schemaNode)["propertyNames"] = schemaNode{"pattern": profileCode.String()}
	b.definitions[definitionName(reflect.TypeFor[sourceConfig]())].(schemaNode)["required"] = []string{"type", "url"}
	root["$defs"] = b.definitions
	return root
}

// notationSchema is a scalar with a notation of its own; plain is a number that stands for itself.
func notationSchema(pattern, description string, plain any) schemaNode {
	forms := []schemaNode{{"type": "string", "pattern": pattern}, reference("variable")}
	if plain != nil {
		forms = append(forms, schemaNode{"const": plain})
	}
	return schemaNode{"anyOf": forms, "description": description}
}

// value is the schema of a value of type t in a place described by f.
func (b *schemaBuilder) value(t reflect.Type, f *field) schemaNode {
	var s schemaNode
	switch shapeOf(t) {
	case shapeCustom:
		s = customSchema(t)
	case shapeObject:
		s = b.object(t)
	case shapeOrdered:
		s = schemaNode{"type": []string{"object", "null"}, "additionalProperties": b.element(t.Elem())}
	case shapeList:
		item := b.value(t.Elem(), &field{enum: f.enum, size: f.size, path: f.path})
		s = schemaNode{"type": "array", "items": item}
		if f.oneOrMany {
			s = either(schemaNode{"type": "array"}, s, item)
		}
	default:
		s = scalarSchema(t, f)
	}
	if f.doc != "" {
		s["description"] = f.doc
	}
	return s
}

// element is the schema of what stands behind a key of a map with free keys.
func (b *schemaBuilder) element(t reflect.Type) schemaNode {
	if value := specOf(t).value; value != nil {
		return b.value(value.typ, value)
	}
	return b.object(t)
}

// object refers to a struct's definition, which it makes when it is not there yet; structs may
// hold themselves.
func (b *schemaBuilder) object(t reflect.Type) schemaNode {
	name := definitionName(t)
	if _, known := b.definitions[name]; !known {
		b.definitions[name] = schemaNode{}
		spec := specOf(t)
		definition := b.properties(t, spec)
		if spec.scalar != nil {
			definition = either(schemaNode{"type": []string{"string", "number", "boolean"}}, b.value(spec.scalar.typ, spec.scalar), definition)
		}
		if spec.list != nil {
			definition = either(schemaNode{"type": "array"}, b.value(spec.list.typ, spec.list), definition)
		}
		b.definitions[name] = definition
	}
	return reference(name)
}

func (b *schemaBuilder) properties(t reflect.Type, spec *structSpec) schemaNode {
	properties := schemaNode{}
	var exclusive []schemaNode
	for _, f := range spec.fields {
		property := b.value(f.typ, f)
		if from, known := b.defaults[t]; known {
			if value, given := asWritten(from.FieldByIndex(f.index), f); given {
				property["default"] = value
			}
		}
		properties[f.name] = property
		if f.secret {
			exclusive = append(exclusive, schemaNode{"not": schemaNode{"required": []string{f.name, f.name + "_file"}}})
		}
	}
	s := schemaNode{"type": []string{"object", "null"}, "additionalProperties": false}
	if len(properties) > 0 {
		s["properties"] = properties
	}
	if spec.rest != nil {
		s["additionalProperties"] = b.element(spec.rest.typ.Elem())
	}
	if len(exclusive) > 0 {
		s["allOf"] = exclusive
	}
	return s
}

func scalarSchema(t reflect.Type, f *field) schemaNode {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case len(f.enum) > 0:
		return orVariable(schemaNode{"enum": f.enum})
	case t == reflect.TypeFor[time.Duration]():
		return reference("duration")
	case t == reflect.TypeFor[time.Time]():
		return orVariable(schemaNode{"type": "string", "format": "date-time"})
	case t == reflect.TypeFor[delivery.Percent]():
		return reference("percent")
	case f.size:
		return reference("size")
	case f.rate:
		return reference("rate")
	case t.Kind() == reflect.Bool:
		return orVariable(schemaNode{"type": "boolean"})
	case t.Kind() == reflect.String && (f.path || f.url()):
		return schemaNode{"type": "string"}
	case t.Kind() == reflect.String:
		return reference("text")
	case t.Kind() == reflect.Float64:
		return orVariable(schemaNode{"type": "number"})
	}
	return orVariable(schemaNode{"type": "integer"})
}

// customSchema is the schema of a [scalarUnmarshaler]: any scalar, and null if it takes that.
func customSchema(t reflect.Type) schemaNode {
	types := []string{"string", "number", "boolean"}
	if reflect.New(t).Interface().(scalarUnmarshaler).UnmarshalScalar("", true) == nil {
		types = append(types, "null")
	}
	return schemaNode{"type": types}
}

// either is one of two schemas by what a value looks like. With anyOf, editors could only say that
// a value is none of it all.
func either(looks, then, otherwise schemaNode) schemaNode {
	return schemaNode{"if": looks, "then": then, "else": otherwise}
}

func orVariable(s schemaNode) schemaNode { return schemaNode{"if": reference("variable"), "else": s} }

func reference(name string) schemaNode { return schemaNode{"$ref": "#/$defs/" + name} }

// definitionName names a struct's definition: delivery.Retry for delivery.RetryConfig.
func definitionName(t reflect.Type) string {
	room := path.Base(t.PkgPath())
	if t.PkgPath() == reflect.TypeFor[Config]().PkgPath() { // the program's own sections
		room = "rowhook"
	}
	return room + "." + strings.TrimSuffix(t.Name(), "Config")
}
