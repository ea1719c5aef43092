// Package http1 is a client for HTTP/1.1 (RFC 9112) that makes one request at a time on a connection, in the goroutine
// of its caller: it writes head and body in one piece and reads the reply where it stands. net/http has two goroutines
// for each connection and hands every request from one to the other, which is most of what a small request costs there.
//
// It does what webhooks need and nothing else: requests whose head and body are in memory, replies of which the status,
// three headers and the start of the body are wanted. Proxies, HTTP/2 and bodies that are made while they are sent are for
// net/http.
//
// What holds here:
//
//   - What is a reply, where it ends and whether its connection can serve again is decided as net/http decides
//     it. FuzzReply compares the two. Where they differ, this package gives the connection up earlier.
//   - Once a status has come it is the answer. A body that breaks off, never ends or is malformed costs the
//     connection and nothing else.
//   - A request is made again only on a connection that was kept, and only when nothing went out that a receiver could act on.
//   - A kept connection on which anything waits to be read, be it the other side's end, is not used again.
//   - No goroutine waits for a connection. One timer a host closes what has been idle for too long.
package http1
