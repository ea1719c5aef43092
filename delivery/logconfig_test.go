package delivery

import (
	"errors"
	"strings"
	"testing"
)

func TestLogConfigValidate(t *testing.T) {
	t.Parallel()
	if err := DefaultLogConfig().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for key, spoil := range map[string]func(*LogConfig){
		"level":      func(c *LogConfig) { c.Level = "loud" },
		"format":     func(c *LogConfig) { c.Format = "xml" },
		"deliveries": func(c *LogConfig) { c.Deliveries = "" },
		"max_size":   func(c *LogConfig) { c.MaxSize = 10 },
		"max_total":  func(c *LogConfig) { c.MaxTotal = c.MaxSize - 1 },
		"keep":       func(c *LogConfig) { c.Keep = 0 },
		"body":       func(c *LogConfig) { c.Body = -1 },
	} {
		cfg := DefaultLogConfig()
		spoil(&cfg)
		err := cfg.Validate()
		var e *ConfigError
		if !errors.As(err, &e) || strings.Join(e.ConfigPath(), ".") != "log."+key || e.RemedyText() == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
}
