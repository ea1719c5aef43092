package account

import "rowhook/delivery"

// Config is the config's `account`.
type Config struct {
	MaxSize int64 `yaml:"max_size" unit:"size" doc:"of all its files; the oldest go first; 0 keeps no account"`
}

// DefaultConfig is what holds where the config says nothing.
func DefaultConfig() Config { return Config{MaxSize: 64 << 20} }

// minSize is the least that an account can do with.
const minSize = 1 << 20

// Validate reports a setting that cannot work; the error has a ConfigPath and a Remedy.
func (c Config) Validate() error {
	v := delivery.ErrorsAt("account")
	if c.MaxSize != 0 && c.MaxSize < minSize {
		v.Add("an account needs at least 1MiB", "64MiB suits most; 0 keeps none", "max_size")
	}
	return v.Err()
}
