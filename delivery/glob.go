package delivery

// MatchGlob reports whether a glob of a subscription matches a whole name: * stands for
// any characters, dots included, also none; ? for one byte.
func MatchGlob(glob, name string) bool { return matchGlob(glob, name) }
