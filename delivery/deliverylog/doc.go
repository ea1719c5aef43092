// Package deliverylog writes and reads the delivery log: a file of JSON lines, one for each attempt
// and each end of a delivery.
//
// [Log] appends, flushes, syncs and rotates. A line that the disk took in part is completed or
// taken back, so that a reader never meets half a line before another one. [AppendLine] is the one
// encoder of a line, version 1; [ParseLine] reads it back. [Search] selects lines over all files,
// oldest first, and can follow the file across rotation.
//
// A file of its own is locked for one process. Another program may move or truncate it: the log
// then goes on in a new file at the same path.
package deliverylog
