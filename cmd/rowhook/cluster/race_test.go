//go:build race

package cluster

// raceDetector reports whether this is a build with the race detector.
const raceDetector = true
