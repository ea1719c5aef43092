// Package directories knows whose the directories are that the agent writes into.
//
// The agent writes its state and the delivery log, and mostly runs as a user of its own, while
// people set it up as themselves or as root. [Findings] say before the start whether that user may
// write there. [MakePrivate] keeps the state directory to its owner. [RefuseRoot] keeps root from
// writing what the agent could not open afterwards. [WithRemedy] says what helps where files belong
// to somebody else.
//
// The package reads modes and owners and makes the state directory. It opens nothing in it.
package directories
