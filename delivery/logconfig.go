package delivery

import (
	"errors"
	"strings"
	"time"
)

// LogConfig is the config's `log`: rowhook's own messages and the delivery log.
type LogConfig struct {
	Level      string        `yaml:"level" enum:"debug,info,warn,error" doc:"of rowhook's own messages, on stderr"`
	Format     string        `yaml:"format" enum:"text,json" doc:"of rowhook's own messages"`
	Deliveries string        `yaml:"deliveries" path:"file" doc:"the delivery log, one JSON object a line"`
	MaxSize    int64         `yaml:"max_size" unit:"size" doc:"of one file of the delivery log, then a new one is begun"`
	Keep       time.Duration `yaml:"keep" doc:"how long files of the delivery log are kept"`
	MaxTotal   int64         `yaml:"max_total" unit:"size" doc:"of all files of the delivery log; the oldest go first"`
	Body       int           `yaml:"body" doc:"characters of each request body kept in the delivery log; 0 none"`
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

// Validate reports every setting that cannot work, joined; each error has a ConfigPath and a Hint.
func (c LogConfig) Validate() error {
	var v logValidation
	v.check(c.Deliveries != "", "deliveries", "the delivery log needs a file", "write a path such as ./log/deliveries.jsonl")
	v.check(c.MaxSize >= minLogFile, "max_size", "a file of the delivery log needs at least 64KiB", "100MiB suits most")
	v.check(c.MaxTotal >= c.MaxSize, "max_total", "all files together cannot be smaller than one", "give max_total at least max_size")
	v.check(c.Keep > 0, "keep", "files need a time to be kept", "write a duration above 0, such as 30d")
	v.check(c.Body >= 0, "body", "a number of characters cannot be negative", "0 keeps no bodies")
	return v.join()
}

type logValidation struct{ found []error }

func (v *logValidation) check(ok bool, key, text, hint string) {
	if !ok {
		v.found = append(v.found, &logConfigError{[]string{"log", key}, text, hint})
	}
}

func (v *logValidation) join() error { return errors.Join(v.found...) }

type logConfigError struct {
	path       []string
	text, hint string
}

func (e *logConfigError) Error() string        { return strings.Join(e.path, ".") + ": " + e.text }
func (e *logConfigError) ConfigPath() []string { return e.path }
func (e *logConfigError) Hint() string         { return e.hint }
