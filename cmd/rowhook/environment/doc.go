// Package environment knows where the profiles' requests go: production, or a sandbox.
//
// A clone of production must not write to production's receivers. The config, ROWHOOK_ENVIRONMENT
// or the database itself say whether this is a sandbox. There every profile uses what its sandbox
// block has, or what was given by hand, and nothing of what production uses. A profile without a
// URL there sends nothing.
//
// An [Environment] is one for all profiles of an agent, since it changes for all of them at once.
// An [Endpoint] is a profile's sender and formatter. It asks its environment at each request. So
// nothing that was made for production is left in use when the database says sandbox.
//
// The package keeps nothing. The agent stores what was given by hand, and has deliveries wait until
// the database has been asked.
package environment
