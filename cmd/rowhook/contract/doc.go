// Package contract writes down for machines what others may rely on: the requests that receivers
// get, as OpenAPI 3.1 webhooks, as AsyncAPI 3 and as JSON Schema; and the admin interface, as
// OpenAPI. It is pure: the command asks the config and the database.
//
// What must hold:
//
//   - Every body that a profile gets satisfies the schema that it has here. So a schema says less
//     rather than too much: tables get columns, and a value may not fit its type's policy.
//   - A document is given away, so nothing secret is in it: no URL of an endpoint, no secret, no
//     header of a profile's own, no row.
//   - The same config and columns give the same bytes.
//   - Schemas of bodies are the products' (delivery.Product), of the admin interface's answers those
//     of the structs that it writes. Only keywords that JSON Schema's draft 07 and 2020-12 have in
//     common are used, since AsyncAPI takes the former.
package contract
