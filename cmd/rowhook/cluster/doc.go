// Package cluster makes agents on several machines one: each machine's spool is a replica of one
// state, and all that changes it goes through one stream of NATS JetStream.
//
// # What holds
//
//   - Every replica applies the same messages in the stream's order, the publisher's own included, and
//     nothing else. [state] is a function of the messages alone: no clock, no machine.
//   - The total order is the fence. A message of an epoch that is over is refused by every replica in
//     the same way. No compare-and-set, no key-value bucket and no consumer's acknowledgement is needed.
//   - In each of its lanes (capture, progress, membership) a process has one message under way at most.
//     It is published again, with the same number, until it comes back by the stream. Replicas pass
//     over numbers that they have seen. An acknowledgement means nothing.
//   - A machine acts on what it owns until its lease ends by its own clock, counted from when it sent
//     the last renewal that came back. Others count from when that renewal came to them, wait a fifth of
//     the lease longer, and name the renewal in their claim. The claim holds only if that is still the
//     owner's last. So no two act on one seat, whatever is delayed, lost, repeated or frozen, as long as
//     clocks go at like rates (within a tenth). What was begun within the lease may end after it: the
//     epoch in the requests tells.
//   - By which config events are made changes between two transactions, at a turn: a message of the
//     capture's, whose place in the log is the same on all replicas. A machine's engine reads up to a
//     turn that the machine has not taken, and no further. So order, unit and ordering keys of what is
//     on both sides are kept apart whenever each machine takes it. Who captures under another config
//     than the last turn's says so by a turn before the first event. Who has not the last turn's config
//     claims no profile, and the capture only if nobody has it.
//   - A profile is forgotten in the epoch of its last owner, by that one or while nobody owns it, and only
//     if no event waits for it at that place of the stream. What waits there is the same in all spools.
//   - What a cluster left under a name is no other one's: the first message says the lineage, and the
//     stream's metadata when that is trimmed. Snapshots of another lineage are not looked at.
//   - What a spool holds it knows the place of: two values, one written with parts that end a
//     transaction, one with everything else. A part of an open transaction moves neither; Open drops
//     it and it is read again.
//
// # What was seen of JetStream
//
// nats-server 2.15.3 and nats.go 1.55.0, three servers on loopback, R3, file storage, one message under
// way, three rounds of each, with sync_interval always and with the default of two minutes:
//
//	fault                             acknowledged   lost   gaps, repeats in an ordered consumer
//	leader killed (-9), back after 2 s       7,295      0   0, 0
//	a follower killed, back after 1 s       22,691      0   0, 0
//	all three killed at once                 5,648      0   0, 0
//	each stopped in order by turns          31,312      0   0, 0
//	leader frozen for 12 s                  23,104      0   0, 0
//
// The default interval lost nothing either: a kill leaves what the kernel has. Only power loss tells
// them apart, so that sync_interval must be always for what is confirmed to the database. A client
// cannot see how it is set.
//
//   - A publish that timed out may be stored never, or much later, behind messages that were published
//     and acknowledged after it: one sent to a leader that was frozen came when that woke
//     (findings/publish-that-comes-after-its-deadline.sh). Thus numbers and epochs in the messages, and
//     no trust in the order of sending.
//   - Without a majority a publish gets no answer until its deadline. Sent again under the same
//     Nats-Msg-Id it fails at once with err_code 10158, "duplicate message id is in process". When the
//     majority came back the message was stored where the two other servers had been killed, and gone
//     where they had been frozen.
//   - A server that starts answers requests of the JetStream API not at all while it has no leader. A
//     request needs a short deadline of its own.
//   - An ordered consumer lost its heartbeats and was made again by the client by itself; it went on
//     without gap and repeat. What the client asks then of a server that has no leader keeps it for ten
//     seconds, though, which is longer than a lease: the reader makes its consumers itself, and holds that
//     numbers have no gap and no repeat.
//   - DenyDelete and DenyPurge do not keep messages from a maximal age that is set later
//     (findings/stream-that-loses-its-end-by-age.sh). Check looks at the limits, at each start too.
//   - ObjectStore.Put of 200 MiB fails on servers that sync always: it publishes all chunks without
//     waiting, and each has five seconds. A chunk that nobody answers is sent again with whatever the
//     buffer holds by then, and the object is called stored (findings/an-object-with-another-chunks-bytes.sh).
//     Thus snapshots in pieces, each read back before the next; 400 MiB took 20 s there and back.
//   - Every server of a bucket answers what is under a name, and lists: one that lags behind says that
//     there is nothing. What there is says the server that leads, by the subjects of the stream.
//
// TestFaults, with three machines in processes of their own and three servers: of 50 faults in turn
// (machine or server killed, frozen for 1 to 10 s, all of them killed) under load, 231,900 events, none
// was lost, out of order within an epoch, or begun by an older epoch's owner behind a newer one's; 14
// were repeated. On a busy machine of two cores all was delivered 0.4 to 10 s after the last event,
// where the longest waits were for the servers to elect a leader. A machine's death is noticed after
// lease + lease/5: others had what it owned 5.4 s after, with a lease of 5 s.
//
// # Bytes
//
// Numbers are unsigned varints in their shortest form (v), or big-endian of 8 bytes; text is v bytes
// that follow their length v. An envelope:
//
//	0    1, the version
//	1    lane: 0 capture, 1 progress, 2 membership
//	2    bits: 1 more follows, 2 goes on with the message of the envelope before
//	3    incarnation, 8 bytes
//	11   v number in the lane; text machine; the rest is the body, or a piece of it
//
// A body is a kind, one byte, and its fields, see the types in message.go; the spool's values are in
// stamp.go. Golden files hold both. A build that finds a version or a kind that it does not know
// stops. So a version that has new ones must not write them before all machines have it: what machines say
// of themselves has their version.
//
// # When something fails
//
//	a machine dies                others claim what it had, lease + lease/5 after its last renewal
//	a machine is frozen, wakes    its lease has ended: it starts nothing; it sees the claim, and follows
//	its messages come late        refused by all: their epoch or number is over
//	no majority of servers        nothing comes back, leases end, nothing is sent; capture waits
//	the stream went back          every renewal is answered by a place in the stream: one that is not
//	                              beyond what is applied, or a message with another digest, is
//	                              an error that ends the process, never passed over
//	one lags beyond the first     it ends, and fetches the last snapshot when it is started again
//	message that is left
//	a server is split off         who is connected to it goes to another one, see leave in stream.go
//	a machine cannot take a turn  it delivers what is before it; after 10 s others have its profiles
//	one machine's disk is full    it applies nothing, hears nothing of itself, loses what it has
package cluster
