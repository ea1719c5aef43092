// Package try shows what recorded changes would send.
//
// [Read] reads changes, one line of JSON each. [Run] puts them through a config's mapping and its
// profiles, and returns [Results]: events, the requests that they make, and problems. [Compare]
// holds results to an earlier run's.
//
// Nothing is stored or sent, and no database is asked. The same changes and the same config give
// the same results, ids included. Secrets, the configured headers and the identification key are
// in no result.
//
// Tables are put together from what the changes name, unless the caller has asked the database for
// them. Types that no change gives are guessed from the values.
package try
