// Package engine brings spooled events to their receivers.
//
// # How an event gets to its receiver
//
// A [delivery.Router] decided at append time which profiles get it. Each profile has a dispatcher: one
// goroutine that owns all of the profile's state, a few workers that render and send, and a
// committer. The dispatcher reads the spool's log into a window of bounded size, sorts events into
// lanes by ordering key, and hands the first of each lane to the workers. A success costs the store
// nothing of its own: it is marked in the window. About every 50 ms the delivery log is flushed and
// then the profile's progress is stored: a cursor, and what is over above it.
//
// # Who owns what
//
// A dispatcher holds the loop ([dispatcher.step]), the switch over classes of replies and the lock.
// What it decides by, and what it has done, is kept by owners. None of them knows it, each has its
// own fields, and each is tested alone. Where an owner works with others it names them as fields;
// newDispatcher joins them.
//
//	terms       the config in force, and who follows it
//	intake      takes events from the log into the queue, and minds barriers
//	reader      where the log is read, what is known of entries ahead, which events go together
//	queue       what waits: keeps lanes, memory and ledger in step
//	lanes       the order of ordering keys, and the queues of what may go
//	memory      how much is in memory
//	ledger      records, window, backlog: each way to leave a place is one method, drawn in
//	            docs/delivery-states.md
//	committer   brings what was decided into the store, after the delivery log's lines
//	kept        what outlives a restart besides progress and records
//	loader      brings records from disk back when they are due or their turn has come
//	crew        the workers, jobs on their way out and results on their way back
//	retrier     what becomes of a delivery whose attempt failed
//	clearer     skips or drops what waits
//	share       how much of the spool the backlog may take
//	inactive    holds or skips what comes for a profile that is not active
//	replays     sends history again
//	commands    what operators do to single deliveries
//	endpoint    breaker, probes, pace: whether requests go, and how many at once
//	activation  whether the profile gets its events, and when its endpoint is asked
//	gaps        what the receiver will not get, and has not been told of
//	lines       the profile's lines of the delivery log, and which are collapsed (flood)
//	tally       what status and metrics show (profilestatus.go)
//
// A reply comes back to handleResult (result.go). A 429, for example, is a class of the sender;
// endpoint.throttled decides how long the endpoint is left alone, retrier.retry what becomes of the
// delivery, queue.wait writes the record and has the lane wait. When the next request goes is decided
// in wakeAt (dispatcher.go), loader (load.go, probe.go) and handOut (handout.go).
//
// # What must hold
//
//   - Nothing is stored as over before the delivery log has its line. While the log cannot be
//     written, nothing is sent.
//   - Within a lane, deliveries go in the order of the log. A lane is a part in memory with records
//     on disk behind it. What comes for a lane with records on disk joins them there.
//   - The groups of a transaction are formed when it has been read whole, so that they are the same
//     again after a kill. A group that is too large for memory becomes records of its parts; none of
//     these is loaded before all are there. Batches may be formed otherwise after a kill.
//   - A group stands in the lanes of all its events. One of very many keys stands in none: it goes
//     alone.
//   - Memory is bounded by the window, whatever waits. A delivery that failed is written as a record
//     with its rendered body and leaves memory. Those behind it in its lane follow as records.
//   - Records on disk are loaded only once the log has been read as far as it was when they were
//     written, because older events of their lanes may be unread after a restart.
//   - What was decided reaches the store before the store is asked for records again.
//
// # Profiles that machines share
//
// With [Options.Shared] an engine delivers what it owns, from Own until Release or Disown. Each time is
// a tenure, under an epoch that requests, lines and updates carry. Nothing in memory outlives it, and
// what operators ask for fails outside it. Who owns what is told by those whom the store itself waits
// for: Own and Disown never wait, neither for the store nor for a dispatcher's lock. A dispatcher whose
// tenure is over ends by itself; the next tenure begins when it has. An update that such a one had
// begun carries the former epoch, and the store refuses it.
//
// No request starts past [Options.Lease], which is looked at again when a worker has rendered the body,
// and when the connection is there, just before the first byte goes out.
// An update of a shared store takes some milliseconds, and waits for as long as its machines do not
// agree: it is made beside the dispatcher wherever requests could go meanwhile, and those who look at
// figures do not wait for it.
//
// # An endpoint that fails
//
// There are two clocks. Each event follows its own schedule, and ages, while the endpoint answers
// others. The breaker opens after five consecutive failures, if they involve more than one event
// or if one of them got no reply at all. Events then wait in the log, in order, and their clocks
// stand still. One request at a time probes the endpoint, after a quarter of the
// time that it has been failing, at most five minutes. Retries and first tries take turns at it,
// since a single event may be what fails. An endpoint that throttles, refuses our credentials or is
// misconfigured is left alone at once, for as long as it takes.
//
// An answer closes the breaker. Retries are brought forward, and requests start slowly: one at once,
// then twice as many with each round of answers, half as many after each failure, up to concurrency.
// An outage is stored, so that a restart finds it again. What became due meanwhile starts slowly as
// well.
//
// A schedule that is a list is followed exactly once its event was tried: the receiver was promised
// those times.
//
// # An event that fails
//
// It holds up its key, and nothing else, until it is a dead letter: by its age, or after max_block
// when others of its key wait behind it. Then the key goes on, and the next delivery of it has a
// rowhook-gap header,
//
//	count=2; first=ID; last=ID
//
// which says how many events its receiver did not get, and the first and last of them. With on_dead:
// hold_key the key waits until the dead letter is retried or discarded. Which keys have gaps is
// stored, for 256 keys. What exceeds that, and what was shed, is told by the profile's next delivery.
// A delivery may tell of several gaps, separated by commas.
//
// # What is sent again
//
// A replay goes through the store's history at the pace of deliveries: no more than some thousand
// wait at a time, and its place is stored in one write with the records that it makes. What waits or
// is a dead letter is left alone. The others get a record of the next round at their place in the
// log, so that they go before newer events of their keys.
package engine
