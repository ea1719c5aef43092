// Package config reads config.yaml.
//
// A [Config] is the file with defaults for what the file leaves out. [Load] reads it, expands
// variables, reads the files that it names, and has each room validate its own section. Reading is
// strict: an unknown key, a wrong type or a bad value is an error with file, line and column.
//
// Rooms own the structs of their sections, and struct tags describe how a struct is written. The
// decoder, the defaults, the JSON Schema and the errors all come from the same tags (see field).
// So a key that the decoder takes is in the schema, and an error can propose a key that exists.
//
// What the package holds to:
//
//   - Values of secrets never appear in an error, wherever in the file they stand.
//   - An error that is about a value names its place in the file. Findings do so, too.
//   - A key of a later version is refused as "not in this version", and never ignored.
//
// The package opens no connection. It makes senders, formatters and sources, because these check
// their settings, and drops them. It knows nothing of the agent, the state directory or commands.
//
// Names of the schema's definitions are a contract: [Schema] calls the sections that belong here
// "rowhook.spool", "rowhook.source" and so on, after the program.
package config
