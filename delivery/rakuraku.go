package delivery

// RakurakuEntry is a mapping entry's part in the format rakuraku: the ids and types of its items. What is not
// given follows from the profile's app_id, the place in the payload's shape and the values' kind.
type RakurakuEntry struct {
	AppID string         `yaml:"app_id" doc:"begins the items' ids; default: the profile's rakuraku.app_id"`
	Items []RakurakuItem `yaml:"items" doc:"member of the payload to its item id and type"`
	// Workflow is for an entry whose rows are the steps of a workflow.
	Workflow RakurakuWorkflow `yaml:"workflow" doc:"members of the payload that are sent as the message's workflow, not as items of the record"`
}

// RakurakuWorkflow names the members of the payload that tell a step of a workflow.
type RakurakuWorkflow struct {
	Step    string `yaml:"step" doc:"which step it is"`
	Status  string `yaml:"status" doc:"the step's status"`
	Comment string `yaml:"comment" doc:"what was remarked"`
}

// Given reports whether there is anything to send.
func (w RakurakuWorkflow) Given() bool { return w != RakurakuWorkflow{} }

// Names reports whether a member of the payload is one of them.
func (w RakurakuWorkflow) Names(member string) bool {
	return member != "" && (member == w.Step || member == w.Status || member == w.Comment)
}

// RakurakuItem is a payload member's id and type. The primary key's item is not among them: it is derived
// from the app_id.
type RakurakuItem struct {
	Member string `yaml:",key"`
	ID     string `yaml:"id" doc:"default: <app_id>_main_<n>, counted from 0 in the payload's order"`
	Type   string `yaml:"type" enum:"text,textarea,number,float,date,datetime,time,checkbox,multi,user,file,json" doc:"default: by the column's type"`
}
