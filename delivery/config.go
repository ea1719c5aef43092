package delivery

import "time"

// ProfileConfig is one entry of the config's `profiles`, and of `defaults`. The
// loader fills it in the order preset, defaults, profile, so that what is not
// written keeps the value below it.
type ProfileConfig struct {
	Code string `yaml:",key" doc:"the profile's code"`
	// Ordering tells for each table that its events come from what their ordering keys are made of.
	// Where it differs from before, earlier events finish before later ones begin. It is not in the
	// file: the mapping tells.
	Ordering map[string]string `yaml:"-"`

	Name          string               `yaml:"name" doc:"people's name of the profile"`
	Description   string               `yaml:"description" doc:"what the profile is for"`
	Active        *bool                `yaml:"active" doc:"false stops deliveries, as rowhook profile pause does"`
	Mode          string               `yaml:"mode" enum:"live,dry_run" doc:"dry_run writes to the delivery log what would be sent, and sends nothing"`
	URL           string               `yaml:"url" public:"inline" doc:"where to POST; environment variables in it are percent-encoded. Logs and mails show it without user, password and the query's values, and with format slack without its path"`
	URLFile       string               `yaml:"url_file" path:"file" doc:"file that holds the URL, which is a secret then: logs and mails show no more of it than its host"`
	Secret        string               `yaml:"secret" doc:"signing secret: whsec_ and base64, or raw text"`
	SecretFile    string               `yaml:"secret_file" path:"file" doc:"file that holds the signing secret"`
	Secrets       []SecretConfig       `yaml:"secrets" doc:"several secrets at once, for rotation"`
	Signature     string               `yaml:"signature" enum:"standard,alma,github,none" doc:"how requests are signed: Standard Webhooks, X-Exl-Signature, X-Hub-Signature-256"`
	Format        string               `yaml:"format" enum:"native,cloudevents,alma,rakuraku,slack,template" doc:"the body's format"`
	CloudEvents   CloudEventsConfig    `yaml:"cloudevents" doc:"settings of format cloudevents"`
	Template      string               `yaml:"template" doc:"the body of format template, in Go's text/template"`
	Alma          AlmaConfig           `yaml:"alma" doc:"settings of format alma"`
	Rakuraku      RakurakuConfig       `yaml:"rakuraku" doc:"settings of format rakuraku"`
	MessageType   string               `yaml:"message_type" enum:"json,xml" doc:"how bodies are written, where the format has both: native, alma"`
	Unit          string               `yaml:"unit" enum:"record,type,transaction,batch" doc:"what one request carries: one event, or a group of them"`
	Batch         BatchConfig          `yaml:"batch" doc:"with unit batch, when a request goes"`
	Subscriptions []SubscriptionConfig `yaml:"subscriptions" doc:"which events the profile gets; none means all"`
	Headers       []HeaderConfig       `yaml:"headers" secret:"true" doc:"further request headers"`
	Timeout       time.Duration        `yaml:"timeout" doc:"of one request, from dial to the end of the reply"`
	Success       []string             `yaml:"success,oneormany" doc:"status codes and ranges that mean delivered, such as 200-299"`
	Retry         RetryConfig          `yaml:"retry" doc:"when an event that failed is sent again, and when it is given up"`
	Replies       []ReplyConfig        `yaml:"replies" doc:"status code or class such as 4xx, to dead or retry"`
	Order         string               `yaml:"order" enum:"key,none" doc:"key keeps commit order per ordering key"`
	Concurrency   int                  `yaml:"concurrency" doc:"requests in flight at once"`
	Rate          string               `yaml:"rate" unit:"rate" doc:"most requests in a time, such as 50/s or 10/1s; what exceeds it waits"`
	MaxBody       int64                `yaml:"max_body" unit:"size" doc:"a larger body is not sent but dead, reason oversize; of several events it is divided, but what one transaction did is sent whole as rakuraku"`
	Share         Percent              `yaml:"share" doc:"of the spool that the profile's undelivered events may take"`
	OnFull        string               `yaml:"on_full" enum:"shed,pause_source" doc:"what happens when the share is used up"`
	OnDead        string               `yaml:"on_dead" enum:"continue,hold_key" doc:"after a dead letter, later events of its key go on, or wait until it is retried or discarded"`
	MaxBlock      time.Duration        `yaml:"max_block" doc:"how long events wait for a failing one of their key, which is dead then; 0 waits for retry.max_age. A retry.schedule is not cut short"`
	HTTP          HTTPConfig           `yaml:"http" doc:"how requests travel: credentials, certificates, proxy"`
	AllowNetworks []string             `yaml:"allow_networks,oneormany" doc:"loopback, private or CIDRs that the dial guard lets through"`
	Bigint        string               `yaml:"bigint" enum:"number,string" doc:"how 64-bit integers are written"`
	Challenge     string               `yaml:"challenge" enum:"none,query,cloudevents" doc:"how the endpoint is asked before its first delivery: GET with ?challenge=, or the handshake of CloudEvents webhooks"`
	Contacts      []string             `yaml:"contacts,oneormany" doc:"mail addresses of those who are told when deliveries fail"`
	Alert         AlertConfig          `yaml:"alert" doc:"when the contacts get mail"`
	Sandbox       SandboxConfig        `yaml:"sandbox" doc:"used instead of the profile's own URL, secret and key in a sandbox; without a URL nothing is sent there"`
	WhenInactive  string               `yaml:"when_inactive" enum:"hold,skip" doc:"what happens to events while the profile is not active; default skip while it has never been and in a sandbox, else hold"`
	LogBody       *int                 `yaml:"log_body" doc:"characters of each body kept in the delivery log; 0 keeps row data out of it altogether; default log.body"`

	IdentificationKey string `yaml:"identification_key" doc:"sent in each body, as key, by which the receiver knows the webhook: format rakuraku"`

	_ struct{} `later:"backfill coalesce console"`
}

// BatchConfig says how many events a batch collects, and for how long.
type BatchConfig struct {
	Max  int           `yaml:"max" doc:"events in one request, up to 1000"`
	Wait time.Duration `yaml:"wait" doc:"how long an event waits for others"`
}

// CloudEventsConfig is what the CloudEvents HTTP binding leaves to the sender.
type CloudEventsConfig struct {
	Mode string `yaml:"mode" enum:"structured,binary" doc:"structured: all in the body; binary: attributes as ce- headers"`
}

// SecretConfig is one of several secrets.
type SecretConfig struct {
	Secret     string    `yaml:"secret" doc:"the secret"`
	SecretFile string    `yaml:"secret_file" path:"file" doc:"file that holds the secret"`
	NotAfter   time.Time `yaml:"not_after" doc:"RFC 3339 time after which it no longer signs"`
}

// AlertConfig says when a profile's contacts get mail, and how it reads.
type AlertConfig struct {
	On        string        `yaml:"on" enum:"attempt,final,state" doc:"attempt: each attempt that failed; final: each delivery given up; state: the profile turns bad or is well again, and dead letters"`
	Every     time.Duration `yaml:"every" doc:"least time between two mails about failures; those between are counted in the next. 0: none is left out"`
	Text      string        `yaml:"text" enum:"plain,alma,rakuraku" doc:"the wording of mails about failed attempts and deliveries"`
	ManageURL string        `yaml:"manage_url" doc:"a page where failed deliveries are looked after, named in mails"`
}

// SandboxConfig is what a profile has in a sandbox, where nothing of what production uses is used.
type SandboxConfig struct {
	URL        string `yaml:"url" json:"url,omitempty" public:"inline" doc:"where to POST in a sandbox; empty: nowhere"`
	URLFile    string `yaml:"url_file" json:"-" path:"file" doc:"file that holds it, as with the profile's"`
	Secret     string `yaml:"secret" json:"secret,omitempty" doc:"signing secret in a sandbox"`
	SecretFile string `yaml:"secret_file" json:"-" path:"file" doc:"file that holds it"`

	IdentificationKey string `yaml:"identification_key" json:"identification_key,omitempty" doc:"identification key in a sandbox"`
}

// HeaderConfig is one further request header.
type HeaderConfig struct {
	Name  string `yaml:",key"`
	Value string `yaml:",value"`
}

// SubscriptionConfig selects events. All that is given must hold.
type SubscriptionConfig struct {
	Events     []string         `yaml:"events,oneormany" doc:"globs over event types"`
	Tables     []string         `yaml:"tables,oneormany" doc:"globs over mapping entries"`
	Where      Where            `yaml:"where" doc:"conditions on the row's columns"`
	Operations OperationsConfig `yaml:"operations" doc:"globs over the operation, or {not: globs}"`
}

// OperationsConfig filters by operation: a list, or everything but a list.
type OperationsConfig struct {
	Only []string `yaml:",list" doc:"globs"`
	Not  []string `yaml:"not,oneormany" doc:"globs"`
}

// RetryConfig is the event clock: when a delivery is tried again, and until when.
type RetryConfig struct {
	Initial    time.Duration   `yaml:"initial" doc:"wait after the first failure"`
	Max        time.Duration   `yaml:"max" doc:"longest wait"`
	Multiplier float64         `yaml:"multiplier" doc:"growth of the wait"`
	Jitter     float64         `yaml:"jitter" doc:"share by which waits vary, 0 to 1"`
	MaxAge     time.Duration   `yaml:"max_age" doc:"age at which the delivery is given up; 0 is never"`
	Schedule   []time.Duration `yaml:"schedule" doc:"fixed waits instead; dead after the last"`
}

// ReplyConfig overrides what a status means.
type ReplyConfig struct {
	Status string `yaml:",key"`
	Action string `yaml:",value" enum:"dead,retry"`
}

// Percent is a share such as 25%, as a fraction.
type Percent float64

// BodyLimit is what [LogRecord] has as its BodyLimit in lines about the profile's deliveries.
func (c *ProfileConfig) BodyLimit() int {
	switch {
	case c.LogBody == nil:
		return 0
	case *c.LogBody == 0:
		return -1
	}
	return *c.LogBody
}
