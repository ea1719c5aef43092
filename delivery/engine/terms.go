package engine

// terms is the config that a profile works by: the one in force, and what comes after it. Who works
// by it follows.
type terms struct {
	profile    *Profile // in force
	configured *Profile // as the config has it; differs from the one in force while a barrier stands
	coming     *Profile // takes over when no worker uses the one in force; nil when none is coming
	followers  []follower
}

// follower is told which profile is in force.
type follower interface{ follow(p *Profile) }

// use has a profile be in force.
func (t *terms) use(p *Profile) {
	t.profile = p
	for _, f := range t.followers {
		f.follow(p)
	}
}

// latest is the config that will be in force when all has been taken over.
func (t *terms) latest() *Profile {
	if t.coming != nil {
		return t.coming
	}
	return t.configured
}

// takeOver has the config that is coming be the profile's. It returns the former one.
func (t *terms) takeOver() (before *Profile) {
	before, t.configured, t.coming = t.configured, t.coming, nil
	return before
}
