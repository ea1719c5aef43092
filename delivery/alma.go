package delivery

// AlmaConfig is what the format alma wants to know.
type AlmaConfig struct {
	Institution InstitutionConfig `yaml:"institution" doc:"the institution that messages are sent for"`
	NullMembers string            `yaml:"null_members" enum:"omit,explicit" doc:"explicit: what a message does not have is null (event, bib, holding, item, portfolio, representation), as until 2023"`
	Names       []NameConfig      `yaml:"names" doc:"other names for actions, events and payload members"`
}

// InstitutionConfig is the institution that messages name.
type InstitutionConfig struct {
	Value string `yaml:"value" doc:"its code; default: source.name"`
	Desc  string `yaml:"desc" doc:"its name"`
}

// NameConfig gives a name of a format's vocabulary another form.
type NameConfig struct {
	Name string `yaml:",key"`
	To   string `yaml:",value"`
}
