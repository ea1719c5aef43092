package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// catalog is what is known of the server's catalog, for when the stream comes to something that is
// gone from there. A type's nature never changes, nor does whether a table is partitioned, and an
// OID is not given to another within any stream's life. So what is known stays true after the
// object is dropped, and over connections to the same timeline: on another an OID may be something
// else. It is used by one goroutine.
type catalog struct {
	timeline int32
	types    map[uint32]knownType  // those that are not built in
	shapes   map[uint32]tableShape // of tables, as they were last
	folding  map[*capture.Type]*capture.Type
}

// knownType is a type with what the stream announces it as.
type knownType struct {
	typ       *capture.Type
	announced [2]string // schema and name, see [typeMessage]
}

func newCatalog(timeline int32) *catalog {
	return &catalog{timeline: timeline, types: map[uint32]knownType{}, shapes: map[uint32]tableShape{},
		folding: map[*capture.Type]*capture.Type{}}
}

// typeFacts are a type as the catalog has it.
type typeFacts struct {
	oid                   uint32
	schema                string
	name, kind, delimiter string
	base, element         uint32 // of a domain, of an array
	extension             string
	resolving             bool
}

// typesSQL reads types with those they are made of. The schema is as the stream writes it: empty
// for pg_catalog.
const typesSQL = `
with recursive wanted(oid) as (
  select distinct w.oid from (%s) w(oid)
  union
  select coalesce(nullif(t.typbasetype, 0), e.oid) from wanted w
  join pg_catalog.pg_type t on t.oid = w.oid
  left join pg_catalog.pg_type e on e.typarray = t.oid
  where t.typbasetype <> 0 or e.oid is not null
)
select t.oid, case n.nspname when 'pg_catalog' then '' else n.nspname::text end, t.typname::text, t.typtype::text, t.typdelim::text,
  t.typbasetype, coalesce(e.oid, 0::oid),
  coalesce((select x.extname::text from pg_catalog.pg_depend d join pg_catalog.pg_extension x on x.oid = d.refobjid
    where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.objid = t.oid
      and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.deptype = 'e' limit 1), '')
from wanted w
join pg_catalog.pg_type t on t.oid = w.oid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_type e on e.typarray = t.oid`

// publishedTypes are those of the tables that a publication has, and thisType is one.
const (
	publishedTypes = `select a.atttypid from pg_catalog.pg_publication_tables p
    join pg_catalog.pg_namespace s on s.nspname = p.schemaname
    join pg_catalog.pg_class c on c.relnamespace = s.oid and c.relname = p.tablename
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where p.pubname = $1 and a.atttypid >= 10000`
	thisType = `select $1::oid`
)

// folded is a type under a collation that takes different texts for equal: always the same one, since
// the pointer is a key for caches.
func (b *catalog) folded(t *capture.Type) *capture.Type {
	if b.folding[t] == nil {
		folds := *t
		folds.Folds = true
		b.folding[t] = &folds
	}
	return b.folding[t]
}

// learn reads types from the catalog.
func (b *catalog) learn(ctx context.Context, c *pgx.Conn, which string, arg any) error {
	rows, err := c.Query(ctx, fmt.Sprintf(typesSQL, which), arg)
	if err != nil {
		return err
	}
	facts := map[uint32]*typeFacts{}
	for rows.Next() {
		f := &typeFacts{}
		if err := rows.Scan(&f.oid, &f.schema, &f.name, &f.kind, &f.delimiter, &f.base, &f.element, &f.extension); err != nil {
			rows.Close()
			return err
		}
		facts[f.oid] = f
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for oid := range facts {
		b.resolve(oid, facts)
	}
	return nil
}

// resolve makes the type of an OID; nil when the catalog does not tell all that it is made of.
func (b *catalog) resolve(oid uint32, facts map[uint32]*typeFacts) *capture.Type {
	if t := builtinTypes[oid]; t != nil {
		return t
	}
	f := facts[oid]
	if f == nil || f.resolving {
		return nil
	}
	f.resolving = true
	defer func() { f.resolving = false }()
	known := knownType{announced: [2]string{f.schema, f.name}}
	switch {
	case f.kind == "d":
		from := b.resolve(f.base, facts)
		if from == nil {
			return nil
		}
		domain := *from // of a domain it is that of the domain below
		domain.Name = f.name
		known.typ = &domain
		known.announced = b.announcement(f.base, facts)
	case f.element != 0:
		elem := b.resolve(f.element, facts)
		if elem == nil || len(f.delimiter) != 1 {
			return nil
		}
		known.typ = arrayType(elem, f.delimiter[0])
	default:
		known.typ = otherType(f.name, f.kind, f.extension)
	}
	if was, ok := b.types[oid]; ok && was.typ.Name == known.typ.Name {
		known.typ = was.typ // the pointer is a key for caches
	}
	b.types[oid] = known
	return known.typ
}

// announcement is how the stream names a type that a domain is over.
func (b *catalog) announcement(oid uint32, facts map[uint32]*typeFacts) [2]string {
	f := facts[oid]
	switch {
	case f == nil:
		return [2]string{}
	case f.kind == "d":
		return b.announcement(f.base, facts)
	}
	return [2]string{f.schema, f.name}
}

// typeOf returns the type of an OID. Where the stream has announced it, it must be known by the
// same name: what is not, and what is not known at all, is looked up in the catalog, which is right
// for as long as it has the OID. Of a type that is gone from there the stream tells enough where a
// domain was over a built-in type. Any other stays unknown.
func (b *catalog) typeOf(ctx context.Context, c *pgx.Conn, oid uint32, told typeMessage) (*capture.Type, error) {
	if t := builtinTypes[oid]; t != nil {
		return t, nil
	}
	announced := [2]string{told.schema, told.name}
	if k, ok := b.types[oid]; ok && (told.name == "" || k.announced == announced) {
		return k.typ, nil
	}
	delete(b.types, oid)
	if err := b.learn(ctx, c, thisType, oid); err != nil {
		return nil, fmt.Errorf("look up type %d: %w", oid, err)
	}
	if k, ok := b.types[oid]; ok {
		return k.typ, nil
	}
	if t := builtinNames[told.name]; told.schema == "" && t != nil {
		b.types[oid] = knownType{t, announced}
		return t, nil
	}
	name := told.name
	if name == "" {
		name = fmt.Sprintf("type %d", oid)
	}
	return &capture.Type{Name: name, Kind: capture.Untyped, AppendJSON: misfit}, nil
}
