// Package catalogue tells people what the mapping can send: every event type with its rules in
// words, the members of its payload with their types, and an example of what each profile would
// get.
//
// Examples are made by the mapping itself. A row of made-up values, of the table as the database has
// it, goes through a copy of the mapping whose rules and conditions are left out but for the
// operation. So the payload of the example is what the real mapping makes, renamed, masked and
// shaped. Keys of masks are made up, too: an example's hashes are nobody's.
//
// The package opens no connection, and knows nothing of the agent.
package catalogue
