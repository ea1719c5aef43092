package capture

import "time"

// DefaultMaxChange is how large a change is taken where the config does not say.
const DefaultMaxChange = 128 << 20

// ChangeLimit is how large a change is taken, in bytes.
func (c *SourceConfig) ChangeLimit() int64 {
	if c.MaxChange <= 0 {
		return DefaultMaxChange
	}
	return c.MaxChange
}

// SourceConfig is the connection part of the config's `source` section.
type SourceConfig struct {
	Type         string        `yaml:"type" enum:"postgres,mysql" doc:"postgres, or mysql, which recognises MariaDB"`
	URL          string        `yaml:"url" doc:"postgres://user@host:port/database or mysql://user@host:port/database?tls=verify; several hosts and Unix sockets allowed"`
	Password     string        `yaml:"password" doc:"the database password, if not in the URL"`
	PasswordFile string        `yaml:"password_file" path:"file" doc:"file that holds the database password"`
	Name         string        `yaml:"name" doc:"the source's name in payloads; default: the database's name"`
	Slot         string        `yaml:"slot" doc:"postgres: replication slot"`
	Publication  string        `yaml:"publication" doc:"postgres: publication"`
	ServerID     int           `yaml:"server_id" doc:"mysql: the agent's id among the server's replicas; default: derived from the state directory"`
	Environment  string        `yaml:"environment" enum:"production,sandbox" doc:"production or sandbox; ROWHOOK_ENVIRONMENT and the database itself can say sandbox, too"`
	MaxChange    int64         `yaml:"max_change" unit:"size" doc:"largest change that is held in memory; of a larger one the key alone is kept, in a dead letter of the source"`
	Heartbeat    time.Duration `yaml:"heartbeat" doc:"interval of a logical message as a liveness probe; 0 is off"`
	Servers      []string      `yaml:"servers,oneormany" doc:"system identifiers or hosts that are this source too (failover)"`
}

// ConfigError is a value of the config's `source` section that cannot work.
type ConfigError struct {
	Key    string
	Err    error
	Remedy string // what would work; may be empty
}

func (e *ConfigError) Error() string { return "source." + e.Key + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// ConfigPath leads to the value from the top of the config.
func (e *ConfigError) ConfigPath() []string { return []string{"source", e.Key} }

// RemedyText says what would work.
func (e *ConfigError) RemedyText() string { return e.Remedy }
