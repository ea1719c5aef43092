// Package mapping turns row changes into domain events. It is pure: no I/O, no clock, no
// goroutines, no log. The same change gives the same events, with the same ids, whenever it is
// mapped.
//
// [Compile] checks the config's mapping section and the parts of its source section that tell who
// did it (context) and what happened without a row (signals). The [Rules] it returns know no table
// yet: [Rules.Check] compares them with one, and a [Mapper], made for one stream, binds them to
// each table description that it meets and keeps that until another comes.
//
// # What is unknown
//
// A stream does not carry every value: unchanged TOAST, old values beyond the replica identity, row
// images that are not full. Conditions are therefore answered true, false or undecidable, and an
// undecidable one is not guessed: the change goes to [Output.Fail], to be kept and mapped again
// with [Mapper.Remap] once the cause is fixed. It fails for one entry of the mapping at a time,
// and such an entry makes none of its events from the change, so that mapping it again makes each
// of them once. What certainly holds or fails is decided whatever else is unknown; tests prove the
// answers against brute force over all the values that may be missing.
//
// What is known of an old row is told by its tuple. One thing is inferred: an update without an old
// tuple has not changed the columns of the replica identity, which PostgreSQL would have sent. It
// is not inferred for partitioned tables, whose partitions have identities of their own.
//
// # Order
//
// An event's ordering key is its table and the values of order_by (or its order group's name and
// those values). An update that moves a row between ordering keys names both. A truncate concerns
// all keys and has none: its ordering key is the table's bare name, so it is in order with other
// truncates of the table, and not with the rows' events. A table without any key has the same one
// lane for all its rows. Signals are in order with each other per key, whatever their types.
//
// # Payloads
//
// A payload has the members of `fields`, or the columns that are not excluded, in order; each is a
// column, a constant, an expression or more members. [delivery.Event.Kinds] says of each what its
// values are: it is one text for all events of an entry, until a value is missing. A delete's data
// is its key; where a format sends deleted rows whole (Options.DeletedRows), the whole shape is
// read from the old row besides, and what the replica identity lacks is missing in it.
//
// # Expressions
//
// Conditions under if, and computed fields, are written in expr-lang. The library parses and checks
// them; they are evaluated here, since they deal in unknown values, NULL and exact numbers (see the
// comments on expression and decimal). Its functions are all there but those that walk lists in
// uncommon ways; they see numerics as the nearest float64, while operators compare and compute
// exactly. now() is the transaction's commit time.
//
// What they may make and compute is counted for each change and entry (see maxMade, maxSteps):
// texts and lists before they are made, elements as they are walked. Beyond the bounds nothing more
// is computed, and the change is parked with that as its reason. Counts rather than clocks, so that
// a change gives the same events on a busy machine.
//
// # Rejected
//
// Payloads are not built as maps and marshalled: members are written in order from the database's
// text, which keeps every digit and costs four allocations an event, whatever the number of
// columns. Unknown columns are not taken for NULL, as most change feeds do; that is how returned
// books become lent ones.
package mapping
