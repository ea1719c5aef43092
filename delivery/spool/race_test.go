//go:build race

package spool

// raceDetector reports whether this is a build with the race detector.
const raceDetector = true
