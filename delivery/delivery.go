// Package delivery holds the words of delivery (events, profiles, deliveries,
// attempts) and the engine that brings spooled events to their receivers.
package delivery
