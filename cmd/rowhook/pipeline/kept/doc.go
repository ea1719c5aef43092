// Package kept remembers rows of the database: a table's last values of some columns, so that the
// mapping knows old values which the stream does not carry.
//
// A [Store] stands before the mapper, in the goroutine that receives the stream. [Store.Change] fills
// what is Unknown in a change's old row, and what is Unchanged in its new one, and then brings the kept
// row up to date. The spool holds the rows; what changes of them goes into the batch of the
// transaction, so that they are as of the stored position whatever is killed.
//
// What must hold:
//
//   - Nothing is guessed. A value is known only if the stream, or a read that found its place in the
//     stream, brought it, and the stream has told every change since. Whatever may have changed a row
//     without being told begins another generation of the table's rows, of which nothing is known:
//     a truncated, altered or rewritten table, a change that could not be decoded, a gap, another
//     database, another choice of columns.
//   - A table's rows are kept from when its load begins ([Store.Begin]), and all of them are known when
//     it has ended ([Store.Loaded]). It is the same reading beside the stream as a backfill's. A row that
//     takes another key meanwhile, and is not known whole, may stand then where has been read already:
//     it is read by its new key ([Store.Moved]).
//   - A look-up costs memory of a fixed size: what batches hold that are not stored yet, and a cache.
//   - An aborted transaction leaves nothing: neither in memory, nor in the store, which puts back what
//     parts of it had changed. Until it has, look-ups see through them.
//
// # Keys and values
//
// In the spool, a table's state is under 's' and its name, as JSON; the next table's number under 'n'.
// A row is under 'r', the table's number (4 bytes), the generation (4 bytes) and its key: each column's
// length (unsigned varint) and text. Its value is 1, the version, and for each kept column 0 (unknown),
// 1 (NULL), or 2, the text's length and the text.
//
// Behind a generation's prefix, 0x80 and 0, with which no row's key begins, are the entries of the
// table's indexes, without values: the index's number (1 byte), 1, each of its columns' length and text,
// and the row's key in an order of its own, see [AppendSorted]; or, of a row that does not tell these
// columns, the number, 0 and the row's key. A list of rows is what batches hold of entries that are not
// stored yet, in memory, laid over a scan of the store.
package kept
