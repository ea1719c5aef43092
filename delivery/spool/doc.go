// Package spool is the durable queue between capture and delivery: an append side for the one
// goroutine that owns the source, and [delivery.Store] for the engine.
//
// # What holds
//
//   - One batch holds the events of (a part of) a transaction, their recipients and the position,
//     and is applied whole or not at all. A part without the transaction's end is stored
//     but not visible; Open drops it, because the source repeats the transaction.
//   - Fsyncs are shared: at most one each Options.Sync, none when idle. [Spool.Durable] is what may be
//     confirmed to the source. Reading does not wait for it: acknowledgements go through
//     the same log, so that no crash can keep one and lose its event.
//   - An event is stored once for all its recipients. A healthy profile costs no write per event
//     beyond its share of the append, and reads what was just appended from memory.
//   - Kept rows, which are what the agent remembers of the database's, are always as of the committed position. What
//     an open transaction changes of them in parts has undo records, by which Abort and Open put it back.
//   - A torn tail is repaired silently. Anything else is an error: a [*DamageError], from Open or from a read.
//   - A failed fsync, or any write that fails otherwise, ends everything ([Spool.Err]). It is not repeated, since
//     nobody knows which pages the kernel still has. A full disk is refused before ([*NoRoomError]).
//   - Memory does not grow with the backlog. In memory are the newest 1,024 events or 8 MiB, 80 KiB for each profile of blocks that several read, up to 8 MiB, a mark for each
//     MiB of log, and per profile its progress and counters.
//
// # Why Pebble, and how it is set up
//
// Own segment files would save a microsecond an event and cost the proof of recovery that
// an LSM store with a decade of crash tests brings. bbolt maps as much memory as there is data; SQLite
// and an embedded broker were slower. Set-up matters:
//
//   - The format is the newest stable one, and a new store is opened twice: a log keeps the format it was
//     created under, and in the oldest one a single damaged byte silently ends the log.
//   - Pebble's Fatalf must not end the process from inside a library. A failed commit returns to
//     its caller, who looks at the error; any other goroutine of Pebble's ends there and
//     releases its locks. After that the store is not closed but left, as a crash would leave it.
//     What fails in its log Pebble never hears of ([fileGuard]): it would end the process.
//   - Memtables of 2 MiB, a cache of 4 MiB and 48 KiB more for each profile, which reads the log by itself when it is
//     behind, and 4 MiB where rows are kept; the memtables' size is taken off the cache. One compaction at a time.
//   - Events are stored in blocks of up to 16 KiB, where one leaves out what it has in common with the one before, as
//     the events of a transaction have most texts. The values of the log are written once, to files of their own
//     (*.blob): what is merged are keys. Both together take more than half off the CPU of BenchmarkAppend in
//     transactions of 100 events of 400 bytes, from 4.4 to 1.8 µs each, where blocks alone leave 2.4 µs.
//   - A block is compressed before it goes into the log, and not only when it leaves the memtable: what is copied,
//     written and flushed is a fraction, and a memtable has room for more. That takes 40 % off what was left.
//   - Profiles that are behind the newest events, but not far from each other, share what they decode ([sharedBlocks]).
//     BenchmarkReaders, a hundred profiles that read by turns: 0.15 of 1.2 µs an event where each gets all, 7.2 of
//     27 µs where each gets a hundredth.
//   - Pebble may panic where it reports damage of such a file. On a goroutine of the spool's that is an error like
//     any other ([Spool.look]); those of Pebble never read such values, since it is told to write none of them again.
//     Open looks whether the files are all there, and whole.
//
// # What Pebble alone would miss
//
// Damage to the last synced record cannot be told from a tear, damage in a MANIFEST cuts it
// short at that place, and a file that is gone may not be missed. Therefore:
//
//   - Each batch has a number and merges (1, number) into the key 'n'. If the sum of the ones is not the highest
//     number, batches are missing in between. One look at Open tells.
//   - The file "witness" beside the store says, a second behind the last sync at most, how many
//     batches had been synced. A store that has fewer has lost its end. Damage to what was synced within the last
//     second is left to the check of the stored position against the source's.
//   - Event numbers have no gaps. Open looks for the first and the last, reading for those between.
//
// # Files
//
//	LOCK, MANIFEST-*, OPTIONS-*, *.log, *.sst, *.blob, marker.*    Pebble's
//	holder     {"pid":…,"host":…,"since":…} of whoever has the lock; "passing":true of a command
//	witness    two slots of 512 bytes, written in turn:
//	           0    crc32c of bytes 4 to 511        4
//	           4    batches synced                  8
//	           12   last visible event              8
//	           20   length of the position          2
//	           22   position, cut at 400 bytes
//
// # Keys
//
// Numbers in keys are big-endian. A sequence number (seq) takes 8 bytes, a profile's number (id) 4.
//
//	'c'                        commit record: how far the log is visible
//	'f'                        first event of the log: the byte 'f', seq
//	'h' seq                    mark: time and size of the log before that event
//	'i' seq part index         piece of a large event: data, previous, shape or marks (one byte, from 0) in pieces of 128 KiB (4 bytes)
//	'k' key                    kept row, as it is
//	'l' seq                    event, or the block, packed or not, whose last event that is
//	'm' name                   the agent's own values, as they are
//	'n'                        count of batches (merged)
//	'p' id 'a'                 progress
//	'p' id 'b' seq             rendered body, as it is
//	'p' id 'd' seq             delivery: retrying or blocked; a group under its first event
//	'p' id 'e' seq             event, copied here before it left the log
//	'p' id 'f' seq part index  piece of a large event, copied likewise
//	'p' id 'g' seq             delivery that was passed over: its event has gone here, not where its profile was delivered
//	'p' id 'k' lane seq        index of 'd' by each of its lanes (8 bytes); no value
//	'p' id 's'                 the engine's own state, as it is
//	'p' id 'u' due seq         index of 'd' by due time (nanoseconds since 1970, 8 bytes); no value
//	'p' id 'x' seq             delivery: dead
//	'q' seq                    dead letter of the source; numbers of their own
//	'Q'                        number and bytes of the source's dead letters
//	'r' id                     registration; a retired profile keeps its entry
//	't'                        totals: what each profile was ever addressed, up to an event
//	'u' key                    undo: what was kept under the key before the open transaction
//
// # Values
//
// The first byte is the version; a newer one than given here is a [*VersionError], older ones are read. v stands for an unsigned varint, z for
// a zigzag varint, text for v bytes that follow their length v, time for seconds since 1970 (8 bytes,
// big-endian) and nanoseconds (4). The count of batches alone has no version byte.
//
//	event         0    3; 4 of a large one
//	              1    time of commit                       12
//	              13   recipients: v, then so many v
//	              ..   length of the texts                  4
//	              ..   text: id, type, entry, source, table, op, position, transaction, actor's id
//	                   and name, operation, link, order key, old order key, title, code, object
//	              ..   unavailable, bigints, flags: each v, then so many texts
//	              ..   as: v (0: none; else members + 1), each text, 0 or 1, and for 1 a text
//	              ..   text: kinds (the last of the texts; version 1 has none)
//	              ..   bits: 1 assumed, 2 key, 4 data, 8 previous, 16 shape, 32 marks are there
//	              ..   z ordinal of the change
//	              ..   text: key, data, previous, shape (version 1 has no shape), marks (versions 1
//	                   and 2 have none)
//	                   In version 4 data, previous, shape and marks are in pieces: v size + 1 of each, 0 where there is none
//	block         5, v events, each:
//	              v size that its record would have by itself
//	              bits of what is as in the event before, 4 bytes: 1 time, 2 recipients, from 4 on the 17 texts,
//	              then the lists unavailable, bigints and flags, as, kinds. The first event's is
//	              an event of 1970-01-01 in which all is empty. What is not as before follows in
//	              this order and written as above
//	              bits: as above
//	              z ordinal of the change, less that of the event before
//	              text: each of key, data, previous, shape and marks that the bits say is there
//	              A block goes across no mark and no commit. An event whose parts are in pieces is in none
//	packed block  6, an S2 block (github.com/klauspost/compress/s2) of a block of up to 1 MiB, where that is smaller
//	delivery      3, state (1 retrying, 2 blocked, 4 dead), time of the event's commit, lane (8), waiting lane (8), time due, time since,
//	              z: round, attempts, refusals, clock (ns), status,
//	              bytes; text: reason, error, content type; headers of the body (version 1 has none):
//	              v, each text name, text value; 1 if it is a group (versions 1 and 2 have none), and then
//	              v: last event behind the first, number of events, part, parts; text: id, unit, last
//	              event's id, entry, type; 1 if it goes alone; lanes: v, each 8; in the end 1 if 'b' has a body
//	progress      1, v finished events, v finished bytes, v cursor, v number of done, each v behind the one before
//	commit        4 (1 to 3 of builds that do not know packed blocks, and must not take the store); v last event, v last dead letter of the source, v bytes of all events ever, text position
//	mark          1, time of the event, v bytes before it
//	totals        1, v up to event, v profiles, each v id, v events, v bytes
//	registration  1, 1 if retired, text code
//	parking       1, v number, v bytes
//	parked        2 (3 where it was read past or its key is known, 4 where several became one, 5 of a touch), time, z ordinal, assumed, text: table, entry, profile, reason, error, transaction, identity,
//	              position, actor's id and name, operation, relation, change, second change; types of events that were made (version 1 has
//	              none): v, each text; v size of a change that was read past, text key of its row (from version 3 on);
//	              the changes that became one with it: v, each text (from version 4 on); text touch (from version 5 on)
//	missed        1, v events, v bytes that it counts in the backlog where it is
//	undo          1, v the transaction's number, 1 if there was a row, which follows, or 0
//	batches       v batches, v highest number
//
// A backlog is what totals, and the events behind them, say was addressed, less what the progress record
// says was finished. Both are written in the batch that changes them, so that the difference is
// right after any crash, and Open counts no more than a MiB of log.
//
// # Between machines
//
// A batch goes to other spools in parts ([Batch.Encode], [Spool.DecodePart]). One that applies all of
// them in order has the same events under the same numbers, dead letters, kept rows, values and
// position. A part is a batch of its own: all that it holds belongs to an open transaction, or it
// commits all of it. Profiles are named by code, since each spool gives them numbers of its own.
//
//	part          1, bits: 1 it commits, 2 pieces, 4 the first event's data, previous, shape and marks came as pieces before
//	              if so v size + 1 of each; if it commits text position
//	              v profiles, each v number in this part, text code; v number of the transaction that kept rows are of
//	              v events, v parked, v changes of kept rows, v values
//	              events as in a block; each parked as text; each change: 0, text key to forget or 1, text key, text row;
//	              each value: text name, text value
//	pieces        1, 2, v pieces of the event that comes first in the part behind them, each: part (one byte), v index, text of up to 128 KiB
//
// A profile's updates go to other spools as they were made ([EncodeUpdate], [Spool.UpdateAll]):
//
//	update        1, bits: 1 progress, 2 state; for 1 v cursor, done; for 2 text state
//	              z events and bytes that leave the backlog; removed; v deliveries put, each: v seq, length (4), delivery
//	              as above (but the time of its event is 1970), text body if it says that there is one
//	              done and removed: v numbers, z each behind the one before, the first behind the cursor, or 0
//
// What one spool has removed with history another may still have. A delivery of such an event is
// passed over here, and what it counts in the backlog there is taken off here until it has ended.
//
// # Kept rows
//
// They are looked up at random, one for each change of a table that has some. BenchmarkKept, a million rows of 50 bytes, on a
// busy machine: 2.7 µs of CPU among a thousand rows, 12 to 15 µs in no order at all, which is a block of the store read, checked
// and decompressed; 40 bytes of disk a row. Whoever looks rows up keeps the latest in memory, therefore. To keep one costs
// 3.4 µs; in a part of an open transaction twice a look-up more.
//
// # Retention
//
// Below the lowest cursor of all registered profiles the log is history. It goes from the front, by range, at
// marks: when older than Options.History, beyond Options.HistorySize, or when the disk holds more than
// Options.MaxSize or has less than Options.Reserve left. Events that deliveries below still need are copied under their profile before, all of
// a group's when its first one leaves.
// A profile that the config no longer names pins the log until [Spool.Retire].
package spool
