package contract

import (
	"encoding/json"
	"path"
	"reflect"
	"strings"
	"time"
)

// Admin is an OpenAPI 3.1 document of the admin interface. The pages' answers are given by the
// values that are written for them.
type Admin struct {
	Health, Status, Reload, Failure any
}

// OpenAPI writes the document.
func (a *Admin) OpenAPI() Document {
	r := &reflector{schemas: Schema{}}
	answer := func(description string, value any) Schema {
		return Schema{"description": description, "content": Schema{"application/json": Schema{"schema": r.of(reflect.TypeOf(value))}}}
	}
	get := func(id, summary string, responses Schema, token bool) Schema {
		operation := Schema{"operationId": id, "summary": summary, "responses": responses}
		if token {
			operation["security"] = []Schema{{"token": []string{}}, {}}
			refused(responses, answer, a.Failure)
		}
		responses["421"] = answer("asked for by a name that is not in admin.hosts", a.Failure)
		return Schema{"get": operation}
	}
	health := func() Schema {
		return Schema{"200": answer("it is", a.Health), "503": answer("it is not, for these reasons", a.Health)}
	}
	changed := Schema{"200": answer("what became of it", a.Reload), "422": answer("the config is refused, and the running one stays", a.Failure),
		"403": answer("the token is a viewer's", a.Failure)}
	refused(changed, answer, a.Failure)
	paths := Schema{
		"/healthz": get("healthz", "Whether the agent works", health(), false),
		"/readyz":  get("readyz", "Whether it captures and delivers", health(), false),
		"/metrics": get("metrics", "Prometheus metrics", Schema{"200": Schema{
			"description": "Prometheus' text format", "content": Schema{"text/plain": Schema{"schema": Schema{"type": "string"}}}}}, false),
		"/status": get("status", "What rowhook status --json prints; without a token on this machine alone",
			Schema{"200": answer("the report", a.Status), "422": answer("it could not be made", a.Failure)}, true),
		"/reload": Schema{"post": Schema{"operationId": "reload", "summary": "Reads the config again; takes an admin's token", "responses": changed,
			"security": []Schema{{"token": []string{}}}}},
	}
	return Document{
		OpenAPI: openAPI, Paths: paths,
		Info: Info{"rowhook's admin interface", "1", "What answers on admin.listen. Answers may have further members in later versions."},
		Components: Schema{"schemas": r.schemas, "securitySchemes": Schema{
			"token": Schema{"type": "http", "scheme": "bearer", "description": "one of admin.tokens"},
		}},
	}
}

// refused adds the answer to who has no token.
func refused(responses Schema, answer func(string, any) Schema, failure any) {
	responses["401"] = answer("a token is needed", failure)
}

// reflector makes schemas of what encoding/json writes of values.
type reflector struct{ schemas Schema }

func (r *reflector) of(t reflect.Type) Schema {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return Schema{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return Schema{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return r.of(t.Elem())
	case reflect.String:
		return Schema{"type": "string"}
	case reflect.Bool:
		return Schema{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return Schema{"type": "number"}
	case reflect.Slice, reflect.Array:
		return Schema{"type": []string{"array", "null"}, "items": r.of(t.Elem())}
	case reflect.Map:
		return Schema{"type": []string{"object", "null"}, "additionalProperties": r.of(t.Elem())}
	case reflect.Struct:
		return r.object(t)
	case reflect.Interface:
		return Schema{}
	}
	return Schema{"type": "integer"}
}

// object refers to a struct's schema, which it makes when it is not there yet.
func (r *reflector) object(t reflect.Type) Schema {
	name := path.Base(t.PkgPath()) + "." + t.Name()
	if _, known := r.schemas[name]; !known {
		r.schemas[name] = Schema{}
		properties := Schema{}
		required := []string{}
		r.members(t, properties, &required)
		s := Schema{"type": "object", "properties": properties}
		if len(required) > 0 {
			s["required"] = required
		}
		r.schemas[name] = s
	}
	return Schema{"$ref": "#/components/schemas/" + name}
}

// members adds a struct's members, and those of structs in it that have no name.
func (r *reflector) members(t reflect.Type, properties Schema, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, tagged := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			r.members(f.Type, properties, required)
			continue
		case !f.IsExported() || name == "-" && !tagged:
			continue
		case name == "":
			name = f.Name
		}
		value := r.of(f.Type)
		if !strings.Contains(options, "omit") {
			*required = append(*required, name)
			if f.Type.Kind() == reflect.Pointer {
				value = Schema{"anyOf": []Schema{value, {"type": "null"}}}
			}
		}
		properties[name] = value
	}
}
