package delivery

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

// RakurakuEntry is a mapping entry's part in the format rakuraku: the ids and types of its items.
// What is not given follows from the profile's app_id, the place in the payload's shape and the
// values' kind.
type RakurakuEntry struct {
	AppID string         `yaml:"app_id" doc:"begins the items' ids; default: the profile's rakuraku.app_id"`
	Items []RakurakuItem `yaml:"items" doc:"member of the payload to its item id and type"`
	// Workflow is for an entry whose rows are the steps of a workflow.
	Workflow RakurakuWorkflow `yaml:"workflow" doc:"members of the payload that are sent as the message's workflow, not as items of the record"`

	// Linked says that the entry has a link. It is not in the file here: the mapping tells.
	Linked bool `yaml:"-"`
}

// RakurakuWorkflow names the members of the payload that tell a step of a workflow.
type RakurakuWorkflow struct {
	Step    string `yaml:"step" doc:"the step's name"`
	Status  string `yaml:"status" doc:"the step's status"`
	Comment string `yaml:"comment" doc:"the comment on the step"`
}

// Given reports whether there is anything to send.
func (w RakurakuWorkflow) Given() bool { return w != RakurakuWorkflow{} }

// Names reports whether a member of the payload is one of them.
func (w RakurakuWorkflow) Names(member string) bool {
	return member != "" && (member == w.Step || member == w.Status || member == w.Comment)
}

// RakurakuItem is a payload member's id and type. The primary key's item is not among them: it is
// derived from the app_id.
type RakurakuItem struct {
	Member string `yaml:",key"`
	ID     string `yaml:"id" doc:"default: <app_id>_main_<n>, counted from 0 in the payload's order"`
	Type   string `yaml:"type" enum:"text,textarea,number,float,date,datetime,time,checkbox,multi,user,file,json" doc:"default: by the column's type"`
}
