package delivery

import "time"

// LogConfig is the config's `log`: rowhook's own messages and the delivery log.
type LogConfig struct {
	Level      string        `yaml:"level" enum:"debug,info,warn,error" doc:"of rowhook's own messages, on stderr"`
	Format     string        `yaml:"format" enum:"text,json" doc:"of rowhook's own messages"`
	Deliveries string        `yaml:"deliveries" path:"file" doc:"the delivery log, one JSON object a line"`
	MaxSize    int64         `yaml:"max_size" unit:"size" doc:"largest size of one file of the delivery log; then the next one begins"`
	Keep       time.Duration `yaml:"keep" doc:"how long files of the delivery log are kept; one is closed after a thirtieth of it"`
	MaxTotal   int64         `yaml:"max_total" unit:"size" doc:"largest size of all files of the delivery log; the oldest are removed first"`
	Body       int           `yaml:"body" doc:"characters of each request body kept in the delivery log; 0 keeps row data out of it altogether"`
}

// DefaultLogConfig is what holds where the config says nothing.
func DefaultLogConfig() LogConfig {
	return LogConfig{
		Level:      "info",
		Format:     "text",
		Deliveries: "log/deliveries.jsonl",
		MaxSize:    100 << 20,
		Keep:       30 * 24 * time.Hour,
		MaxTotal:   5 << 30,
		Body:       4000,
	}
}

// The least that a delivery log can do with.
const (
	minLogFile = 64 << 10
	minLogKeep = time.Hour
)

// Validate reports every setting that cannot work, joined; each error has a ConfigPath and a remedy.
func (c LogConfig) Validate() error {
	v := ErrorsAt("log")
	v.OneOf("level", c.Level, "debug", "info", "warn", "error")
	v.OneOf("format", c.Format, "text", "json")
	if c.Deliveries == "" {
		v.Add("the delivery log needs a file", "write a path such as ./log/deliveries.jsonl", "deliveries")
	}
	if c.MaxSize < minLogFile {
		v.Add("a file of the delivery log needs at least 64KiB", "100MiB suits most", "max_size")
	}
	if c.MaxTotal < c.MaxSize {
		v.Add("all files together cannot be smaller than one", "make it at least max_size", "max_total")
	}
	if c.Keep < minLogKeep {
		v.Add("files are kept for at least an hour", "write a duration such as 30d", "keep")
	}
	if c.Body < 0 {
		v.Add("a number of characters cannot be negative", "0 keeps no bodies", "body")
	}
	return v.Err()
}
