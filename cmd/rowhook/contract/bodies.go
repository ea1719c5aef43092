package contract

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/delivery"
)

// Schema is a JSON Schema.
type Schema = delivery.Schema

// Document is an OpenAPI or AsyncAPI document, its members in the order in which people read them.
type Document struct {
	OpenAPI            string   `json:"openapi,omitempty"`
	AsyncAPI           string   `json:"asyncapi,omitempty"`
	Info               Info     `json:"info"`
	DefaultContentType string   `json:"defaultContentType,omitempty"`
	Tags               []Schema `json:"tags,omitempty"`
	Paths              Schema   `json:"paths,omitempty"`
	Webhooks           Schema   `json:"webhooks,omitempty"`
	Channels           Schema   `json:"channels,omitempty"`
	Operations         Schema   `json:"operations,omitempty"`
	Components         Schema   `json:"components"`
}

// Info is what a document says of itself.
type Info struct {
	Title       string `json:"title"`
	Version     string `json:"version"` // of the document's form
	Description string `json:"description"`
}

// Receiver is a profile with the events that it gets.
type Receiver struct {
	Profile *delivery.ProfileConfig
	Product delivery.Product
	// ContentType is that of bodies with one event, or of a group's where the unit is one.
	ContentType string
	// Signature is the header that carries the signature; empty without one.
	Signature string
	// Shared says that machines share the profile: requests carry the epoch of its owner.
	Shared bool
	Events []delivery.EventShape
}

// Contract is what a config promises its receivers.
type Contract struct {
	Source    string // its name
	Receivers []Receiver
	// Missing says what is not told here, and why; empty when nothing is missing.
	Missing string
}

// body is one kind of request of one profile.
type body struct {
	name, title string
	receiver    *Receiver
	types       []string
}

// bodies names all kinds of requests, and makes their schemas. refer makes a reference to one of
// them by its name.
func (c *Contract) bodies(refer func(name string) Schema) (all []body, schemas Schema) {
	schemas = Schema{}
	for i := range c.Receivers {
		all = append(all, c.Receivers[i].bodies(schemas, refer)...)
	}
	return all, schemas
}

// test is the body of `rowhook profile test`, which is sent alone whatever the unit is.
func (r *Receiver) test(schemas Schema) body {
	shape := delivery.EventShape{EventType: delivery.EventType{Type: "rowhook.test", Ops: []string{"signal"}}, Open: true}
	name := r.Profile.Code + "." + shape.Type
	schemas[name] = titled(r.schema(&shape), shape.Type)
	return body{name: name, title: "A test that an operator sends", receiver: r, types: []string{shape.Type}}
}

func (r *Receiver) bodies(schemas Schema, refer func(name string) Schema) []body {
	var all []body
	var refs []Schema
	for _, typ := range r.types() {
		name := r.Profile.Code + "." + typ
		shapes := r.of(typ)
		r.event(name, shapes, schemas, refer)
		refs = append(refs, refer(name))
		one := body{name: name, title: titleOf(typ, shapes), receiver: r, types: []string{typ}}
		if r.Profile.Unit == delivery.UnitType && r.Product.GroupSchema != nil {
			schemas[name+"-group"] = titled(r.Product.GroupSchema(r.Profile, shapes, []Schema{refer(name)}), "Events of type "+typ)
			one.name += "-group"
		}
		all = append(all, one)
	}
	test := r.test(schemas)
	if len(all) == 0 || r.Product.GroupSchema == nil || r.Profile.Unit == delivery.UnitRecord || r.Profile.Unit == delivery.UnitType {
		return append(all, test)
	}
	name := r.Profile.Code + "-group"
	schemas[name] = titled(r.Product.GroupSchema(r.Profile, r.Events, refs), "Events of one "+r.Profile.Unit)
	return []body{{name: name, title: "Events of one " + r.Profile.Unit, receiver: r, types: r.types()}, test}
}

// event makes the schema of a type's bodies: of its tables', where there are several.
func (r *Receiver) event(name string, shapes []delivery.EventShape, schemas Schema, refer func(name string) Schema) {
	if len(shapes) == 1 {
		schemas[name] = titled(r.schema(&shapes[0]), titleOf(shapes[0].Type, shapes))
		return
	}
	var each []Schema
	for i := range shapes {
		one := fmt.Sprintf("%s-%d", name, i+1)
		schemas[one] = titled(r.schema(&shapes[i]), titleOf(shapes[i].Type, shapes[i:i+1]))
		each = append(each, refer(one))
	}
	schemas[name] = titled(Schema{"anyOf": each}, titleOf(shapes[0].Type, nil))
}

func (r *Receiver) schema(e *delivery.EventShape) Schema {
	if r.Product.Schema == nil {
		return Schema{"description": "what the profile's template writes"}
	}
	return r.Product.Schema(r.Profile, e)
}

// types are the events' types, each once.
func (r *Receiver) types() []string {
	var types []string
	for i := range r.Events {
		if !slices.Contains(types, r.Events[i].Type) {
			types = append(types, r.Events[i].Type)
		}
	}
	return types
}

func (r *Receiver) of(typ string) []delivery.EventShape {
	var shapes []delivery.EventShape
	for _, e := range r.Events {
		if e.Type == typ {
			shapes = append(shapes, e)
		}
	}
	return shapes
}

// titleOf names an event for people: by its type and its table.
func titleOf(typ string, shapes []delivery.EventShape) string {
	if len(shapes) != 1 || shapes[0].Entry == "" {
		return typ
	}
	table := shapes[0].Title
	if table == "" {
		table = shapes[0].Table
	}
	return typ + " of " + table
}

// titled puts a title on a schema, which is the caller's own.
func titled(s Schema, title string) Schema {
	s["title"] = title
	return s
}

// JSONSchema is a JSON Schema (2020-12) of all bodies, with each event's by its name in $defs.
func (c *Contract) JSONSchema() Schema {
	refer := func(name string) Schema { return Schema{"$ref": "#/$defs/" + name} }
	all, schemas := c.bodies(refer)
	var each []Schema
	for _, b := range all {
		each = append(each, refer(b.name))
	}
	doc := Schema{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": c.title(), "description": c.description(), "$defs": schemas}
	if len(each) > 0 {
		doc["anyOf"] = each
	} else {
		doc["not"] = Schema{} // no profile gets anything
	}
	return doc
}

func (c *Contract) info() Info { return Info{c.title(), "1", c.description()} }

func (c *Contract) title() string { return "Requests of rowhook from " + c.Source }

func (c *Contract) description() string {
	text := "What receivers get. Bodies may have further members: tables get columns, and rowhook new versions."
	if c.Missing != "" {
		text += " Not told here: " + c.Missing
	}
	return text
}

// header is a header of a profile's requests.
type header struct {
	name, description string
	always            bool
}

// headers are the headers of a profile's requests.
func (r *Receiver) headers() []header {
	list := []header{{"webhook-id", "the id of the event, or of the group: the same for each attempt", true},
		{"webhook-timestamp", "when this attempt was sent, in seconds since 1970", true}}
	if r.Signature != "" {
		list = append(list, header{strings.ToLower(r.Signature), "the body's signature", true})
	}
	if r.Shared {
		list = append(list, header{"rowhook-epoch", "a whole number that grows with each change of the machine that sends: one that is lower than another that came before is of a machine that is no longer in charge", true})
	}
	return append(list, header{"rowhook-gap", "only when events of this key, or of the profile, did not arrive", false})
}
