// Package pipeline takes the source's stream into the spool.
//
// A [Pipeline] is the source's sink. It maps changes to events, matches the events with
// subscriptions, and hands batches of them to the appender, which is the goroutine of
// [Pipeline.Run]. The receive goroutine never waits for the disk here. When storing falls behind,
// Busy says so and the source stops reading.
//
// What has a job of its own has an owner: batches are filled and stored by turns, the appender
// stores one, largeChanges marks the very large change at work, and a [Tracking] knows the rows that
// were read. They do not know the pipeline, which joins them under its mutex; only a tracking does.
//
// The package keeps the invariant that the confirmed position is never ahead of the spool:
//
//   - A batch holds events, their recipients and the position that they lead to. The spool applies
//     it as one atomic write. So no position is stored without the events before it.
//   - Durable is the only position that the source confirms to its server. It is the spool's
//     fsynced position, and nothing else.
//   - A position is the end of a commit, or one that the server reached with nothing unanswered.
//     While a transaction is open, no position moves.
//   - A large transaction is stored in parts. The parts become visible together with its end, and
//     Abort drops them.
//   - When the disk is full or the spool fails, the position stays where it is. The source repeats
//     what was not stored.
//
// A change that cannot be decoded or mapped is parked: it becomes a dead letter of the source in
// the same batch, with a line in the delivery log. [Pipeline.Remap] takes it up again and fsyncs
// its events before the letter goes.
//
// [Pipeline.Exchange] lets another mapping and other recipients take over between two
// transactions, when everything before is stored.
//
// A [Tracking] puts rows that were read beside the stream between its transactions, so that no older
// state of a row follows a newer one.
//
// An [Accountant] is told what became of each change, also of one that made no event. Nothing rests
// on it, and it waits for nothing.
//
// The package knows no config, no profile and no agent. It gets compiled rules and a router.
package pipeline
