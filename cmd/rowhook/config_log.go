package main

import "time"

// logConfig is the config's `log`: rowhook's own messages and the delivery log.
type logConfig struct {
	Level      string        `yaml:"level" enum:"debug,info,warn,error" doc:"of rowhook's own messages, on stderr"`
	Format     string        `yaml:"format" enum:"text,json" doc:"of rowhook's own messages"`
	Deliveries string        `yaml:"deliveries" path:"file" doc:"the delivery log, one JSON object a line"`
	MaxSize    int64         `yaml:"max_size" unit:"size" doc:"of one file of the delivery log, then a new one is begun"`
	Keep       time.Duration `yaml:"keep" doc:"how long files of the delivery log are kept"`
	MaxTotal   int64         `yaml:"max_total" unit:"size" doc:"of all files of the delivery log; the oldest go first"`
	Body       int           `yaml:"body" doc:"characters of each request body kept in the delivery log; 0 none"`
}

// defaultLogConfig is what holds where the config says nothing.
func defaultLogConfig() logConfig {
	return logConfig{
		Level:      "info",
		Format:     "text",
		Deliveries: "log/deliveries.jsonl",
		MaxSize:    100 << 20,
		Keep:       30 * 24 * time.Hour,
		MaxTotal:   5 << 30,
		Body:       4000,
	}
}
