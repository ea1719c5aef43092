// Package delivery holds the words of delivery: what mapping, store, log, engine, formats and
// senders say to each other. It has no behaviour of its own beyond deciding which profiles an event
// goes to (see [Router]) and checking a profile's config (see [ProfileConfig.Validate]).
//
//   - [Event], [Kind], [Row], [Where], [Truth]: what mapping makes of a change.
//   - [ProfileConfig] and its parts, [LogConfig], [ConfigError]: what the config says.
//   - [Router], [Subscriptions]: who gets an event, decided when it is appended.
//   - [Store], [Delivery], [Members], [Progress], [Update]: the durable queue as the engine sees it.
//   - [Formatter], [Sender], [Request], [Reply], [Class]: one attempt.
//   - [LogRecord], [Outcome]: one line of the delivery log.
//   - [ProfileStatus], [Failure]: what people are told.
//
// delivery/engine brings events to receivers, delivery/deliverylog keeps the log, delivery/spool is
// the store, delivery/format renders bodies, delivery/webhook sends them, delivery/alert writes
// mails. None of them knows capture or mapping.
package delivery
