package delivery

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// DefaultFormat is the format of profiles that name none.
const DefaultFormat = "native"

// Product is all that rowhook knows of one kind of receiver. Its fields are facts and functions:
// the rooms ask the value, and none of them asks for a product's name. What is not set is what
// most receivers have.
type Product struct {
	// Name stands for the product in a profile's format, signature and alert.text.
	Name string

	// Preset changes the defaults of profiles that have the product as their format.
	Preset func(*ProfileConfig)
	// Section fills in the product's own section of a profile. Profiles of other formats have the
	// section too: they may use the product's mails.
	Section func(*ProfileConfig)
	// Units says which units the format has, where it does not have all.
	Units UnitRule
	// Keyed says that bodies hold the profile's identification key.
	Keyed bool
	// SecretPath says that an endpoint's URL holds its credential in the path.
	SecretPath bool

	// Formatter makes what writes a profile's bodies. Without one the product is no format.
	Formatter func(ProfileConfig) (Formatter, error)
	// XML says that the format has XML bodies as well.
	XML bool
	// Bigints says that JSON bodies have 64-bit integers as numbers, unless the profile wants
	// texts.
	Bigints bool
	// Whole says that a group that is too large for one request is sent whole, not in numbered
	// parts.
	Whole bool
	// DeletedRows says that a deleted row is sent with its last content.
	DeletedRows bool
	// UsualBody is how large a body receivers take where nobody has set them up otherwise.
	UsualBody UsualBody

	// Schema is the schema of a body with one event, for those who write a receiver. GroupSchema is
	// that of several: alone has the events', and ref the schemas of their bodies.
	Schema      func(c *ProfileConfig, e *EventShape) Schema
	GroupSchema func(c *ProfileConfig, alone []EventShape, ref []Schema) Schema

	// Signature is the product's way to sign, where it has one.
	Signature *Signature
	// Mail writes the mail about a failure in the product's words, where it has such.
	Mail func(FailureMail) (subject, text string)

	// Items gives a profile what the mapping's entries say about the product's bodies.
	Items func(p *ProfileConfig, entries map[string]RakurakuEntry)
	// Check says what of the events that a profile gets cannot be sent. Each error leads to its
	// place in the config.
	Check func(p *ProfileConfig, events []EventType) []*ConfigError
	// Findings says what of these events the receiver can do little with.
	Findings func(p *ProfileConfig, events []EventType) []ProductFinding
}

// UnitRule is which units a format has.
type UnitRule struct {
	Only []string // nil: all
	// Text and Remedy refuse the others.
	Text, Remedy string
}

// UsualBody is a size in bytes, 0 where it is not known. Remedy tells what helps with larger
// bodies.
type UsualBody struct {
	Size   int
	Remedy string
}

// Signature is a way to sign a body by HMAC-SHA256, in a header that has room for one signature.
// Secrets are taken as they are, whatever they look like.
type Signature struct {
	Header string // as it goes out
	// Encode appends the header's value for a sum.
	Encode func(dst, sum []byte) []byte
}

// FailureMail is what a mail about a failure tells of.
type FailureMail struct {
	Profile     *ProfileConfig
	Failure     *Failure
	Environment string // production or sandbox
	// Left is how many failures since Since had no mail.
	Left  int64
	Since time.Time
}

// EventType is one type of events of one mapping entry, as far as products look at it.
type EventType struct {
	Type  string
	Entry string // empty for a signal
	// Ops are the row operations that events come from. Unnamed are those of them that no rule
	// gives a name of its own.
	Ops, Unnamed []string
	// Code and Link are the entry's.
	Code, Link string
	// Object is the payload's name in formats that give it one. ObjectAt leads to it in the config.
	Object   string
	ObjectAt []string
}

// ProductFinding is a warning about a place in the config.
type ProductFinding struct {
	Code string
	ConfigError
}

// Rounds reports whether a profile's bodies have 64-bit integers as JSON numbers. A receiver that
// reads them as JavaScript does loses digits.
func (p *Product) Rounds(c *ProfileConfig) bool {
	return p.Bigints && c.Bigint != "string" && c.MessageType != "xml"
}

// Products are the products that there are, in the order in which messages list them.
type Products []Product

// Of returns the product that a profile's format names; the zero product where there is none.
func (all Products) Of(format string) Product {
	if format == "" {
		format = DefaultFormat
	}
	i := slices.IndexFunc(all, func(p Product) bool { return p.Name == format && p.Formatter != nil })
	if i < 0 {
		return Product{}
	}
	return all[i]
}

// Defaults returns what a profile of a format is before `defaults` and its own keys are laid over
// it.
func (all Products) Defaults(format string) ProfileConfig {
	c := Defaults()
	c.Format = format
	for i := range all {
		if fill := all[i].Section; fill != nil {
			fill(&c)
		}
	}
	if product := all.Of(format); product.Preset != nil {
		product.Preset(&c)
	}
	return c
}

// Validate checks what a profile's format has to say about the profile beside
// [ProfileConfig.Validate]. The errors are of the same kind.
func (all Products) Validate(c *ProfileConfig) error {
	product, v := all.Of(c.Format), ErrorsAt("profiles", c.Code)
	if only := product.Units.Only; only != nil && !slices.Contains(only, c.Unit) {
		v.Add(product.Units.Text, product.Units.Remedy, "unit")
	}
	if c.IdentificationKey != "" && !product.Keyed {
		keyed := all.names(func(p *Product) bool { return p.Keyed })
		v.Add("format "+c.Format+" has no place for it", "take it out; format "+anyOf(keyed)+" sends it", "identification_key")
	}
	return v.Err()
}

// Formatter makes what writes a profile's bodies. The error has a ConfigPath and a remedy.
func (all Products) Formatter(c ProfileConfig) (Formatter, error) {
	product := all.Of(c.Format)
	refuse := func(key, text, remedy string) error {
		return &ConfigError{Path: []string{"profiles", c.Code, key}, Text: text, Remedy: remedy}
	}
	switch {
	case c.MessageType == "xml" && !product.XML:
		return nil, refuse("message_type", fmt.Sprintf("there is no XML for format %s", c.Format), "write json")
	case product.Formatter == nil:
		formats := all.names(func(p *Product) bool { return p.Formatter != nil })
		return nil, refuse("format", fmt.Sprintf("format %q is not in this version", c.Format), "use "+anyOf(formats))
	}
	return product.Formatter(c)
}

// Signature returns the product's way to sign that goes by a name; nil where there is none.
func (all Products) Signature(name string) *Signature {
	for i := range all {
		if all[i].Name == name {
			return all[i].Signature
		}
	}
	return nil
}

// Signatures are the products' ways to sign.
func (all Products) Signatures() iter.Seq[*Signature] {
	return func(yield func(*Signature) bool) {
		for i := range all {
			if own := all[i].Signature; own != nil && !yield(own) {
				return
			}
		}
	}
}

// Signers are the names of the products that have a way to sign.
func (all Products) Signers() []string {
	return all.names(func(p *Product) bool { return p.Signature != nil })
}

// Mail returns what writes mails in the words that go by a name; nil for plain ones.
func (all Products) Mail(name string) func(FailureMail) (subject, text string) {
	for i := range all {
		if all[i].Name == name {
			return all[i].Mail
		}
	}
	return nil
}

// names lists the products that are as asked.
func (all Products) names(is func(*Product) bool) []string {
	var names []string
	for i := range all {
		if is(&all[i]) {
			names = append(names, all[i].Name)
		}
	}
	return names
}

// anyOf writes names as a, b or c.
func anyOf(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
