// Package account keeps account of what became of each change, also of those that made no event and
// so leave no other trace.
//
// An [Account] is written by the goroutine that maps changes, beside the spool. It must cost that
// goroutine next to nothing:
//
//   - A change is encoded into a buffer, without garbage. A timer's goroutine writes the buffer to a
//     file, once a second. Nobody waits for the disk, and nothing is fsynced.
//   - At most so many changes a second are written down (see [Options]): the ones that made events,
//     and the ones that did not, each within a budget of their own. The others are counted, and the
//     count is written down.
//   - When the disk does not keep up, or is full, changes are left out and counted apart.
//
// So the account is a help for people, and nothing rests on it. What it says is true; what it does
// not say need not be so. It knows what it lacks: [Found] has what was left out, when it begins, and
// where a process ended without having written its last second.
//
// A row is known by a hash of its key, as events have it. Of row data only the values that decided
// are kept, each cut at 64 bytes: masked columns masked, excluded columns not at all, and none where
// [Options.Values] is false.
//
// # Files
//
// Numbered segments of a sixteenth of the size, or 4 MiB, lie in a directory of their own, which is its
// owner's alone. The oldest goes when there is no room for another. Each process begins a segment,
// so that a torn end is never written behind. A file "values" is there while segments may have values.
//
//	segment   "rhacct1\n", then frames
//	frame     length (4, big-endian), CRC-32C of what follows (4), records
//
// A frame whose sum is not right is passed over, with the rest of its segment: nothing behind it can
// be placed. Records have a first byte that tells their kind. v stands for an unsigned varint, text
// for v bytes that follow their length v, time for nanoseconds since 1970 (8 bytes, big-endian).
//
//	'B'  a process begins: time
//	'E'  it has ended in order
//	'P'  plan: v number, text JSON of what [mapping.Watched] says of an entry and table, with the
//	     codes of the profiles that subscribe to each event
//	'T'  transaction: time of commit; text: id, position
//	'A'  the transaction is dropped: it comes again
//	'L'  changes were left out, or with plan 0 could not be written: v plan, time from, time to, v that made events, v that did not
//	'C'  change: length of what follows (3, big-endian), v plan, op, v ordinal, bits (see below); the hash of the key (8), of the key before
//	     (8); text: actor's id and name, operation; reason and text of a failure; a verdict about
//	     the entry's own conditions; a verdict for each rule, in the plan's order; v events, each
//	     v place in the plan, text id, and for each profile of the plan an answer
//	     bits: 1 key, 2 key before, 4 who made it, 8 failure, 16 about the entry is not plain,
//	     32 verdicts are there, 64 it stands for several changes, 128 look-ups and lists are there
//	     several changes: 1 where nothing is left of them or 0, v how many, v how many are told, and each
//	     of these op, v ordinal
//	     look-ups, in the plan's order: a byte for what came of it, and 16 where a change of its row touched
//	     the entry's, and where the plan says that there are
//	     values, one for each column that it goes by and, where there is a row, each that the entry uses
//	     lists, in the plan's order behind them: 0 untold, 1 unknown, 2 whole or 3 cut, with these two v
//	     rows; but for 0, where there are values, one for each column that it goes by
//	'U'  a change that was not decoded: bits: 1 key; v ordinal; the hash of the key; text: table,
//	     reason, error
//	verdict   a byte: the standing, 16 where the old value decided, and 8 where more follows: a byte
//	          for the reason, v clause + 1, v values
//	answer    a byte: 0 no, 1 yes, 2 undecidable, and 8 where a value follows: text column, value
//	value     bits: 1 NULL, 2 a text follows, 4 masked, 8 hidden, 16 cut; text
//
// Plans and the transaction are written anew in each segment before they are needed, so that each
// can be read by itself.
package account
