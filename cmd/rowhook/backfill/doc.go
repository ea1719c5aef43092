// Package backfill sends existing rows as events (op read), in chunks by key beside the running
// stream, without locks and without writing anything to the database.
//
// A [Manager] keeps the backfills of a state directory and, while an agent runs, works on them with
// one reader: [Manager.Run]. How rows find their place between the stream's transactions is told in
// the pipeline (which waits for a chunk's mark and knows what the stream changed meanwhile) and in
// each source's reader (which knows what a read has seen).
//
// What must hold:
//
//   - A chunk's events and how far the backfill is are stored in one batch of the spool. A killed
//     agent repeats at most the chunk that it was at, with the same ids.
//   - An event's id is made of the backfill, the entry, the table and the row's key: it is the same
//     however often the row is read.
//   - A row that could not be placed is read again, by its key. Nothing is left out but rows that are
//     gone by then, and rows whose key changed: of these the stream tells.
//   - The database carries one reading session, whose statements are bounded in rows and time. The
//     receivers' backlog is bounded too: reading waits while theirs is large.
//
// # Stored values
//
// Under the spool's key "backfills" is a JSON list of [Job], under "backfill/ID" the JSON of how far
// each is. They are apart since commands write the one and the pipeline the other.
package backfill
