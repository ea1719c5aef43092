package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/contract"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/environment"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
)

const schemaLong = `Prints the JSON Schema of the config file, for editors and for checks in a config repository.

Editors with the YAML language server take it from the file's first line:
  # yaml-language-server: $schema=./rowhook.schema.json

--events prints what receivers get, by the mapping and the database's columns: an OpenAPI 3.1
document with a webhook for each type of each profile, an AsyncAPI 3 document, or a JSON Schema of
the bodies. It holds no URL, secret or row. Without the database, keys and payloads are objects of
any members, and the exit code is 3.

--log prints the JSON Schema of the delivery log's lines, --admin the OpenAPI document of the admin
interface.`

const schemaExample = `  rowhook schema > rowhook.schema.json
  rowhook schema --events --profile desk > desk.openapi.json
  rowhook schema --events --format jsonschema > events.schema.json`

// schemaFlags are the flags of `rowhook schema`.
type schemaFlags struct {
	events, log, admin bool
	format             string
	profiles           []string
}

// eventFormats are the forms of the receivers' contract.
var eventFormats = []string{"openapi", "asyncapi", "jsonschema"}

func newSchemaCommand(c *console) *cobra.Command {
	var flags schemaFlags
	cmd := &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the config file, or what receivers get",
		Long:    schemaLong,
		Example: schemaExample,
		GroupID: groupAbout,
		Args:    noArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"format", "profile"} {
				if cmd.Flags().Changed(name) && !flags.events {
					return fmt.Errorf("--%s goes with --events", name)
				}
			}
			if !slices.Contains(eventFormats, flags.format) {
				return fmt.Errorf("--format takes %s, not %q%s", strings.Join(eventFormats, ", "), flags.format, spelling.DidYouMean(flags.format, eventFormats))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case flags.events:
				return c.eventSchema(cmd.Context(), flags)
			case flags.log:
				return printJSON(c.out, deliverylog.Schema())
			case flags.admin:
				return printJSON(c.out, adminInterface().OpenAPI())
			}
			return printJSON(c.out, config.Schema())
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.events, "events", false, "what receivers get")
	f.StringVar(&flags.format, "format", eventFormats[0], "the `form` of --events: "+strings.Join(eventFormats, ", "))
	f.StringSliceVar(&flags.profiles, "profile", nil, "only of these profiles' `codes`")
	f.BoolVar(&flags.log, "log", false, "the delivery log's lines")
	f.BoolVar(&flags.admin, "admin", false, "the admin interface")
	cmd.MarkFlagsMutuallyExclusive("events", "log", "admin")
	return cmd
}

// adminInterface is what answers on admin.listen.
func adminInterface() *contract.Admin {
	return &contract.Admin{Health: operation.Health{}, Status: operation.StatusReport{}, Reload: operation.ReloadStatus{}, Failure: control.Failure{}}
}

// eventSchema prints what receivers get.
func (c *console) eventSchema(ctx context.Context, flags schemaFlags) error {
	conf, err := config.Load(c.configPath, c.env, tryStandIn) // it is written where the secrets need not be
	if err != nil {
		return err
	}
	what, missing, err := eventContract(ctx, conf, flags.profiles)
	if err != nil {
		return err
	}
	var doc any = what.OpenAPI()
	switch flags.format {
	case "asyncapi":
		doc = what.AsyncAPI()
	case "jsonschema":
		doc = what.JSONSchema()
	}
	if err := printJSON(c.out, doc); err != nil {
		return err
	}
	if missing == nil {
		return nil
	}
	return errors.Join(missing, findingsError{})
}

// eventContract is what a config's receivers get. missing is which columns are not told, and why.
func eventContract(ctx context.Context, conf *config.Config, only []string) (what *contract.Contract, missing, err error) {
	in := environment.New(conf, readVersion().Version)
	endpoints, err := in.Endpoints(conf)
	if err != nil {
		return nil, nil, err
	}
	profiles, err := environment.Profiles(conf, endpoints)
	if err != nil {
		return nil, nil, err
	}
	what = &contract.Contract{}
	if what.Source, err = sourceName(conf); err != nil {
		return nil, nil, err
	}
	shapes, missing := eventShapes(ctx, conf)
	var unknown *untoldError
	if errors.As(missing, &unknown) {
		what.Missing = unknown.what()
	}
	for _, code := range only {
		if !slices.ContainsFunc(profiles, func(p *engine.Profile) bool { return p.Code() == code }) {
			return nil, nil, &usageError{err: fmt.Errorf("there is no profile %q", code), command: "rowhook schema"}
		}
	}
	for i, p := range profiles {
		if len(only) > 0 && !slices.Contains(only, p.Code()) {
			continue
		}
		r, err := receiverOf(conf, &conf.Profiles[i])
		if err != nil {
			return nil, nil, err
		}
		for _, e := range shapes {
			if p.Subscribes(e.Type, e.Entry) {
				r.Events = append(r.Events, e)
			}
		}
		what.Receivers = append(what.Receivers, r)
	}
	return what, missing, nil
}

// receiverOf is a profile without its events.
func receiverOf(conf *config.Config, p *delivery.ProfileConfig) (contract.Receiver, error) {
	product := conf.Products().Of(p.Format)
	r := contract.Receiver{Profile: p, Product: product}
	formatter, err := conf.Products().Formatter(*p)
	if err != nil {
		return r, err
	}
	sample := &delivery.Event{Making: &delivery.Making{Type: "event"}, Commit: &delivery.Commit{}, ID: "evt", Key: []byte("{}"), Data: []byte("{}")}
	head := formatter.Head(sample)
	if group, ok := formatter.(delivery.GroupFormatter); ok && p.Unit != delivery.UnitRecord {
		head = group.GroupHead(&delivery.Group{ID: "grp", Unit: p.Unit, First: sample})
	}
	r.ContentType = head.ContentType
	switch own := conf.Products().Signature(p.Signature); {
	case own != nil:
		r.Signature = own.Header
	case p.Signature != "none" && (p.Secret != "" || len(p.Secrets) > 0):
		r.Signature = "webhook-signature"
	}
	return r, nil
}

// eventShapes describes all events that can come, with those that rowhook tells of itself. missing
// says which columns are not known, and why.
func eventShapes(ctx context.Context, conf *config.Config) (shapes []delivery.EventShape, missing error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var list []capture.Listing
	source, missing := newSource(conf, slog.New(slog.DiscardHandler), "schema")
	if missing == nil {
		defer source.Close()
		list, missing = source.List(ctx, conf.Rules().Tables())
	}
	var tables []*capture.Table
	facts := map[*capture.Table][]capture.ColumnFacts{}
	for _, l := range list {
		if len(l.Facts) > 0 {
			tables, facts[l.Table] = append(tables, l.Table), l.Facts
		}
	}
	shapes = conf.Rules().Shapes(tables, func(t *capture.Table, column string) bool {
		i := t.Column(column)
		return i < 0 || facts[t][i].Nullable
	})
	open := func(typ string) delivery.EventShape {
		return delivery.EventShape{EventType: delivery.EventType{Type: typ, Ops: []string{"signal"}}, Open: true}
	}
	untold := &untoldError{cause: missing}
	for _, e := range shapes {
		if e.Open && e.Entry != "" && !slices.Contains(untold.entries, e.Entry) {
			untold.entries = append(untold.entries, e.Entry)
		}
	}
	shapes = append(shapes, open("rowhook.gap"))
	if missing == nil && len(untold.entries) == 0 {
		return shapes, nil
	}
	return shapes, untold
}

// untoldError says of which entries the columns are not known.
type untoldError struct {
	entries []string
	cause   error // why the database could not be asked; nil where it was
}

// what is for those who read the document: it is given away, and says nothing of the database.
func (e *untoldError) what() string {
	return "the members of keys and payloads of " + strings.Join(e.entries, ", ") + "."
}

func (e *untoldError) Error() string {
	text := "keys and payloads are objects of any members, of " + strings.Join(e.entries, ", ")
	if e.cause != nil {
		return text + ": " + e.cause.Error()
	}
	return text + ": the database shows no such table, or not as the mapping says"
}

// Unwrap returns the cause.
func (e *untoldError) Unwrap() error { return e.cause }

// RemedyText returns what to do.
func (e *untoldError) RemedyText() string {
	if e.cause != nil {
		return capture.Remedy(e.cause)
	}
	return "rowhook check"
}
