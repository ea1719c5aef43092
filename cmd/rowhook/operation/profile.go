package operation

import "rowhook/delivery"

// ProfileListing is one line of `profile list`.
type ProfileListing struct {
	delivery.ProfileStatus
	Description   string   `json:"description,omitempty"`
	Format        string   `json:"format"`
	MessageType   string   `json:"message_type"`
	Unit          string   `json:"unit"`
	Host          string   `json:"host,omitempty"` // of the URL that is used in this environment
	Subscriptions []string `json:"subscriptions"`  // in words
}

// ActivateRequest asks for the activation of a profile.
type ActivateRequest struct {
	User    string `json:"user"`
	Profile string `json:"profile"`
	// URL and Secret are the profile's in this sandbox from now on; empty leaves them.
	URL    string `json:"url,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// EndpointAnswer is what an endpoint said to a challenge or a test event.
type EndpointAnswer struct {
	Profile    string  `json:"profile"`
	OK         bool    `json:"ok"`
	Asked      bool    `json:"asked"` // false when no request was due
	State      string  `json:"state"`
	Event      string  `json:"event,omitempty"` // id of the test event
	Status     int     `json:"status,omitempty"`
	DurationMS float64 `json:"duration_ms,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	Error      string  `json:"error,omitempty"`
	Response   string  `json:"response,omitempty"` // the start of the reply's body
}

// StateAnswer is what a command that changes a profile's state came to.
type StateAnswer struct {
	Profile string `json:"profile"`
	State   string `json:"state"`
}
