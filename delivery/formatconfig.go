package delivery

// AlmaConfig is what the format alma wants to know.
type AlmaConfig struct {
	Institution InstitutionConfig `yaml:"institution" doc:"whose messages these are"`
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

// RakurakuConfig is what the format rakuraku wants to know.
type RakurakuConfig struct {
	AppID          string `yaml:"app_id" doc:"begins the items' ids, where the mapping entry has none of its own; default: the entry's code"`
	Timezone       string `yaml:"timezone" doc:"of eventTime and of times with a zone, such as Asia/Tokyo, the default"`
	URLBase        string `yaml:"url_base" doc:"what the records' permalinks begin with; without it, the entry's link is sent"`
	AppCodeField   string `yaml:"app_code_field" enum:"appCode,appcode" doc:"the member that holds the app's code"`
	NullValue      string `yaml:"null_value" enum:"empty,null,omit" doc:"what an item without a value has: an empty text, null, or the item is left out"`
	DateFormat     string `yaml:"date_format" doc:"of dates: YYYY-MM-DD, also YY, M and D"`
	DatetimeFormat string `yaml:"datetime_format" doc:"of times: YYYY-MM-DD hh:mm:ss"`

	// Entries has the items of each mapping entry. It is not in the file here: the mapping tells.
	Entries map[string]RakurakuEntry `yaml:"-"`
}
